"""Each scheme gives the law of its formula, and says where it does not fit."""

from math import sqrt

import pytest

from paramctl.core.parameter import Parameter, field_axis, in_axis, out_axis
from paramctl.errors import DocumentError
from paramctl.init.distributions import (
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
)
from paramctl.init.parse import parse_scheme
from paramctl.init.registry import SCHEMES, Target, distribution, format_scheme
from paramctl.init.rules import assign_schemes
from paramctl.init.schemes import TRUNCATED_STDDEV
from paramctl.model import from_bytes
from paramctl.model.document import parse_value

KERNEL = Parameter("conv/kernel", (field_axis(3), field_axis(3), in_axis(64), out_axis(16)))  # fans 576 and 144
WIDENING = Parameter("conv/kernel", (field_axis(3), field_axis(3), in_axis(4), out_axis(8)))
MATRIX = Parameter("dense/kernel", (in_axis(6), out_axis(8)))
BIAS = Parameter("dense/bias", (out_axis(8),), "bias")

LAWS: dict[str, Distribution] = {
    "zeros": Constant(0),
    "ones": Constant(1),
    "constant": Constant(0),
    "constant: 42": Constant(42),
    "random_uniform": Uniform(-0.05, 0.05),
    "random_uniform: [0, 1]": Uniform(0, 1),
    "uniform: {maxval: 1}": Uniform(-0.05, 1),
    "uniform_sum": Uniform(-0.05, 0.05, 2),
    "random_normal": Normal(0, 0.05),
    "normal: {stddev: 0.01}": Normal(0, 0.01),
    "truncated_normal": TruncatedNormal(0, 0.05),
    "variance_scaling": TruncatedNormal(0, sqrt(1 / 576) / TRUNCATED_STDDEV),
    "variance_scaling: [2, fan_out, uniform]": Uniform(-sqrt(6 / 144), sqrt(6 / 144)),
    "variance_scaling: {distribution: untruncated_normal, mode: fan_avg}": Normal(0, sqrt(1 / 360)),
    "glorot_uniform": Uniform(-sqrt(6 / 720), sqrt(6 / 720)),
    "xavier": Uniform(-sqrt(6 / 720), sqrt(6 / 720)),
    "glorot_uniform: {gain: relu}": Uniform(-sqrt(12 / 720), sqrt(12 / 720)),
    "xavier_normal: 2": Normal(0, 2 * sqrt(2 / 720)),
    "glorot_normal": TruncatedNormal(0, sqrt(2 / 720) / TRUNCATED_STDDEV),
    "he_uniform": Uniform(-sqrt(6 / 576), sqrt(6 / 576)),
    "he_normal: fan_out": TruncatedNormal(0, sqrt(2 / 144) / TRUNCATED_STDDEV),
    "variance_scaling: {mode: fan_geo_avg}": TruncatedNormal(0, sqrt(1 / 288) / TRUNCATED_STDDEV),
    "kaiming_normal": Normal(0, sqrt(2 / 576)),
    "kaiming_normal: {mode: fan_out, nonlinearity: tanh}": Normal(0, 5 / 3 / 12),
    "kaiming_uniform: 2.23606797749979": Uniform(-1 / 24, 1 / 24),  # torch's default for its layers: 1 / sqrt(fan_in)
    "trunc_normal": TruncatedNormal(0, 1, -2, 2),
    "trunc_normal: {std: 0.02}": TruncatedNormal(0, 0.02, -100, 100),  # a and b are values: nothing is cut
    "lecun_uniform": Uniform(-sqrt(3 / 576), sqrt(3 / 576)),
    "lecun_normal": TruncatedNormal(0, sqrt(1 / 576) / TRUNCATED_STDDEV),
    "orthogonal: 2": Orthogonal(2, 576, 16),
    "unit_forget_bias": Sections((Constant(0), Constant(1), Constant(0), Constant(0)), 16),
    "padded": Padded(Constant(0), 3072, 9216),
    "padded: {initializer: {constant: 3}}": Padded(Constant(3), 3072, 9216),
    "unit_forget_bias: {initializer: {constant: 3}}": Sections(
        (Constant(3), Constant(1), Constant(3), Constant(3)), 16
    ),
    "mixture: [[0.25, {random_uniform: [5, 10]}], [0.5, zeros], [0.25, {uniform: [-10, -5]}]]": Mixture(
        ((0.25, Uniform(5, 10)), (0.5, Constant(0)), (0.25, Uniform(-10, -5)))
    ),
}


def flat(of: Distribution) -> list[object]:
    """A law as its name and numbers, for comparison within the last bits."""
    parts = [getattr(of, name) for name in of.__slots__]
    numbers: list[object] = [type(of).__name__]
    for part in parts:
        if isinstance(part, tuple):
            for item in part:
                numbers += [item[0], *flat(item[1])] if isinstance(item, tuple) else flat(item)
        else:
            numbers += flat(part) if hasattr(part, "__slots__") else [part]
    return numbers


@pytest.mark.parametrize(("scheme", "expected"), LAWS.items())
def test_law(scheme: str, expected: Distribution) -> None:
    made = flat(
        distribution(parse_value(scheme if ":" not in scheme else f"{{{scheme}}}", "scheme"), Target.of(KERNEL))
    )
    wanted = flat(expected)
    assert made[0] == wanted[0]
    assert [item for item in made if isinstance(item, str)] == [item for item in wanted if isinstance(item, str)]
    assert [item for item in made if not isinstance(item, str)] == pytest.approx(
        [item for item in wanted if not isinstance(item, str)], rel=1e-14
    )


