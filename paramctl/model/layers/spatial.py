"""Spatial axes, channels and windows: helpers of convolution, pooling and padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar

from paramctl.declare.option_types import ChoiceType
from paramctl.model.layers.call import Array
from paramctl.model.layers.order import TorchInput
from paramctl.model.layers.shapes import ShapeError, Sizes
from paramctl.model.layers.torch_options import per_axis

DataFormat = Annotated[str, ChoiceType("channels_last", "channels_first")]
Value = TypeVar("Value")
Padding = Annotated[str, ChoiceType("valid", "same")]


def split(x: tuple[Value, ...], data_format: str) -> tuple[tuple[Value, ...], Value]:
    """Return the sizes of the spatial axes, and the number of channels; or others' facts of these axes."""
    return (x[1:-1], x[-1]) if data_format == "channels_last" else (x[2:], x[1])


def join(x: tuple[Value, ...], space: tuple[Value, ...], channels: Value, data_format: str) -> tuple[Value, ...]:
    """Return a shape with the batch size of x, these spatial sizes and this number of channels; or others' facts."""
    return (x[0], *space, channels) if data_format == "channels_last" else (x[0], channels, *space)


def channels_of(x: Sizes, data_format: str) -> int:
    """Return the number of channels. Raises ShapeError if it is unknown: a parameter's shape depends on it."""
    channels = split(x, data_format)[1]
    if channels is None:
        raise ShapeError("the number of input channels must be known")
    return channels


def same_margins(n: int, reach: int, stride: int) -> tuple[int, int]:
    """Return the values that padding same adds before and after an axis of n values."""
    total = max((-(-n // stride) - 1) * stride + reach - n, 0)
    return total // 2, total - total // 2


def torch_margins(
    x: TorchInput, data_format: str, padding: str, windows: list[tuple[int, int]]
) -> list[tuple[int, int]] | None:
    """Return the values that padding adds before and after each axis; None if the size of the input is unknown.

    windows: (reach, stride) along each axis.
    """
    if padding == "causal":
        return [(reach - 1, 0) for reach, _ in windows]
    if padding == "valid":
        return [(0, 0)] * len(windows)
    space = split(x.shape, data_format)[0] if x.shape is not None else (None,) * len(windows)
    known = [size for size in space if size is not None]
    if len(known) < len(windows):
        # with stride 1, the size of the input does not matter
        known = [1] * len(windows) if all(stride == 1 for _, stride in windows) else []
    return [same_margins(n, *window) for n, window in zip(known, windows, strict=True)] if known else None


def torch_padding(margins: list[tuple[int, int]] | None) -> Any:
    """Return the argument padding of a torch.nn module; None if it is 0 or cannot express these margins."""
    if margins is None or any(before != after for before, after in margins):
        return None
    sizes = tuple(before for before, _ in margins)
    return per_axis(sizes) if any(sizes) else None


def torch_padding_remarks(padding: str, margins: list[tuple[int, int]] | None, value: str = "") -> Iterator[str]:
    """Yield how torch code must pad the input where the argument padding cannot express it. value: other than 0."""
    if margins is None:
        yield f"padding {padding} with strides: pad the input as Keras does, by one more at the end of an axis if odd"
    elif any(before != after for before, after in margins):
        sizes = tuple(size for pair in reversed(margins) for size in pair)  # torch starts with the last axis
        yield f"padding {padding}: pad the input by torch.nn.functional.pad(x, {sizes}{value})"


class Window(NamedTuple):
    """The windows that move along the spatial axes of an array. A value for each axis.

    sizes: positions in a window. strides: from one window to the next. rates: from one position to the next.
    margins: padding before and after the axis.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    rates: tuple[int, ...]
    margins: tuple[tuple[int, int], ...]

    @classmethod
    @lru_cache
    def of(
        cls,
        space: tuple[int, ...],
        sizes: tuple[int, ...],
        strides: tuple[int, ...],
        padding: str,
        rates: tuple[int, ...] | None = None,
    ) -> Window:
        """Return windows with the margins that an option padding adds. space: the sizes of the axes.

        Cached, because a pass over one example takes hardly longer than this.
        """
        window = cls(sizes, strides, rates or (1,) * len(sizes), ((0, 0),) * len(sizes))
        if padding == "causal":
            return window._replace(margins=tuple((reach - 1, 0) for reach in window.reaches))
        if padding == "same":
            return window._replace(margins=tuple(map(same_margins, space, window.reaches, strides)))
        return window

    @property
    def reaches(self) -> tuple[int, ...]:
        """The positions from the first to the last of a window."""
        return tuple((size - 1) * rate + 1 for size, rate in zip(self.sizes, self.rates, strict=True))

    def counts(self, space: Sequence[int]) -> tuple[int, ...]:
        """Return the number of windows along axes of these sizes."""
        axes = zip(space, self.reaches, self.strides, self.margins, strict=True)
        return tuple((n + sum(margins) - reach) // stride + 1 for n, reach, stride, margins in axes)


def channels_last(xp: Any, x: Array, data_format: str) -> Array:
    """Return an input of a layer with the channels last."""
    return x if data_format == "channels_last" else xp.moveaxis(x, 1, -1)


def as_declared(xp: Any, x: Array, data_format: str) -> Array:
    """Return an output with the channels last as the layer's data_format has them."""
    return x if data_format == "channels_last" else xp.moveaxis(x, -1, 1)


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


def check_strides(strides: tuple[int, ...], dilation_rate: tuple[int, ...]) -> None:
    """Raise ShapeError if both strides and a dilation are above 1, which Keras does not support."""
    if max(strides) > 1 and max(dilation_rate) > 1:
        raise ShapeError("strides and dilation_rate must not both be above 1")
