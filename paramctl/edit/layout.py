"""A source in another layout, or held against a model document: what becomes of each of its arrays."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from paramctl.address import pattern
from paramctl.arrays import Array
from paramctl.edit import torch_layout
from paramctl.edit.arrange import Arranged, Arrangement, View, view
from paramctl.edit.rename import Renamed, renamed
from paramctl.errors import AddressError
from paramctl.model import Model, Tie
from paramctl.naming import renamer
from paramctl.parameter import Parameter
from paramctl.slices import Picks
from paramctl.source import Source
from paramctl.store.checkpoint import model_of

Status = Literal["mapped", "transposed", "packed", "added", "made", "skipped"]


@dataclass(frozen=True, slots=True)
class TensorRow:
    """What became of an array. path: where it is written, "" if it is not; source: what it is made of."""

    path: str
    status: Status
    source: tuple[str, ...]
    was: tuple[int, ...] | None
    shape: tuple[int, ...] | None
    note: str = ""


class Allowed:
    """The names that may be missing, unexpected or of another shape. Each pattern must match one of those.

    source, like: what errors call the one and the other.
    """

    def __init__(self, patterns: Sequence[str], source: str = "", like: str = "") -> None:
        self.source, self.like = source, like
        self.tests: dict[str, Callable[[str], bool]] = {text: pattern(text.replace(".", "/")) for text in patterns}
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
    """What does not fit, told all at once; ``rows`` are of what is left out for that, and allowed."""

    def __init__(self, source: str, model: str, allowed: Allowed) -> None:
        self.source, self.model, self.allowed = source, model, allowed
        self.told: list[str] = []
        self.rows: list[TensorRow] = []

    def add(self, name: str, words: str, *left_out: TensorRow) -> None:
        if self.allowed(name):
            self.rows += left_out
        else:
            self.told.append(words)

    def finish(self, hint: str = "") -> None:
        """Raise AddressError if there is any that is not allowed."""
        if self.told:
            more = f" and {len(self.told) - 4:,} more" if len(self.told) > 4 else ""
            received = f"{'; '.join(self.told[:4])}{more}"
            hint = hint or "--partial allows them by name."
            raise AddressError(f"{self.source} does not fit {self.model}", received, hint)


def to_torch(source: Source, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """A source whose layers are known in torch's layout. Raises AddressError for layers that torch.nn has not."""
    model, found = source.model, torch_layout.layout(source.model)
    misfits = Misfits(allowed.source or model.name, "torch.nn", allowed)
    for path, reason in found.without.items():
        misfits.add(path, f"{path}: {reason}")
    misfits.finish()
    parameters = torch_layout.parameters(found, model)
    ties = torch_layout.ties(found, model)
    origin = model.document or model.origin
    made = replace(model_of(model.name, parameters, ties), origin=origin)
    arranged = Arranged(source, made, {name: each.made for name, each in found.laid.items()})
    tied = {tie.tied: f"tied to {tie.kept}" for tie in ties}
    copies = {tie.tied for tie in model.ties}
    rows = []
    for name, each in found.laid.items():
        copied = name not in tied and copies & set(each.made.paths)
        note = tied.get(name, "a copy: torch turns no tied array" if copied else "")
        rows.append(_arranged_row(name, each.made, model, "not a parameter here" if each.dropped else note))
    skipped = [
        TensorRow("", "skipped", (path,), model.parameters[path].shape, None, reason)
        for path, reason in found.without.items()
    ]
    return arranged, rows + skipped


def is_torchs(model: Model, like: Model | None) -> bool:
    """Whether a model has the names of torch's arrays of another, and not that one's own."""
    if like is None or model.inputs:
        return False
    names = model.parameters.keys()
    return len(names & torch_layout.layout(like).laid.keys()) > len(names & like.parameters.keys())


def alike(
    a: Source, b: Source, rename: Sequence[str], like: Model | None = None
) -> tuple[Source, Source, Callable[[str], str]]:
    """Two sources to be compared, and what b's names are in a's.

    What is in torch's layout is turned, if ``like``, or the other of the two, tells of which layers.
    """
    one = _turned(a, like or b.model)
    named = renamed(b, rename) if rename else b
    other = _turned(named, like or a.model)
    if other is not named:
        return one, other, lambda path: path
    return one, b, renamer(rename, b.model)


def _turned(source: Source, like: Model) -> Source:
    torchs = bool(like.inputs) and is_torchs(source.model, like)
    return to_keras(source, like, Allowed(["**"]))[0] if torchs else source


