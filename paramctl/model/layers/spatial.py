"""Spatial axes, channels and windows: helpers of convolution, pooling and padding."""

from typing import Annotated

from paramctl.declare.option_types import ChoiceType
from paramctl.model.layers.shapes import ShapeError, Sizes

DataFormat = Annotated[str, ChoiceType("channels_last", "channels_first")]
Padding = Annotated[str, ChoiceType("valid", "same")]


def split(x: Sizes, data_format: str) -> tuple[Sizes, int | None]:
    """Return the sizes of the spatial axes, and the number of channels."""
    return (x[1:-1], x[-1]) if data_format == "channels_last" else (x[2:], x[1])


def join(x: Sizes, space: Sizes, channels: int | None, data_format: str) -> Sizes:
    """Return a shape with the batch size of x, these spatial sizes and this number of channels."""
    return (x[0], *space, channels) if data_format == "channels_last" else (x[0], channels, *space)


def channels_of(x: Sizes, data_format: str) -> int:
    """Return the number of channels. Raises ShapeError if it is unknown: a parameter's shape depends on it."""
    channels = split(x, data_format)[1]
    if channels is None:
        raise ShapeError("the number of input channels must be known")
    return channels


def windows(
    space: Sizes, sizes: tuple[int, ...], strides: tuple[int, ...], padding: str, dilations: tuple[int, ...]
) -> Sizes:
    """Return the number of windows along each axis.

    valid: floor((n - dilation * (size - 1) - 1) / stride) + 1; same and causal: ceil(n / stride).
    Dumoulin and Visin (2016), A guide to convolution arithmetic for deep learning.
    """
    return tuple(
        None if n is None else _window_count(n, dilation * (size - 1) + 1, stride, padding)
        for n, size, stride, dilation in zip(space, sizes, strides, dilations, strict=True)
    )


def _window_count(n: int, reach: int, stride: int, padding: str) -> int:
    if padding != "valid":  # same, or causal: padded so that only the stride shortens the axis
        return -(-n // stride)
    if reach > n:
        raise ShapeError(f"a window of {reach} must fit in an axis of {n}")
    return (n - reach) // stride + 1
