"""The report of a conversion: a row for each array, and the mismatches that are errors unless --partial allows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from paramctl.address.patterns import compile_pattern
from paramctl.address.quoting import shell_quoted
from paramctl.core.views import Arrangement
from paramctl.errors import AddressError
from paramctl.model import Model

Status = Literal["mapped", "transposed", "packed", "added", "folded", "made", "skipped"]
Shape = tuple[int, ...]

TIED = "tied to "
"""The start of a row's note, before the name of the array that it shares."""


@dataclass(frozen=True, slots=True)
class TensorRow:
    """The conversion of one array.

    path: its name in the result; "" if it is not written.
    source: the names of the arrays that it comes from.
    was, shape: the shape before, if it comes from one array, and the shape after.
    """

    path: str
    status: Status
    source: tuple[str, ...]
    was: Shape | None
    shape: Shape | None
    note: str = ""


def row_of(name: str, arrangement: Arrangement, model: Model, note: str = "") -> TensorRow:
    """Return the row of an array that is an arrangement of a model's arrays."""
    paths = arrangement.paths
    was = model.parameters[paths[0]].shape if len(paths) == 1 else None
    status: Status = "mapped"
    if not arrangement.views:
        status, note = "made", note or f"filled with {arrangement.fill:g}"
    elif arrangement.summed:
        status, note = "added", "the sum of both, which cannot be reversed"
    elif len(paths) > 1:
        status = "packed"
    elif not arrangement.is_identity or was != arrangement.shape:
        status = "transposed"
    return TensorRow(name, status, paths, was, arrangement.shape, note)


def skipped_row(name: str, shape: Shape | None, note: str) -> TensorRow:
    """Return the row of an array that is not written."""
    return TensorRow("", "skipped", (name,), shape, None, note)


def unchanged_rows(model: Model) -> list[TensorRow]:
    """Return the rows of arrays that are written unchanged."""
    parameters = model.parameters.values()
    return [
        TensorRow(parameter.path, "mapped", (parameter.path,), parameter.shape, parameter.shape)
        for parameter in parameters
    ]


def with_source_names(rows: Sequence[TensorRow], names: Mapping[str, str]) -> list[TensorRow]:
    """Return rows with other names for the arrays that are read. names: by the name in the rows."""
    return [replace(row, source=tuple(names.get(name, name) for name in row.source)) for row in rows]


def with_target_names(rows: Sequence[TensorRow], old_names: Mapping[str, str]) -> list[TensorRow]:
    """Return rows with other names for the arrays that are written. old_names: the names in the rows, by the new."""
    names = {old: name for name, old in old_names.items()}
    result = []
    for row in rows:
        kept = row.note.removeprefix(TIED) if row.note.startswith(TIED) else ""
        note = f"{TIED}{names.get(kept, kept)}" if kept else row.note
        result.append(replace(row, path=names.get(row.path, row.path), note=note))
    return result


class Allowed:
    """The names of arrays that may be missing, unexpected or misshaped, given as patterns.

    patterns: of --partial; each must match a mismatch. source, like: the names of both sides in errors.
    """

    def __init__(self, patterns: Sequence[str], source: str = "", like: str = "") -> None:
        self.source, self.like, self.patterns = source, like, list(patterns)
        # Patterns treat a.weight and a/weight alike, so that they work in both layouts.
        self.matchers: dict[str, Callable[[str], bool]] = {
            pattern: compile_pattern(pattern.replace(".", "/")) for pattern in patterns
        }
        self.used: set[str] = set()

    def __call__(self, name: str) -> bool:
        matching = {pattern for pattern, matches in self.matchers.items() if matches(name.replace(".", "/"))}
        self.used |= matching
        return bool(matching)

    def finish(self) -> None:
        """Raise AddressError if a pattern matched no mismatch."""
        for pattern in self.matchers:
            if pattern not in self.used:
                rule = "--partial must match a missing, unexpected or misshaped array"
                raise AddressError(rule, repr(pattern))


