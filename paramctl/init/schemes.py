"""Schemes: functions from a parameter to a distribution. This module draws no random numbers.

To add a scheme, write one function, decorated with ``scheme``. Its name is the scheme's name, its annotated arguments
are the options, and the first line of its docstring is "formula; source". The first option is the main one, which a
value alone means, unless the decorator says how to write it instead. Its other arguments are aliases. Names, options
and defaults are Keras'; those of a scheme that only torch has are torch's.
"""

from collections.abc import Sequence
from math import ceil, fsum, prod, sqrt
from typing import Annotated

from paramctl.core.parameter import Axis
from paramctl.declare.located import Located
from paramctl.declare.option_types import (
    ChoiceType,
    Count,
    NonNegative,
    Number,
    NumberType,
    OptionType,
    Positive,
    Scheme,
    UnitInterval,
)
from paramctl.init.distributions import (
    DRAWN_WHOLE,
    Centered,
    Constant,
    Delta,
    Distribution,
    Mixture,
    Normal,
    Orthogonal,
    Padded,
    Sections,
    Sparse,
    TruncatedNormal,
    Uniform,
    normal_mass,
)
from paramctl.init.gains import GAINS, Gain
from paramctl.init.registry import SchemeMismatch, Target, distribution_if_applicable, scheme

TRUNCATED_STDDEV = 0.87962566103423978
"""The standard deviation of a standard normal distribution truncated at 2 standard deviations."""

MIN_MASS = 0.01
"""The least probability between the bounds of a truncated normal distribution; for less, redrawing takes too long."""

ZEROS = Located("zeros")
MAX_PARTS = 64

Mode = Annotated[str, ChoiceType("fan_in", "fan_out", "fan_avg", "fan_geo_avg")]
TorchMode = Annotated[str, ChoiceType("fan_in", "fan_out")]
Shaped = Annotated[str, ChoiceType("truncated_normal", "untruncated_normal", "uniform")]
Nonlinearity = Annotated[str, ChoiceType(*GAINS)]


class MixturePartsType(OptionType):
    """The parts of a mixture: pairs of a probability and a scheme."""

    rule = "a list of [probability, scheme] whose probabilities add up to 1"
    takes_list = True
    probability = NumberType("a number from 0 to 1", minimum=0)

    def read(self, node: Located, name: str) -> list[tuple[float, Located]]:
        parts = []
        if isinstance(node.value, list) and len(node.value) > MAX_PARTS:
            raise node.error(f"a mixture must have at most {MAX_PARTS} parts")
        for part in node.value if isinstance(node.value, list) else [node]:
            if not isinstance(part.value, list) or len(part.value) != 2:
                raise self.refuse(part, name)
            probability, scheme = part.value
            parts.append((self.probability.read(probability, "a probability"), scheme))
        # probabilities such as three times 0.3333333333 do not add up to exactly 1
        if abs(fsum(probability for probability, _ in parts) - 1) > 1e-9:
            raise self.refuse(node, name)
        return parts


@scheme("zero")
def zeros(target: Target) -> Distribution:
    """0; Keras, torch, JAX"""
    return Constant(0.0)


@scheme("one")
def ones(target: Target) -> Distribution:
    """1; Keras, torch, JAX"""
    return Constant(1.0)


@scheme()
def constant(target: Target, value: Number = 0.0) -> Distribution:
    """value; Keras, torch, JAX"""
    return Constant(value)


@scheme("uniform", instead=("minval=-{},maxval={}",))
def random_uniform(target: Target, minval: Number = -0.05, maxval: Number = 0.05) -> Distribution:
    """U(minval, maxval), without maxval unless rounding to half precision reaches it; Keras"""
    if maxval < minval:
        raise SchemeMismatch(f"minval must not exceed maxval ({minval} > {maxval})")
    return Uniform(minval, maxval)


