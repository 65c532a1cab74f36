"""Padding, cropping and upsampling of spatial axes."""

from math import prod
from typing import Annotated, Any, ClassVar

from paramctl.declare.located import Located
from paramctl.declare.option_types import NATURAL, ChoiceType, Count, ListType, OptionType
from paramctl.model.layers.base import Layer, PerAxis, PerAxisType
from paramctl.model.layers.call import Array, Call, NotComputed
from paramctl.model.layers.shapes import ShapeError, Sizes
from paramctl.model.layers.spatial import DataFormat, join, split
from paramctl.model.layers.torch_options import CARRIED, IN_CODE, options, remark


class MarginsType(PerAxisType):
    """Sizes before and after each axis: one number for all, a number for each axis, or a pair for each."""

    def __init__(self, rank: int | None = None, item: OptionType = NATURAL) -> None:
        super().__init__(rank, item)
        per_axis = "a pair" if rank in (None, 1) else f"a list of {rank} numbers or pairs"
        self.rule = f"{item.rule}, or {per_axis}"
        self.pair = ListType(item, self.rule, 2)

    def read(self, node: Located, name: str) -> tuple[tuple[int, ...], ...]:
        rank = self.length or 1
        # For one axis, [1, 2] is the pair itself; for two axes it is one number for each axis.
        if not isinstance(node.value, list) or rank == 1:
            return (self.pair.read(node, name),) * rank
        if len(node.value) != rank:
            raise self.refuse(node, name)
        return tuple(self.pair.read(item, name) for item in node.value)

    def schema(self) -> dict[str, Any]:
        pairs = {"type": "array", "items": self.pair.schema()}
        return {
            "anyOf": [self.item.schema(), pairs | {"minItems": self.length or 1, "maxItems": max(2, self.length or 1)}]
        }


Margins = Annotated[tuple[tuple[int, ...], ...], MarginsType()]


class WithMargins(Layer, abstract=True):
    """A layer with margins. For one spatial axis Keras takes them as a pair, and for several as a list of pairs."""

    margins: ClassVar[str]
    """The option with the margins."""

    def keras_arguments(self) -> dict[str, Any]:
        arguments = super().keras_arguments()
        (pair, *others) = arguments[self.margins]
        return arguments if others else arguments | {self.margins: pair}


class ZeroPadding(WithMargins, abstract=True):
    """Zero padding of each spatial axis."""

    margins = "padding"
    torch_options = options(padding=IN_CODE, data_format=CARRIED)
    padding: Margins = ((1, 1),)
    data_format: DataFormat = "channels_last"

    def output(self, x: Sizes) -> Sizes:
        space, channels = split(x, self.data_format)
        sizes = zip(space, self.padding, strict=True)
        padded = (None if n is None else n + sum(margins) for n, margins in sizes)
        return join(x, tuple(padded), channels, self.data_format)

    def compute(self, call: Call, x: Array) -> Array:
        return call.xp.pad(x, join(((0, 0),), self.padding, (0, 0), self.data_format), "constant")


class ZeroPadding1D(ZeroPadding, rank=1):
    """Zero padding of a sequence: one number, or [before, after]."""


class ZeroPadding2D(ZeroPadding, rank=2):
    """Zero padding of an image: one number, [height, width], or [[top, bottom], [left, right]]."""


class ZeroPadding3D(ZeroPadding, rank=3):
    """Zero padding of a volume: one number, one for each axis, or a pair for each."""


class Cropping(WithMargins, abstract=True):
    """Cropping of each spatial axis at both ends."""

    margins = "cropping"
    torch_options = options(cropping=IN_CODE, data_format=CARRIED)
    cropping: Margins = ((1, 1),)

    def output(self, x: Sizes) -> Sizes:
        data_format = vars(self).get("data_format", "channels_last")
        space, channels = split(x, data_format)
        return join(x, tuple(map(_cropped, space, self.cropping)), channels, data_format)

    def compute(self, call: Call, x: Array) -> Array:
        data_format = vars(self).get("data_format", "channels_last")
        space, _ = split(x.shape, data_format)
        kept = (slice(before, size - after) for size, (before, after) in zip(space, self.cropping, strict=True))
        return x[join((slice(None),), tuple(kept), slice(None), data_format)]


