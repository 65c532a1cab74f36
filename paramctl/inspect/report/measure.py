"""The values of a report's arrays, measured in two passes: one for statistics and checks, one for histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from paramctl.core.indexing import select
from paramctl.inspect.check.finding import Finding
from paramctl.inspect.check.registry import choose
from paramctl.inspect.check.run import run_checks
from paramctl.inspect.check.subject import Subject
from paramctl.inspect.histogram import histograms
from paramctl.inspect.report.facts import ArrayFacts
from paramctl.inspect.stat import stat_row
from paramctl.inspect.summary import Summary
from paramctl.inspect.summary_rows import ParameterRow
from paramctl.parallel import Progress
from paramctl.source.base import SelectedValues, Source, place_of
from paramctl.store.contents import Provenance


class Measured(NamedTuple):
    """The arrays of a report with their values measured, and the findings about them, the worst first."""

    arrays: list[ArrayFacts]
    findings: list[Finding]


class Phases(NamedTuple):
    """Progress over several passes, each of which counts as many bytes as the first.

    bytes: of a pass. number: of passes.
    """

    progress: Progress | None
    bytes: int
    number: int

    def phase(self, index: int) -> Progress:
        """Return the progress of one pass, counted from 0."""

        def report(done: int, total: int) -> None:
            # a pass may read less than the first, as without undecodable arrays: its bytes are scaled
            if self.progress is not None and total:
                self.progress(index * self.bytes + done * self.bytes // total, self.number * self.bytes)

        return report


def measure(source: Source, summary: Summary, phases: Phases) -> Measured:
    """Read the values of the arrays of a summary. A tied name has the values of another row."""
    subject = _subject(source, all_rows(summary), phases.phase(0))
    # the tallies have the ends of each array, so that its histogram takes one pass, not two
    readable = [(values, facts.tally) for values, facts in subject.measured if not facts.unreadable]
    bars = histograms(
        [values for values, _ in readable],
        tallies={number: tally for number, (_, tally) in enumerate(readable)},
        progress=phases.phase(1),
    )
    known = {values.path: (stat_row(values, tally), each) for (values, tally), each in zip(readable, bars, strict=True)}
    unread = {values.path: facts.unreadable for values, facts in subject.measured}
    arrays = [
        replace(array, stat=known[path][0], histogram=known[path][1])
        if (path := array.row.path) in known
        else replace(array, unread=unread.get(path, ""))
        for array in unmeasured(summary, source.origin.provenance)
    ]
    return Measured(arrays, run_checks(subject, choose(), place_of(source)))


def find(source: Source, rows: Sequence[ParameterRow], progress: Progress | None) -> list[Finding]:
    """Return the findings about arrays, the worst first, without their statistics."""
    return run_checks(_subject(source, rows, progress), choose(), place_of(source))


def _subject(source: Source, rows: Sequence[ParameterRow], progress: Progress | None) -> Subject:
    """Return the arrays of rows as the subject of checks. A shared array counts once."""
    owners = dict.fromkeys(source.model.owner(row.path) for row in rows)
    selected = [
        SelectedValues(source, owner.path, owner.path, select(None, owner.shape, owner.path)) for owner in owners
    ]
    return Subject(source, selected, progress=progress)


def all_rows(summary: Summary) -> Sequence[ParameterRow]:
    """Return the rows of the parameters, then those of the arrays of an optimizer."""
    return [*summary.parameters, *summary.optimizer]


def unmeasured(summary: Summary, provenance: Mapping[str, Provenance]) -> list[ArrayFacts]:
    """Return the arrays of a summary without the facts of their values."""
    return [
        ArrayFacts(row, seed=provenance[row.path].seed if row.path in provenance else None) for row in all_rows(summary)
    ]
