"""Findings for people, with repeated ones in one row, and for machines: SARIF and the commands of GitHub Actions.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paramctl import __version__
from paramctl.cli.render import json_value

if TYPE_CHECKING:
    from paramctl.inspect.check.finding import Finding

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
STANDARD_INPUT = ("", "-", "<stdin>")
LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
"""The command of GitHub for each severity."""

REGION = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1}


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
        name = _relative(finding.file)
        file = f"file={_property(name)}," if name else ""
        title = _property(f"{finding.name}: {finding.place}")
        yield f"::{LEVELS[finding.severity]} {file}title={title}::{_data(f'{finding.place}: {finding.text}')}"


def _relative(file: str) -> str:
    """Return the name of a file within the working directory, as GitHub needs it; empty for standard input."""
    if file in STANDARD_INPUT or "://" in file:
        return "" if file in STANDARD_INPUT else file
    name = os.path.relpath(file)
    return os.path.abspath(file) if name.startswith("..") else name


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
            "fullDescription": {"text": f"{check.description}."},
            "help": {"text": f"{check.description}."},
            "defaultConfiguration": {"level": check.severity},
        }
        for check in all_checks()
    ]
    numbers = {rule["id"]: number for number, rule in enumerate(rules)}
    driver = {"name": "paramctl", "version": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "results": [_result(finding, numbers[finding.name]) for finding in findings]}
    yield json_value({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    from hashlib import sha256  # --help loads every command, and needs no hashes nor URLs
    from urllib.parse import quote

    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": finding.place}]}
    name = _relative(finding.file)
    if name:
        # a relative reference, whose first part must not look like the scheme of a URL
        uri = name if "://" in name else ("file://" if os.path.isabs(name) else "") + quote(name)
        # GitHub's code scanning requires a region, and takes results of one line for the same one
        location["physicalLocation"] = {"artifactLocation": {"uri": uri}, "region": REGION}
    identity = sha256("\0".join((name, finding.name, finding.place)).encode(errors="surrogateescape")).hexdigest()
    return {
        "ruleId": finding.name,
        "ruleIndex": rule,
        "level": finding.severity,
        "message": {"text": f"{finding.place}: {finding.text}"},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": f"{identity[:16]}:1"},
    }
