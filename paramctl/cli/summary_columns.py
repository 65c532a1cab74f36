"""The columns of a summary: for rows of layers, and for rows of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramctl.cli.render import Column

if TYPE_CHECKING:
    from paramctl.inspect.summary_rows import LayerRow, ParameterRow


def count_text(row: LayerRow) -> str:
    """Return the count of a layer: empty for a block with rows of its own, ? if a shape is unknown."""
    if row.parameters is None:
        return "" if row.expanded else "?"
    return f"{row.parameters:,}"


def count_note(row: LayerRow) -> str:
    """Return where shared parameters are counted, ``(= shared)``, ``(kernel = tokens/embeddings)``, or are missing."""
    notes = list(dict.fromkeys(" ".join(filter(None, (each.name, each.text))) for each in row.shared))
    notes += [f"{path[len(row.path) + 1 :]} is missing" for path in row.missing]
    return f"({', '.join(notes[:2])}{', ...' if len(notes) > 2 else ''})" if notes else ""


def size_text(row: ParameterRow) -> str:
    """Return the size of a parameter where it is counted, and 0 elsewhere."""
    return f"{row.size:,}" if row.counted_at == row.path else "0"


def _bytes_text(row: ParameterRow) -> str:
    return f"{row.bytes:,}" if row.counted_at == row.path else "0"


def size_note(row: ParameterRow) -> str:
    """Return where a shared parameter is counted, or how many parameters a packed one holds."""
    if row.shared or row.parameters == row.size:
        return f"({row.shared})" if row.shared else ""
    return f"(holds {row.parameters:,} parameters)" if row.parameters else "(counted apart)"


def _percent_text(row: LayerRow | ParameterRow) -> str:
    return "" if row.percent is None else f"{row.percent:.1f} %"


def _cumulative_text(row: LayerRow | ParameterRow) -> str:
    return "" if row.cumulative is None else f"{row.cumulative:.1f} %"


def _times_text(row: LayerRow | ParameterRow) -> str:
    return f"x{row.count:,}" if row.count > 1 else ""


def times_note(row: LayerRow | ParameterRow) -> str:
    """Return `` x12`` for a row of 12 equal blocks or parameters, and nothing for a row of one."""
    return f" {_times_text(row)}" if row.count > 1 else ""


def _macs_text(row: LayerRow) -> str:
    return "?" if row.macs is None else f"{row.macs:,}"


def _activations_text(row: LayerRow) -> str:
    return "?" if row.activations is None else f"{row.activations:,}"


def shape_text(shape: tuple[int | None, ...] | None) -> str:
    """Return a shape, or ? if it is unknown."""
    return "?" if shape is None else str(shape)


SHARE_COLUMNS = [
    Column("count", "Count", lambda row: row.count, _times_text, right=True),
    Column("percent", "Percent", lambda row: row.percent, _percent_text, right=True, priority=0),
    Column("cumulative", "Cumulative", lambda row: row.cumulative, _cumulative_text, right=True, priority=2),
]
SHARES = ("percent", "cumulative")
"""The columns that --sort and --top show by default."""

LAYER_COLUMNS = [
    Column("path", "Layer", lambda row: row.path),
    Column("type", "Type", lambda row: row.type),
    Column("output_shape", "Output shape", lambda row: row.output_shape, lambda row: shape_text(row.output_shape)),
    Column("parameters", "Parameters", lambda row: row.parameters, count_text, True, count_note, priority=0),
    Column("trainable", "Trainable", lambda row: row.trainable, right=True, priority=2),
    Column("non_trainable", "Non-trainable", lambda row: row.non_trainable, right=True),
    Column("unknown", "Unknown", lambda row: row.unknown, right=True),
    Column("bytes", "Bytes", lambda row: row.bytes, right=True),
    Column("macs", "MACs", lambda row: row.macs, _macs_text, right=True),
    Column("activations", "Activations", lambda row: row.activations, _activations_text, right=True),
    Column("reuse_of", "Reuse of", lambda row: row.reuse_of),
    # equal blocks have different inputs
    Column("from", "From", lambda row: list(row.inputs) if row.count == 1 else None),
    *SHARE_COLUMNS,
]
COSTS = {"macs": "MACs", "activations": "activations"}
"""The columns with a total of their own, and its name."""
LAYER_TABLE = ("path", "type", "output_shape", "parameters")
LAYER_JSON = ("path", "type", "output_shape", "parameters", "reuse_of", "from")

PARAMETER_COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: row.shape, priority=0),
    Column("dtype", "Dtype", lambda row: row.dtype),
    Column("trainable", "Trainable", lambda row: row.trainable, priority=2),
    Column("size", "Size", lambda row: row.size, size_text, True, size_note, priority=0),
    Column("axes", "Axes", lambda row: None if row.axes is None else list(row.axes), priority=3),
    Column("fan_in", "Fan in", lambda row: row.fan_in, right=True, priority=4),
    Column("fan_out", "Fan out", lambda row: row.fan_out, right=True, priority=4),
    Column("scheme", "Scheme", lambda row: row.scheme, priority=2),
    Column("tied_to", "Tied to", lambda row: row.tied_to),
    Column("kind", "Kind", lambda row: row.kind),
    Column("bytes", "Bytes", lambda row: row.bytes, _bytes_text, right=True),
    Column("parameters", "Parameters", lambda row: row.parameters, right=True, priority=0),
    Column("bits", "Bits", lambda row: row.bits, right=True),
    *SHARE_COLUMNS,
]
PARAMETER_TABLE = ("path", "shape", "dtype", "size", "axes", "fan_in", "fan_out", "trainable", "scheme")
PARAMETER_JSON = tuple(column.key for column in PARAMETER_COLUMNS[:10])

OF_LAYERS = ("output_shape", "axes", "fan_in", "fan_out", "scheme")
"""The columns that are empty without layers, as in a file of arrays."""
