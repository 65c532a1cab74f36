"""gradients: the derivatives of a loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paramctl.compute.data import check_examples
from paramctl.compute.generators import Purpose, generator
from paramctl.compute.graph import Graph
from paramctl.compute.losses import LOSSES, Loss
from paramctl.compute.norms import l2_norm
from paramctl.compute.probabilities import gives_probabilities
from paramctl.compute.run import BATCH_SIZE, check_computable
from paramctl.compute.values import Values
from paramctl.core.dtypes import Array
from paramctl.errors import AddressError
from paramctl.init.rules import resolve_seed
from paramctl.library.arguments import InputLike, choice, whole
from paramctl.library.arguments import seed as checked_seed
from paramctl.library.opening import Openable
from paramctl.library.running import given_or_random, with_values
from paramctl.library.weights import Weights
from paramctl.parallel import Progress
from paramctl.source.computed import Computed


@dataclass(frozen=True, slots=True)
class GradientRow:
    """The gradient of one array, or the share of one of its uses.

    norm, weight_norm: L2 norms of the gradient and of the values. ratio: of the two; None if the values are all zero.
    max_abs: the largest absolute value of the gradient. uses: the number of uses whose shares it is the sum of.
    """

    path: str
    shape: tuple[int, ...]
    norm: float
    weight_norm: float
    ratio: float | None
    max_abs: float
    uses: int


def gradients(
    model: Openable,
    data: InputLike = None,
    *,
    loss: str = "mse",
    weights: Openable | None = None,
    split_ties: bool = False,
    training: bool = False,
    rows: int | None = None,
    batch_size: int = BATCH_SIZE,
    seed: int | None = None,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> Weights:
    """Compute the gradient of a loss over all examples, for each trainable parameter.

    data: the inputs by name, as ``run`` takes them, and the targets as ``y``; without targets for the loss ``sum``,
        which also takes None for random examples, and is the only one for a model with several outputs.
    loss: ``mse``, ``mae``, ``huber``, ``cross_entropy``, ``binary_cross_entropy`` or ``sum``.
    weights: the values of the parameters, as convert takes them; the model's own by default.
    split_ties: also return the share of each use of an array with several, as ``PATH#1``, ``PATH#2``.
    rows: the number of examples: the first of the data, all by default; or random ones, 1 by default.
    training: with dropout, and batches normalized by their own statistics.
    seed, dtype: as of ``run``.
    The gradients have the names of the parameters, and their ties. The report has their norms, the notes the loss.
    Raises AddressError for data that do not fit, and InputError without autograd.
    """
    choice("loss", loss, LOSSES)
    choice("dtype", dtype, ("float32", "float64"))
    from paramctl.compute.gradients import Differentiation  # an extra

    size, rows = whole("batch_size", batch_size, 1) or BATCH_SIZE, whole("rows", rows, 1)
    source = with_values(model, weights, checked_seed(seed))
    graph, number = check_computable(source), resolve_seed(source.model, seed)
    chosen = loss_of(graph, loss)
    if data is None and chosen.has_targets:
        raise AddressError(f"the loss {loss} requires data with targets y", "no data")
    arrays = given_or_random(source.model, graph, data, rows, number)
    examples = check_examples(source.model, graph, arrays, chosen, np.dtype(dtype)).first(rows)
    values = Values(source, np.dtype(dtype))
    if any(step.mixes_examples for step in graph.steps):
        size = max(examples.rows, 1)
    random = generator(number, Purpose.GRADIENTS)
    differentiation = Differentiation(source.model, graph, chosen, training, random)
    slope = differentiation.whole(values, examples, size, progress)
    shares = {name: slope.shares[use] for use, name in differentiation.uses().items()} if split_ties else {}
    uses = [source.model.owner(use.path).path for use in differentiation.trained]
    computed = slope.gradients | shares
    weight_of = {path: path for path in slope.gradients} | {
        name: use.path for use, name in differentiation.uses().items()
    }
    report = [_row(path, array, values[weight_of[path]], max(uses.count(path), 1)) for path, array in computed.items()]
    result = Computed(source.model.name, computed, source.model)
    return Weights(result, lambda measured: report, notes=[f"the loss {loss} is {slope.loss:.8g}"])


def loss_of(graph: Graph, name: str) -> Loss:
    """Return a loss for a model, whose output may be logits or probabilities."""
    return LOSSES[name](gives_probabilities(graph, graph.outputs[0]))


def _row(path: str, array: Array, values: Array, uses: int) -> GradientRow:
    norm, weight_norm = l2_norm(array), l2_norm(values)
    largest = float(np.abs(array).max(initial=0))
    return GradientRow(path, array.shape, norm, weight_norm, norm / weight_norm if weight_norm else None, largest, uses)
