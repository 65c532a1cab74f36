"""The seeds that Keras takes while it makes a layer, from which the layer's initial values follow.

Each random initializer takes a seed when it is made, whether its values are used or not. So does each generator of
random numbers, such as that of a dropout. All layers are like the default, except those that are registered here.

Source: the constructors and ``build`` of the classes in keras/src/layers of Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

from paramctl.declare.located import Located
from paramctl.model.layers.attention import AttentionLayer
from paramctl.model.layers.base import Layer
from paramctl.model.layers.convolution import DepthwiseConvolution
from paramctl.model.layers.recurrent import LSTM, Recurrent, SimpleRNN
from paramctl.model.layers.regularization import AlphaDropout, Dropout, GaussianDropout, GaussianNoise, SpatialDropout
from paramctl.model.layers.wrapping import Bidirectional, TimeDistributed


@dataclass(frozen=True, slots=True)
class SeedUse:
    """An initializer or a generator that Keras makes, which takes a seed if it is random.

    initializer: as the layer declares it; None for a generator.
    paths: the parameters with this initializer, relative to the layer. A scheme assigned to them replaces it.
    is_read: False if the values come from a copy of the initializer.
    is_copy: True for a copy that Keras makes, False for what a program gives.
    forget_units: the units of an LSTM whose bias has 1 for the forget gate; 0 for any other parameter.
    """

    initializer: Located | None = None
    paths: tuple[str, ...] = ()
    is_read: bool = True
    is_copy: bool = False
    forget_units: int = 0


GENERATOR = SeedUse()


@singledispatch
def constructor_seeds(layer: Layer, paths: Sequence[str]) -> list[SeedUse]:
    """Return what takes a seed in the constructor of a layer, in order. paths: of its parameters, relative to it."""
    return _initializers(layer, paths)


@singledispatch
def build_seeds(layer: Layer, paths: Sequence[str]) -> list[SeedUse]:
    """Return what takes a seed when a layer is built, which is at its first call."""
    return []


def _initializers(layer: Layer, paths: Sequence[str], main: str = "kernel") -> list[SeedUse]:
    """Return the initializers among a layer's options, in the order of Keras' arguments.

    main: the option of the parameter ``kernel``, without ``_initializer``.
    """
    uses = []
    for option, value in layer.keras_arguments().items():
        stem = option.removesuffix("_initializer")
        if stem != option:
            names = (stem, f"{stem}_kernel", *(["kernel"] if stem == main else []))
            uses.append(SeedUse(value, tuple(path for path in paths if path.rpartition("/")[2] in names)))
    return uses


@constructor_seeds.register
def _(layer: DepthwiseConvolution, paths: Sequence[str]) -> list[SeedUse]:
    return _initializers(layer, paths, "depthwise")


@constructor_seeds.register(Dropout)
@constructor_seeds.register(SpatialDropout)
@constructor_seeds.register(AlphaDropout)
@constructor_seeds.register(GaussianDropout)
@constructor_seeds.register(GaussianNoise)
def _(layer: Layer, paths: Sequence[str]) -> list[SeedUse]:
    return [GENERATOR] if any(vars(layer).get(option) for option in ("rate", "stddev")) else []


@constructor_seeds.register
def _(layer: Recurrent, paths: Sequence[str]) -> list[SeedUse]:
    return [*_initializers(layer, paths), GENERATOR]  # also without dropout


@constructor_seeds.register
def _(layer: SimpleRNN, paths: Sequence[str]) -> list[SeedUse]:
    return [GENERATOR, *_initializers(layer, paths)]


@constructor_seeds.register
def _(layer: LSTM, paths: Sequence[str]) -> list[SeedUse]:
    *initializers, bias = _initializers(layer, paths)
    forgetting = replace(bias, forget_units=layer.units if layer.unit_forget_bias and bias.paths else 0)
    return [*initializers, forgetting, GENERATOR]


@constructor_seeds.register
def _(layer: AttentionLayer, paths: Sequence[str]) -> list[SeedUse]:
    return [*_unread(_initializers(layer, paths))]


@build_seeds.register
def _(layer: AttentionLayer, paths: Sequence[str]) -> list[SeedUse]:
    """Return copies of the initializers for each projection, and the dropout, which is made before the last one."""
    uses = []
    for name in dict.fromkeys(path.partition("/")[0] for path in paths):
        if name == "attention_output" and layer.dropout:
            uses.append(GENERATOR)
        copies = _initializers(layer, [path for path in paths if path.startswith(f"{name}/")])
        uses += [replace(use, is_copy=True) for use in copies]
    return uses


@constructor_seeds.register
def _(layer: Bidirectional, paths: Sequence[str]) -> list[SeedUse]:
    """Return the uses of three layers: the one that is given, and the two that Keras makes from its options."""
    folders = list(dict.fromkeys(path.partition("/")[0] for path in paths))
    inner = [path.removeprefix(f"{folders[0]}/") for path in paths if path.startswith(f"{folders[0]}/")]
    uses = constructor_seeds(layer.layer.layer, inner)
    copies = [replace(use, is_copy=True) for folder in folders for use in _within([folder], uses)]
    return [*_unread(_within(folders, uses)), *copies]


@constructor_seeds.register
def _(layer: TimeDistributed, paths: Sequence[str]) -> list[SeedUse]:
    folder = layer.layer.name
    inner = [path.removeprefix(f"{folder}/") for path in paths]
    return [*_within([folder], constructor_seeds(layer.layer.layer, inner))]


def _unread(uses: Iterable[SeedUse]) -> Iterator[SeedUse]:
    """Yield these uses, for initializers that are made but not called."""
    return (replace(use, is_read=False) for use in uses)


def _within(folders: Sequence[str], uses: Iterable[SeedUse]) -> Iterator[SeedUse]:
    """Yield the uses of a wrapped layer. folders: of the layers that are copies of it."""
    for use in uses:
        yield replace(use, paths=tuple(f"{folder}/{path}" for folder in folders for path in use.paths))
