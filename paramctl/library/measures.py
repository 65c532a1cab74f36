"""stat, diff and find_ties: facts about values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from paramctl.errors import AddressError
from paramctl.inspect.diff import DiffRow, compare
from paramctl.inspect.pairing import pair
from paramctl.inspect.ranking import MEASURES, rank
from paramctl.inspect.stat import StatRow, Table, Wanted, statistics_tables, units_of_each
from paramctl.inspect.stat_groups import PER, unit_of_all, units
from paramctl.inspect.stat_rules import Failure, Untested, failures, parse_rule, untested, wanted_by
from paramctl.inspect.ties import equal_arrays
from paramctl.inspect.tolerance import Tolerance
from paramctl.library.arguments import choice, filters, probabilities, tolerance, whole
from paramctl.library.opening import Openable, as_source, rename_rules
from paramctl.parallel import Progress
from paramctl.source.base import Source, select_values
from paramctl.source.save import verify
from paramctl.source.with_state import with_state


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of arrays.

    rows: one for each array or slice, or for each block or dtype.
    total: the row of all values; None if it was not asked for.
    failures: the arrays that meet a rule of ``fail_on``, and the rules.
    untested: the arrays that a rule could not test, such as one of which no value is finite.
    """

    rows: list[StatRow]
    total: StatRow | None = None
    failures: list[Failure] = field(default_factory=list)
    untested: list[Untested] = field(default_factory=list)


def stat(
    weights: Openable,
    *addresses: str,
    quantiles: Sequence[float] = (),
    moments: bool = False,
    norms: bool = False,
    spectral: bool = False,
    histogram: bool = False,
    per: str = "parameter",
    depth: int | None = None,
    total: bool = False,
    fail_on: Sequence[str] = (),
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    seed: int | None = None,
    state: bool = False,
    progress: Progress | None = None,
) -> Statistics:
    """Compute the statistics of arrays, or of the slices that addresses select: mean, std, min, max, norm, NaN, Inf.

    quantiles: the probabilities of quantiles, such as 0.5 for the median; as numpy.quantile computes them.
    moments: compute the skewness and the excess kurtosis.
    norms: compute the L1 and Linf norms and the root mean square.
    spectral: compute the spectral norm, the stable rank, the condition number and the rank of matrices.
    histogram: count the values in at most 16 bins.
    per: ``parameter``, or ``block`` or ``dtype`` for a row for all arrays of each. A shared array counts once.
    depth: the number of levels of blocks; 1 by default.
    total: compute the row of all values too.
    fail_on: rules that no array may meet: ``nan``, ``inf``, ``zero``, ``constant``, ``empty``, or a measure compared
        with a number, such as ``max>100``. They test arrays, also if the rows are blocks.
    trainable, dtype, kind, min_size: only parameters like this.
    seed: of a model's values. state: add the arrays of the file's optimizer.
    Sums are in float64, and NaN and infinities are left out of all but their counts. Raises AddressError.
    """
    choice("per", per, PER)
    if depth is not None and per != "block":
        raise AddressError("depth requires per='block'", f"per={per!r}")
    if spectral and per != "parameter":
        raise AddressError("spectral requires per='parameter'", f"per={per!r}")
    levels = whole("depth", depth, 1) or 1
    rules = [parse_rule(rule) for rule in fail_on]
    wanted = Wanted(probabilities(quantiles), moments, norms, spectral, histogram)
    source = as_source(weights, seed, state=state)
    if not addresses:
        verify(source)
    selected = select_values(source, addresses, filters(trainable, dtype, kind, min_size))
    needed = wanted_by([rule.name for rule in rules])
    are_arrays = per == "parameter"
    tables = [Table(units(selected, per, levels, first_names=not addresses), wanted | needed if are_arrays else wanted)]
    if total:
        tables.append(Table([unit_of_all(selected)], wanted._replace(spectral=False)))
    if rules and not are_arrays:
        tables.append(Table(units_of_each(selected), needed))
    rows = statistics_tables(selected, tables, progress)
    tested = rows[0 if are_arrays else -1]
    return Statistics(rows[0], rows[1][0] if total else None, failures(tested, rules), untested(tested, rules))


