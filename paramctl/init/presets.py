"""Presets: the default initialization of a framework, or of a family of models.

To add a preset, write one function from a model to schemes by path, decorated with ``preset``. Its name is the preset's
name. Parameters that it leaves out get their layer type's default, which is Keras'.

This module imports no model at run time, so that ``paramctl init --help`` can list the presets cheaply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located, Scalar
from paramctl.init.fans import fans

if TYPE_CHECKING:
    from paramctl.model import Block, Model

Schemes = Mapping[str, Located]


class Preset(NamedTuple):
    """A registered preset: its name, the function from a model to schemes by path, and its convention of fans."""

    name: str
    schemes: Callable[[Model], Schemes]
    convention: str


PRESETS: dict[str, Preset] = {}


def preset(convention: str = "true") -> Callable[[Callable[[Model], Schemes]], Callable[[Model], Schemes]]:
    """Return a decorator that registers a function as a preset, under its name, with a convention of fans."""

    def register(function: Callable[[Model], Schemes]) -> Callable[[Model], Schemes]:
        PRESETS[function.__name__] = Preset(function.__name__, function, convention)
        return function

    return register


@preset(convention="keras")
def keras(model: Model) -> Schemes:
    """the defaults of Keras' layers, with the fans that Keras computes"""
    return {}


@preset(convention="torch")
def torch(model: Model) -> Schemes:
    """the defaults of torch.nn: U(-b, b), b = 1 / sqrt(fan_in), biases too; embeddings N(0, 1), with 0 for padding"""
    return {
        parameter.path: scheme
        for block, parameter in _trained(model)
        if (scheme := _torch_scheme(block, parameter)) is not None
    }


@preset()
def flax(model: Model) -> Schemes:
    """the defaults of Flax: lecun_normal, recurrent kernels orthogonal, biases 0; embeddings N(0, 1 / sqrt(width))"""
    schemes = {}
    for _, parameter in _trained(model):
        name = _name(parameter)
        if parameter.kind == "bias":
            schemes[parameter.path] = _scheme("zeros")
        elif name == "embeddings":
            schemes[parameter.path] = _scheme("random_normal", stddev=1 / sqrt(parameter.shape[-1]))
        elif name == "recurrent_kernel":
            schemes[parameter.path] = _scheme("orthogonal")
        elif parameter.fans:
            schemes[parameter.path] = _scheme("lecun_normal")
    return schemes


@preset()
def gpt2(model: Model) -> Schemes:
    """GPT-2's: weights N(0, 0.02), the last of a residual branch N(0, 0.02 / sqrt(number of branches)), biases 0"""
    # each branch adds its variance to the residual stream, so N of them are scaled by 1 / sqrt(N)
    branches = [block for block in model.walk() if block.type == "residual" and block.reuse_of is None]
    last = {path for block in branches if (path := _last_weight(block))}
    schemes = {}
    for _, parameter in _trained(model):
        if parameter.kind == "bias":
            schemes[parameter.path] = _scheme("zeros")
        elif parameter.kind == "weight":
            divisor = sqrt(len(branches)) if parameter.path in last else 1
            schemes[parameter.path] = _scheme("random_normal", stddev=0.02 / divisor)
    return schemes


def _trained(model: Model) -> Iterator[tuple[Block, Parameter]]:
    """Yield the trainable weights and biases, with their layers."""
    for block in model.walk():
        for parameter in block.parameters:
            if parameter.trainable and parameter.kind in ("weight", "bias"):
                yield block, parameter


def _torch_scheme(block: Block, parameter: Parameter) -> Located | None:
    """Return the scheme of torch's layer; None for a parameter that torch does not have.

    Source: torch 2.13, reset_parameters of Linear, _ConvNd, RNNBase, MultiheadAttention, Embedding and PReLU.
    """
    name, by_path = _name(parameter), {sibling.path: sibling for sibling in block.parameters}
    folder = parameter.path.rpartition("/")[0]
    if "attention" in block.type:
        return _torch_attention(parameter, by_path)
    if recurrent := by_path.get(f"{folder}/recurrent_kernel"):
        # Every parameter of a recurrent layer is drawn by its number of units, biases included. torch adds two biases,
        # so a single one of Keras has the distribution of their sum; a GRU with two rows has both.
        is_sum = parameter.kind == "bias" and len(parameter.shape) == 1
        return _symmetric(1 / sqrt(recurrent.shape[0]), "uniform_sum" if is_sum else "random_uniform")
    if name == "embeddings":
        normal = _scheme("random_normal", stddev=1.0) if block.type != "class_token" else None
        is_padded = normal is not None and getattr(block.layer, "mask_zero", False)  # as with padding_idx = 0
        return Located({"padded": Located({"initializer": normal})}) if normal and is_padded else normal
    if block.type == "p_re_lu":
        return _scheme("constant", value=0.25)
    # A bias is drawn by the fan_in of the weight beside it.
    weights = [
        sibling for sibling in by_path.values() if sibling.path.rpartition("/")[0] == folder and fans(sibling, "torch")
    ]
    weight = parameter if fans(parameter, "torch") else weights[-1] if weights else None
    weight_fans = fans(weight, "torch") if weight else None
    return _symmetric(1 / sqrt(weight_fans[0])) if weight_fans else None


def _torch_attention(parameter: Parameter, by_path: Mapping[str, Parameter]) -> Located:
    """Return the scheme of a parameter of torch's MultiheadAttention."""
    if parameter.kind == "bias":
        return _scheme("zeros")
    if parameter.fans is None:  # the table of relative positions, an nn.Embedding
        return _scheme("random_normal", stddev=1.0)
    fan_in, fan_out = parameter.fans or (1, 1)
    if parameter.path.endswith("attention_output/kernel"):
        return _symmetric(1 / sqrt(fan_in))
    inputs = ("query/kernel", "key/kernel", "value/kernel")
    widths = {sibling.shape[0] for path, sibling in by_path.items() if path.endswith(inputs)}
    # torch packs the three into one weight if their inputs have one width, which triples the fan_out of Glorot's rule.
    packed = 3 if len(widths) == 1 else 1
    return _symmetric(sqrt(6 / (fan_in + packed * fan_out)))


def _last_weight(block: Block) -> str | None:
    """Return the path of the last weight with fans in the branch of a residual block, not in its shortcut."""
    path = None
    for inner in block.walk():
        if f"{inner.path}/".startswith(f"{block.path}/shortcut/"):
            continue
        for parameter in inner.parameters:
            if parameter.fans:
                path = parameter.path
    return path


def _name(parameter: Parameter) -> str:
    return parameter.path.rpartition("/")[2]


def _symmetric(bound: float, scheme: str = "random_uniform") -> Located:
    """Return a scheme with the options minval and maxval, as U(-bound, bound)."""
    return _scheme(scheme, minval=-bound, maxval=bound)


def _scheme(name: str, **options: Scalar) -> Located:
    """Return a scheme as a document would write it."""
    if not options:
        return Located(name)
    return Located({name: Located({option: Located(value) for option, value in options.items()})})
