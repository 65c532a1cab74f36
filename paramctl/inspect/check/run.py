"""Run checks, and add a name and a severity to each finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paramctl.inspect.check.finding import SEVERITIES, Finding
from paramctl.inspect.check.registry import Check
from paramctl.inspect.check.subject import Subject


def run_checks(subject: Subject, checks: Sequence[Check], file: str = "") -> list[Finding]:
    """Return the findings of checks, the worst first, and otherwise in the order of the checks and of the arrays."""
    return sorted(_findings(subject, checks, file), key=lambda finding: SEVERITIES.index(finding.severity))


def _findings(subject: Subject, checks: Sequence[Check], file: str) -> Iterator[Finding]:
    for each in checks:
        for place, text, paths, severity in each.function(subject):
            yield Finding(each.name, severity or each.severity, place, text, paths, file)
