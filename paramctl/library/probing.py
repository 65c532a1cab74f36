"""probe: the signals of a model, forward and back."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from paramctl.compute.probe import Probe, judge
from paramctl.compute.run import check_computable
from paramctl.compute.signals import signals
from paramctl.compute.values import Values
from paramctl.core.blas import one_thread
from paramctl.errors import AddressError
from paramctl.init.rules import LSUV, resolve_seed
from paramctl.library.arguments import InputLike, choice, whole
from paramctl.library.arguments import seed as checked_seed
from paramctl.library.initialization import SchemeLike, initialize
from paramctl.library.opening import Openable, openable
from paramctl.library.running import as_arrays, checked_inputs, with_values
from paramctl.model import Model
from paramctl.source.base import Source

SUGGESTED = ("glorot_uniform", "he_normal", "lecun_normal", "orthogonal")
"""The schemes that are tried when signals do not pass."""
ROWS = 128


def probe(
    model: Openable,
    inputs: InputLike = None,
    *,
    scheme: SchemeLike | None = None,
    compare: Sequence[SchemeLike] = (),
    weights: Openable | None = None,
    rows: int = ROWS,
    seed: int | None = None,
    dtype: str = "float32",
    suggest: bool = True,
) -> list[Probe]:
    """Measure how activations and gradients spread through a model, for its own values or for each scheme.

    inputs: as of ``run``; None for random ones. rows: the number of examples: the first of the inputs, or random ones.
    scheme: for every trainable weight that has fans, as of ``initialize``. compare: several, instead of one.
    weights: the values of the parameters, as convert takes them; the model's own by default.
    seed: of values, random inputs, and the gradient at the output. dtype: of the computation.
    suggest: if signals do not pass, also try common schemes, and return the best of them last, if it is better.
    Gradients require autograd; without it they are None. Raises AddressError for inputs that do not fit.
    """
    choice("dtype", dtype, ("float32", "float64"))
    count, seed = whole("rows", rows, 1) or ROWS, checked_seed(seed)
    if isinstance(compare, str):
        raise TypeError("compare must be a list of schemes (got str)")
    if weights is not None and (scheme is not None or compare):
        raise AddressError("schemes and weights exclude each other", "both")
    opened = openable(model)
    examples = None if inputs is None else as_arrays(inputs)  # once: every scheme needs them, and a pipe has them once

    def measure(scheme: SchemeLike | None) -> Probe:
        if scheme is None:
            source = with_values(opened, weights, seed)
        else:
            source = initialize(opened, scheme=scheme, seed=seed, inputs=examples if scheme == LSUV else None).source
        name = scheme if scheme is None or isinstance(scheme, str) else str(scheme)
        return _probe(source, name, examples, count, seed, dtype)

    probes = [*map(measure, compare)] if compare else [measure(scheme)]
    if suggest and not compare and probes[0].findings and isinstance(opened, Model) and weights is None:
        best = min(map(measure, SUGGESTED), key=lambda each: each.cost)
        if best.cost < probes[0].cost - 0.1:
            probes.append(best)
    return probes


@one_thread()
def _probe(source: Source, scheme: str | None, inputs: InputLike, rows: int, seed: int | None, dtype: str) -> Probe:
    graph, number = check_computable(source), resolve_seed(source.model, seed)
    checked = checked_inputs(source.model, graph, inputs, rows, number, np.dtype(dtype), "probe")
    batch = checked.batch(0, checked.rows)
    backward = find_spec("autograd") is not None
    values = Values(source, np.dtype(dtype))
    return judge(scheme, signals(source.model, graph, values, batch, number, backward))