class Mismatches:
    """The mismatches of a conversion, collected so that one error lists them all.

    rule: the error's rule. rows: of the arrays that are skipped because of an allowed mismatch.
    """

    def __init__(self, allowed: Allowed, rule: str) -> None:
        self.allowed, self.rule = allowed, rule
        self.messages: list[str] = []
        self.rows: list[TensorRow] = []

    def add(self, name: str, message: str, *rows: TensorRow) -> None:
        """Add a mismatch of an array. rows: of the arrays that are skipped if it is allowed."""
        if self.allowed(name):
            self.rows += rows
        else:
            self.messages.append(message)

    def compare(
        self, actual: Mapping[str, Shape], expected: Mapping[str, Shape], optional: Iterable[str] = ()
    ) -> set[str]:
        """Add every difference between arrays and expected arrays, and return the names that match.

        actual, expected: shapes by name. optional: the expected names that may be missing.
        """
        missing = expected.keys() - actual.keys() - set(optional)
        matching = set()
        for name, shape in expected.items():
            if name in missing:
                self.add(name, f"missing {name} {shape}", skipped_row(name, None, "missing"))
            elif name in actual and actual[name] != shape:
                message = f"{name} of shape {actual[name]}, expected {shape}"
                self.add(name, message, skipped_row(name, actual[name], f"must be {shape}"))
            elif name in actual:
                matching.add(name)
        for name, shape in actual.items():
            if name not in expected:
                self.add(name, f"unexpected {name} {shape}", skipped_row(name, shape, "unexpected"))
        return matching

    def finish(self, hint: Callable[[], str] = str) -> None:
        """Raise AddressError if a mismatch is not allowed. hint: computed only for the error."""
        messages = list(dict.fromkeys(self.messages))  # all arrays of a layer may have one reason
        if messages:
            count = len(messages) - 4
            more = f"; and {count:,} more" if count > 0 else ""
            received = f"{'; '.join(messages[:4])}{more}"
            raise AddressError(self.rule, received, hint() or "Allow them by name with --partial.")


def skip_hint(reasons: Iterable[str]) -> str:
    """Return the --partial option that skips the arrays of a layer. reasons: begin with the layer's path."""
    layer = next(iter(reasons)).partition(":")[0]
    return f"To skip its arrays, use --partial {shell_quoted(f'{layer}/**')}."


MAX_NAMES = 3


def grouped_notes(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each different note, with the layers that it is about. notes: by the layer's path."""
    layers: dict[str, list[str]] = {}
    for layer, texts in notes.items():
        for text in texts:
            layers.setdefault(text, []).append(layer)
    return [f"{_names(paths)}: {text}" for text, paths in layers.items()]


def _names(paths: Sequence[str]) -> str:
    count = len(paths) - MAX_NAMES
    return ", ".join(paths) if count <= 1 else f"{', '.join(paths[:MAX_NAMES])} and {count} more"


_WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""The names by which torch.compile, DataParallel and FSDP wrap a module."""


def prefix_hint(actual: Iterable[str], expected: Iterable[str], separator: str) -> str:
    """Return the --rename option that would make names match, if one side has all names of the other with a prefix.

    actual ``net.a.weight`` and expected ``a.weight``: --rename 'net.**=**'.
    """
    actual, expected = set(actual), set(expected)
    # one name of the shorter side gives the candidates for the prefix; each is then tested with all names
    for names, others, rule in ((actual, expected, "{0}**=**"), (expected, actual, "**={0}**")):
        first = min(others, default="")
        suffix = f"{separator}{first}"
        for prefix in sorted(name.removesuffix(first) for name in names if first and name.endswith(suffix)):
            if all(f"{prefix}{other}" in names for other in others):
                return f"Use --rename {shell_quoted(rule.format(prefix))} to match the names."
    # module._orig_mod.fc.weight, or a wrapped part of a model: encoder._orig_mod.fc.weight
    wrappers = sorted(_WRAPPERS & {part for name in actual for part in name.split(".")})
    rule = rf"\b({'|'.join(wrappers)})\." if len(wrappers) > 1 else rf"\b{''.join(wrappers)}\."
    if wrappers and len(expected & {re.sub(rule, "", name) for name in actual}) > len(expected & actual):
        return f"Use --rename {shell_quoted(f're:{rule}=')} to match the names."
    return ""