def as_they_are(source: Source) -> list[TensorRow]:
    """What became of arrays to which nothing was done."""
    return [
        TensorRow(each.path, "mapped", (each.path,), each.shape, each.shape)
        for each in source.model.parameters.values()
    ]


def from_names(report: Sequence[TensorRow], old: Mapping[str, str]) -> list[TensorRow]:
    """The same report, where what is read had other names."""
    return [replace(row, source=tuple(old.get(name, name) for name in row.source)) for row in report]


def to_names(report: Sequence[TensorRow], under: Renamed) -> list[TensorRow]:
    """The same report, where what is written has other names."""
    new = {old: name for name, old in under.old.items()}
    return [replace(row, path=new.get(row.path, row.path)) for row in report]


def _arranged_row(name: str, made: Arrangement, base: Model, note: str = "") -> TensorRow:
    """What an array is made of, in a row."""
    was = base.parameters[made.paths[0]].shape if len(made.paths) == 1 else None
    status: Status = "mapped"
    if not made.views:
        status, note = "made", note or f"filled with {made.fill:g}"
    elif made.added:
        status, note = "added", "not exact: the sum of the two"
    elif len(made.paths) > 1:
        status = "packed"
    elif not made.straight or was != made.shape:
        status = "transposed"
    return TensorRow(name, status, made.paths, was, made.shape, note)