@dataclass(frozen=True, slots=True)
class Difference:
    """The differences of two models or files.

    rows: one for each parameter that differs; none if they are equal.
    total: the row of all compared values; None if they are equal or if it was not asked for.
    hint: how to rename the arrays of b, if only a prefix of the names differs.
    arrays: the number of arrays of either side; names that share one array on both sides count once.
    counts: the number of rows of each status, those that ``top`` left out too.
    """

    rows: list[DiffRow]
    total: DiffRow | None = None
    hint: str = ""
    arrays: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        return not self.rows


def diff(
    a: Openable,
    b: Openable,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    equal_nan: bool = False,
    any_dtype: bool = False,
    structure: bool = False,
    rename: Mapping[str, str] | Sequence[str] = (),
    like: Openable | None = None,
    by: str | None = None,
    top: int | None = None,
    total: bool = False,
    seed: int | None = None,
    state: bool = False,
    progress: Progress | None = None,
) -> Difference:
    """Compare two models or files of any formats: names, shapes, dtypes, ties and values.

    rtol, atol: values are equal if |a - b| <= atol + rtol |b|; exactly so where one is an integer or a bool.
    equal_nan: any NaN equals any other; otherwise only one with the same dtype and bits.
    any_dtype: another dtype is no difference.
    structure: compare no values.
    rename: new names for b.
    like: the model whose layers tell how torch's arrays are rearranged, if neither side does.
    by: the measure that sorts the rows, largest difference first: max_abs, max_rel, norm, relative_norm, cosine or
        different. A row without numbers, such as a missing parameter, comes first, then rows with NaN or infinities.
    top: the number of rows to return of these, by max_abs unless ``by`` is given.
    state: compare the arrays of the files' optimizers too, under their own names.
    total: return a row for all compared values too. This reads equal arrays once more.
    """
    choice("by", by, MEASURES)
    allowed = Tolerance(tolerance("rtol", rtol), tolerance("atol", atol), equal_nan)
    top = whole("top", top, 1)
    first, second, names = aligned(a, b, rename=rename, like=like, seed=seed, state=state)
    rows = compare(
        first,
        second,
        names,
        tolerance=allowed,
        structure=structure,
        any_dtype=any_dtype,
        total=total,
        progress=progress,
    )
    overall = rows.pop() if rows and rows[-1].status == "total" else None
    hint = rename_hint(rows, second)
    arrays = {*pair(first, second, names).arrays(), *(row.path for row in rows)}
    counts = Counter[str](row.status for row in rows)
    if by is not None or top is not None:
        rows = rank(rows, by or MEASURES[0])[:top]
    return Difference(rows, overall, hint, len(arrays), counts)


def aligned(
    a: Openable,
    b: Openable,
    *,
    rename: Mapping[str, str] | Sequence[str] = (),
    like: Openable | None = None,
    seed: int | None = None,
    state: bool = False,
) -> tuple[Source, Source, Callable[[str], str]]:
    """Return two sources in one layout, and the function from a path of the second to its name in the first.

    The arguments are those of ``diff``.
    """
    from paramctl.conversion.convert import align  # of these functions, only this one needs it

    reference = as_source(like) if like is not None else None
    first, second, names = align(as_source(a, seed), as_source(b, seed), rename_rules(rename), reference)
    return (with_state(first), with_state(second), _except_state(second, names)) if state else (first, second, names)


def rename_hint(rows: Sequence[DiffRow], second: Source) -> str:
    """Return how to rename the arrays of the second source, if only a prefix of the names differs."""
    from paramctl.conversion.report import prefix_hint

    only_a, only_b = ([row.path for row in rows if row.status == f"only in {side}"] for side in "AB")
    return prefix_hint(only_b, only_a, second.model.separator) if only_a and only_b else ""


def _except_state(source: Source, names: Callable[[str], str]) -> Callable[[str], str]:
    """Return a function of names that leaves those of the optimizer's arrays unchanged."""
    optimizer = source.origin.optimizer
    return lambda path: path if optimizer is not None and path in optimizer.arrays else names(path)


def find_ties(weights: Openable, *, progress: Progress | None = None) -> list[list[str]]:
    """Return groups of arrays that are equal but not tied. All arrays of a common shape and dtype are read."""
    return equal_arrays(as_source(weights), progress)
