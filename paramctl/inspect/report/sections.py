"""The sections of a report below its totals. A section without content is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from paramctl.core.text import abbreviate
from paramctl.inspect.report.facts import Comparison, Facts
from paramctl.inspect.report.markup import element, lines, text
from paramctl.inspect.report.tables import ARRAYS, CHANGES, FINDINGS, METADATA, MISSING, NUMBERS, OF_VALUES, TIES, Table


class Section(NamedTuple):
    """A section: its name in the page, its heading, its HTML, and the tables that the script fills in."""

    key: str
    title: str
    html: str
    tables: tuple[Table, ...] = ()


def sections(facts: Facts, map_html: str) -> Iterator[Section]:
    """Yield the sections from the top. map_html: the treemap."""
    yield _findings(facts)
    if facts.comparison is not None:
        yield _changes(facts.name, facts.comparison)
    if map_html:
        yield _section("sizes", "Sizes", "Each area is a share of the bytes.", map_html)
    if facts.arrays:
        about = "A layer opens with Enter or a click. The arrow keys move between the lines, and open and close them."
        plain = element(
            "noscript", element("p", "The tree needs scripts. The table below has every array without them.")
        )
        yield _section("layers", "Layers", about, element("div", "", class_="tree", id="tree") + plain)
        yield _arrays(facts)
    else:
        state = facts.summary.optimizer_totals
        words = (
            f"No parameters. With --state, the report has the {state.arrays:,} arrays of the optimizer."
            if state
            else ""
        )
        yield _section("arrays", "Arrays", words or "No arrays.", "")
    if ties := facts.summary.ties:
        yield _tables("ties", "Ties", "Two names for one array, which is counted once.", Table("ties", "", TIES, ties))
    if missing := facts.summary.missing:
        about = "The file's configuration has these parameters, and the file does not."
        yield _tables("missing", "Missing parameters", about, Table("missing", "", MISSING, list(missing.items())))
    if facts.metadata:
        about = "The file records this beside its arrays."
        yield _tables("metadata", "Metadata", about, Table("metadata", "", METADATA, facts.metadata))
    if facts.skipped:
        about = "The file also has this, which is not an array of numbers."
        yield _section("skipped", "Other content", about, element("p", text(abbreviate(facts.skipped))))


def _section(key: str, title: str, about: str, content: str, tables: Sequence[Table] = ()) -> Section:
    heading = element("h2", text(title), id=f"{key}-title")
    words = element("p", text(about), class_="about") if about else ""
    html = element("section", lines((heading, words, content)), id=key, aria_labelledby=f"{key}-title")
    return Section(key, title, html, tuple(tables))


def _tables(key: str, title: str, about: str, table: Table) -> Section:
    named = Table(table.key, title, table.fields, table.rows, table.hidden)
    return _section(key, title, about, table_html(named), (named,))


def _findings(facts: Facts) -> Section:
    if facts.findings is None:
        return _section("findings", "Findings", "Not checked, because no values were read.", "")
    findings, comparison = facts.all_findings, facts.comparison
    if not findings:
        files = "" if comparison is None else f", neither in A, {facts.name}, nor in B, {comparison.name}"
        words = f"No findings{files}."
        return _section("findings", "Findings", words, "")
    hidden = frozenset({"file"} if comparison is None else ())
    return _tables("findings", "Findings", "", Table("findings", "", FINDINGS, findings, hidden))


def _changes(name: str, comparison: Comparison) -> Section:
    title = f"Differences from {comparison.name}"
    limits = "" if comparison.values else "No values were compared, only names, shapes, dtypes and ties."
    if not comparison.rows:
        return _section("changes", title, f"No differences. {limits} {comparison.hint}".strip(), "")
    about = f"A is {name}, B is {comparison.name}. {_counts(comparison)} {limits or ORDER} {comparison.hint}".strip()
    # two files that differ in names alone have no numbers
    empty = [field.key for field in CHANGES if all(field.value(row) in (None, 0) for row in comparison.rows)]
    return _tables("changes", title, about, Table("changes", "", CHANGES, comparison.rows, frozenset(empty)))


ORDER = (
    "Arrays without numbers come first, then those with NaN or infinities, then those that are all zeros in A, "
    "then the largest relative norm: the L2 norm of A - B over that of A."
)
"""The order of the differences, in words."""


def _counts(comparison: Comparison) -> str:
    """Return the numbers of arrays that differ, are in one file only, and could not be compared, in words."""
    counts = Counter(row.status for row in comparison.rows)
    alone = [f"{counts[side]:,} {'is' if counts[side] == 1 else 'are'} {side}" for side in ("only in A", "only in B")]
    unread = f"{counts['unread']:,} could not be compared"
    differ = len(comparison.rows) - counts["unread"] - counts["only in A"] - counts["only in B"]
    of_both = (
        "No array is in both"
        if not comparison.compared
        else f"{differ:,} of the {comparison.compared:,} arrays in both differ{'s' if differ == 1 else ''}"
    )
    others = [words for words in (*alone, unread) if not words.startswith("0 ")]
    return ", ".join([of_both, *others]) + "."


def _arrays(facts: Facts) -> Section:
    was_read = any(array.stat is not None for array in facts.arrays)
    is_finite = not any(array.stat and array.stat.nan + array.stat.inf for array in facts.arrays)
    hidden = {"nonfinite"} if was_read and is_finite else set() if was_read else OF_VALUES
    about = (
        "Mean, std, min and max are those of the finite values."
        if was_read
        else "No values were read, so no statistics are known."
    )
    return _tables("arrays", "Arrays", about, Table("arrays", "", ARRAYS, facts.arrays, frozenset(hidden)))


def table_html(table: Table) -> str:
    """Return the place that the script fills, and the whole table for browsers without scripts."""
    columns = [field for field in table.columns if field.kind != "bars"]
    # the numbers follow the texts, so that one rule of the style aligns them without a class in each cell
    first = next((place for place, field in enumerate(columns) if field.kind in NUMBERS), len(columns))
    head = "".join(element("th", text(field.label), scope="col") for field in columns)
    # the end tags of rows and cells are optional in HTML; without them, 10,000 rows are a third shorter
    body = "".join(
        f"<tr{f' id=p{number}' if table.key == 'arrays' else ''}>" + "".join(f"<td>{text(cell)}" for cell in cells)
        for number, cells in enumerate(table.texts())
    )
    caption = element("caption", text(table.caption), class_="hidden")
    whole = element("table", f"{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>", class_=f"n{first + 1}")
    return element("div", "", class_="table", data_table=table.key) + element("noscript", whole)
