"""Source: anything that holds named parameters with values, drawn when asked or read when asked.

The only place where schemes and files meet. A command opens a source, selects by address, and takes values block by
block; nothing here holds a whole model.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from math import prod
from typing import NamedTuple

import numpy as np

from paramctl.address import resolve as selection
from paramctl.address.patterns import nearest_hint
from paramctl.address.resolve import NO_FILTERS, Filters
from paramctl.core.dtypes import Array, cast, compute_dtype, to_native
from paramctl.core.indexing import Selection, select, slice_text
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError, InputError, OutputError
from paramctl.init import scheme_text as words
from paramctl.init.distributions import Distribution, ExistingValues
from paramctl.init.engines.base import DrawRequest, Draws, TooLargeToDraw
from paramctl.init.engines.native import BLOCK_SIZE, NATIVE
from paramctl.init.registry import SchemeMismatch, Target
from paramctl.init.rules import AssignedScheme, Scheme
from paramctl.model import Model
from paramctl.parallel import in_parallel
from paramctl.source.open import open_source
from paramctl.store.checkpoint import Checkpoint, Provenance

KEPT_BLOCKS = 4
ENOUGH = 256
"""How many values of a row are worth reading alone."""


class Source:
    """A model whose arrays have values: those in ``chosen`` are drawn, the others read from the checkpoint."""

    def __init__(
        self,
        model: Model,
        chosen: Mapping[str, AssignedScheme] | None = None,
        seed: int = 0,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.model, self.chosen, self.seed, self.checkpoint = model, chosen or {}, seed, checkpoint
        self._recent = BlockCache(KEPT_BLOCKS)

    @property
    def notes(self) -> dict[str, Provenance]:
        """How each array came by its values."""
        notes = dict(self.checkpoint.notes) if self.checkpoint else {}
        return notes | {path: Provenance(chosen.scheme, self.seed) for path, chosen in self.chosen.items()}

    def read(self, path: str, start: int, stop: int) -> Array:
        """The values of an array from one place to another in C order, in its dtype.

        Raises InputError for a file that is damaged, and OutputError for a value that the dtype cannot hold.
        """
        parameter = self.model.parameters[path]
        try:
            if path not in self.chosen:
                assert self.checkpoint is not None
                return cast(self.checkpoint.reader.read(path, start, stop), parameter.dtype)
            return cast(self._drawn(parameter, start, stop), parameter.dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error
        except TooLargeToDraw as error:
            raise AddressError(f"{self.chosen[path].scheme} for {path}: {error}", str(parameter.shape)) from error

    @cached_property
    def _draws(self) -> Draws:
        """The values of the arrays that have a scheme."""
        requests = {}
        for path, assigned in self.chosen.items():
            if parameter := self.model.parameters.get(path):
                requests[path] = DrawRequest(assigned.distribution, parameter.shape, compute_dtype(parameter.dtype))
        return NATIVE.start(self.seed, requests)

    def _drawn(self, parameter: Parameter, start: int, stop: int) -> Array:
        path, draws, recent = parameter.path, self._draws, self._recent
        step = draws.block_size(path)
        first, last = start // step, max(start, stop - 1) // step
        if first == last and start == first * step and stop == min(start + step, parameter.size):
            return draws.draw(path, first)
        blocks = [recent.get((path, k), partial(draws.draw, path, k)) for k in range(first, last + 1)]
        if step == stop == parameter.size:
            recent.drop((path, 0))  # a large block that is drawn at once, read to its end
        offset = first * step
        return (np.concatenate(blocks) if len(blocks) > 1 else blocks[0])[start - offset : stop - offset]

    def pieces(self, parameter: Parameter) -> Iterator[tuple[str, int, int]]:
        """The array cut into what is best drawn or read at once: (path, start, stop)."""
        step = self._draws.block_size(parameter.path) if parameter.path in self.chosen else BLOCK_SIZE
        for start in range(0, parameter.size, step):
            yield parameter.path, start, min(start + step, parameter.size)

    def read_alias(self, name: str, start: int, stop: int) -> Array:
        """The same for a parameter under any of its names."""
        shape = self.model.parameters[name].shape
        if not self._turned(name):
            return self.read(self.model.owner(name).path, start, stop)
        row = prod(shape[1:])
        first, last = start // row, -(-stop // row)
        ranges = (range(first, last), *map(range, shape[1:]))
        pieces = list(self.gather(name, Selection(ranges, (False,) * len(shape))))
        return np.concatenate(pieces)[start - first * row : stop - first * row]

    def gather(self, path: str, picks: Selection) -> Iterator[Array]:
        """What ``picks`` select of a parameter under any of its names, in C order, in flat pieces of bounded size."""
        if picks.everything and not self._turned(path):
            yield from in_parallel(lambda piece: self.read(*piece), self.pieces(self.model.owner(path)))
        else:
            yield from self.seen(path, self.model.parameters[path].shape, picks)

    def seen(self, path: str, shape: Sequence[int], picks: Selection) -> Iterator[Array]:
        """The same of its values seen under another shape, which an array's transpose cannot be."""
        owner = self.model.owner(path)
        if self._turned(path):
            yield from self._transposed(owner, picks)
        else:
            yield from _gathered(self, owner.path, shape, picks.ranges, 0)

    def _turned(self, path: str) -> bool:
        """Whether a name has the transpose of another's array."""
        tie = self.model.tied.get(path)
        return tie is not None and tie.transpose and len(self.model.parameters[path].shape) > 1

    def _transposed(self, owner: Parameter, picks: Selection) -> Iterator[Array]:
        """The same of an array's transpose, a few of its rows at a time, each of which crosses all of the array."""
        first, *rest = picks.ranges
        many = max(1, 16 * BLOCK_SIZE // max(1, prod(map(len, rest))))
        for start in range(0, len(first), many):
            rows = first[start : start + many]
            shape = tuple(len(each) for each in (*reversed(rest), rows))
            pieces = list(_gathered(self, owner.path, owner.shape, (*reversed(rest), rows), 0))
            if pieces:
                yield np.concatenate(pieces).reshape(shape).T.reshape(-1)


class SelectedValues(NamedTuple):
    """Some values of a parameter of a source. name: its path, with the slice where that alone does not tell."""

    source: Source
    path: str
    name: str
    picks: Selection

    @property
    def dtype(self) -> str:
        return self.source.model.owner(self.path).dtype

    def pieces(self, ranges: tuple[range, ...] | None = None) -> Iterator[Array]:
        """The values in C order, in flat pieces of bounded size; or those of other ranges of the array."""
        picks = self.picks if ranges is None else Selection(ranges, (False,) * len(ranges))
        return self.source.gather(self.path, picks)


def select_values(source: Source, addresses: Sequence[str], keep: Filters = NO_FILTERS) -> list[SelectedValues]:
    """What addresses mean in a source, in its order; every array once if there are none.

    Raises AddressError for an address that matches nothing, or a slice that does not fit.
    """
    model = source.model
    found = selection.resolve_all(model, addresses, keep)
    times = Counter(path for path, _ in found)
    return [
        SelectedValues(
            source,
            path,
            path if times[path] == 1 or indices is None else f"{path}[{slice_text(indices)}]",
            select(indices, model.parameters[path].shape, path),
        )
        for path, indices in found
    ]


class BlockCache:
    """What was made last, for those who ask for parts of it one after another."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: OrderedDict[tuple[str, int], Array] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: tuple[str, int], draw: Callable[[], Array]) -> Array:
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
            made = draw()
            self.kept[key] = made
            if len(self.kept) > self.most:
                self.kept.popitem(last=False)
            return made

    def drop(self, key: tuple[str, int]) -> None:
        with self.lock:
            self.kept.pop(key, None)


def _gathered(source: Source, path: str, shape: Sequence[int], ranges: Sequence[range], offset: int) -> Iterator[Array]:
    """Picked values of the part of an array that begins at ``offset``, reading at most a block at once."""
    size = prod(shape)
    if not size or not all(map(len, ranges)):
        return
    if size <= BLOCK_SIZE and (len(shape) != 1 or 4 * len(ranges[0]) >= size):
        values = source.read(path, offset, offset + size).reshape(shape)
        yield _picked(values, ranges).reshape(-1)
        return
    first, row = ranges[0], size // shape[0]
    narrow = source.checkpoint is not None and ENOUGH <= prod(map(len, ranges[1:])) < row // 32
    if row > BLOCK_SIZE // 2 or narrow:
        for index in first:
            yield from _gathered(source, path, shape[1:], ranges[1:], offset + index * row)
        return
    many = max(1, BLOCK_SIZE // row // abs(first.step))
    for start in range(0, len(first), many):
        group = first[start : start + many]
        low, high = min(group[0], group[-1]), max(group[0], group[-1]) + 1
        values = source.read(path, offset + low * row, offset + high * row).reshape(high - low, *shape[1:])
        shifted = range(group.start - low, group.stop - low, group.step)
        yield _picked(values, (shifted, *ranges[1:])).reshape(-1)


def _picked(values: Array, ranges: Sequence[range]) -> Array:
    return values[tuple(slice(r.start, r.stop if r.stop >= 0 else None, r.step) for r in ranges)]


class FromCheckpoint:
    """``from:FILE[path]``: the values of a parameter in a checkpoint; without a path, of the same name."""

    def __init__(self, text: str, checkpoint: Checkpoint, path: str) -> None:
        self.text, self.source, self.path = text, Source(checkpoint.model, checkpoint=checkpoint), path

    def distribution(self, target: Target) -> Distribution:
        path = self.path or target.path
        model = self.source.model
        if path not in model.parameters:
            raise SchemeMismatch(f"{model.name} has no parameter {path!r}. {nearest_hint(path, model.parameters)}")
        found = model.parameters[path]
        if found.shape != target.shape:
            raise SchemeMismatch(f"{path} there has the shape {found.shape}")
        tie = model.tied.get(path)
        if tie is not None and tie.transpose:
            raise SchemeMismatch(f"{path} there is the transpose of {tie.kept}")
        owner = model.owner(path).path
        return ExistingValues(lambda start, stop: to_native(self.source.read(owner, start, stop)))


def parse_scheme(text: str, option: str) -> Scheme:
    """The scheme that a text on the command line means, one that copies from a file included."""
    if not text.startswith("from:"):
        return words.parse_scheme(text, option)
    file, bracket, path = text.removeprefix("from:").partition("[")
    if bracket and not path.endswith("]"):
        raise InputError(f"{option} {text}: what is copied is written from:FILE[PATH]")
    checkpoint = open_source(file).checkpoint
    if checkpoint is None:
        raise InputError(f"{file}: values are copied from a checkpoint, and this is a model document")
    return FromCheckpoint(text, checkpoint, path.removesuffix("]"))
