"""Padding axes of space."""

from typing import Annotated

from paramctl.kinds import IsWhole, Several
from paramctl.model.layers.base import IsPerAxis, Layer, Sizes
from paramctl.model.layers.spatial import DataFormat, join, split
from paramctl.node import Node

MARGIN = IsWhole("a whole number, not negative", 0)


class IsMargins(IsPerAxis):
    """How much before and after, for each axis: one number, one for each axis, or a pair for each."""

    def __init__(self, rank: int | None = None) -> None:
        super().__init__(rank)
        each = "a pair" if rank in (None, 1) else f"a list of {rank} numbers or pairs"
        self.words = f"{MARGIN.words}, or {each}"
        self.pair = Several(MARGIN, self.words, 2)

    def read(self, node: Node, name: str) -> tuple[tuple[int, ...], ...]:
        rank = self.length or 1
        if not isinstance(node.value, list) or rank == 1:
            return (self.pair.read(node, name),) * rank
        if len(node.value) != rank:
            raise self.refuse(node, name)
        return tuple(self.pair.read(item, name) for item in node.value)


Margins = Annotated[tuple[tuple[int, ...], ...], IsMargins()]


class ZeroPadding(Layer, abstract=True):
    """Zeros before and after, along each axis."""

    padding: Margins = ((1, 1),)
    data_format: DataFormat = "channels_last"

    def output(self, x: Sizes) -> Sizes:
        space, channels = split(x, self.data_format)
        sizes = zip(space, self.padding, strict=True)
        padded = (None if n is None else n + sum(margins) for n, margins in sizes)
        return join(x, tuple(padded), channels, self.data_format)


class ZeroPadding2D(ZeroPadding, rank=2):
    """Zeros around a plane: one number, [height, width], or [[top, bottom], [left, right]]."""
