"""Several files in one command: which arguments are files, and one table with a column File."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from os.path import exists
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from paramctl.cli.render import ALWAYS, Column, json_text, numeric, rows, table, tell
from paramctl.errors import ParamctlError, without_credentials

if TYPE_CHECKING:
    from paramctl.inspect.summary import Summary

T = TypeVar("T")


class OfFile(NamedTuple):
    """A row, with the file that it is about."""

    file: str
    row: Any


def split_files(first: str | None, words: Sequence[str]) -> tuple[list[str | None], tuple[str, ...]]:
    """Return the files among the arguments, and the addresses after them.

    first: the first argument. Others are files while they name existing ones with the suffix of a checkpoint or a
    document, or are URLs: an address such as dense is none, whatever is in the folder.
    """
    if not words:
        return [first], ()
    from paramctl.store.foreign import DOCUMENTS
    from paramctl.store.registry import FORMATS
    from paramctl.store.urls import is_url

    suffixes = (*DOCUMENTS, *(suffix for each in FORMATS for suffix in (*each.suffixes, *each.read_suffixes)))
    count = 0
    while count < len(words):
        word = words[count]
        if not is_url(word) and not (word.lower().endswith(suffixes) and exists(word)):
            break
        count += 1
    return [first, *words[:count]], tuple(words[count:])


def of_each(files: Sequence[str | None], work: Callable[[str], T]) -> tuple[list[tuple[str, T]], int]:
    """Return the result of each file, and an exit code: as for grep, 2 if one fails, after the others are done."""
    results, code = [], 0
    for file in files:
        name = str(file)
        try:
            results.append((without_credentials(name), work(name)))
        except ParamctlError as error:
            text = " ".join(str(error).splitlines())
            # errors about an address name the model, which two files may share
            tell(text if text.startswith(name) else f"{name}: {text}")
            code = 2
    return results, code


def with_file(columns: Sequence[Column]) -> list[Column]:
    """Return columns for rows of type OfFile, with the file first. Rows keep their names, however narrow they are."""
    name, *others = map(_of_row, columns)
    return [Column("file", "File", lambda item: item.file), replace(name, priority=ALWAYS), *others]


def _of_row(column: Column) -> Column:
    text, note = column.text, column.note
    return replace(
        column,
        value=lambda item: column.value(item.row),
        text=(lambda item: text(item.row)) if text else None,
        note=(lambda item: note(item.row)) if note else None,
    )


def refuse_standard_input(files: Sequence[str | None]) -> None:
    """Raise UsageError for standard input among several files, which can be read once."""
    if len(files) > 1 and "-" in files:
        raise click.UsageError("Standard input cannot be one of several files")


class FileTotals(NamedTuple):
    """The totals of one file, or of all. None if the file does not record them, or a shape is unknown."""

    file: str
    parameters: int | None
    trainable: int | None
    non_trainable: int | None
    bytes: int | None


TOTALS = [
    Column("file", "File", lambda row: row.file),
    numeric("parameters", "Parameters"),
    numeric("trainable", "Trainable"),
    numeric("non_trainable", "Non-trainable"),
    numeric("bytes", "Bytes"),
]


def _totals(summaries: Sequence[tuple[str, Summary]]) -> list[FileTotals]:
    """Return the totals of each file, and those of all together."""
    # a file that does not record trainable makes the count unknown for all
    by_file = []
    for file, facts in summaries:
        counts = facts.totals
        known = (counts.parameters, counts.trainable, counts.non_trainable, sum(counts.bytes.values()))
        by_file.append(FileTotals(file, *((None,) * 4 if facts.unbuilt else known)))
    sums = [None if None in column else sum(column) for column in list(zip(*by_file, strict=True))[1:]]
    return [*by_file, FileTotals("total", *sums)]


def summary_lines(
    summaries: Sequence[tuple[str, Summary]],
    items: Sequence[OfFile],
    columns: Sequence[Column],
    format: str,
    as_object: Callable[[Summary], dict[str, Any]],
    more: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the summaries of several files: one table, and their totals.

    items: the rows of all. more: lines below the table. as_object: returns one summary as JSON has it.
    """
    totals = _totals(summaries)
    if format == "json":
        files = [{"file": file, **as_object(facts)} for file, facts in summaries]
        yield json_text(
            {"files": files, "totals": {key: value for key, value in totals[-1]._asdict().items() if key != "file"}}
        )
        return
    yield from rows(format, items, with_file(columns))
    if format == "table":
        yield from more
        yield ""
        yield from table(totals, TOTALS)
