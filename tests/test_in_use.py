"""Files that another process has open: never read half-written, and never replaced under its writer."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT, Run
from tests.formats import NAMES, SUFFIXES

MLP = str(ROOT / "sample_models/mlp.yaml")
IN_USE = "in use by another process, which has it open for writing. Close it there first\n"


@contextmanager
def locked(path: Path, kind: int) -> Iterator[None]:
    """Hold a lock as HDF5 does: exclusive while it writes, shared while it reads."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def test_hdf5_that_is_being_written(paramctl: Run, tmp_path: Path) -> None:
    """From the moment that h5py creates the file, empty or half written, to the moment that it closes it."""
    np.savez(tmp_path / "z.npz", a=np.zeros(2))
    file = h5py.File(tmp_path / "m.h5", "w")
    for step in range(3):
        for arguments in (
            ("summary", "m.h5"),
            ("dump", "m.h5", "a"),
            ("set", "m.h5", "a=7", "--in-place"),
            ("save", "z.npz", "-o", "m.h5", "--force"),
            ("init", MLP, "-o", "m.h5", "--force"),
        ):
            done = paramctl(*arguments)
            assert (done.returncode, done.stdout, done.stderr) == (2, "", f"m.h5: {IN_USE}"), (step, arguments)
        if step == 0:
            file["a"] = [1.0, 2.0]
        file.flush()
    file.close()
    assert paramctl("dump", "m.h5").stdout == "[1. 2.]\n"
    with h5py.File(tmp_path / "m.h5", "r+"):
        assert paramctl("dump", "m.h5").stderr == f"m.h5: {IN_USE}"
    with h5py.File(tmp_path / "m.h5") as reader:  # of the old file, which stays as long as it is open
        assert paramctl("dump", "m.h5").stdout == "[1. 2.]\n"
        assert paramctl("set", "m.h5", "a=7", "--in-place").returncode == 0
        assert reader["a"][...].tolist() == [1, 2]
    assert paramctl("dump", "m.h5").stdout == "[7. 7.]\n"


@pytest.mark.parametrize("name", NAMES)
def test_no_format_replaces_a_file_in_use(name: str, paramctl: Run, tmp_path: Path) -> None:
    """The files of a set too. A shared lock, as a reader has it, hinders nothing."""
    save = ("save", MLP, "-o", name)
    options = () if name[1:] in SUFFIXES or name.endswith("/") else ("--max-shard-size", "64")
    assert paramctl(*save, *options).returncode == 0
    files = [path for path in tmp_path.rglob("m*") if path.is_file()]
    assert files
    for path in files:
        before = {path: path.read_bytes() for path in files}
        with locked(path, fcntl.LOCK_EX):
            done = paramctl(*save, "--force", *options)
            assert (done.returncode, done.stderr.endswith(IN_USE)) == (2, True), (path, done.stderr)
            done = paramctl("dump", name)
            assert (done.returncode, done.stdout, done.stderr.endswith(IN_USE)) == (2, "", True), path
        assert {path: path.read_bytes() for path in files} == before
        with locked(path, fcntl.LOCK_SH):
            assert paramctl("dump", name).returncode == 0
    for path in files:
        with locked(path, fcntl.LOCK_SH):
            assert paramctl(*save, "--force", *options).returncode == 0
        break


def test_a_lock_of_the_caller_stays(paramctl: Run, tmp_path: Path) -> None:
    """Standard input is the caller's open file, whose lock is not paramctl's to take or release."""
    np.savez(tmp_path / "z.npz", a=np.zeros(2))
    with (tmp_path / "z.npz").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert paramctl("dump", "-", stdin=file).stdout == "[0. 0.]\n"
        with (tmp_path / "z.npz").open("rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
