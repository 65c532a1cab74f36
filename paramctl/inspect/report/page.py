"""The page of a report: its facts as one HTML file with inline style, script and data."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from string import Template
from typing import Any

from paramctl import __version__
from paramctl.inspect.report.facts import Facts, by_array
from paramctl.inspect.report.markup import element, label, lines, script_json, text
from paramctl.inspect.report.sections import Section, sections
from paramctl.inspect.report.totals import totals
from paramctl.inspect.report.tree import Node, build_tree, fold
from paramctl.inspect.report.treemap import treemap
from paramctl.inspect.report.treemap_html import treemap_html


def page(facts: Facts) -> str:
    """Return the report as one HTML file. The same facts give the same text."""
    nodes = build_tree(facts.summary, facts.arrays)
    map_html, map_style = treemap_html(treemap(nodes), nodes, facts.changes.keys())
    shown = list(sections(facts, map_html))
    style, script = _resource("page.css") + map_style, _resource("page.js")
    return Template(_resource("page.html")).substitute(
        title=text(f"{facts.title} – parameters"),
        heading=text(facts.title),
        about=text(_about(facts)),
        totals=totals(facts),
        navigation=_navigation(shown),
        sections=lines(each.html for each in shown),
        version=__version__,
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=script_json(_data(facts, nodes, shown)),
    )


def _about(facts: Facts) -> str:
    compared = f", compared with {facts.comparison.name}" if facts.comparison is not None else ""
    return f"{facts.format}{compared}"


def _navigation(shown: Sequence[Section]) -> str:
    items = (element("li", element("a", text(each.title), href=f"#{each.key}")) for each in shown)
    return element("ul", "".join(items))


def _data(facts: Facts, nodes: Sequence[Node], shown: Sequence[Section]) -> dict[str, Any]:
    """Return everything that the script shows on demand."""
    numbers = facts.numbers
    findings = by_array((each.finding.paths for each in facts.all_findings), numbers)
    changes = facts.changes
    return {
        "tables": {table.key: table.wire(numbers) for each in shown for table in each.tables},
        "tree": [_wire(node, findings.keys(), changes.keys()) for node in fold(nodes)],
        "findings": findings,
        "changes": changes,
    }


def _wire(node: Node, findings: Collection[int], changes: Collection[int]) -> list[Any]:
    """Return a node for JSON: key, label, parameters, marks; of a layer also its children, bytes, type and output.

    The marks are the numbers of the arrays here and below with findings, and with changes.
    """
    arrays = list(node.arrays())
    marks = [sum(number in findings for number in arrays), sum(number in changes for number in arrays)]
    facts: list[Any] = [node.key, label(node.label), node.parameters, marks if any(marks) else 0]
    if node.array is not None:
        return facts  # the row of the array has the others
    return [*facts, [_wire(child, findings, changes) for child in node.children], node.bytes, node.type, node.output]


@cache
def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    """Return the hash of an inline style or script, which lets a browser apply this one and no other."""
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"
