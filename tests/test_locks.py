"""A change in place reads the file that it replaces: of changes at the same time, none is lost without an error."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import paramctl as library
from paramctl.cli.main import run
from paramctl.errors import OutputError
from paramctl.store.io import locks
from paramctl.store.io.locks import IN_USE
from paramctl.store.io.pending_files import pending_files
from paramctl.store.safetensors.shards import NAMES
from tests.conftest import ROOT, Run
from tests.formats import SUFFIXES

AT_ONCE = 5
DOCUMENT = "input: [4]\nlayers:\n  - dense: {units: 4, repeat: 6, kernel_initializer: zeros}\n"
SETS = {"set/": ("set/", "30"), "k.weights.json": ("k.weights.json", "70")}


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "m.yaml"
    path.write_text(DOCUMENT)
    return path


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


def at_once(commands: Sequence[Sequence[str]], paramctl: Run) -> None:
    """Run commands in as many processes. Each succeeds."""
    with ThreadPoolExecutor(len(commands)) as pool:
        for ran in pool.map(lambda arguments: paramctl(*arguments), commands):
            assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", [*(f"x{suffix}" for suffix in SUFFIXES), *SETS])
def test_every_change_at_once_counts(name: str, document: Path, paramctl: Run) -> None:
    """Of five additions of 1 by five processes, the sum is 5, and no file is left beside the result."""
    size = ["--max-shard-size", SETS[name][1]] if name in SETS else []
    assert paramctl("save", "m.yaml", "-o", name, *size, "-q").returncode == 0
    names = sorted(path.name for path in document.parent.rglob("*"))
    at_once([["set", name, "dense/kernel += 1", "--in-place", "-q"]] * AT_ONCE, paramctl)
    values = library.open(document.parent / name)["dense/kernel"]
    assert np.array_equal(values, np.full((4, 4), AT_ONCE))
    if name not in SETS:  # those get other names
        assert sorted(path.name for path in document.parent.rglob("*")) == names
    assert not hidden(document.parent)


def test_a_source_that_is_also_the_output_is_a_change_in_place(document: Path, paramctl: Run) -> None:
    """By another name, through a link, and in ``init`` and ``save``, which have no --in-place."""
    assert paramctl("save", "m.yaml", "-o", "x.h5", "-q").returncode == 0
    (document.parent / "link.h5").symlink_to("x.h5")
    commands = [["set", "x.h5", f"dense_{number}/kernel = {number}", "--in-place"] for number in range(1, 4)]
    commands += [
        ["set", "x.h5", "dense_4/kernel = 4", "-o", "link.h5", "--force"],
        ["init", "./x.h5", "--rule", "dense_5/kernel=constant:5", "-o", "x.h5", "--force"],
        ["save", "link.h5", "-o", "x.h5", "--force"],
    ]
    at_once(commands, paramctl)
    with library.open(document.parent / "x.h5") as weights:
        assert [weights[f"dense_{number}/kernel"][0, 0] for number in range(1, 6)] == [1, 2, 3, 4, 5]
    assert (document.parent / "link.h5").is_symlink()
    assert not hidden(document.parent)


@pytest.mark.parametrize("name", ["m.yaml", "x.safetensors"])
def test_every_tie_at_once_counts(name: str, document: Path, paramctl: Run) -> None:
    """Five processes tie one name each, in a document and in a checkpoint; then five untie them."""
    if name != "m.yaml":
        assert paramctl("save", "m.yaml", "-o", name, "-q").returncode == 0
    before = document.read_text()
    paths = [f"dense_{number}/kernel" for number in range(1, 6)]
    at_once([["tie", name, "dense/kernel", path, "--in-place"] for path in paths], paramctl)
    assert {tie.tied for tie in library.load_model(document.parent / name).ties} == {*paths}
    at_once([["untie", name, path, "--in-place"] for path in paths], paramctl)
    assert not library.load_model(document.parent / name).ties
    assert document.read_text().startswith(before)


HOLD = """
import sys, time
from paramctl.store.io.locks import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_process_frees_the_file(document: Path, paramctl: Run) -> None:
    """It leaves only the file that is its lock, which the next change removes."""
    assert paramctl("save", "m.yaml", "-o", "x.npz", "-q").returncode == 0
    path = document.parent / "x.npz"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert hidden(document.parent)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert paramctl("set", "x.npz", "dense/bias = 3", "--in-place").returncode == 0
    assert not hidden(document.parent)


class HereRun:
    """Runs commands in this process, which the test has changed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str]:
        code = run([*arguments])
        return code, self.capsys.readouterr().err


@pytest.fixture
def here(document: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> HereRun:
    monkeypatch.chdir(document.parent)
    return HereRun(capsys)


def test_a_file_that_stays_in_use_is_an_error(here: HereRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is bounded and announced, the error is one line, and the file stays."""
    assert here("save", "m.yaml", "-o", "x.npz", "-q")[0] == 0
    monkeypatch.setattr(locks, "CHANGE_SECONDS", 0.3)
    monkeypatch.setattr(locks, "NOTICE_SECONDS", 0.1)
    before = Path("x.npz").read_bytes()
    with ThreadPoolExecutor(1) as pool, locks.exclusive("x.npz"):  # another thread does not have this one's lock
        code, error = pool.submit(here, "set", "x.npz", "dense/bias = 3", "--in-place").result()
    waiting, reason = error.splitlines()
    assert (code, waiting) == (2, "x.npz: waiting for another process that uses it")
    assert reason == "x.npz: in use by another process. Try again later."
    assert Path("x.npz").read_bytes() == before


