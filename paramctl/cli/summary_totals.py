"""The lines of totals below a summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from paramctl.cli.render import binary
from paramctl.core.text import printable, quantity

if TYPE_CHECKING:
    from paramctl.inspect.summary import Summary


NOUNS = {"parameters": "parameters", "bytes": "bytes", "macs": "MACs"}
"""The units of the numbers."""


def left_out_lines(summaries: Sequence[Summary], sort: str | None, parameters: bool) -> Iterator[str]:
    """Yield the line about the rows that --top left out, if it left out any.

    summaries: of all files. parameters: True if the rows are of parameters.
    """
    from paramctl.inspect.shares import measure_of

    left_out = summaries[0].left_out  # of all files together
    omitted = left_out and (left_out.parameters if parameters else left_out.layers)
    if not omitted or not omitted.rows:
        return
    text = quantity(omitted.rows, "more row")
    if len(summaries) > 1:
        text += f" of {of_files(len(summaries))}"
    totals = [facts.total(measure_of(sort)) for facts in summaries]
    known = [total for total in totals if total is not None]
    if omitted.counted is None or len(known) < len(totals) or not sum(known):
        yield f"{text}, not shown"
    else:
        share = 100 * omitted.counted / sum(known)
        yield f"{text} with {omitted.counted:,} {NOUNS[measure_of(sort)]} ({share:.1f} %), not shown"


def of_files(count: int) -> str:
    """Return the words for all of several files."""
    return "both files" if count == 2 else f"all {count:,} files"


def total_lines(facts: Summary) -> Iterator[str]:
    """Yield the totals of a summary: parameters, missing ones, bytes, the state of an optimizer, and ties."""
    counts = facts.totals
    yield ""
    if facts.unbuilt:
        from paramctl.source.open import missing_input

        yield f"Total parameters: ? ({missing_input(facts.unbuilt)}; use --input-shape)"
        return
    width = len(f"{counts.parameters:,}")
    yield f"Total parameters:  {counts.parameters:>{width},}"
    if counts.any_known:
        if counts.known_trainable or not counts.unknown:
            yield f"    trainable:     {counts.known_trainable:>{width},}"
        yield f"    non-trainable: {counts.known_non_trainable:>{width},}"
        if counts.unknown:
            yield f"    unknown:       {counts.unknown:>{width},}"
    if facts.missing:
        names = (f"{path} {shape}" if shape is not None else path for path, shape in facts.missing.items())
        yield printable(f"Missing from the file: {', '.join(names)}")
    yield from _packed(facts)
    for dtype, size in counts.bytes.items():
        encoding = facts.encodings.get(dtype)
        decoded = f"; {encoding.bits:g} bits a value, read as {encoding.dtype}" if encoding else ""
        yield f"Bytes in {dtype}: {size:,}{binary(size)}{decoded}"
    if facts.encodings and counts.parameters:
        yield f"Bits a value, on average: {8 * sum(counts.bytes.values()) / counts.parameters:.2f}"
    from paramctl.model import shared_text

    if state := facts.optimizer_totals:
        arrays, values = quantity(state.arrays, "array"), quantity(state.values, "value")
        yield f"Optimizer state: {arrays}, {values}, {state.bytes:,} bytes{binary(state.bytes)}"
    for tie in facts.ties:
        yield printable(f"Tied: {tie.tied} {shared_text(tie.kept, tie.transpose)}")


def _packed(facts: Summary) -> Iterator[str]:
    """Yield a line for each precision of packed parameters, and one for their scales."""
    for bits, dtype in dict.fromkeys((each.bits, each.dtype) for each in facts.packed):
        alike = [each for each in facts.packed if (each.bits, each.dtype) == (bits, dtype)]
        parameters, stored = sum(each.parameters for each in alike), sum(each.stored for each in alike)
        yield f"Packed: {parameters:,} logical parameters in {bits} bits, stored in {stored:,} values of {dtype}"
    if facts.scales:
        yield f"Scales: {facts.scales:,} values for packed parameters, counted apart"