OTHERS: dict[str, tuple[Parameter, Distribution]] = {
    "identity": (MATRIX, Delta(1.0, ((0, 9, 6),), 48)),
    "dirac": (KERNEL, Delta(1.0, ((4 * 64 * 16, 17, 16),), 9216)),
    "dirac: 4": (KERNEL, Delta(1.0, tuple((4 * 64 * 16 + 4 * group, 17, 4) for group in range(4)), 9216)),
    "sparse: 0.3": (MATRIX, Sparse(0.01, 6, 8, 3)),  # 0.3 of 8 outputs, rounded up
    "delta_orthogonal": (WIDENING, Centered(Orthogonal(1.0, 4, 8), 4, 9)),
}


@pytest.mark.parametrize("scheme", OTHERS)
def test_law_of_those_that_need_a_certain_parameter(scheme: str) -> None:
    parameter, expected = OTHERS[scheme]
    node = parse_value(scheme if ":" not in scheme else f"{{{scheme}}}", "scheme")
    assert distribution(node, Target.of(parameter)) == expected


REGISTERED = sorted({scheme.name for scheme in SCHEMES.values()})


@pytest.mark.parametrize("name", REGISTERED)
def test_every_scheme_is_among_them(name: str) -> None:
    assert len(REGISTERED) > 20
    tried = {SCHEMES[scheme.partition(":")[0]].name for scheme in (*LAWS, *OTHERS)}
    assert name in tried, f'add to LAWS: "{name}": {distribution(parse_value(name, "scheme"), Target.of(KERNEL))},'


@pytest.mark.parametrize(
    "scheme",
    "glorot he_normal kaiming_normal lecun_uniform variance_scaling orthogonal identity dirac sparse delta_orthogonal".split(),
)
def test_a_scheme_that_does_not_fit_says_so(scheme: str) -> None:
    with pytest.raises(DocumentError, match=r"scheme: \w+ for dense/bias: requires .*\(got shape \(8,\)\)"):
        distribution(parse_value(scheme, "scheme"), Target.of(BIAS))


def test_a_scheme_in_one_line_names_its_options() -> None:
    shown = {
        "glorot": "glorot_uniform",
        "{normal: {stddev: 0.01}}": "random_normal(stddev=0.01)",
        "{random_uniform: [0, 1]}": "random_uniform(minval=0, maxval=1)",
        "{unit_forget_bias: zeros}": "unit_forget_bias(initializer=zeros)",
        "{mixture: [[0.5, zeros], [0.5, {uniform: [5, 10]}]]}": (
            "mixture(parts=[0.5 zeros, 0.5 random_uniform(minval=5, maxval=10)])"
        ),
    }
    assert {scheme: format_scheme(parse_value(scheme, "scheme")) for scheme in shown} == shown


ALONE = {
    "random_normal": ("random_normal:stddev=0.1 or random_normal:mean=0.1", Normal(0, 0.1)),
    "normal": ("random_normal:stddev=0.1 or random_normal:mean=0.1", Normal(0, 0.1)),
    "truncated_normal": ("truncated_normal:stddev=0.1 or truncated_normal:mean=0.1", TruncatedNormal(0, 0.1)),
    "trunc_normal": ("trunc_normal:std=0.1 or trunc_normal:mean=0.1", TruncatedNormal(0, 0.1, -20, 20)),
    "uniform": ("random_uniform:minval=-0.1,maxval=0.1", Uniform(-0.1, 0.1)),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_number_alone_is_refused_where_it_could_be_another_option(name: str) -> None:
    """On a command line and in a document, with the ways to write it, which work as they are shown."""
    shown, expected = ALONE[name]
    for text in (f"{name}:0.1", f"{name}:[0.1]", f"{{{name}: 0.1}}"):
        with pytest.raises(DocumentError) as refused:
            parse_scheme(text, "--scheme").distribution(Target.of(KERNEL))
        received = "[0.1]" if "[" in text else "0.1"
        assert str(refused.value).endswith(f"takes its options by name (got {received}). Write {shown}.")
    first = shown.split(" or ")[0]
    assert parse_scheme(first, "--scheme").distribution(Target.of(KERNEL)) == expected
    document = "input: [4]\nlayers: [{{dense: {{units: 4, kernel_initializer: {}}}}}]\n".format
    with pytest.raises(DocumentError, match=r"m.yaml:2:\d+: .* takes its options by name") as refused:
        assign_schemes(from_bytes(document(f"{{{name}: 0.1}}").encode(), "m.yaml"))
    written = str(refused.value).partition("Write ")[2].split(" or ")[0].rstrip(".")
    assigned = assign_schemes(from_bytes(document(written).encode(), "m.yaml"))["dense/kernel"]
    assert assigned.distribution == expected


def test_every_scheme_of_several_numbers_has_been_decided() -> None:
    """A value alone means the first option: one that readers expect, or it is refused."""
    several = {
        registered.name: next(iter(registered.options))
        for registered in SCHEMES.values()
        if len(registered.options) > 1 and not next(iter(registered.options.values())).instead
    }
    assert several == {
        "variance_scaling": "scale",
        "kaiming_uniform": "a",
        "kaiming_normal": "a",
        "sparse": "sparsity",
    }
