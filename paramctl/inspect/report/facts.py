"""The facts of a report as plain rows: the summary, each array with its values measured, findings and differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paramctl.inspect.check.finding import SEVERITIES, Finding
from paramctl.inspect.diff import DiffRow
from paramctl.inspect.histogram import Histogram
from paramctl.inspect.metadata import MetadataRow
from paramctl.inspect.stat import StatRow
from paramctl.inspect.summary import Summary
from paramctl.inspect.summary_rows import ParameterRow


@dataclass(frozen=True, slots=True)
class ArrayFacts:
    """A parameter, or an array of an optimizer.

    stat, histogram: of its values; None if they were not read, and for a tied name, whose array has another row.
    seed: of the values, if the file records it.
    unread: why the values were not read; empty if they were.
    """

    row: ParameterRow
    stat: StatRow | None = None
    histogram: Histogram | None = None
    seed: int | None = None
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences from another file, B, and its findings.

    name: of that file. rows: largest difference first. compared: the number of arrays that both files have.
    values: values were compared, not only names, shapes, dtypes and ties.
    findings: of that file, most severe first; None if it was not checked.
    """

    name: str
    rows: Sequence[DiffRow]
    hint: str = ""
    compared: int = 0
    values: bool = True
    findings: Sequence[Finding] | None = None


class FileFinding(NamedTuple):
    """A finding, and the name of the file that has it."""

    finding: Finding
    file: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a report shows.

    title: the heading. name: of the file. format: of the file, in words.
    findings: by severity, most severe first; None if the file was not checked.
    skipped: the content of the file that is not an array of numbers, in words.
    """

    title: str
    name: str
    format: str
    summary: Summary
    arrays: Sequence[ArrayFacts]
    findings: Sequence[Finding] | None = None
    metadata: Sequence[MetadataRow] = ()
    comparison: Comparison | None = None
    skipped: Sequence[str] = ()

    @property
    def all_findings(self) -> list[FileFinding]:
        """The findings of the file, and of the one that it is compared with, most severe first."""
        found = [FileFinding(each, f"A: {self.name}") for each in self.findings or ()]
        if self.comparison is not None:
            found += [FileFinding(each, f"B: {self.comparison.name}") for each in self.comparison.findings or ()]
        return sorted(found, key=lambda each: SEVERITIES.index(each.finding.severity))

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each array on the page, by path."""
        return {array.row.path: number for number, array in enumerate(self.arrays)}

    @property
    def changes(self) -> dict[int, list[int]]:
        """The numbers of the rows of the comparison about each array, by the array's number."""
        rows = () if self.comparison is None else self.comparison.rows
        return by_array(((row.path,) for row in rows), self.numbers)


def by_array(paths: Iterable[Sequence[str]], numbers: Mapping[str, int]) -> dict[int, list[int]]:
    """Return the numbers of the rows about each array, by the array's number.

    paths: the arrays that each row is about. numbers: of the arrays on the page, by path.
    """
    rows: dict[int, list[int]] = {}
    for row, names in enumerate(paths):
        for name in names:
            if name in numbers:
                rows.setdefault(numbers[name], []).append(row)
    return rows
