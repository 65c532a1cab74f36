"""A summary as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paramctl.cli.render import Column
from paramctl.cli.summary_columns import COSTS

if TYPE_CHECKING:
    from paramctl.inspect.summary import Summary


def summary_object(facts: Summary, layer_columns: list[Column], parameter_columns: list[Column]) -> dict[str, Any]:
    """Return the summary as one JSON object.

    The totals are null if the shape of an input is unknown. The counts of trainable and non-trainable values are null
    if the file does not record them for every value, and the number of values for which it does not is given.
    """
    costs = [column.key for column in layer_columns if column.key in COSTS]
    known, counts = not facts.unbuilt, facts.totals
    left_out = facts.left_out
    packed = [each._asdict() | {"parameters": each.parameters} for each in facts.packed]
    return {
        "model": facts.model,
        "inputs": [{"name": input_.name, "shape": input_.shape, "dtype": input_.dtype} for input_ in facts.inputs],
        "outputs": facts.outputs,
        "layers": [{column.key: column.value(row) for column in layer_columns} for row in facts.layers],
        "parameters": [{column.key: column.value(row) for column in parameter_columns} for row in facts.parameters],
        **(
            {"missing": [{"path": path, "shape": shape} for path, shape in facts.missing.items()]}
            if facts.missing
            else {}
        ),
        "ties": [{"keep": tie.kept, "tie": tie.tied, "transpose": tie.transpose} for tie in facts.ties],
        "totals": {
            "parameters": counts.parameters if known else None,
            "trainable": counts.trainable if known else None,
            "non_trainable": counts.non_trainable if known else None,
            **({"unknown": counts.unknown} if known and counts.unknown else {}),
            "bytes": sum(counts.bytes.values()) if known else None,
            "bytes_by_dtype": counts.bytes if known else None,
            **(
                {"bits_by_dtype": {name: each.bits for name, each in facts.encodings.items()}}
                if facts.encodings
                else {}
            ),
            **({"stored": facts.stored, "scales": facts.scales} if facts.packed or facts.scales else {}),
            **{key: getattr(facts.cost, key) for key in costs},
        },
        **({"left_out": {key: each.rows for key, each in left_out._asdict().items()}} if left_out else {}),
        **({"packed": packed} if packed else {}),
        **({"optimizer_state": _state(facts, parameter_columns)} if facts.optimizer_totals else {}),
    }


def _state(facts: Summary, columns: list[Column]) -> dict[str, Any]:
    """Return the optimizer's state as JSON has it: the totals, and the rows if they were asked for."""
    assert facts.optimizer_totals is not None
    rows = [{column.key: column.value(row) for column in columns} for row in facts.optimizer]
    return {**facts.optimizer_totals._asdict(), **({"rows": rows} if rows else {})}
