"""The check of values against the scheme that the file records for them.

A command that changes values removes the record, so values with a record are those that the scheme drew. The bounds are
so wide that an array that was drawn by its scheme fails with a probability below 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

from paramctl.core.parameter import FLOAT_DTYPES, Parameter
from paramctl.init.distributions import Constant, Distribution, Normal, TruncatedNormal, Uniform, moments, support
from paramctl.inspect.check.expected import is_weight, recorded_laws
from paramctl.inspect.check.facts import Facts
from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.subject import Subject

INDEPENDENT = (Uniform, Normal, TruncatedNormal)
"""The distributions of independent values whose tails are no heavier than those of the normal distribution."""

FEWEST = 100
"""The number of values from which the mean and the standard deviation are compared."""

DEVIATIONS = 7
"""Standard errors that the mean and the standard deviation may differ by: 1e-11 for the mean of normal values."""

FARTHEST = 9
"""Standard deviations that a normal value may be away from the mean: 2e-19 for one value, 2e-10 for 1e9."""

ROUNDING = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-2}
"""The share by which rounding may move a bound, the mean, or the standard deviation."""


@check("warning")
def scheme(subject: Subject) -> Iterator[Observation]:
    """Find values that the scheme recorded for them cannot have drawn."""
    for selected, facts in subject.measured:
        parameter, whole = subject.parameter(selected), selected.selection.everything
        if not whole or not facts.is_finite or len(facts.tally.parts) > 1 or parameter.dtype not in FLOAT_DTYPES:
            continue
        if is_weight(parameter) and (facts.is_zero or facts.is_constant):
            continue  # found by another check
        laws = recorded_laws(subject.source, selected.path)
        # without the document's tree, an array may be a part of the one that was drawn, with other fans
        if subject.source.model.document is None:
            laws = [law for law in laws if isinstance(law, Constant)]
        misfits = [_misfit(law, facts, parameter) for law in laws]
        if misfits and all(misfits):
            recorded = subject.source.origin.provenance[selected.path].scheme
            text = f"{misfits[0]}, which {recorded} does not draw"
            yield Observation(subject.place(selected), text, (selected.path,))


def _misfit(law: Distribution, facts: Facts, parameter: Parameter) -> str:
    """Return how values differ from a distribution; empty if they may be drawn from it."""
    values = facts.tally.parts[0]
    rounding = ROUNDING[parameter.dtype]
    bounds = support(law)
    if isinstance(law, Normal):
        bounds = law.mean - FARTHEST * law.stddev, law.mean + FARTHEST * law.stddev
    if bounds is not None and values.size:
        slack = rounding * max(map(abs, bounds))
        for value in (values.minimum, values.maximum):
            if not bounds[0] - slack <= value <= bounds[1] + slack:
                return f"a value is {value:.6g}"
    expected = moments(law)
    if values.size < FEWEST or expected is None or not isinstance(law, INDEPENDENT):
        return ""
    mean, stddev = expected
    error = DEVIATIONS * stddev / sqrt(values.size) + rounding * (abs(mean) + stddev)
    if values.mean is None or values.stddev is None:
        return ""
    if abs(values.mean - mean) > error:
        return f"the mean is {values.mean:.6g}, not {mean:.6g}"
    if abs(values.stddev - stddev) > DEVIATIONS * stddev / sqrt(2 * values.size) + rounding * stddev:
        return f"the standard deviation is {values.stddev:.6g}, not {stddev:.6g}"
    return ""
