"""What became of each array that was converted, and what does not fit: the rows, and what --partial allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from paramctl.address.patterns import compile_pattern
from paramctl.core.views import Arrangement
from paramctl.errors import AddressError
from paramctl.model import Model
from paramctl.source.renamed import RenamedSource

Status = Literal["mapped", "transposed", "packed", "added", "made", "skipped"]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorRow:
    """What became of an array. path: where it is written, "" if it is not; source: what it is made of."""

    path: str
    status: Status
    source: tuple[str, ...]
    was: Shape | None
    shape: Shape | None
    note: str = ""


def row_of(name: str, made: Arrangement, base: Model, note: str = "") -> TensorRow:
    """What an array is made of, in a row."""
    was = base.parameters[made.paths[0]].shape if len(made.paths) == 1 else None
    status: Status = "mapped"
    if not made.views:
        status, note = "made", note or f"filled with {made.fill:g}"
    elif made.summed:
        status, note = "added", "not exact: the sum of the two"
    elif len(made.paths) > 1:
        status = "packed"
    elif not made.is_identity or was != made.shape:
        status = "transposed"
    return TensorRow(name, status, made.paths, was, made.shape, note)


def skipped(name: str, shape: Shape | None, note: str) -> TensorRow:
    """The row of an array that is not written."""
    return TensorRow("", "skipped", (name,), shape, None, note)


def as_they_are(model: Model) -> list[TensorRow]:
    """What became of arrays to which nothing was done."""
    return [TensorRow(each.path, "mapped", (each.path,), each.shape, each.shape) for each in model.parameters.values()]


def from_names(report: Sequence[TensorRow], old: Mapping[str, str]) -> list[TensorRow]:
    """The same report, where what is read had other names."""
    return [replace(row, source=tuple(old.get(name, name) for name in row.source)) for row in report]


def to_names(report: Sequence[TensorRow], under: RenamedSource) -> list[TensorRow]:
    """The same report, where what is written has other names."""
    new = {old: name for name, old in under.old.items()}
    made = []
    for row in report:
        tied = row.note.removeprefix(TIED) if row.note.startswith(TIED) else ""
        note = f"{TIED}{new.get(tied, tied)}" if tied else row.note
        made.append(replace(row, path=new.get(row.path, row.path), note=note))
    return made


TIED = "tied to "
"""What the note of a row begins with whose array is another's."""


class Allowed:
    """The names that may be missing, unexpected or of another shape. Each pattern must match one of those.

    source, like: what errors call the one and the other.
    """

    def __init__(self, patterns: Sequence[str], source: str = "", like: str = "") -> None:
        self.source, self.like = source, like
        self.tests: dict[str, Callable[[str], bool]] = {
            text: compile_pattern(text.replace(".", "/")) for text in patterns
        }
        self.used: set[str] = set()

    def __call__(self, name: str) -> bool:
        matching = {text for text, matches in self.tests.items() if matches(name.replace(".", "/"))}
        self.used |= matching
        return bool(matching)

    def finish(self) -> None:
        """Raise AddressError for a pattern that has allowed nothing."""
        for text in self.tests:
            if text not in self.used:
                raise AddressError(
                    "--partial names what is missing, unexpected or misshaped, and this is not", repr(text)
                )


class Misfits:
    """What does not fit, told all at once; ``rows`` are of what is left out for that, and allowed.

    source, model: what errors call the one and the other.
    """

    def __init__(self, allowed: Allowed, source: str, model: str) -> None:
        self.allowed, self.source, self.model = allowed, source, model
        self.told: list[str] = []
        self.rows: list[TensorRow] = []

    def add(self, name: str, words: str, *left_out: TensorRow) -> None:
        if self.allowed(name):
            self.rows += left_out
        else:
            self.told.append(words)

    def hold(self, there: Mapping[str, Shape], wanted: Mapping[str, Shape], free: Iterable[str] = ()) -> set[str]:
        """Hold arrays against those that are wanted, of which the free ones may be missing; the names that fit."""
        missing = wanted.keys() - there.keys() - set(free)
        fitting = set()
        for name, shape in wanted.items():
            if name in missing:
                self.add(name, f"missing {name} {shape}", skipped(name, None, "missing"))
            elif name in there and there[name] != shape:
                words = f"{name} is {there[name]}, and must be {shape}"
                self.add(name, words, skipped(name, there[name], f"must be {shape}"))
            elif name in there:
                fitting.add(name)
        for name, shape in there.items():
            if name not in wanted:
                self.add(name, f"unexpected {name} {shape}", skipped(name, shape, "unexpected"))
        return fitting

    def finish(self, hint: Callable[[], str] = str) -> None:
        """Raise AddressError if there is any that is not allowed; hint: how it would fit, which only an error asks."""
        if self.told:
            more = f" and {len(self.told) - 4:,} more" if len(self.told) > 4 else ""
            received = f"{'; '.join(self.told[:4])}{more}"
            said = hint() or "--partial allows them by name."
            raise AddressError(f"{self.source} does not fit {self.model}", received, said)


def prefix_hint(there: Iterable[str], wanted: Iterable[str], separator: str) -> str:
    """How other names would fit: all that is wanted stands there behind the same prefix, or the other way round."""
    there, wanted = set(there), set(wanted)
    for names, others, rule in ((there, wanted, "{0}**=**"), (wanted, there, "**={0}**")):
        first = min(others, default="")
        ends = f"{separator}{first}"
        for prefix in sorted(name.removesuffix(first) for name in names if first and name.endswith(ends)):
            if all(f"{prefix}{other}" in names for other in others):
                return f"--rename '{rule.format(prefix)}' gives them the names that are wanted."
    return ""