@pytest.mark.parametrize("name", ["x.h5", "x.weights.h5"])
def test_a_file_that_hdf5_writes_is_in_use(name: str, here: HereRun) -> None:
    """A program that has the file open for writing would write into the old one, which is then lost."""
    assert here("save", "m.yaml", "-o", name, "-q")[0] == 0
    with h5py.File(name, "r+", locking=True):
        code, error = here("set", name, "dense/kernel = 3", "--in-place")
        assert (code, error) == (2, f"{name}: {IN_USE}\n")
        assert here("save", "m.yaml", "-o", name, "--force")[0] == 2
    with h5py.File(name, "r", locking=True):  # a reader keeps the file that it has opened
        assert here("set", name, "dense/kernel = 3", "--in-place")[0] == 0
    assert not hidden(Path())


def test_hdf5_reads_a_file_while_it_is_changed(here: HereRun) -> None:
    """But no program can open it for writing, whose changes would be lost."""
    assert here("save", "m.yaml", "-o", "x.h5", "-q")[0] == 0
    with locks.exclusive("x.h5"):
        with h5py.File("x.h5", "r", locking=True) as file:
            assert file["dense/kernel"].shape == (4, 4)
        with pytest.raises(OSError, match="lock"):
            h5py.File("x.h5", "r+", locking=True)


def test_a_file_of_read_only_mode_keeps_it(here: HereRun) -> None:
    assert here("save", "m.yaml", "-o", "x.npz", "-q")[0] == 0
    os.chmod("x.npz", 0o444)
    assert here("set", "x.npz", "dense/bias = 3", "--in-place")[0] == 0
    assert stat.S_IMODE(os.stat("x.npz").st_mode) == 0o444


def test_a_file_system_without_locks_is_used_without_them(here: HereRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    assert here("save", "m.yaml", "-o", "x.npz", "-q")[0] == 0
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert here("set", "x.npz", "dense/bias = 3", "--in-place")[0] == 0
    assert library.open("x.npz")["dense/bias"][0] == 3


def test_a_folder_that_may_not_be_written_is_an_error(here: HereRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock cannot be taken, and neither could the file be replaced."""
    assert here("save", "m.yaml", "-o", "x.npz", "-q")[0] == 0
    real = os.open

    def refuse(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert here("set", "x.npz", "dense/bias = 3", "--in-place") == (2, "x.npz: Permission denied\n")


CHANGES: dict[str, Callable[[library.Weights], Any]] = {
    "assign": lambda weights: library.assign(weights, {"dense/kernel": 2}),
    "tie": lambda weights: library.tie(weights, "dense/kernel", "dense_1/kernel"),
    "initialize": lambda weights: library.initialize(weights, rules=[("dense/kernel", "ones")]),
    "cast": lambda weights: library.convert(weights, dtype="float16"),
    "rename": lambda weights: library.rename(weights, {"dense/kernel": "dense/weight"}),
}


@pytest.mark.parametrize(
    ("name", "change"),
    [*(("x.safetensors", change) for change in CHANGES), *((name, "assign") for name in ["x.h5", "x.npz", *SETS])],
)
def test_a_file_that_has_changed_is_not_replaced(name: str, change: str, document: Path) -> None:
    """Weights are open, and another change is made; to write them over it would undo that."""
    path = f"{document.parent}/{name}"  # a folder ends in a slash
    library.save(document, path, max_shard_size=int(SETS[name][1]) if name in SETS else None)
    weights = library.open(path)
    library.save(library.assign(path, {"dense_2/kernel": 9}), path, in_place=True)
    with pytest.raises(OutputError, match="changed since it was read"):
        library.save(CHANGES[change](weights), path, force=True)
    after = library.open(path)
    assert (after["dense/kernel"][0, 0], after["dense_2/kernel"][0, 0]) == (0, 9)
    library.save(CHANGES[change](after), path, force=True)
    assert not hidden(document.parent)


def test_a_change_by_another_program_is_noticed(document: Path) -> None:
    """HDF5 writes into the same file, without a rename."""
    path = document.parent / "x.h5"
    library.save(document, path)
    changed = library.assign(path, {"dense/bias": 1})
    with h5py.File(path, "r+") as file:
        file["dense_1/bias"][:] = 7
    with pytest.raises(OutputError, match="changed since it was read"):
        library.save(changed, path, in_place=True)
    assert library.open(path)["dense_1/bias"][0] == 7


@pytest.mark.parametrize("links", [True, False])
def test_files_of_a_set_keep_their_only_copy_when_a_name_is_taken(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer takes the second name: all files get the names of the next generation."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *arguments, **options: (_ for _ in ()).throw(OSError(errno.EPERM, "")))
    taken = NAMES.of("a", 2, 1)[1]
    listed = os.listdir

    def take(folder: Any) -> list[str]:
        names = listed(folder)
        if folder == str(tmp_path):
            (tmp_path / taken).write_bytes(b"other")
        return names

    with pending_files(str(tmp_path), "a") as files:
        for content in (b"first", b"second"):
            with files.another(0o644) as temporary:
                temporary.write(content, 0)
        monkeypatch.setattr(os, "listdir", take)
        names = files.publish(NAMES, "a")
        monkeypatch.setattr(os, "listdir", listed)
        assert taken not in names
        assert [(tmp_path / name).read_bytes() for name in names] == [b"first", b"second"]
        assert (tmp_path / taken).read_bytes() == b"other"
