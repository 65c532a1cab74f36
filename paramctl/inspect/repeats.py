"""Repeated blocks and parameters of a model: block-0 to block-11 as one, ``block-[0..11]``.

Blocks beside each other are equal if their names differ only in a number, and everything in them is equal: types,
output shapes, costs, and the relative paths, shapes, dtypes, schemes and ties of their parameters. A tie is equal if it
leads to the same place in each block, or to one place outside. So each block in a group has the same counts.

Blocks that differ stay apart: ``layers.[0..2,4..31]`` and ``layers.3``. Two numbers directly after a letter that are
not consecutive, as in w1 and w3, name roles, and stay apart too. Names may have several numbers: with equal shapes,
block3_conv2, block3_conv3, block4_conv2 and block4_conv3 are ``block[3..4]_conv[2..3]``.

The work is linear in the size of the model. Equal structures have one number, so that comparing two takes one step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

from paramctl.address.numbers import MAX_DIGITS, number_set
from paramctl.model import Block, Model

_NUMBER = re.compile(rf"(?<![0-9])([0-9]{{1,{MAX_DIGITS}}})(?![0-9])")

MAX_NUMBERS = 8
"""The most numbers in a name that can vary."""


class Shown(NamedTuple):
    """A block or parameter that represents equal ones.

    path: of all of them, as an address. name: the last part of it. times: their number.
    """

    path: str
    name: str
    times: int


class _Member(NamedTuple):
    """A name, or several equal ones: texts and numbers in turn. place: of the first among its siblings."""

    place: int
    parts: tuple[str, ...]
    structure: Hashable
    times: int = 1


class Repeats:
    """The repeated blocks and parameters of a model.

    is_shown, is_selected: return whether a block, or the parameter at a path, has a row.
    facts: returns what else must be equal, of a block or of the parameter at a path.
    """

    def __init__(
        self,
        model: Model,
        is_shown: Callable[[Block], bool],
        is_selected: Callable[[str], bool],
        facts: Callable[[Block | str], Hashable],
    ) -> None:
        self.model, self.is_shown, self.is_selected, self.facts = model, is_shown, is_selected, facts
        self._numbers: dict[Hashable, int] = {}
        self._structures: dict[int, int] = {}
        self.blocks: dict[int, Shown] = {}
        """The first block of each group, by its id."""
        self.parameters: dict[str, Shown] = {}
        """The first parameter of each group, by its path."""
        self._paths: dict[str, str] = {"": ""}
        self._place(model.blocks, "", "", 1)

    def target(self, path: str, other: str) -> str:
        """Return how the row of a path names another path: with the sets of the blocks that have both."""
        separator, around = self.model.separator, path
        if path == other:  # a layer that is applied again may have the path of its first use
            return self.parameters[path].path if path in self.parameters else self._paths.get(path, path)
        while around := around.rpartition(separator)[0]:
            if around in self._paths and other.startswith(f"{around}{separator}"):
                return self._paths[around] + other[len(around) :]
        return other

    def _place(self, blocks: Sequence[Block], around: str, shown: str, count: int) -> None:
        """Set the first block of each group of siblings, and everything in it."""
        rows = [block for block in blocks if self.is_shown(block)]
        start = len(around) and len(around) + 1
        names = [block.path[start:] for block in rows]
        for first, name, members in _groups(names, [self._structure(block) for block in rows]):
            block, path = rows[first], f"{shown}{self.model.separator}{name}" if shown else name
            self.blocks[id(block)] = Shown(path, name, count * members)
            if block.reuse_of is None:
                self._paths[block.path] = path
                self._place_parameters(block, path, count * members)
                self._place(block.blocks, block.path, path, count * members)

    def _place_parameters(self, block: Block, shown: str, count: int) -> None:
        paths = [each.path for each in block.parameters if self.is_selected(each.path)]
        names = [path[len(block.path) :] for path in paths]  # empty for an array at the root of a file
        for first, name, members in _groups(names, [self._parameter(path) for path in paths]):
            self.parameters[paths[first]] = Shown(shown + name, name[1:], count * members)

    def _number(self, structure: Hashable) -> int:
        return self._numbers.setdefault(structure, len(self._numbers))

    def _structure(self, block: Block) -> int:
        """Return the number of the structure of a block: equal blocks have the same."""
        if id(block) in self._structures:
            return self._structures[id(block)]
        start, reuse = len(block.path), block.reuse_of
        inner = []  # by a loop, because a tree may be 640 levels deep
        for each in block.blocks if reuse is None else ():
            if self.is_shown(each):
                inner.append((each.path[start:], self._structure(each)))  # noqa: PERF401
        held = [each.path for each in block.parameters if self.is_selected(each.path)]
        parameters = [(path[start:], self._parameter(path)) for path in held]
        first_use = reuse and self._relative(block.path, reuse)
        structure = (block.type, block.output, self.facts(block), first_use, *parameters, *inner)
        return self._structures.setdefault(id(block), self._number(structure))

    def _parameter(self, path: str) -> int:
        model = self.model
        owner, tie = model.owner(path), model.tied.get(path)
        others = (model.counted_at(path), tie.kept if tie else path)
        structure = (
            model.parameters[path].axes,
            owner.stored_dtype,
            owner.dtype,
            owner.kind,
            owner.trainable,
            self.facts(path),
            tie and tie.transpose,
            *(self._relative(path, other) for other in others),
        )
        return self._number(structure)

    def _relative(self, path: str, other: str) -> tuple[int, tuple[str, ...]]:
        """Return the way from a path to another: the number of names up, and then the names down."""
        if path == other:
            return 0, ()
        start, end = path.split(self.model.separator), other.split(self.model.separator)
        common = 0
        while common < min(len(start), len(end)) and start[common] == end[common]:
            common += 1
        return len(start) - common, tuple(end[common:])


def _groups(names: Sequence[str], structures: Sequence[Hashable]) -> Iterator[tuple[int, str, int]]:
    """Yield each group of siblings: the place of the first, the name of all, and their number."""
    members = [
        _Member(place, tuple(_NUMBER.split(name)), structure)
        for place, (name, structure) in enumerate(zip(names, structures, strict=True))
    ]
    widest = max((len(member.parts) for member in members), default=0)
    for part in range(min(widest, 2 * MAX_NUMBERS) // 2 * 2 - 1, 0, -2):
        members = _fold(members, part)
    for member in members:
        yield member.place, "".join(member.parts), member.times


def _fold(members: Sequence[_Member], part: int) -> list[_Member]:
    """Return members of which those that differ only in one number are one. part: the place of the number."""
    alike: dict[Hashable, list[_Member]] = {}
    for member in members:
        if part < len(member.parts) and member.parts[part].isdigit():
            rest = (*member.parts[:part], *member.parts[part + 1 :])
            alike.setdefault((rest, member.structure, member.times), []).append(member)
        else:
            alike[member] = [member]
    folded: list[_Member] = []
    for group in alike.values():
        folded += _merge(group, part) if len(group) > 1 else group
    return sorted(folded)


def _merge(group: Sequence[_Member], part: int) -> list[_Member]:
    """Return equal members as one, or all of them if they are not a group."""
    ordered = sorted(group, key=lambda member: int(member.parts[part]))
    numbers = [int(member.parts[part]) for member in ordered]
    first = ordered[0]
    is_role = first.parts[part - 1][-1:].isalpha() and len(group) == 2 and numbers[1] != numbers[0] + 1
    # 1 and 01 have no place in one set, which compares values
    if is_role or len(set(numbers)) < len(numbers):
        return list(group)
    text = number_set([member.parts[part] for member in ordered])
    parts = (*first.parts[:part], text, *first.parts[part + 1 :])
    times = sum(member.times for member in group)
    return [_Member(min(member.place for member in group), parts, first.structure, times)]
