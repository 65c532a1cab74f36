"""The selection of converted arrays, by the names of those that they come from."""

from __future__ import annotations

from collections.abc import Container

from paramctl.conversion.match import Converted
from paramctl.conversion.report import TensorRow
from paramctl.errors import AddressError
from paramctl.model import Model
from paramctl.source.selected import Selecting, keep


def select_converted(converted: Converted, model: Model, selecting: Selecting) -> tuple[Converted, list[str]]:
    """Return a conversion of the selected arrays alone, and a line about each part that was left out.

    A conversion to another layout requires all layers, so the selection comes after it.

    model: of the source, whose names the selection has. Raises AddressError for a slice, and for an array that comes
    from several of which only some are selected.
    """
    chosen = selecting.resolve(model)
    for path, indices in chosen.items():
        if indices is not None:
            raise AddressError("with --layout, whole parameters are selected, not slices", repr(path))
    rows = [row for row in converted.rows if row.path and row.source and _is_chosen(row, chosen.keys())]
    # dense.weight of a selected dense/kernel makes dense a layer of the result
    layers = {row.path.rpartition(".")[0] for row in rows}
    # an array without a source, such as num_batches_tracked, belongs to the arrays of its layer
    kept = {row.path for row in rows} | {
        row.path for row in converted.rows if row.path and not row.source and row.path.rpartition(".")[0] in layers
    }
    # no layer's conversion has the arrays of an optimizer, which keep their names
    kept |= {path for path in chosen if not model.parameters[path].is_parameter}
    source, notes = keep(converted.source, {path: None for path in converted.source.model.parameters if path in kept})
    return converted._replace(source=source, rows=[row for row in converted.rows if row.path in kept]), notes


def _is_chosen(row: TensorRow, chosen: Container[str]) -> bool:
    """Return whether all arrays that a row comes from are selected. Raises AddressError if only some are."""
    # in_proj_weight holds query, key and value: two of the three are no tensor that torch loads
    selected = [path for path in row.source if path in chosen]
    if selected and len(selected) < len(row.source):
        others = " and ".join(path for path in row.source if path not in chosen)
        raise AddressError(f"{row.path} has the values of {' and '.join(row.source)}", f"without {others}")
    return bool(selected)
