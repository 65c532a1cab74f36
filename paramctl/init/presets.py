"""Presets: what a framework, or a family of models, gives every parameter when nobody says otherwise.

To add one, write one function from a model to schemes by path; its name is the preset's. What it leaves
out has its type's default, which is Keras'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import sqrt

from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located, Scalar
from paramctl.init.fans import fans
from paramctl.model import Block, Model

Schemes = Mapping[str, Located]

PRESETS: dict[str, Callable[[Model], Schemes]] = {}
CONVENTION = {"keras": "keras", "torch": "torch"}
"""The convention of fans that comes with a preset, where it is not the true one."""


def preset(function: Callable[[Model], Schemes]) -> Callable[[Model], Schemes]:
    """Register a function as a preset, under its name."""
    PRESETS[function.__name__] = function
    return function


@preset
def keras(model: Model) -> Schemes:
    """the defaults of Keras' layers, with the fans that Keras computes"""
    return {}


@preset
def torch(model: Model) -> Schemes:
    """the defaults of torch.nn: U(-b, b), b = 1 / sqrt(fan_in), biases too; embeddings N(0, 1)"""
    return {
        parameter.path: scheme
        for block, parameter in _trained(model)
        if (scheme := _torch(block, parameter)) is not None
    }


@preset
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


@preset
def gpt2(model: Model) -> Schemes:
    """GPT-2's: weights N(0, 0.02), what ends a residual branch 0.02 / sqrt(how many there are), biases zeros"""
    branches = [block for block in model.walk() if block.type == "residual" and block.reuse_of is None]
    last = {path for block in branches if (path := _last_weight(block))}
    schemes = {}
    for _, parameter in _trained(model):
        if parameter.kind == "bias":
            schemes[parameter.path] = _scheme("zeros")
        elif parameter.kind == "weight":
            narrowed = sqrt(len(branches)) if parameter.path in last else 1
            schemes[parameter.path] = _scheme("random_normal", stddev=0.02 / narrowed)
    return schemes


def _trained(model: Model) -> Iterator[tuple[Block, Parameter]]:
    for block in model.walk():
        for parameter in block.parameters:
            if parameter.trainable and parameter.kind in ("weight", "bias"):
                yield block, parameter


def _torch(block: Block, parameter: Parameter) -> Located | None:
    """torch 2.13: Linear's and _ConvNd's reset_parameters, RNNBase's, MultiheadAttention's, Embedding's, PReLU's."""
    name, own = _name(parameter), {each.path: each for each in block.parameters}
    folder = parameter.path.rpartition("/")[0]
    if "attention" in block.type:
        if parameter.kind == "bias":
            return _scheme("zeros")
        fan_in, fan_out = parameter.fans or (1, 1)
        if parameter.path.endswith("attention_output/kernel"):
            return _within(1 / sqrt(fan_in))
        into = {own[path].shape[0] for path in own if path.endswith(("query/kernel", "key/kernel", "value/kernel"))}
        packed = 3 if len(into) == 1 else 1  # torch packs the three into one weight if they have one width
        return _within(sqrt(6 / (fan_in + packed * fan_out)))
    if recurrent := own.get(f"{folder}/recurrent_kernel"):
        return _within(1 / sqrt(recurrent.shape[0]))
    if name == "embeddings":
        return _scheme("random_normal", stddev=1.0) if block.type != "class_token" else None
    if block.type == "p_re_lu":
        return _scheme("constant", value=0.25)
    weights = [each for each in own.values() if each.path.rpartition("/")[0] == folder and fans(each, "torch")]
    weight = parameter if fans(parameter, "torch") else weights[-1] if weights else None
    both = fans(weight, "torch") if weight else None
    return _within(1 / sqrt(both[0])) if both else None


def _last_weight(block: Block) -> str | None:
    """The weight with fans that the branch of a residual block ends with; its shortcut is no part of it."""
    found = None
    for inner in block.walk():
        if f"{inner.path}/".startswith(f"{block.path}/shortcut/"):
            continue
        for parameter in inner.parameters:
            if parameter.fans:
                found = parameter.path
    return found


def _name(parameter: Parameter) -> str:
    return parameter.path.rpartition("/")[2]


def _within(bound: float) -> Located:
    return _scheme("random_uniform", minval=-bound, maxval=bound)


def _scheme(name: str, **options: Scalar) -> Located:
    return (
        Located({name: Located({key: Located(value) for key, value in options.items()})}) if options else Located(name)
    )