@scheme(instead=("minval=-{},maxval={}",))
def uniform_sum(target: Target, minval: Number = -0.05, maxval: Number = 0.05) -> Distribution:
    """the sum of two values of U(minval, maxval); torch, whose recurrent layers add two biases"""
    if maxval < minval:
        raise SchemeMismatch(f"minval must not exceed maxval ({minval} > {maxval})")
    return Uniform(minval, maxval, summands=2)


@scheme("normal", instead=("stddev={}", "mean={}"))
def random_normal(target: Target, mean: Number = 0.0, stddev: NonNegative = 0.05) -> Distribution:
    """N(mean, stddev); Keras"""
    return Normal(mean, stddev)


@scheme(instead=("stddev={}", "mean={}"))
def truncated_normal(target: Target, mean: Number = 0.0, stddev: NonNegative = 0.05) -> Distribution:
    """N(mean, stddev), redrawn beyond 2 stddev from the mean; Keras"""
    return TruncatedNormal(mean, stddev)


@scheme(instead=("std={}", "mean={}"))
def trunc_normal(
    target: Target, mean: Number = 0.0, std: Positive = 1.0, a: Number = -2.0, b: Number = 2.0
) -> Distribution:
    """N(mean, std), redrawn below a and above b, which are values, not multiples of std; torch"""
    low, high = (a - mean) / std, (b - mean) / std
    if not normal_mass(low, high) >= MIN_MASS:
        raise SchemeMismatch(f"less than {MIN_MASS:.0%} of the distribution is between a = {a} and b = {b}")
    return TruncatedNormal(mean, std, low, high)


@scheme()
def variance_scaling(
    target: Target, scale: Positive = 1.0, mode: Mode = "fan_in", distribution: Shaped = "truncated_normal"
) -> Distribution:
    """variance scale / max(1, fan); normal, truncated or not, or uniform; Keras, fan_geo_avg from JAX"""
    fan_in, fan_out = target.fans
    averages = {"fan_avg": (fan_in + fan_out) / 2, "fan_geo_avg": sqrt(fan_in * fan_out)}
    fan = {"fan_in": fan_in, "fan_out": fan_out, **averages}[mode]
    variance = scale / max(1.0, fan)
    if distribution == "truncated_normal":  # widened first, because truncation narrows it
        return TruncatedNormal(0.0, sqrt(variance) / TRUNCATED_STDDEV)
    if distribution == "uniform":  # U(-a, a) has the variance a^2 / 3
        return Uniform(-sqrt(3 * variance), sqrt(3 * variance))
    return Normal(0.0, sqrt(variance))


@scheme("glorot", "xavier", "xavier_uniform")
def glorot_uniform(target: Target, gain: Gain = 1.0) -> Distribution:
    """U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)); Glorot and Bengio (2010)"""
    # a gain multiplies the values, and variance_scaling's scale their variance
    return variance_scaling(target, gain**2, "fan_avg", "uniform")


@scheme()
def glorot_normal(target: Target, gain: Gain = 1.0) -> Distribution:
    """truncated N(0, s), s = gain sqrt(2 / (fan_in + fan_out)) after truncation; Glorot and Bengio (2010)"""
    return variance_scaling(target, gain**2, "fan_avg", "truncated_normal")


@scheme()
def xavier_normal(target: Target, gain: Gain = 1.0) -> Distribution:
    """N(0, s), s = gain sqrt(2 / (fan_in + fan_out)), not truncated; torch, after Glorot and Bengio (2010)"""
    return variance_scaling(target, gain**2, "fan_avg", "untruncated_normal")


@scheme()
def he_uniform(target: Target, mode: Mode = "fan_in") -> Distribution:
    """U(-a, a), a = sqrt(6 / fan_in); He et al. (2015)"""
    return variance_scaling(target, 2.0, mode, "uniform")


