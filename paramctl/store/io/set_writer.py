"""Write a set of files with an index: lay the files out, write their values, publish them together.

The index is written last, so the set that it replaces stays usable until then.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.store.contents import Contents
from paramctl.store.io.atomic import Temporary, check_not_in_use, check_target, mode_for, write_text
from paramctl.store.io.extents import Extent
from paramctl.store.io.index_files import files_in_index, files_in_indexes
from paramctl.store.io.locks import exclusive, locked
from paramctl.store.io.pending_files import pending_files, sweep
from paramctl.store.io.shards import ShardNames
from paramctl.store.io.write_values import WriteOptions, Written, write_values

DEFAULT_SHARD_SIZE = 5_000_000_000
"""Bytes of values in one file of a set, the default of Hugging Face's transformers."""


@dataclass(frozen=True)
class SetTarget:
    """The destination of a set: its folder, the stem of its files' names, and its index.

    single: the path of the file if one is enough.
    opened_first: readers open ``single`` whatever the index says, as Keras does. Then the set always has a file of that
        name; any other set never has one.
    """

    path: str
    folder: str
    stem: str
    index: str
    single: str
    names: ShardNames
    opened_first: bool = False

    def check(self, force: bool) -> None:
        """Raise OutputError if a set or a single file exists, unless ``force``, or if one of its files is in use."""
        check_target(self.single, force)
        check_target(self.index, force)
        for name in self.previous_files() if force else ():
            check_not_in_use(os.path.join(self.folder, name))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from replacing the set or its single file, or renaming other files of the folder."""
        # the folder last: a process that changes the set in place already has the lock of its index
        with exclusive(self.index), exclusive(self.single), locked(self.folder):
            yield

    def previous_files(self) -> list[str]:
        """Return the files of the existing set: those that its index names, no other does, and this set would name."""
        try:
            names = files_in_index(self.index) - files_in_indexes(self.folder, except_for=os.path.basename(self.index))
        except (OSError, ValueError):  # an index that cannot be read may name any file: remove none
            return []
        return sorted(name for name in names if self.names.matches(self.stem, name))


def planned_set(target: SetTarget, count: int) -> list[str]:
    """Return the paths of the files of a set before it is written, without its index.

    count: the number of files. Those of an existing set keep their names until the new set is complete.
    """
    present = {*os.listdir(target.folder)} if os.path.isdir(target.folder) else set()
    # as PendingFiles.publish chooses them: the first names of which no file exists
    generations = (target.names.of(target.stem, count, generation) for generation in itertools.count(1))
    names = next(names for names in generations if not present & {*names})
    return [os.path.join(os.path.dirname(target.index), name) for name in names]


class Shard(NamedTuple):
    """One file of a set: its arrays, and a function that lays the file out and returns their extents."""

    parameters: Sequence[Parameter]
    lay_out: Callable[[Temporary], Mapping[str, Extent]]


def prepare(target: SetTarget, force: bool) -> None:
    """Remove the leftovers of killed writers, and check the target. Raises OutputError."""
    sweep(target.folder)
    target.check(force)


def write_set(
    contents: Contents,
    target: SetTarget,
    shards: Sequence[Shard],
    index_text: Callable[[Sequence[str], Sequence[str]], str],
    options: WriteOptions,
    complete: Callable[[Sequence[str]], None] = lambda names: None,
) -> Iterator[Written]:
    """Write the files of a set, then publish them together with their index. Raises OutputError.

    index_text: the index of files with these names and seals.
    complete: called with the names after the index is written.
    """
    seals: list[str] = []
    with pending_files(target.folder, target.path) as files:
        for shard in shards:
            with files.another(mode_for(target.index)) as temporary:
                extents = shard.lay_out(temporary)
                sealed = yield from write_values(contents, shard.parameters, temporary, extents, options)
                seals.append(sealed.seal)
        with target.held():
            options.confirm()
            target.check(options.force)  # again: another writer may have finished meanwhile
            previous = target.previous_files()  # read before the index is replaced
            names = files.publish(target.names, target.stem)
            write_text(target.index, index_text(names, seals), options.force)
            complete(names)
            # after the index: a crash at any moment leaves one complete set
            files.remove_later(_superseded(target, previous, options.force))


def _superseded(target: SetTarget, previous: Sequence[str], force: bool) -> list[str]:
    """Return the files that the new set replaces."""
    single = os.path.basename(target.single)
    if target.opened_first:  # ``single`` is a file of the new set
        return [name for name in previous if name != single]
    return [*previous, single] if force else []  # without force, check has found nothing to replace
