"""An estimate of the memory that a model takes, from its shapes.

inference   parameters + the largest sum of activations that are in use at once, in the order of the steps
training    parameters + gradients + optimizer state + all activations, which the backward pass needs

The activations are the inputs of the model and the output of each application of a layer, times the batch. An array is
in use until the last step that takes it. Gradients and state are those of trained parameters. A tied array counts once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from paramctl.compute.graph import Graph, graph_of
from paramctl.core.parameter import FLOAT_DTYPES, Parameter, bytes_of
from paramctl.inspect.costs import output_shapes, values_in, why_unknown
from paramctl.inspect.optimizers import OPTIMIZERS
from paramctl.model import Model
from paramctl.model.layers.shapes import product, total

LEAVES_OUT = (
    "temporary arrays within a layer (attention scores, gates, copies for convolutions), the float32 copies and "
    "optimizer state of mixed precision, the cache of keys and values in generation, the memory of the framework, "
    "and savings by views, operations in place and recomputation"
)


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """A part of the memory, or a total.

    bytes: None if unknown. at_least: the bytes, of an unknown total the sum of its known parts; None if it has none.
    """

    name: str
    bytes: int | None
    at_least: int | None = None

    def fits(self, size: int) -> bool | None:
        """Return whether it takes at most a number of bytes, or None if that is unknown."""
        if self.bytes is None and (self.at_least or 0) <= size:
            return None
        return self.bytes is not None and self.bytes <= size


@dataclass(frozen=True, slots=True)
class Memory:
    """An estimate of the memory of a model.

    dtype: of the activations, and, if it was given, of the floating-point parameters.
    assumed_trained: the number of values that count as trained because the file does not record it.
    why_unknown: why bytes are unknown, or an empty string.
    leaves_out: the memory that the estimate does not have, in words.
    """

    model: str
    optimizer: str
    batch: int
    dtype: str
    rows: tuple[MemoryRow, ...]
    assumed_trained: int
    why_unknown: str
    leaves_out: str = LEAVES_OUT

    def total(self, phase: str) -> MemoryRow:
        """Return the total of a phase: ``inference`` or ``training``."""
        return next(row for row in self.rows if row.name == f"{phase} total")


def estimate_memory(model: Model, optimizer: str, batch: int, dtype: str | None) -> Memory:
    """Return an estimate of the memory of a model.

    optimizer: a key of OPTIMIZERS. batch: the number of examples. dtype: of floating-point values; that of each
        parameter by default, and of the widest one for activations.
    """
    owners = list(model.with_dtype(dtype).owners())
    values_dtype = dtype or _widest(owners)
    trained = [parameter for parameter in owners if _is_trained(parameter)]
    known = not model.unbuilt
    parameters = sum(parameter.stored_bytes for parameter in owners) if known else None
    gradients = sum(parameter.bytes for parameter in trained) if known else None
    state = product(gradients, OPTIMIZERS[optimizer])
    peak, kept = _activations(model, batch, values_dtype) if model.output_ids and known else (None, None)
    rows = [
        *_phase("inference", {"parameters": parameters, "activations": peak}),
        *_phase(
            "training",
            {"parameters": parameters, "gradients": gradients, "optimizer state": state, "activations": kept},
        ),
    ]
    unrecorded = sum(parameter.size for parameter in trained if parameter.trainable is None)
    reason = "" if rows[-1].bytes is not None else why_unknown(model)
    return Memory(model.name, optimizer, batch, values_dtype, tuple(rows), unrecorded, reason)


def _phase(phase: str, parts: Mapping[str, int | None]) -> Iterator[MemoryRow]:
    """Yield the rows of inference or training, and their total."""
    for name, size in parts.items():
        yield MemoryRow(f"{phase} {name}", size, size)
    known = [size for size in parts.values() if size is not None]
    yield MemoryRow(f"{phase} total", total(*parts.values()), sum(known) if known else None)


def _is_trained(parameter: Parameter) -> bool:
    """Return whether a parameter has a gradient, as far as is known: integers and quantized weights have none."""
    if parameter.encoding is not None:
        return False
    if parameter.trainable is None:
        return parameter.dtype in FLOAT_DTYPES or parameter.dtype.startswith("complex")
    return parameter.trainable


def _widest(parameters: list[Parameter]) -> str:
    """Return the widest floating-point dtype of parameters; float32 if they have none."""
    dtypes = dict.fromkeys(parameter.dtype for parameter in parameters if parameter.dtype in FLOAT_DTYPES)
    return max(dtypes, key=lambda dtype: bytes_of(dtype, 1), default="float32")


def _activations(model: Model, batch: int, dtype: str) -> tuple[int | None, int | None]:
    """Return the bytes of the activations in use at once, at most, and of all of them; None if a size is unknown."""
    graph, shapes = graph_of(model), output_shapes(model)
    inputs = {-1 - place: declared.dtype for place, declared in enumerate(model.inputs)}
    dtypes = {number: own for number, own in inputs.items() if own not in FLOAT_DTYPES}
    sizes = {}
    for number in [*inputs, *(step.output for step in graph.steps)]:
        count = product(batch, values_in(shapes[number]))
        if count is None:
            return None, None
        sizes[number] = bytes_of(dtypes.get(number, dtype), count)
    return _peak(graph, sizes), sum(sizes.values())


def _peak(graph: Graph, sizes: Mapping[int, int]) -> int:
    """Return the largest sum of the sizes of arrays in use at once. sizes: by number, of the inputs and each step."""
    uses = Counter(graph.source(number) for step in graph.steps for number in step.inputs)
    uses.update(map(graph.source, graph.outputs))
    in_use = peak = sum(sizes[number] for number in graph.inputs)
    for step in graph.steps:
        in_use += sizes[step.output]
        peak = max(peak, in_use)
        sources = [graph.source(number) for number in step.inputs]
        uses.subtract(sources)
        # the output itself is dropped too if no later step takes it
        in_use -= sum(sizes[number] for number in {*sources, step.output} if not uses[number])
    return peak