def to_keras(source: Source, like: Model, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """A source in torch's layout as the model that it is of. Raises AddressError if its names or shapes do not fit."""
    found, there = torch_layout.layout(like), source.model.parameters
    misfits = Misfits(allowed.source or source.model.name, allowed.like or like.name, allowed)
    rows: list[TensorRow] = []
    absent = set(_missing(found, like, there))
    for name, each in found.laid.items():
        if name not in there:
            if name in absent:
                misfits.add(name, f"missing {name}", _left_out(name, None, each.made.shape))
        elif there[name].shape != each.made.shape:
            words, shape = f"{name} is {there[name].shape}, and must be {each.made.shape}", there[name].shape
            misfits.add(name, words, _left_out(name, shape, each.made.shape))
            absent.add(name)
        elif each.dropped:
            rows.append(TensorRow("", "skipped", (name,), each.made.shape, None, "not a parameter here"))
            if each.dtype is None and not _is_filled(source, name, each.made.fill):
                misfits.add(name, f"{name} must be {each.made.fill:g} throughout, for {each.of} has no such parameter")
    for path, reason in found.without.items():
        misfits.add(path, f"{path}: {reason}")
    rows += _unexpected(there, found.laid, misfits)
    misfits.finish(_hint(there, found.laid, source.model.separator))
    rows += misfits.rows
    made = {
        path: of
        for path, of in found.back(like).items()
        if not absent & set(of.paths) and set(of.paths) <= there.keys()
    }
    result = _as_model(source, like, made)
    return result, [_arranged_row(path, of, source.model) for path, of in made.items()] + rows


def _missing(found: torch_layout.Layout, like: Model, there: Mapping[str, Parameter]) -> Iterator[str]:
    """The arrays that are not there and must be: all but those of a tied name, if the other's are."""
    by_path: dict[str, list[str]] = {}
    for name, each in found.laid.items():
        for path in each.made.paths:
            by_path.setdefault(path, []).append(name)
    free = {
        name
        for tie in like.ties
        for name in by_path.get(tie.tied, ())
        if all(other in there for other in by_path.get(tie.kept, ()))
    }
    for name, each in found.laid.items():
        if name not in there and name not in free and not each.dropped and each.partner is None:
            yield name


def _unexpected(there: Mapping[str, Parameter], known: Container[str], misfits: Misfits) -> list[TensorRow]:
    others = [parameter for name, parameter in there.items() if name not in known]
    for each in others:
        misfits.add(each.path, f"unexpected {each.path} {each.shape}")
    return [TensorRow("", "skipped", (each.path,), each.shape, None, "unexpected") for each in others]


def _left_out(name: str, was: tuple[int, ...] | None, wanted: tuple[int, ...]) -> TensorRow:
    """The row of an array that is missing, or of another shape than it must be."""
    return TensorRow("", "skipped", (name,), was, None, "missing" if was is None else f"must be {wanted}")


def _hint(there: Iterable[str], wanted: Iterable[str], separator: str) -> str:
    """How other names would fit: all that is wanted stands there behind the same prefix, or the other way round."""
    there, wanted = set(there), set(wanted)
    if not wanted:
        return ""
    for names, others, rule in ((there, wanted, "{0}**=**"), (wanted, there, "**={0}**")):
        first = min(others, default="")
        ends = f"{separator}{first}"
        for prefix in sorted(name.removesuffix(first) for name in names if name.endswith(ends)):
            if all(f"{prefix}{other}" in names for other in others):
                return f"--rename '{rule.format(prefix)}' gives them the names that are wanted."
    return ""


def held_against(source: Source, like: Model, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """A source as the model of a document, whose names and shapes it must have. Raises AddressError if it has not."""
    there = source.model.parameters
    misfits = Misfits(allowed.source or source.model.name, allowed.like or like.name, allowed)
    made: dict[str, Arrangement] = {}
    for path, parameter in like.parameters.items():
        tie = like.tied.get(path)
        if path not in there:
            if tie is None or tie.kept not in there:
                misfits.add(path, f"missing {path} {parameter.shape}", _left_out(path, None, parameter.shape))
        elif (shape := there[path].shape) != parameter.shape:
            words = f"{path} is {shape}, and must be {parameter.shape}"
            misfits.add(path, words, _left_out(path, shape, parameter.shape))
        else:
            made[path] = Arrangement(parameter.shape, (view(path, parameter.shape),))
    rows = _unexpected(there, like.parameters, misfits)
    turned = "These are torch.nn's arrays: --layout keras turns them." if is_torchs(source.model, like) else ""
    wanted = (like.parameters, torch_layout.layout(like).laid)
    hints = (_hint(there, names, source.model.separator) for names in wanted)
    misfits.finish(turned or next(filter(None, hints), ""))
    rows += misfits.rows
    return _as_model(source, like, made), [_arranged_row(path, of, source.model) for path, of in made.items()] + rows


def _as_model(source: Source, like: Model, made: Mapping[str, Arrangement]) -> Source:
    """The model of a document with the values and dtypes of arrangements; without its layers if some are missing."""
    dtypes = {path: source.model.owner(of.paths[0]).dtype for path, of in made.items()}
    loose = Arranged(source, _of(like, made, dtypes, ()), made)
    complete = all(path in made or path in like.tied for path in like.parameters)
    ties = tuple(tie for tie in like.ties if tie.kept in made)
    for tie in ties:
        if tie.tied in made and not _alike(loose, tie):
            raise AddressError(f"{like.name} ties {tie.tied} to {tie.kept}, and their values differ", source.model.name)
    if not complete:
        return Arranged(source, _of(like, made, dtypes, tuple(tie for tie in ties if tie.tied in made)), made)
    typed = like.of(lambda each: replace(each, dtype=dtypes.get(each.path, each.dtype)))
    others = [tie for tie in source.model.ties if _is_new(tie, made, ties, typed)]
    return Arranged(source, replace(typed, ties=(*ties, *others), stored={}), made)


def _of(like: Model, made: Mapping[str, Arrangement], dtypes: Mapping[str, str], ties: tuple[Tie, ...]) -> Model:
    chosen = {path: replace(each, dtype=dtypes[path]) for path, each in like.parameters.items() if path in made}
    return replace(model_of(like.name, chosen, ties), origin=like.document)


def _is_new(tie: Tie, made: Mapping[str, Arrangement], ties: Sequence[Tie], typed: Model) -> bool:
    """Whether a tie of the source is one of the result too: names that are the same in both, and tied nowhere else."""
    taken = {name for each in ties for name in (each.kept, each.tied)}
    names = (tie.kept, tie.tied)
    same = all(name in made and made[name].straight and made[name].paths == (name,) for name in names)
    return same and taken.isdisjoint(names) and all(name in typed.parameters for name in names)


def _alike(source: Source, tie: Tie) -> bool:
    """Whether two arrays have the same bytes, the second perhaps as the transpose of the first."""
    if source.model.parameters[tie.kept].dtype != source.model.parameters[tie.tied].dtype:
        return False
    tied = source.model.parameters[tie.tied]
    one = {tie.tied: Arrangement(tied.shape, (_seen(source, tie),))}
    other = Arranged(source, model_of("", {tie.tied: tied}, ()), one)
    return all(_equal(source.values(*piece), other.values(*piece)) for piece in other.pieces(tied))


def _seen(source: Source, tie: Tie) -> View:
    shape = source.model.parameters[tie.kept].shape
    return view(tie.kept, shape, tuple(reversed(range(len(shape)))) if tie.transpose else None)


def _equal(a: Array, b: Array) -> bool:
    return bool(np.array_equal(a.view(np.uint8), b.view(np.uint8)))


def _is_filled(source: Source, name: str, fill: float) -> bool:
    shape = source.model.parameters[name].shape
    picks = Picks(tuple(map(range, shape)), (False,) * len(shape), True)
    return all(bool((piece == fill).all()) for piece in source.gather(name, picks))
