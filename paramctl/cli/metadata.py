"""summary --metadata and set --metadata: the values that a file has beside its arrays."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any

import click

from paramctl.cli.display import table_width
from paramctl.cli.options import DEFAULT_MODEL
from paramctl.cli.render import Column, emit, json_value, rows, tell

if TYPE_CHECKING:
    from paramctl.inspect.metadata import MetadataRow

SHOWN_CHARACTERS = 200
"""Characters of a value on a terminal. Elsewhere, and with --wide, values are never shortened."""


def _exact_text(row: MetadataRow) -> str:
    """Return a value as a text; a list or a mapping as JSON."""
    if row.omitted is not None:
        return f"({row.omitted})"
    value = _with_texts(row.value)
    return value if isinstance(value, str) else json_value(value)


def _with_texts(value: Any) -> Any:
    """Return a value in which NaN and infinities are texts, as in dump, because JSON does not have them."""
    if isinstance(value, dict):
        return {key: _with_texts(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [*map(_with_texts, value)]
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _text(row: MetadataRow) -> str:
    text = _exact_text(row)
    if len(text) <= SHOWN_CHARACTERS or table_width() is None:
        return text
    return f"{text[:SHOWN_CHARACTERS]}... ({len(text):,} characters)"


PLACE = Column("place", "Place", lambda row: row.place)
KEY = Column("key", "Key", lambda row: row.key)
OMITTED = Column("omitted", "Left out", lambda row: row.omitted)
JSON = [PLACE, KEY, Column("value", "Value", lambda row: _with_texts(row.value)), OMITTED]
CSV = [PLACE, KEY, Column("value", "Value", _exact_text)]


def check_alone(format: str) -> None:
    """Raise UsageError for an option of summary that does not apply to metadata."""
    context = click.get_current_context()
    # an option that has no effect must not be accepted in silence
    for parameter in context.command.params:
        is_typed = context.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE
        if is_typed and parameter.name not in ("model", "metadata", "format"):
            name = parameter.opts[0] if isinstance(parameter, click.Option) else "a pattern"
            raise click.UsageError(f"--metadata prints all of a file's metadata, so it does not support {name}")
    if format == "tree":
        raise click.UsageError("--metadata has rows, and no tree")


def print_metadata(items: Sequence[MetadataRow], path: str | None, format: str) -> None:
    """Write the metadata of a file to standard output, or to standard error that it has none."""
    columns: list[Column]
    # JSON keeps the types of values, a row of CSV has one text for each
    if format in ("json", "jsonl"):
        columns = JSON
    elif format == "csv":
        columns = CSV
    else:
        has_places = any(row.place is not None for row in items)
        columns = [*([PLACE] if has_places else []), KEY, Column("value", "Value", _exact_text, _text)]
    if not items:
        tell(f"{path or DEFAULT_MODEL}: has no metadata")
    if items or format in ("json", "csv"):
        emit(rows(format, items, columns))


def parse_pairs(words: Sequence[str]) -> dict[str, str]:
    """Return texts by key. Raises UsageError for a word that is not KEY=VALUE, and for a key that occurs twice."""
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise click.UsageError(f"--metadata must be KEY=VALUE (got {word!r})")
        if key in pairs:
            raise click.UsageError(f"--metadata has the key {key!r} twice")
        pairs[key] = value
    return pairs


def check_separate(source: str | None, assignments: Sequence[str], output: str | None, dry_run: bool) -> None:
    """Raise UsageError for arguments of set that do not apply to metadata."""
    if assignments:
        raise click.UsageError("Values and metadata are changed by separate commands: --metadata takes no ASSIGNMENT")
    if source in (None, "-") or output == "-":
        raise click.UsageError("--metadata requires the name of a file, and no pipe")
    if dry_run:
        raise click.UsageError("--metadata does not support --dry-run")


def changed_text(count: int) -> str:
    return "1 item of metadata changed" if count == 1 else f"{count:,} items of metadata changed"
