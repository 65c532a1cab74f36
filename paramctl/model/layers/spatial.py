"""What convolutions, pooling and padding share: axes of space beside channels, and windows over them."""

from typing import Annotated

from paramctl.declare.option_types import ChoiceType
from paramctl.model.layers.base import ShapeError, Sizes

DataFormat = Annotated[str, ChoiceType("channels_last", "channels_first")]
Padding = Annotated[str, ChoiceType("valid", "same")]


def split(x: Sizes, data_format: str) -> tuple[Sizes, int | None]:
    """The sizes of the axes of space, and the number of channels."""
    return (x[1:-1], x[-1]) if data_format == "channels_last" else (x[2:], x[1])


def join(x: Sizes, space: Sizes, channels: int | None, data_format: str) -> Sizes:
    """A shape with x's batch, these axes of space and these channels."""
    return (x[0], *space, channels) if data_format == "channels_last" else (x[0], channels, *space)


def channels_of(x: Sizes, data_format: str) -> int:
    """The number of channels, which a parameter's shape depends on."""
    channels = split(x, data_format)[1]
    if channels is None:
        raise ShapeError("the number of its input's channels must be known")
    return channels


def windows(
    space: Sizes, sizes: tuple[int, ...], strides: tuple[int, ...], padding: str, dilations: tuple[int, ...]
) -> Sizes:
    """How many windows fit along each axis.

    valid: floor((n - dilation * (size - 1) - 1) / stride) + 1; same and causal: ceil(n / stride).
    Dumoulin and Visin (2016), A guide to convolution arithmetic for deep learning.
    """
    return tuple(
        None if n is None else _windows(n, dilation * (size - 1) + 1, stride, padding)
        for n, size, stride, dilation in zip(space, sizes, strides, dilations, strict=True)
    )


def _windows(n: int, reach: int, stride: int, padding: str) -> int:
    if padding != "valid":
        return -(-n // stride)
    if reach > n:
        raise ShapeError(f"its window of {reach} does not fit in {n}")
    return (n - reach) // stride + 1