def _cropped(size: int | None, margins: tuple[int, ...]) -> int | None:
    if size is not None and size <= sum(margins):
        raise ShapeError(f"cropping ({sum(margins)}) must leave at least 1 of the {size} values along an axis")
    return None if size is None else size - sum(margins)


class Cropping1D(Cropping, rank=1):
    """Cropping of a sequence: one number, or [start, end]."""


class Cropping2D(Cropping, rank=2):
    """Cropping of an image: one number, [height, width], or [[top, bottom], [left, right]]."""

    cropping: Margins = ((0, 0),)
    data_format: DataFormat = "channels_last"


class Cropping3D(Cropping, rank=3):
    """Cropping of a volume: one number, one for each axis, or a pair for each."""

    data_format: DataFormat = "channels_last"


def _interpolation(name: str, layer: Any) -> str:
    """Return the note about an interpolation. torch's bicubic has the coefficient -0.75, and Keras' -0.5."""
    if name == "bilinear":
        return "set mode='bilinear' in torch.nn.Upsample"
    differs = "computes other values" if name == "bicubic" else "has none"
    return f"interpolation {name}: torch.nn.Upsample {differs}"


INTERPOLATION = remark(_interpolation, "nearest")


def interpolated(xp: Any, x: Array, axis: int, factor: int, interpolation: str) -> Array:
    """Return an array with factor times the values along an axis.

    A value is the mean of those around it, weighted by a function of their distances, as in Keras with TensorFlow or
    JAX. Places beyond the edges do not count. Duchon (1979), Lanczos filtering in one and two dimensions.
    """
    size = x.shape[axis]
    places = (xp.arange(size * factor) + 0.5) / factor - 0.5
    distances = xp.abs(places[:, None] - xp.arange(size))
    if interpolation == "bilinear":
        weights = xp.maximum(1 - distances, 0)
    else:
        radius = int(interpolation.removeprefix("lanczos"))
        weights = xp.where(distances < radius, xp.sinc(distances) * xp.sinc(distances / radius), 0)
    weights = (weights / xp.sum(weights, axis=1, keepdims=True)).astype(x.dtype)
    after = x.shape[axis + 1 :]
    # along the last axis one product serves all rows
    if not after:
        return x @ weights.T
    columns = xp.reshape(x, (*x.shape[: axis + 1], prod(after)))
    return xp.reshape(weights @ columns, (*x.shape[:axis], size * factor, *after))


class UpSampling(Layer, abstract=True):
    """Upsampling of each spatial axis."""

    torch_module = "Upsample"
    torch_options = options(size=IN_CODE, data_format=CARRIED, interpolation=INTERPOLATION)

    def output(self, x: Sizes) -> Sizes:
        space, channels = split(x, self._data_format)
        sizes = zip(space, self._factors, strict=True)
        return join(x, tuple(None if n is None else n * factor for n, factor in sizes), channels, self._data_format)

    def compute(self, call: Call, x: Array) -> Array:
        interpolation = vars(self).get("interpolation", "nearest")
        if interpolation == "bicubic":
            rule = "bicubic has other values in torch than in TensorFlow and JAX, so it is not computed"
            raise NotComputed(f"{rule} (got interpolation bicubic). Use bilinear or lanczos3.")
        first = 1 if self._data_format == "channels_last" else 2
        # the last axis first, so that fewer values are copied twice
        for axis, factor in reversed([*enumerate(self._factors, first)]):
            if interpolation == "nearest":
                x = call.xp.repeat(x, factor, axis=axis)
            else:
                x = interpolated(call.xp, x, axis, factor, interpolation)
        return x

    @property
    def _data_format(self) -> str:
        data_format: str = vars(self).get("data_format", "channels_last")
        return data_format

    @property
    def _factors(self) -> tuple[int, ...]:
        size = vars(self)["size"]  # an integer in UpSampling1D, as in Keras
        return (size,) if isinstance(size, int) else size


class UpSampling1D(UpSampling, rank=1):
    """Upsampling of a sequence: each step is repeated."""

    size: Count = 2


class UpSampling2D(UpSampling, rank=2):
    """Upsampling of an image: rows and columns are repeated, or interpolated."""

    size: PerAxis = (2,)
    data_format: DataFormat = "channels_last"
    interpolation: Annotated[str, ChoiceType("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")] = "nearest"


class UpSampling3D(UpSampling, rank=3):
    """Upsampling of a volume: each position is repeated."""

    size: PerAxis = (2,)
    data_format: DataFormat = "channels_last"
