"""Files that appear together: all of them complete, or none.

They are written into a folder of their own beside their place, which is locked as a temporary file is; when all are
complete each gets its name, as a link, and an index that names them follows. Whatever has a name then that no index
tells goes with the folder: if the index could not be written, or if its writer was killed and the next one sweeps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from paramctl.errors import OutputError, ParamctlError
from paramctl.store.io.atomic import NEW, PREFIX, SUFFIX, Temporary, is_at, lock, new_name, remove, sync_folder
from paramctl.store.io.shards import ShardNames
from paramctl.store.safetensors.sharded import named

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
INDICES = (".index.json", ".weights.json")


class PendingFiles:
    """Files that wait for their names, in a folder of their own."""

    def __init__(self, folder: str, path: str, descriptor: int, target: str) -> None:
        self.folder, self.path, self.descriptor, self.target = folder, path, descriptor, target
        self.count = 0

    @contextmanager
    def another(self, mode: int) -> Iterator[Temporary]:
        """One more file, which is on the disk when the block ends."""
        name = str(self.count)
        temporary = Temporary(
            os.path.join(self.path, name), os.open(name, NEW, 0o600, dir_fd=self.descriptor), self.target
        )
        self.count += 1
        try:
            yield temporary
            os.fchmod(temporary.descriptor, mode)
            os.fsync(temporary.descriptor)
        finally:
            with suppress(OSError):  # all that counts has been synced
                os.close(temporary.descriptor)

    def publish(self, names: ShardNames, stem: str) -> list[str]:
        """Give the files the names of the first generation that nobody has a file of; these names."""
        for generation in count(1):
            wanted = names.of(stem, self.count, generation)
            if not {*wanted} & {*os.listdir(self.folder)} and self._link(wanted):
                break
        sync_folder(self.folder)
        return wanted

    def _link(self, names: Sequence[str]) -> bool:
        """Give the files these names, or none if somebody has taken one of them meanwhile."""
        given: list[str] = []
        for number, name in enumerate(names):
            path = os.path.join(self.folder, name)
            try:
                os.link(str(number), path, src_dir_fd=self.descriptor)
            except FileExistsError:
                remove(given)
                return False
            except OSError:  # a file system without hard links
                os.rename(str(number), path, src_dir_fd=self.descriptor)
            given.append(path)
        return True

    def take(self, names: Iterable[str]) -> None:
        """Take files that nothing needs any more from their place; they go with the folder."""
        for name in names:
            with suppress(OSError):
                os.rename(os.path.join(self.folder, name), str(self.count), dst_dir_fd=self.descriptor)
                self.count += 1


@contextmanager
def pending_files(folder: str, target: str) -> Iterator[PendingFiles]:
    """A place beside others for files that will appear together, which vanishes when the block ends.

    target: what errors name. Raises OutputError.
    """
    made: list[str] = []  # each path before there is a folder, so that none is left whenever a signal comes
    try:
        path, descriptor = _begin(folder, made)
        try:
            yield PendingFiles(folder, path, descriptor, target)
        finally:
            _clear(folder, path, descriptor)
            os.close(descriptor)
    except OSError as error:
        trouble = OutputError(f"{target}: {error.strerror or error}", error.errno)
        raise (error if isinstance(error, ParamctlError) else trouble) from error
    finally:
        for path in made:
            with suppress(OSError):
                os.rmdir(path)


def _begin(folder: str, made: list[str]) -> tuple[str, int]:
    """A new folder with its lock: taken after it was made, so made again should a sweeper have been between."""
    while True:
        path = new_name(folder)
        made.append(path)
        os.mkdir(path, 0o700)
        with suppress(FileNotFoundError):
            descriptor = os.open(path, FOLDER)
            if lock(descriptor) is not False and is_at(descriptor, path):
                return path, descriptor
            os.close(descriptor)


def sweep(folder: str) -> None:
    """Remove what writers that are no more have left of files that were to appear together."""
    for left in Path(folder).glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError):
            descriptor = os.open(left, FOLDER)
            try:
                own = os.fstat(descriptor).st_uid == os.geteuid()
                if own and lock(descriptor) and is_at(descriptor, str(left)):
                    _clear(folder, str(left), descriptor)
            finally:
                os.close(descriptor)


def _clear(folder: str, path: str, descriptor: int) -> None:
    """Remove a gathering's folder with all that is in it, and the names that its files have got and no index tells."""
    with suppress(OSError, ValueError):  # an index that cannot be read may tell any name
        if files := {_identity(each) for each in os.scandir(descriptor) if _status(each).st_nlink > 1}:
            told = named_in(folder)
            remove(each.path for each in os.scandir(folder) if each.name not in told and _identity(each) in files)
    with suppress(OSError):
        for name in os.listdir(descriptor):
            os.unlink(name, dir_fd=descriptor)
        os.rmdir(path)


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    return entry.stat(follow_symlinks=False)


def _identity(entry: os.DirEntry[str]) -> tuple[int, int]:
    return _status(entry).st_dev, _status(entry).st_ino


def named_in(folder: str, but: str = "") -> set[str]:
    """The files that the indices of a folder name, but for one. Raises OSError and ValueError if one cannot be read."""
    indices = [name for name in os.listdir(folder) if name.lower().endswith(INDICES) and name != but]
    return {name for index in indices for name in named(os.path.join(folder, index))}
