"""The order of the rows of summaries, the first of them, and the share of each in the total.

The rows that count something are ranked: a block that is expanded has no count of its own. So the shares of all rows
add up to 100 %, at any depth and for any selection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from paramctl.core.ordering import Key, numeric_key
from paramctl.inspect.summary import LeftOut, Omitted, Summary
from paramctl.inspect.summary_rows import LayerRow, ParameterRow

R = TypeVar("R", LayerRow, ParameterRow)


class _Ranked(NamedTuple, Generic[R]):
    """The rows of each summary that are kept, and those left out."""

    kept: list[list[R]]
    left_out: Omitted


def measure_of(sort: str | None) -> str:
    """Return the number that shares are of: that of the order, or parameters."""
    return "parameters" if sort in (None, "path") else str(sort)


def sort_key(sort: str | None, separator: str) -> Callable[[LayerRow | ParameterRow], tuple[bool, int] | list[Key]]:
    """Return the key of rows for an order: unknown numbers are last, and layer_2 is before layer_10.

    sort: one of SORTS; None sorts by parameters.
    """
    if sort == "path":
        return lambda row: [numeric_key(name) for name in row.path.split(separator)]
    measure = measure_of(sort)

    def key(row: LayerRow | ParameterRow) -> tuple[bool, int]:
        number = row.counted(measure)
        return number is None, -(number or 0)

    return key


def rank(summaries: Sequence[Summary], sort: str | None = None, top: int | None = None) -> list[Summary]:
    """Return summaries with their rows in an order, with only the first of all, and with the share of each row.

    sort: one of SORTS; None keeps the order of the models, unless ``top`` is given.
    top: the number of rows to keep, of all summaries together; None keeps all.

    Shares are of the total of all summaries: of ``sort`` if it is a number, else of parameters. They are None if the
    total is unknown or 0, and for arrays of an optimizer. Parameters have no macs, so that order leaves them unchanged.
    """
    measure, is_ranked = measure_of(sort), sort is not None or top is not None
    layers = _rank([facts.layers for facts in summaries], summaries, measure, sort, top, is_ranked)
    arrays = [[*facts.parameters, *facts.optimizer] for facts in summaries]
    if measure == "macs":
        parameters = _Ranked(arrays, Omitted(0, 0))
    else:
        parameters = _rank(arrays, summaries, measure, sort, top, is_ranked)
    left_out = LeftOut(layers.left_out, parameters.left_out) if is_ranked else None
    return [
        replace(
            facts,
            layers=kept,
            parameters=[row for row in rows if row.kind != "optimizer"],
            optimizer=[row for row in rows if row.kind == "optimizer"],
            left_out=left_out,
        )
        for facts, kept, rows in zip(summaries, layers.kept, parameters.kept, strict=True)
    ]


def _rank(
    rows: Sequence[list[R]], summaries: Sequence[Summary], measure: str, sort: str | None, top: int | None, ranked: bool
) -> _Ranked[R]:
    """Return the rows of each summary, sorted and cut among those of all, with their shares."""
    pairs = [(place, row) for place, each in enumerate(rows) for row in each]
    if ranked:
        # the separator of a row is that of its own file
        keys = [sort_key(sort, facts.separator) for facts in summaries]
        pairs = [pair for pair in pairs if not pair[1].expanded or pair[1].counted(measure)]
        pairs.sort(key=lambda pair: keys[pair[0]](pair[1]))
    total = _sum(facts.total(measure) for facts in summaries)
    kept: list[list[R]] = [[] for _ in rows]
    running = 0
    for place, row in pairs[:top]:
        number = None if row.kind == "optimizer" or not total else row.counted(measure)
        if number is None:
            kept[place].append(row)
        else:
            running += number
            percent, cumulative = 100 * number / total, 100 * running / total  # type: ignore[operator]
            kept[place].append(row._replace(percent=percent, cumulative=cumulative))
    rest = [row for _, row in pairs[len(pairs) if top is None else top :]]
    return _Ranked(kept, Omitted(len(rest), _sum(row.counted(measure) for row in rest if row.kind != "optimizer")))


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Return the sum of numbers; None if one is unknown."""
    known = list(numbers)
    return None if None in known else sum(number or 0 for number in known)
