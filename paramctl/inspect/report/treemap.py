"""A squarified treemap: rectangles whose areas are the bytes of layers and arrays, nested as these are.

Source: Bruls, Huizing and van Wijk, Squarified Treemaps (2000).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from paramctl.inspect.report.tree import Node

WIDTH, HEIGHT = 1000.0, 440.0
"""The size of the whole map, in the units of the layout. The page scales it."""
HEADING = 20.0
"""The height of the heading of a group."""
SMALLEST = 0.002
"""The least share of the whole that has a tile of its own."""
CHUNK = 0.01
"""The least share of a tile that smaller siblings have together, so that a map has at most a few hundred tiles."""
OPENED_WIDTH, OPENED_HEIGHT = 90.0, 64.0
"""The least size of a group that shows its members."""


class Box(NamedTuple):
    """A rectangle."""

    left: float
    top: float
    width: float
    height: float


class Tile(NamedTuple):
    """A node's rectangle.

    nodes: one, or siblings that are too small for tiles of their own.
    box: in percent of the parent's inside. share: of all bytes. children: the tiles inside.
    """

    nodes: Sequence[Node]
    box: Box
    share: float
    children: tuple[Tile, ...] = ()


def treemap(nodes: Sequence[Node]) -> tuple[Tile, ...]:
    """Return the tiles of the outermost nodes; none if they have no bytes."""
    total = sum(node.bytes for node in nodes)
    return _tiles(nodes, WIDTH, HEIGHT, total) if total else ()


def _tiles(nodes: Sequence[Node], width: float, height: float, total: int) -> tuple[Tile, ...]:
    """Return the tiles of siblings in a rectangle."""
    large = [(node,) for node in nodes if node.bytes >= SMALLEST * total]
    small = _chunks([node for node in nodes if 0 < node.bytes < SMALLEST * total], CHUNK * total)
    # squarify expects the largest first; equal ones keep their order, so the map reads like the file
    members = sorted([*large, *small], key=_bytes, reverse=True)
    sizes = list(map(_bytes, members))
    tiles = []
    for siblings, size, box in zip(members, sizes, squarify(sizes, width, height), strict=True):
        place = Box(100 * box.left / width, 100 * box.top / height, 100 * box.width / width, 100 * box.height / height)
        inside = siblings[0].children if len(siblings) == 1 else ()
        children: tuple[Tile, ...] = ()
        if inside and box.width >= OPENED_WIDTH and box.height >= OPENED_HEIGHT:
            children = _tiles(inside, box.width - 4, box.height - HEADING - 2, total)
        tiles.append(Tile(siblings, place, size / total, children))
    return tuple(tiles)


def _bytes(nodes: Sequence[Node]) -> int:
    return sum(node.bytes for node in nodes)


def _chunks(nodes: Sequence[Node], least: float) -> Iterator[tuple[Node, ...]]:
    """Yield consecutive nodes that together have at least so many bytes; the last ones may have fewer."""
    chunk: list[Node] = []
    for node in nodes:
        chunk.append(node)
        if _bytes(chunk) >= least:
            yield tuple(chunk)
            chunk = []
    if chunk:
        yield tuple(chunk)


def squarify(sizes: Sequence[int], width: float, height: float) -> Iterator[Box]:
    """Yield a box for each size, in their order, largest first. Boxes are as square as possible, and fill the whole."""
    left = top = 0.0
    scale = width * height / sum(sizes) if sizes else 0.0
    areas = [size * scale for size in sizes]
    start = 0
    while start < len(areas):
        side = min(width - left, height - top)
        # a row takes the next box while that makes its worst one no longer; its boxes never move again
        stop = start + 1
        while stop < len(areas) and _worst(areas[start : stop + 1], side) <= _worst(areas[start:stop], side):
            stop += 1
        row = areas[start:stop]
        depth = sum(row) / side if side > 0 else 0.0
        across = width - left >= height - top  # the row is a column at the left of a wide rest
        offset = 0.0
        for area in row:
            length = area / depth if depth > 0 else 0.0
            yield Box(left, top + offset, depth, length) if across else Box(left + offset, top, length, depth)
            offset += length
        left, top = (left + depth, top) if across else (left, top + depth)
        start = stop


def _worst(areas: Sequence[float], side: float) -> float:
    """Return the worst ratio of the sides of boxes in a row along a side."""
    total = sum(areas)
    if side <= 0 or not total:
        return 0.0
    depth = total / side
    return max(max(depth * depth / area, area / (depth * depth)) for area in areas)
