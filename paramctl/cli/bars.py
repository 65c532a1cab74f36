"""Bars of block characters, in eighths; of ASCII where the encoding of standard output has no blocks."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite, log10

from paramctl.cli.display import encodes

EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = " ▁▂▃▄▅▆▇█"
ASCII_LEVELS = " .:-=+*#@"


def shares(counts: Sequence[int], log: bool = False) -> list[float]:
    """Return each count as a part of the largest, from 0 to 1; with ``log``, by log(1 + count)."""
    heights = [log10(1 + count) if log else count for count in counts]
    most = max(heights, default=0) or 1
    return [height / most for height in heights]


def horizontal(share: float, width: int) -> str:
    """Return a bar for a share of a width in characters. Any share above 0 is visible."""
    if not share:
        return ""
    if not encodes(EIGHTHS):
        return "#" * max(1, round(share * width))
    whole, rest = divmod(max(1, round(share * width * 8)), 8)
    return EIGHTHS[-1] * whole + (EIGHTHS[rest] if rest else "")


def sparkline(counts: Sequence[int]) -> str:
    """Return a character for each count, whose height is its part of the largest. Only 0 has none."""
    levels = LEVELS if encodes(LEVELS) else ASCII_LEVELS
    return "".join(levels[max(1, round(share * 8)) if share else 0] for share in shares(counts))


def edge_texts(edges: Sequence[float]) -> list[str]:
    """Return ascending numbers as texts that differ, with as many decimals as their distances need."""
    if all(isinstance(edge, int) for edge in edges):
        return [f"{edge:,}" for edge in edges]
    if len(edges) < 2 or edges[0] == edges[-1]:
        return [f"{edge:.6g}" for edge in edges]
    step, largest = _distance(edges), max(abs(edges[0]), abs(edges[-1]))
    decimals = 1 - floor(log10(step))
    if 1e-4 <= largest < 1e7 and decimals <= 12:
        texts = [f"{edge:.{max(decimals, 0)}f}" for edge in edges]
    else:
        texts = [f"{edge:.{min(max(floor(log10(largest)) + decimals, 1), 16)}e}" for edge in edges]
    texts = [text[1:] if text.startswith("-") and not text.strip("-0.e+") else text for text in texts]
    return texts if len(set(texts)) == len(texts) else [repr(edge) for edge in edges]


def _distance(edges: Sequence[float]) -> float:
    """Return the distance of two edges, also where that of the first and the last one exceeds float64."""
    distance = (edges[-1] - edges[0]) / (len(edges) - 1)
    return distance if isfinite(distance) else edges[-1] / (len(edges) - 1) - edges[0] / (len(edges) - 1)
