"""Padding, cropping and upsampling of spatial axes."""

from typing import Annotated, Any, ClassVar

from paramctl.declare.located import Located
from paramctl.declare.option_types import NATURAL, ChoiceType, Count, ListType, OptionType
from paramctl.model.layers.base import Layer, PerAxis, PerAxisType
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


class UpSampling(Layer, abstract=True):
    """Upsampling of each spatial axis."""

    torch_module = "Upsample"
    torch_options = options(size=IN_CODE, data_format=CARRIED, interpolation=INTERPOLATION)

    def output(self, x: Sizes) -> Sizes:
        data_format = vars(self).get("data_format", "channels_last")
        space, channels = split(x, data_format)
        size = vars(self)["size"]  # an integer in UpSampling1D, as in Keras
        sizes = zip(space, (size,) if isinstance(size, int) else size, strict=True)
        return join(x, tuple(None if n is None else n * factor for n, factor in sizes), channels, data_format)


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
