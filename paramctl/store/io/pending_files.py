"""Files that appear together: all of them complete, or none.

The files are written into a hidden folder beside their destination, which is locked as a temporary file is (atomic.py).
When all are complete, each gets its name, as a hard link, and then the index that names them is written. A file that
has a name but is in no index belongs to a set that was never completed. It is removed together with the hidden folder:
by the writer, or, if that was killed, by the next writer's sweep.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from paramctl.errors import OutputError, ParamctlError
from paramctl.store.io.atomic import NEW, Temporary, give_name, new_name, remove, sync_folder
from paramctl.store.io.index_files import files_in_indexes
from paramctl.store.io.locks import PREFIX, SUFFIX, is_at, lock
from paramctl.store.io.shards import ShardNames

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class PendingFiles:
    """Complete or growing files that have no names yet, in a hidden folder. They are called 0, 1, 2, ... in it."""

    def __init__(self, folder: str, path: str, descriptor: int, target: str) -> None:
        self.folder, self.path, self.descriptor, self.target = folder, path, descriptor, target
        self.count = 0

    @contextmanager
    def another(self, mode: int) -> Iterator[Temporary]:
        """Open one more file, which is on the disk when the block ends."""
        name = str(self.count)
        descriptor = os.open(name, NEW, 0o600, dir_fd=self.descriptor)
        temporary = Temporary(os.path.join(self.path, name), descriptor, self.target)
        self.count += 1
        try:
            yield temporary
            os.fchmod(temporary.descriptor, mode)
            os.fsync(temporary.descriptor)
        finally:
            with suppress(OSError):  # the data is synced: an error of close changes nothing
                os.close(temporary.descriptor)

    def publish(self, names: ShardNames, stem: str) -> list[str]:
        """Give the files the names of the first generation of which no file exists, and return the names."""
        for generation in count(1):
            candidates = names.of(stem, self.count, generation)
            # linking can still fail: another writer may take a name after the folder was listed
            if not {*candidates} & {*os.listdir(self.folder)} and self._link(candidates):
                break
        sync_folder(self.folder)
        return candidates

    def _link(self, names: Sequence[str]) -> bool:
        """Give the files these names, or none of them if another writer has taken one meanwhile."""
        linked: list[str] = []
        renamed: list[tuple[str, str]] = []
        try:
            for number, name in enumerate(names):
                path = os.path.join(self.folder, name)
                if give_name(str(number), path, self.descriptor):
                    linked.append(path)
                else:
                    renamed.append((path, str(number)))
        except FileExistsError:
            remove(linked)
            for path, old in renamed:  # its only name
                os.rename(path, old, dst_dir_fd=self.descriptor)
            return False
        return True

    def remove_later(self, names: Iterable[str]) -> None:
        """Move superseded files into the hidden folder, which is removed when the set is complete."""
        for name in names:
            with suppress(OSError):
                os.rename(os.path.join(self.folder, name), str(self.count), dst_dir_fd=self.descriptor)
                self.count += 1


@contextmanager
def pending_files(folder: str, target: str) -> Iterator[PendingFiles]:
    """Open a hidden folder for files that will appear together. It is removed when the block ends.

    target: the path that errors name. Raises OutputError.
    """
    created: list[str] = []  # each path before its folder exists, so that a signal at any moment leaves none behind
    try:
        path, descriptor = _create_folder(folder, created)
        try:
            yield PendingFiles(folder, path, descriptor, target)
        finally:
            _remove_folder(folder, path, descriptor)
            os.close(descriptor)
    except OSError as error:
        if isinstance(error, ParamctlError):
            raise
        raise OutputError(f"{target}: {error.strerror or error}", error.errno) from error
    finally:
        for path in created:  # those that a signal kept from being opened; the others are gone
            with suppress(OSError):
                os.rmdir(path)


def _create_folder(folder: str, created: list[str]) -> tuple[str, int]:
    """Create a hidden folder and lock it. Between the two a sweeper may remove it: then create another."""
    while True:
        path = new_name(folder)
        created.append(path)
        os.mkdir(path, 0o700)
        with suppress(FileNotFoundError):
            descriptor = os.open(path, OPEN_FOLDER)
            if lock(descriptor) is not False and is_at(descriptor, path):
                return path, descriptor
            os.close(descriptor)


def sweep(folder: str) -> None:
    """Remove the hidden folders of writers that were killed, with everything that they left."""
    for path in Path(folder).glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError):
            descriptor = os.open(path, OPEN_FOLDER)
            try:
                # the lock is free only if its writer has ended; folders of other users are theirs to sweep
                is_own = os.fstat(descriptor).st_uid == os.geteuid()
                if is_own and lock(descriptor) and is_at(descriptor, str(path)):
                    _remove_folder(folder, str(path), descriptor)
            finally:
                os.close(descriptor)


def _remove_folder(folder: str, path: str, descriptor: int) -> None:
    """Remove a hidden folder, the files in it, and names that were given to those files but are in no index."""
    with suppress(OSError, ValueError):  # an index that cannot be read may name any file: keep all names
        _remove_unindexed_names(folder, descriptor)
    with suppress(OSError):
        for name in os.listdir(descriptor):
            os.unlink(name, dir_fd=descriptor)
        os.rmdir(path)


def _remove_unindexed_names(folder: str, descriptor: int) -> None:
    """Remove the names in ``folder`` of files that are also in the hidden folder, unless an index names them."""
    # a second hard link means that the file already has a name in the folder
    published = {_identity(entry) for entry in os.scandir(descriptor) if _status(entry).st_nlink > 1}
    if published:
        indexed = files_in_indexes(folder)
        entries = (entry for entry in os.scandir(folder) if entry.name not in indexed)
        remove(entry.path for entry in entries if _identity(entry) in published)


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    return entry.stat(follow_symlinks=False)


def _identity(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Return the device and inode, which are equal for two hard links to one file."""
    return _status(entry).st_dev, _status(entry).st_ino
