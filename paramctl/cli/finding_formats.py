"""Findings for people, with repeated ones in one row, and for machines: SARIF and the commands of GitHub Actions.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paramctl import __version__
from paramctl.cli.render import json_value

if TYPE_CHECKING:
    from paramctl.inspect.check.finding import Finding

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
"""The command of GitHub for each severity."""


def folded(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with one for those that differ only in the numbers of their place: in blocks of a kind."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        key = finding.file, finding.severity, finding.name, re.sub(r"\d+", "0", finding.place), finding.text
        groups.setdefault(key, []).append(finding)
    return [
        group[0] if len(group) == 1 else replace(group[0], place=f"{group[0].place} and {len(group) - 1:,} more")
        for group in groups.values()
    ]


def github(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a workflow command for each finding."""
    for finding in findings:
        file = f"file={_property(finding.file)}," if finding.file else ""
        title = _property(f"{finding.name}: {finding.place}")
        yield f"::{LEVELS[finding.severity]} {file}title={title}::{_data(f'{finding.place}: {finding.text}')}"


def _data(text: str) -> str:
    """Return the text of a workflow command with its special characters escaped."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Return a property of a workflow command with its special characters escaped."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def sarif(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines of a SARIF log with one run."""
    from paramctl.inspect.check.registry import all_checks

    rules = [
        {
            "id": check.name,
            "shortDescription": {"text": f"{check.description}."},
            "defaultConfiguration": {"level": check.severity},
        }
        for check in all_checks()
    ]
    numbers = {rule["id"]: number for number, rule in enumerate(rules)}
    driver = {"name": "paramctl", "version": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "results": [_result(finding, numbers[finding.name]) for finding in findings]}
    yield json_value({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": finding.place}]}
    if finding.file:
        from urllib.parse import quote  # --help loads every command, and needs no URLs

        # a relative reference, whose first part must not look like the scheme of a URL
        uri = finding.file if "://" in finding.file else quote(finding.file)
        location["physicalLocation"] = {"artifactLocation": {"uri": uri}}
    return {
        "ruleId": finding.name,
        "ruleIndex": rule,
        "level": finding.severity,
        "message": {"text": f"{finding.place}: {finding.text}"},
        "locations": [location],
    }
