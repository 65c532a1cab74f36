"""Write a set of files with an index, in one direction: a plan of the files, their values, their publication.

The index is written last: until then the set that it replaces stays usable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.store.contents import Contents
from paramctl.store.io.atomic import Temporary, check_target, locked, mode_for, write_text
from paramctl.store.io.extents import Extent
from paramctl.store.io.file_set import pending_files, sweep
from paramctl.store.io.index_files import files_in_index, files_in_indexes
from paramctl.store.io.shards import ShardNames
from paramctl.store.io.write_values import WriteOptions, Written, write_values

DEFAULT_SHARD_SIZE = 5_000_000_000
"""Bytes of values in a file of a set, as Hugging Face's transformers has it."""


@dataclass(frozen=True)
class SetTarget:
    """Where a set is written: its folder, the stem of its files' names, its index.

    single: the path that a reader opens if there is but one file. Keras opens it whatever the index says
    (opened_first), so there is always a file of that name beside Keras' index, and never one beside another.
    """

    path: str
    folder: str
    stem: str
    index: str
    single: str
    names: ShardNames
    opened_first: bool = False

    def check(self, force: bool) -> None:
        """Raise OutputError if a set or a single file is there and may not be replaced."""
        check_target(self.single, force)
        check_target(self.index, force)

    def previous_files(self) -> list[str]:
        """Return the files of the set that is there now: named as this set's are, and by no other index."""
        try:
            names = files_in_index(self.index) - files_in_indexes(self.folder, except_for=os.path.basename(self.index))
        except (OSError, ValueError):  # an index that cannot be read may name any file: remove none
            return []
        return sorted(name for name in names if self.names.matches(self.stem, name))


class Shard(NamedTuple):
    """One file of a set: its arrays, and a function that lays it out and returns their extents."""

    parameters: Sequence[Parameter]
    lay_out: Callable[[Temporary], Mapping[str, Extent]]


def prepare(target: SetTarget, force: bool) -> None:
    """Remove what killed writers have left, and check the target. Raises OutputError."""
    sweep(target.folder)
    target.check(force)


def write_set(
    contents: Contents,
    target: SetTarget,
    shards: Sequence[Shard],
    index_text: Callable[[Sequence[str]], str],
    options: WriteOptions,
    complete: Callable[[Sequence[str]], None] = lambda names: None,
) -> Iterator[Written]:
    """Write the files of a set, then publish them together with their index. Raises OutputError.

    index_text: the index of files with these names. complete: called with the names after the index is written.
    """
    with pending_files(target.folder, target.path) as files:
        for shard in shards:
            with files.another(mode_for(target.index)) as temporary:
                extents = shard.lay_out(temporary)
                yield from write_values(contents, shard.parameters, temporary, extents, options)
        with locked(target.folder):
            target.check(options.force)  # again: another writer may have finished meanwhile
            previous = target.previous_files()
            names = files.publish(target.names, target.stem)
            write_text(target.index, index_text(names), options.force)
            complete(names)
            files.remove_later(_superseded(target, previous, options.force))


def _superseded(target: SetTarget, previous: Sequence[str], force: bool) -> list[str]:
    single = os.path.basename(target.single)
    if target.opened_first:
        return [name for name in previous if name != single]
    return [*previous, single] if force else []
