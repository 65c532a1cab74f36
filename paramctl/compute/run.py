"""Run a model: the outputs for given inputs, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from paramctl.address.resolve import resolve_blocks
from paramctl.compute.finite import input_not_finite, is_finite, place_not_finite
from paramctl.compute.forward import Pass
from paramctl.compute.graph import Graph, Step, graph_of, numbered
from paramctl.compute.inputs import Inputs
from paramctl.compute.space import NUMPY
from paramctl.compute.values import Values
from paramctl.core.dtypes import Array
from paramctl.errors import InputError
from paramctl.model import Model
from paramctl.parallel import Progress, advancing
from paramctl.source.base import Source
from paramctl.source.computed import new_array

BATCH_SIZE = 32


class Outputs(NamedTuple):
    """The outputs of a model by name, and a note on the first values that are not finite, or an empty string."""

    arrays: Mapping[str, Array]
    note: str


def check_computable(source: Source) -> Graph:
    """Return the steps of a model. Raises InputError if its layers are unknown, or arrays of it are missing."""
    model = source.model
    if not model.output_ids:
        raise InputError(
            f"{model.name}: its layers are unknown, so nothing can be computed. Name the model document too"
        )
    if source.origin.missing:
        names = ", ".join(source.origin.missing)
        raise InputError(f"{model.name}: lacks parameters of its own configuration: {names}")
    return graph_of(model)


def run(
    source: Source,
    inputs: Inputs,
    *,
    taps: Sequence[str] = (),
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> Outputs:
    """Return the outputs of a model, and those of the blocks that patterns match, for all rows of the inputs.

    taps: patterns of blocks. batch_size: the rows that are computed at once; all, if a layer mixes examples.
    Raises AddressError for a pattern that matches no block, and InputError for an input that a layer cannot take.
    """
    graph = check_computable(source)
    names = output_names(source.model, graph, taps)
    passed = Pass(graph, NUMPY, Values(source, inputs.dtype).of)
    if any(step.mixes_examples for step in graph.steps):
        batch_size = max(inputs.rows, 1)
    advance = advancing(progress, inputs.rows)
    arrays: dict[str, Array] = {}
    note = ""
    with np.errstate(all="ignore"):  # infinities and NaN are values, which the note names
        for start in range(0, max(inputs.rows, 1), batch_size):
            stop = min(start + batch_size, inputs.rows)
            batch = inputs.batch(start, stop)
            for number, value in passed.run(batch, names).items():
                name = names[number]
                if name not in arrays:
                    arrays[name] = (
                        value
                        if stop - start == inputs.rows
                        else new_array((inputs.rows, *value.shape[1:]), value.dtype)
                    )
                if arrays[name] is not value:
                    arrays[name][start:stop] = value
                if not note and not is_finite(value):
                    note = _first_not_finite(passed, batch, start)
            advance(stop - start)
    return Outputs(arrays, note)


def output_names(model: Model, graph: Graph, taps: Sequence[str]) -> dict[int, str]:
    """Return the names of the model's outputs and of the blocks that patterns match, by the numbers of outputs.

    A name is the path of a block. The second application of a block is ``PATH#2``, or the next number that no block has
    in its name.
    """
    tapped = {path for text in taps for path in resolve_blocks(model, text)}
    wanted = {number for number, path in graph.paths.items() if path in tapped} | {*graph.outputs}
    returned = {number: name for number, name in graph.inputs.items() if number in wanted}
    taken = {*returned.values(), *graph.paths.values()}
    free = {*graph.paths.values()} - {*returned.values()}  # for the first application of a block
    names: dict[int, str] = {}
    for number, path in graph.paths.items():
        names[number] = path if path in free else numbered(path, 2, taken)
        free.discard(path)
        taken.add(names[number])
    return returned | {number: name for number, name in names.items() if number in wanted}


class _Found(Exception):
    """The first step whose output is not finite."""


def _first_not_finite(passed: Pass, batch: Mapping[str, Array], start: int) -> str:
    """Return where values are not finite first, in words. start: the row at which the batch begins."""
    if note := input_not_finite(batch, start):
        return note

    def observe(step: Step, output: Array) -> Array:
        if not is_finite(output):
            raise _Found(f"the output of {step.path} has {place_not_finite(output, start)}")
        return output

    try:
        passed.run(batch, (), observe)
    except _Found as found:
        return f"{found}, the first on the way"
    return ""