@scheme("he")
def he_normal(target: Target, mode: Mode = "fan_in") -> Distribution:
    """truncated N(0, s), s = sqrt(2 / fan_in) after truncation; He et al. (2015)"""
    return variance_scaling(target, 2.0, mode, "truncated_normal")


@scheme()
def kaiming_uniform(
    target: Target, a: Number = 0.0, mode: TorchMode = "fan_in", nonlinearity: Nonlinearity = "leaky_relu"
) -> Distribution:
    """U(-b, b), b = gain sqrt(3 / fan), with gain sqrt(2 / (1 + a^2)) for leaky_relu of slope a; torch"""
    return variance_scaling(target, _kaiming_gain(a, nonlinearity) ** 2, mode, "uniform")


@scheme("kaiming")
def kaiming_normal(
    target: Target, a: Number = 0.0, mode: TorchMode = "fan_in", nonlinearity: Nonlinearity = "leaky_relu"
) -> Distribution:
    """N(0, s), s = gain / sqrt(fan), not truncated; torch, after He et al. (2015)"""
    return variance_scaling(target, _kaiming_gain(a, nonlinearity) ** 2, mode, "untruncated_normal")


def _kaiming_gain(slope: float, nonlinearity: str) -> float:
    return sqrt(2 / (1 + slope**2)) if nonlinearity == "leaky_relu" else GAINS[nonlinearity]


@scheme()
def lecun_uniform(target: Target, gain: Gain = 1.0) -> Distribution:
    """U(-a, a), a = gain sqrt(3 / fan_in); LeCun et al. (1998)"""
    return variance_scaling(target, gain**2, "fan_in", "uniform")


@scheme("lecun")
def lecun_normal(target: Target, gain: Gain = 1.0) -> Distribution:
    """truncated N(0, s), s = gain sqrt(1 / fan_in) after truncation; LeCun et al. (1998)"""
    return variance_scaling(target, gain**2, "fan_in", "truncated_normal")


@scheme()
def orthogonal(target: Target, gain: Gain = 1.0) -> Distribution:
    """gain times a matrix with orthonormal rows or columns (all axes but the last x last); Saxe et al. (2014)"""
    if len(target.axes) < 2:
        raise SchemeMismatch("requires two or more axes")
    if target.axes[-1].role == "field":  # in torch's layout, torch.nn.init flattens all axes but the first
        return Orthogonal(gain, target.shape[0], prod(target.shape[1:]))
    *rows, columns = target.shape
    return Orthogonal(gain, prod(rows), columns)


