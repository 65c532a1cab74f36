"""The calls of torch.nn.init that give a parameter the values of a scheme.

Only schemes whose values torch code draws in one known way have such a call; any other is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isclose
from typing import Any

from paramctl.declare.located import Located
from paramctl.init.distributions import Constant, Distribution, Mixture, Uniform
from paramctl.init.registry import SchemeMismatch, Target, bound_scheme, distribution_if_applicable
from paramctl.model.layers.torch_draws import InitCall

Options = Mapping[str, Any]


def init_call(node: Located, tensor: str) -> InitCall:
    """Return the call that initializes a tensor by a scheme. Raises SchemeMismatch if torch code has no such call."""
    scheme, options = bound_scheme(node)
    if scheme.name == "padded":
        return init_call(options["initializer"], tensor)._replace(padded=True)
    if scheme.name == "mixture":
        return InitCall(tensor, "zeroed_uniform_", _zeroed(distribution_if_applicable(node, Target(tensor, (), None))))
    if scheme.name not in CALLS:
        instead = f"; use {INSTEAD[scheme.name]}" if scheme.name in INSTEAD else ""
        raise SchemeMismatch(f"torch.nn.init has no {scheme.name}{instead}")
    function, arguments = CALLS[scheme.name]
    return InitCall(tensor, function, arguments(options))


def _mode(options: Options) -> Options:
    """Return the arguments of kaiming_uniform_ for he_uniform, which also knows averages of the fans."""
    if options["mode"] not in ("fan_in", "fan_out"):
        raise SchemeMismatch(f"torch.nn.init has no mode {options['mode']}")
    return {"mode": options["mode"], "nonlinearity": "relu"}


def _unit_gain(options: Options) -> Options:
    """Return the arguments of kaiming_uniform_ for lecun_uniform, which has a gain."""
    if options["gain"] != 1:
        raise SchemeMismatch("torch.nn.init has no lecun_uniform with a gain")
    return {"nonlinearity": "linear"}


def _two_deviations(options: Options) -> Options:
    """Return the arguments of trunc_normal_ for truncated_normal, whose bounds are multiples of the deviation."""
    mean, std = options["mean"], options["stddev"]
    return {"mean": mean, "std": std, "a": mean - 2 * std, "b": mean + 2 * std}


def _zeroed(mixture: Distribution) -> Options:
    """Return the arguments of zeroed_uniform_ for U(-b, b) with 0 in place of the values from -t to t.

    Of a mixture it is 0 with the probability t / b, U(t, b) and U(-b, -t), each with half of the rest.
    """
    assert isinstance(mixture, Mixture)
    zeros = [share for share, part in mixture.parts if part == Constant(0.0)]
    sides = sorted((part.low, part.high, share) for share, part in mixture.parts if isinstance(part, Uniform))
    if len(zeros) == 1 and len(sides) == 2 and len(mixture.parts) == 3:
        (low, upper, left), (threshold, bound, right) = sides
        is_even = (low, upper) == (-bound, -threshold) and isclose(left, right)
        if 0 < threshold < bound and is_even and isclose(zeros[0], threshold / bound):
            return {"bound": bound, "threshold": threshold}
    rule = "torch code draws only mixtures of 0 with the probability t / b, U(-b, -t) and U(t, b) in one known way"
    raise SchemeMismatch(rule)


CALLS: dict[str, tuple[str, Callable[[Options], Options]]] = {
    "zeros": ("constant_", lambda options: {"val": 0.0}),
    "ones": ("constant_", lambda options: {"val": 1.0}),
    "constant": ("constant_", lambda options: {"val": options["value"]}),
    "random_uniform": ("uniform_", lambda options: {"a": options["minval"], "b": options["maxval"]}),
    "random_normal": ("normal_", lambda options: {"mean": options["mean"], "std": options["stddev"]}),
    "truncated_normal": ("trunc_normal_", _two_deviations),
    "trunc_normal": ("trunc_normal_", dict),
    "glorot_uniform": ("xavier_uniform_", dict),
    "xavier_normal": ("xavier_normal_", dict),
    "he_uniform": ("kaiming_uniform_", _mode),
    "kaiming_uniform": ("kaiming_uniform_", dict),
    "kaiming_normal": ("kaiming_normal_", dict),
    "lecun_uniform": ("kaiming_uniform_", _unit_gain),
    "orthogonal": ("orthogonal_", dict),
    "identity": ("eye_", dict),
    "dirac": ("dirac_", dict),
    "sparse": ("sparse_", dict),
}
"""The function of torch.nn.init for each scheme, and its arguments from the scheme's options."""

INSTEAD = {"glorot_normal": "xavier_normal", "he_normal": "kaiming_normal"}
"""The schemes of torch that are nearest to Keras' truncated ones."""
