"""The scheme lsuv: orthogonal weights, scaled by what they do to examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from paramctl.compute.lsuv import lsuv
from paramctl.compute.run import check_computable
from paramctl.compute.values import Values
from paramctl.init.rules import LSUV
from paramctl.inspect.plan import PlanRow
from paramctl.library.arguments import InputLike
from paramctl.library.running import checked_inputs
from paramctl.library.weights import Weights
from paramctl.source.computed import Replaced
from paramctl.store.contents import Provenance

ROWS = 128
"""The number of examples that are used."""


def scaled(drawn: Weights, inputs: InputLike) -> Weights:
    """Return weights in which what the scheme orthogonal gave is scaled for the first examples of some inputs."""
    source, seed = drawn.source, drawn.seed or 0
    graph, dtype = check_computable(source), np.dtype("float32")
    checked = checked_inputs(source.model, graph, inputs, ROWS, seed, dtype, f"the scheme {LSUV}")
    batch = checked.batch(0, checked.rows)
    rows = [row for row in drawn.report if row.scheme == "orthogonal" and row.reason == "--scheme"]
    scaling = lsuv(source.model, graph, Values(source, dtype), batch, frozenset(row.path for row in rows))
    scaled_arrays = scaling.scaled
    notes = [
        f"{path} stays orthogonal: scaling does not bring the variance of its layer's outputs to 1 (got {variance:.4g})"
        for path, variance in scaling.kept.items()
    ]

    def report(measured: Mapping[str, Any]) -> list[PlanRow]:
        return [_row(row, scaled_arrays) for row in drawn.report]

    provenance = {path: Provenance(LSUV, seed) for path in scaled_arrays}
    return Weights(Replaced(source, scaled_arrays, provenance), report, seed=drawn.seed, notes=notes)


def _row(row: PlanRow, scaled_arrays: Mapping[str, Any]) -> PlanRow:
    if row.path not in scaled_arrays:
        return row
    values = scaled_arrays[row.path].astype(np.float64)
    return replace(
        row,
        scheme=LSUV,
        mean=None,
        stddev=None,
        measured_mean=float(values.mean()) if values.size else None,
        measured_stddev=float(values.std()) if values.size else None,
    )