@scheme()
def delta_orthogonal(target: Target, gain: Gain = 1.0) -> Distribution:
    """a convolution kernel of zeros with an orthogonal matrix at its center; JAX, after Xiao et al. (2018)"""
    roles = [axis.role for axis in target.axes]
    if roles[-2:] != ["in", "out"] or len(roles) < 3 or set(roles[:-2]) != {"field"}:
        raise SchemeMismatch("requires the kernel of a convolution")
    *fields, rows, columns = target.shape
    # with fewer outputs than inputs, no kernel preserves the norm of its input
    if rows > columns or target.axes[-1].groups > 1:
        raise SchemeMismatch("requires at least as many outputs as inputs, in one group")
    # the center of an even size is the lower of two positions in JAX, and the upper one in torch (dirac)
    return Centered(Orthogonal(gain, rows, columns), _flat([(size - 1) // 2 for size in fields], fields), prod(fields))


@scheme("eye")
def identity(target: Target, gain: Number = 1.0) -> Distribution:
    """gain times the identity matrix; Keras, torch"""
    if len(target.axes) != 2:
        raise SchemeMismatch("requires two axes")
    rows, columns = target.shape
    return Delta(gain, ((0, columns + 1, min(rows, columns)),), rows * columns)


@scheme()
def dirac(target: Target, groups: Count = 1) -> Distribution:
    """a convolution kernel that passes its input through: 1 at the center from each input to its output; torch"""
    fields = [axis.size for axis in target.axes if axis.role == "field"]
    rest = [axis for axis in target.axes if axis.role != "field"]
    if not fields or len(rest) != 2:
        raise SchemeMismatch("requires the kernel of a convolution")
    first, last = rest
    if target.axes[-1].role == "field":
        return _dirac_in_torch(rest, fields, groups)
    if groups > 1 and first.role == "batch":
        raise SchemeMismatch("groups must be 1 for a depthwise convolution, which has a group for each channel")
    start = _flat([size // 2 for size in fields], fields) * first.size * last.size
    size = prod(target.shape)
    if first.role == "batch":  # depthwise: each channel to the first of its outputs
        return Delta(1.0, ((start, last.size, first.size),), size)
    if last.size % groups:
        raise SchemeMismatch(f"groups must divide the last axis ({last.size} / {groups})")
    width = last.size // groups
    runs = tuple((start + group * width, last.size + 1, min(width, first.size)) for group in range(groups))
    return Delta(1.0, runs, size)


def _dirac_in_torch(rest: Sequence[Axis], fields: list[int], groups: int) -> Distribution:
    """Return dirac for a kernel in torch's layout, (outputs, inputs, field...). rest: the first two axes."""
    outputs, inputs, field = rest[0].size, rest[1].size, prod(fields)
    if outputs % groups:
        raise SchemeMismatch(f"groups must divide the first axis ({outputs} / {groups})")
    width, center = outputs // groups, _flat([size // 2 for size in fields], fields)
    count, step = min(width, inputs), (inputs + 1) * field
    runs = tuple((group * width * inputs * field + center, step, count) for group in range(groups))
    return Delta(1.0, runs, outputs * inputs * field)


@scheme()
def sparse(target: Target, sparsity: UnitInterval = 0.5, std: NonNegative = 0.01) -> Distribution:
    """N(0, std), with a fraction sparsity of each input's weights set to 0; torch, after Martens (2010)"""
    if [axis.role for axis in target.axes] != ["in", "out"]:
        raise SchemeMismatch("requires one axis of inputs and one of outputs")
    rows, columns = target.shape
    return Sparse(std, rows, columns, ceil(sparsity * columns))


@scheme()
def mixture(target: Target, parts: Annotated[list[tuple[float, Located]], MixturePartsType()]) -> Distribution:
    """each value from one of several schemes, chosen with these probabilities; after D2L's custom initialization"""
    return Mixture(tuple((probability, _part(node, target)) for probability, node in parts))


@scheme()
def unit_forget_bias(target: Target, initializer: Scheme = ZEROS) -> Distribution:
    """initializer, with 1 for the second of an LSTM's four gates; Jozefowicz et al. (2015)"""
    *_, columns = target.shape or (0,)
    if columns % 4:
        raise SchemeMismatch("requires a last axis of four gates")
    other = _part(initializer, target)
    # Keras orders the gates: input, forget, cell, output.
    return Sections((other, Constant(1.0), other, other), columns)


@scheme()
def padded(target: Target, initializer: Scheme = ZEROS) -> Distribution:
    """initializer, with 0 in the first row, which is padding; torch, an embedding with padding_idx = 0"""
    if not target.shape:
        raise SchemeMismatch("requires rows")
    return Padded(_part(initializer, target), prod(target.shape[1:]), prod(target.shape))


def _part(node: Located, target: Target) -> Distribution:
    """Return the distribution of a part of another one. Raises SchemeMismatch if its values depend on each other."""
    part = distribution_if_applicable(node, target)
    if isinstance(part, DRAWN_WHOLE):
        raise SchemeMismatch("its parts must be schemes with independent values, not such as orthogonal or sparse")
    return part


def _flat(position: list[int], sizes: list[int]) -> int:
    """Return the flat index of a position in C order."""
    flat = 0
    for index, size in zip(position, sizes, strict=True):
        flat = flat * size + index
    return flat
