"""A treemap as nested lists of links. The places of the tiles are rules of the style sheet, which needs no script."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from paramctl.core.text import binary
from paramctl.inspect.report.markup import element, label, text
from paramctl.inspect.report.tree import Node
from paramctl.inspect.report.treemap import Tile

COLORS = 6
"""The number of colors in the style sheet. Further dtypes repeat them."""


def treemap_html(tiles: Sequence[Tile], nodes: Sequence[Node], changed: Collection[int] = ()) -> tuple[str, str]:
    """Return the map and its style; two empty texts without tiles. changed: the numbers of arrays to mark."""
    if not tiles:
        return "", ""
    dtypes = {dtype: place for place, dtype in enumerate(_dtypes(nodes))}
    rules: list[str] = []
    html = _list(tiles, dtypes, rules, changed, "map")
    legend = "".join(
        element("li", element("span", "", class_=f"swatch d{place % COLORS}", aria_hidden="true") + text(dtype))
        for dtype, place in dtypes.items()
    )
    if changed:
        legend += element("li", element("span", "", class_="swatch changed", aria_hidden="true") + "differs from B")
    return html + element("ul", legend, class_="legend", aria_label="Colors by dtype"), "\n".join(rules)


def _dtypes(nodes: Sequence[Node]) -> list[str]:
    """Return the dtypes of all arrays, in the order of their first."""
    return list(dict.fromkeys(node.type for node in _leaves(nodes)))


def _leaves(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        if node.array is not None:
            yield node
        yield from _leaves(node.children)


def _list(tiles: Sequence[Tile], dtypes: dict[str, int], rules: list[str], changed: Collection[int], name: str) -> str:
    return element("ul", "".join(_tile(tile, dtypes, rules, changed) for tile in tiles), class_=name)


def _tile(tile: Tile, dtypes: dict[str, int], rules: list[str], changed: Collection[int]) -> str:
    number = len(rules)
    left, top, width, height = (f"{value:.3f}%" for value in tile.box)
    # a style attribute would need a policy that allows any style; these rules are under the hash of the style sheet
    rules.append(f"#t{number}{{left:{left};top:{top};width:{width};height:{height}}}")
    first, last = tile.nodes[0], tile.nodes[-1]
    is_one = first is last
    name = label(first.label) if is_one else f"{label(first.label)} … {label(last.label)}"
    share = f"{100 * tile.share:.1f} %"
    size = sum(node.bytes for node in tile.nodes)
    words = f"{first.path or first.label}: " if is_one else f"{len(tile.nodes):,} from {first.path} to {last.path}: "
    words += f"{size:,} bytes{binary(size)}, {share}"
    if is_one and first.array is not None:
        words += f", {first.type} {first.output}"
    marked = sum(number in changed for node in tile.nodes for number in node.arrays())
    if marked:
        words += ", differs" if is_one and first.array is not None else f", {marked:,} differ"
    texts = element("span", text(name), class_="name") + element("span", share, class_="share")
    link = element("a", texts, href=f"#{first.key}", title=words, aria_label=words)
    inside = _list(tile.children, dtypes, rules, changed, "inside") if tile.children else ""
    kinds = {leaf.type for leaf in _leaves(tile.nodes)}
    color = f"d{dtypes[kinds.pop()] % COLORS}" if len(kinds) == 1 else "mixed"
    kind = "nest" if inside else f"{color} changed" if marked else color
    return element("li", link + inside, id=f"t{number}", class_=f"tile {kind}")
