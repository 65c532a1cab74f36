"""The totals of a report, at the top of its page."""

from __future__ import annotations

from collections.abc import Iterator

from paramctl.core.text import binary
from paramctl.inspect.report.facts import Facts
from paramctl.inspect.report.markup import element, text


def totals(facts: Facts) -> str:
    """Return the totals as a list of names and numbers."""
    items = (
        element("div", element("dt", text(name)) + element("dd", text(value)) + _note(note))
        for name, value, note in _totals(facts)
    )
    return element("dl", "".join(items), class_="totals")


def _note(note: str) -> str:
    return element("dd", text(note), class_="note") if note else ""


def _totals(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """Yield each total: its name, the number, and a note."""
    summary, counts = facts.summary, facts.summary.totals
    if summary.unbuilt:
        yield "Parameters", "unknown", "the shape of an input is unknown"
        return
    yield "Parameters", f"{counts.parameters:,}", _trainable(facts)
    size = sum(counts.bytes.values())
    yield "Bytes", f"{size:,}", binary(size).strip(" ()")
    owners = [array.row for array in facts.arrays if array.row.tied_to is None and array.row.kind != "optimizer"]
    yield "Arrays", f"{len(owners):,}", f"{len(summary.ties):,} tied" if summary.ties else ""
    # names of several dtypes would not fit in the size of a total; the note has them
    one = next(iter(counts.bytes), "none")
    yield "Dtypes", one if len(counts.bytes) < 2 else f"{len(counts.bytes)}", _shares(facts)
    if summary.packed:
        packed = sum(each.parameters for each in summary.packed)
        bits = sorted({each.bits for each in summary.packed})
        yield "Packed", f"{packed:,}", f"parameters in {', '.join(map(str, bits))} bits"
    if summary.scales:
        yield "Scales", f"{summary.scales:,}", "values, counted apart"
    if state := summary.optimizer_totals:
        yield "Optimizer state", f"{state.values:,}", f"values, {state.bytes:,} bytes{binary(state.bytes)}"
    if summary.inputs:
        for name, cost in (("Multiply-accumulates", summary.cost.macs), ("Activations", summary.cost.activations)):
            if cost is not None:
                yield name, f"{cost:,}", "for one example"


def _trainable(facts: Facts) -> str:
    """Return how many values are trained, as far as the file records it."""
    counts = facts.summary.totals
    if not counts.parameters:
        return ""
    if not counts.any_known:
        return "trainable: not recorded"
    unknown = f", {counts.unknown:,} unknown" if counts.unknown else ""
    return f"{counts.known_trainable:,} trainable, {counts.known_non_trainable:,} not{unknown}"


def _shares(facts: Facts) -> str:
    """Return the share of each dtype of the bytes; empty for one dtype. Quantized ones have their bits."""
    sizes = facts.summary.totals.bytes
    total = sum(sizes.values())
    parts = []
    for dtype, size in sizes.items():
        encoding = facts.summary.encodings.get(dtype)
        bits = f" ({encoding.bits:g} bits)" if encoding else ""
        share = f" {100 * size / total:.1f} %" if len(sizes) > 1 and total else ""
        if bits or share:
            parts.append(f"{dtype}{bits}{share}")
    return ", ".join(parts)
