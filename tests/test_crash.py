"""Saving is atomic and durable: whatever ends it, there is the old file or the new one, complete.

The real commands are ended at random moments, by signals, by full disks and in their system calls, and compete with
each other. A file is the same for the same seed, so all that may be found is known by its hash. With PARAMCTL_TORTURE
set (``make torture``), twenty times as many saves are killed, and faults are tried in many more of the system calls;
--log-cli-level=INFO shows what became of them.
"""

import fcntl
import hashlib
import itertools
import json
import logging
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from paramctl.errors import InputError
from paramctl.source.open import open_path, source_of
from tests import forks
from tests.conftest import ROOT
from tests.forks import TORTURE, Ended, Server
from tests.formats import SUFFIXES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="crashes are made and watched by Linux's own means")

KILLS = 200 if TORTURE else 10
SEEDS = (1, 2, 3)

DOCUMENTS = {
    "large": "input: [1000]\nlayers:\n  - dense: {units: 1000, repeat: 2, kernel_initializer: he_normal}",
    "huge": "input: [3000]\nlayers:\n  - dense: {units: 3000, kernel_initializer: he_normal}",
    "one": "input: [100]\nlayers:\n  - dense: {units: 100, kernel_initializer: he_normal}",
    "set": "input: [4]\nlayers:\n  - dense: {units: 3, use_bias: false, repeat: 2, kernel_initializer: he_normal}",
    "many": "input: [4]\nlayers:\n  - dense: {units: 4, repeat: 300, kernel_initializer: he_normal}",
}
COMMANDS = {".h5": ["init", "--scheme", "he_normal"]}
"""The command that writes a format, if not ``save``."""

EVERY = pytest.mark.parametrize("suffix", SUFFIXES)
"""For tests of how a format's own code writes."""

SOME = pytest.mark.parametrize("suffix", SUFFIXES if TORTURE else [".h5", ".safetensors"])
"""For tests of what all formats share: names, modes, links, temporary files. In a torture, every format."""

LOG = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def server() -> Server:
    return Server()


def command(target: str, seed: int) -> list[str]:
    suffix = "".join(Path(target).suffixes[-2:]) if target.endswith(".weights.h5") else os.path.splitext(target)[1]
    name, *options = COMMANDS.get(suffix, ["save"])
    return [name, "m.yaml", *options, "-o", target, "--seed", str(seed), "--force"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def temporaries(folder: Path) -> list[str]:
    return [each.name for each in folder.glob(".paramctl-*.tmp")]


@cache
def hashes(document: str, suffix: str) -> dict[str, int]:
    """Return the seed of each file, by the hash of the file."""
    known = {}
    server = Server()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "m.yaml").write_text(DOCUMENTS[document])
        for seed in SEEDS:  # the first by a process from its start on
            assert server.run(Path(folder), command(f"a{suffix}", seed), anew=seed == SEEDS[0]).code == 0
            known[sha256(Path(folder) / f"a{suffix}")] = seed
    assert len(known) == len(SEEDS)
    return known


class Saved:
    """A file that is saved over again and again, and all that may be found of it."""

    def __init__(self, folder: Path, document: str, suffix: str, server: Server) -> None:
        self.folder, self.path, self.server = folder, folder / f"a{suffix}", server
        (folder / "m.yaml").write_text(DOCUMENTS[document])
        self.known, self.seed = hashes(document, suffix), SEEDS[0]
        self.save()

    def command(self, seed: int) -> list[str]:
        return command(self.path.name, seed)

    def other(self) -> int:
        """A seed that gives another file than the one that is there."""
        return self.seed % len(SEEDS) + 1

    def save(self) -> float:
        """A save that nothing disturbs, and that clears away what others left; how long it takes."""
        ended = self.server.run(self.folder, self.command(self.seed))
        assert ended.code == 0, ended
        self.found(self.seed, ended)
        assert not temporaries(self.folder), "a temporary file is left after another save"
        return ended.seconds

    def found(self, asked: int, ended: Ended) -> bool:
        """Return whether the new file exists. If not, the old one does, success was not claimed, and nothing is left."""
        found = self.known.get(sha256(self.path))
        assert found in (self.seed, asked), f"neither the old file nor the new one: {ended}"
        assert {each for each in os.listdir(self.folder) if not each.startswith(".")} == {"m.yaml", self.path.name}
        if ended.code == 0 or "wrote" in ended.err:
            assert found == asked, f"success is claimed, and the file is the old one: {ended}"
        self.seed = found
        return found == asked

    def refused(self, ended: Ended, word: str = "") -> None:
        """The save ended with one line about its target, and left everything as it was."""
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended
        assert ended.err.startswith(f"{self.path.name}: "), ended
        assert word in ended.err
        assert not self.found(self.other(), ended)
        assert not temporaries(self.folder)


@EVERY
def test_a_killed_save_leaves_the_old_file_or_the_new_one(suffix: str, tmp_path: Path, server: Server) -> None:
    """SIGKILL at any moment; what was being written is cleared away by the next save, and no process is left."""
    saved = Saved(tmp_path, "large", suffix, server)
    usual = deque([saved.save() for _ in range(5)], 9)
    moments = random.Random(suffix)  # noqa: S311
    outcomes = {"old": 0, "new": 0}
    begun = time.monotonic()
    while (done := sum(outcomes.values())) < KILLS or (not all(outcomes.values()) and done < 3 * KILLS):
        longest = 1.15 + 0.1 * (0 if outcomes["new"] else outcomes["old"])  # a machine under load becomes slower
        asked, delay = saved.other(), moments.uniform(0, longest * median(usual))
        ended = server.run(tmp_path, saved.command(asked), delay=delay)
        assert ended.code in (0, -signal.SIGKILL), ended
        outcomes["new" if saved.found(asked, ended) else "old"] += 1
        if done % 10 == 9:
            usual.append(saved.save())
    LOG.info("%s: %s in %.1f s; one takes %.3f s", suffix, outcomes, time.monotonic() - begun, median(usual))
    assert all(outcomes.values()), outcomes
    assert not server.orphans()
    saved.save()


@SOME
def test_a_killed_process_leaves_the_old_file_or_the_new_one(suffix: str, tmp_path: Path, server: Server) -> None:
    """The same of ``python -m paramctl``, from its start on."""
    saved = Saved(tmp_path, "large", suffix, server)
    usual = server.run(tmp_path, saved.command(saved.seed), anew=True).seconds
    for share in (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        asked = saved.other()
        ended = server.run(tmp_path, saved.command(asked), anew=True, delay=share * usual)
        assert ended.code in (0, -signal.SIGKILL), ended
        saved.found(asked, ended)
    assert not server.orphans()
    saved.save()


def wait_for_temporary(folder: Path) -> Path:
    """The temporary file of a save that has begun."""
    until = time.monotonic() + forks.patience()
    while time.monotonic() < until:
        if found := temporaries(folder):
            return folder / found[0]
        time.sleep(0.001)
    raise AssertionError("no temporary file appears")


SIGNALS = [("SIGTERM", 1, 143), ("SIGINT", 1, 130), ("SIGINT", 2, 130), ("SIGHUP", 1, 129)]


@pytest.mark.parametrize(
    ("name", "times", "code", "suffix"),
    [(*each, suffix) for suffix in SUFFIXES for each in (SIGNALS if TORTURE or suffix == ".h5" else SIGNALS[:1])],
)
def test_a_signal_ends_a_save_in_order(
    name: str, times: int, code: int, suffix: str, tmp_path: Path, server: Server
) -> None:
    """No temporary file is left and the old file is there, also if the signal comes again during the clearing."""
    saved = Saved(tmp_path, "huge", suffix, server)
    for _ in range(5):  # on a busy machine a save may end before the signal comes
        pid = server.start(tmp_path, saved.command(2), anew=True)
        wait_for_temporary(tmp_path)
        for _ in range(times):
            os.kill(pid, getattr(signal, name))
        ended = server.ended()
        if ended.code != 0:
            break
        saved.seed = 2
        saved.save()
    assert (ended.code, ended.err) == (code, ""), ended
    assert not saved.found(2, ended)
    assert not temporaries(tmp_path)
    assert not server.orphans()


def test_a_signal_at_any_moment_leaves_no_temporary(tmp_path: Path, server: Server) -> None:
    """From the first instruction to the last; until paramctl hears signals, they end it as the system does."""
    saved = Saved(tmp_path, "large", ".safetensors", server)
    usual = server.run(tmp_path, saved.command(saved.seed), anew=True).seconds
    many = 200 if TORTURE else 10
    for k in range(many):
        asked, delay = saved.other(), 1.1 * usual * (k + 1) / many
        ended = server.run(tmp_path, saved.command(asked), anew=True, delay=delay, by=signal.SIGTERM)
        assert ended.code in (0, 128 + signal.SIGTERM, -signal.SIGTERM), ended
        assert "Traceback" not in ended.err
        saved.found(asked, ended)
        assert not temporaries(tmp_path), ended


def test_a_save_may_outlive_its_terminal(tmp_path: Path, server: Server) -> None:
    """A SIGHUP that nohup has set to be ignored is ignored."""
    saved = Saved(tmp_path, "huge", ".safetensors", server)
    pid = server.start(tmp_path, saved.command(2), "signal.signal(signal.SIGHUP, signal.SIG_IGN)", anew=True)
    wait_for_temporary(tmp_path)
    os.kill(pid, signal.SIGHUP)
    ended = server.ended()
    assert ended.code == 0
    assert saved.found(2, ended)


@EVERY
@pytest.mark.parametrize("document", ["one", "many"])
@pytest.mark.parametrize("reserving", [True, False], ids=["reserving", "unable to reserve"])
def test_a_full_disk_is_an_error(document: str, reserving: bool, suffix: str, tmp_path: Path, server: Server) -> None:
    """A full disk is an error wherever in the file the space ends, the header included, in either process."""
    saved = Saved(tmp_path, document, suffix, server)
    size = saved.path.stat().st_size
    limits = {0, 1, 100, 2048, 4096, size // 2, size - 2000, size - 1}
    if TORTURE:
        limits |= set(range(0, size, max(509, size // 100)))
    for limit in sorted(limits):
        before = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
        before += "" if reserving else "; atomic.Temporary.reserve = lambda self, size: None"
        saved.refused(server.run(tmp_path, saved.command(2), before), "File too large" if reserving else "")
    enough = "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))"
    assert saved.found(2, server.run(tmp_path, saved.command(2), enough))


@pytest.fixture
def mount(tmp_path: Path, server: Server) -> Iterator[Path]:
    """A file system of its own, whose size is chosen by mounting it again."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root mounts file systems")
    folder = tmp_path / "mount"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield folder
    assert not server.orphans()
    subprocess.run(["umount", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True, capture_output=True)


@EVERY
@pytest.mark.parametrize("document", ["large", "many"])
def test_a_full_file_system_is_an_error(document: str, suffix: str, mount: Path, server: Server) -> None:
    """A real one, with the old file on it and less room than the new one needs."""
    saved = Saved(mount, document, suffix, server)
    size = saved.path.stat().st_size
    for room in (0, 4096, size // 2, size - 8192):
        remount(mount, f"size={size + 8192 + room}")
        saved.refused(server.run(mount, saved.command(2)), "No space left on device")
    remount(mount, "size=40m")
    assert saved.found(2, server.run(mount, saved.command(2)))


@SOME
def test_no_room_for_another_name_is_an_error(suffix: str, mount: Path, server: Server) -> None:
    saved = Saved(mount, "one", suffix, server)
    remount(mount, "nr_inodes=3")  # the folder and the two files in it
    saved.refused(server.run(mount, saved.command(2)), "No space left on device")


@SOME
def test_a_file_system_that_may_not_be_written_is_an_error(suffix: str, mount: Path, server: Server) -> None:
    saved = Saved(mount, "one", suffix, server)
    remount(mount, "ro")
    saved.refused(server.run(mount, saved.command(2)), "Read-only file system")


TRACED = (
    "openat flock fstat newfstatat fallocate ftruncate pwrite64 fadvise64 fchmod fsync rename link unlink write close"
)
RENAMING = "mkdir rmdir link linkat rename renameat renameat2 unlink unlinkat"
FAILING = "openat fallocate ftruncate pwrite64 fadvise64 fchmod fsync rename link close"


class Call(NamedTuple):
    """A system call: the thread that made it, its name, its number among those of both, and what strace says."""

    thread: int
    name: str
    number: int
    line: str


@cache
def why_no_strace() -> str:
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True)
    return f"strace does not work here: {tried.stderr.strip()}" if tried.returncode else ""


def traced(folder: Path, arguments: list[str], *options: str, names: str = TRACED) -> Ended:
    """A command line under strace, with one processor, so that its calls come in the same order each time."""
    if why_no_strace():
        pytest.skip(why_no_strace())
    one = min(os.sched_getaffinity(0))
    trace = ["strace", "-f", "-y", "-o", ".strace", "-e", f"trace={names.replace(' ', ',')}"]
    if not TORTURE and may_attach():
        return attached(folder, arguments, [*trace, *options], one)
    begun = time.monotonic()
    ran = subprocess.run(
        [*trace, *options, sys.executable, "-m", "paramctl", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=forks.patience(),
        preexec_fn=lambda: os.sched_setaffinity(0, {one}),
    )
    return Ended(ran.returncode, ran.stderr, time.monotonic() - begun)


def may_attach() -> bool:
    """Return whether strace may attach to a process that it has not started."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0"


def attached(folder: Path, arguments: list[str], trace: list[str], processor: int) -> Ended:
    """Run the same as a fork, which waits until strace is attached."""
    server = Server()
    pid = server.start(
        folder, arguments, f"os.sched_setaffinity(0, {{{processor}}}); os.kill(os.getpid(), signal.SIGSTOP)"
    )
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)
    tracer = subprocess.Popen([*trace, "-p", str(pid)], cwd=folder, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    assert "attached" in tracer.stderr.readline()
    os.kill(pid, signal.SIGCONT)
    ended = server.ended()
    tracer.stderr.read()
    tracer.wait()
    return ended


def calls(folder: Path) -> list[Call]:
    """Return the system calls on the files of a folder since a temporary one was created, and on the final message."""
    counts: dict[tuple[str, str], int] = {}
    found: list[Call] = []
    for line in (folder / ".strace").read_text().splitlines():
        if match := re.match(r"(\d+) +(\w+)\(", line):
            thread, name = match.groups()
            counts[thread, name] = counts.get((thread, name), 0) + 1
            about = line.replace(f"AT_FDCWD<{folder}>", "")
            words = [f"<{folder}", f'"{folder}', '"wrote'] if found else [".paramctl-"]
            if any(word in about for word in words):
                found.append(Call(int(thread), name, counts[thread, name], line))
    return found


def faults(suffix: str, found: list[Call]) -> list[tuple[Call, str]]:
    """One call of each kind with one thing that may happen in it; in a torture, up to 12 of each kind."""
    kinds: dict[tuple[int, str], list[Call]] = {}
    for call in found:
        kinds.setdefault((call.thread, call.name), []).append(call)
    choice = random.Random(suffix)  # noqa: S311
    chosen = []
    for alike in kinds.values():
        every = [(call, fault) for call in alike for fault in possible(call, found[0].thread)]
        chosen += choice.sample(every, min(12 if TORTURE else 1, len(every)))
    return chosen


def possible(call: Call, writer: int) -> list[str]:
    """Return what may happen in a call. writer: the thread that made the temporary file."""
    happens = ["signal=KILL", "signal=TERM"]
    fails = call.name in FAILING.split() or (call.name == "write" and ".paramctl-" in call.line)
    if fails and (call.thread == writer or call.name not in ("openat", "close")):
        happens += ["error=ENOSPC", "error=EIO"]  # but for opening what Python imports meanwhile in our process
    return happens


def complaint(saved: Saved, ended: Ended, fault: str, call: Call, new: bool) -> str:
    """Return the defect in the end of a save that met a fault; empty without any."""
    left, log = temporaries(saved.folder), (saved.folder / ".strace").read_text()
    if not ("(INJECTED)" in log or f"SIG{fault.removeprefix('signal=')}" in log):
        return "the fault did not occur"
    if fault == "signal=KILL" and ended.code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return ""
    if left:
        return f"{left} is left"
    if ended.code == 0 or (fault == "signal=TERM" and ended.code == 128 + signal.SIGTERM and (new or not ended.err)):
        return ""
    if ended.code != 2 or ended.err.count("\n") != 1 or not ended.err.startswith(f"{saved.path.name}: "):
        return "it did not end in order"
    if new and call.name not in ("openat", "fsync", "close"):  # of the folder, when the new file is there already
        return "an error, and yet the new file"
    return ""


@EVERY
def test_a_fault_in_a_system_call_leaves_the_old_file_or_the_new_one(
    suffix: str, tmp_path: Path, server: Server
) -> None:
    """A disk that is full or fails, SIGTERM and SIGKILL, in the calls of both processes that touch the file."""
    saved = Saved(tmp_path, "one", suffix, server)
    assert saved.found(2, traced(tmp_path, saved.command(2)))
    tried = faults(suffix, calls(tmp_path))
    assert len(tried) > 7
    wrong = []
    begun = time.monotonic()
    for call, fault in tried:
        asked = saved.other()
        ended = traced(tmp_path, saved.command(asked), "-e", f"inject={call.name}:{fault}:when={call.number}")
        new = saved.found(asked, ended)
        if words := complaint(saved, ended, fault, call, new):
            wrong.append(f"{fault} in {call.line}\n    {words}: {ended}")
        if temporaries(tmp_path):
            saved.save()
    LOG.info("%s: %d faults in %.1f s", suffix, len(tried), time.monotonic() - begun)
    assert not wrong, "\n".join(wrong)


@EVERY
@pytest.mark.parametrize("force", [True, False])
def test_claimed_files_are_on_the_disk(suffix: str, force: bool, tmp_path: Path, server: Server) -> None:
    """The last write, then the sync of the file, then its new name, then the sync of the folder, then the claim."""
    saved = Saved(tmp_path, "one", suffix, server)
    if not force:
        saved.path.unlink()
    assert traced(tmp_path, saved.command(2)[: None if force else -1]).code == 0
    file = r"\d+</[^>]*/\.paramctl-[^>]*\.tmp>"
    wanted = [
        rf"(pwrite64|write)\({file}",
        rf"fsync\({file}",
        r"(rename|link)\(",
        rf"fsync\(\d+<{tmp_path}>",
        r'write\(2.*"wrote',
    ]
    spans = [[span for text, *span in finished(tmp_path) if re.match(each, text)] for each in wanted]
    assert spans[0]
    assert [len(each) for each in spans[1:]] == [1, 1, 1, 1]
    for before, after in itertools.pairwise(spans):
        assert before[-1][1] < after[0][0]


def finished(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Each call that did not fail, and the lines in which strace says that it began and that it ended."""
    begun: dict[str, tuple[str, int]] = {}
    for number, line in enumerate((folder / ".strace").read_text().splitlines()):
        thread, text = line.split(maxsplit=1)
        if text.endswith("<unfinished ...>"):
            begun[thread] = text, number
        elif re.search(r" = \d+(<.*>)?$", text):
            start, first = begun.pop(thread) if text.startswith("<... ") else (text, number)
            yield start, first, number


CUT = ("--max-shard-size", "40")
SETS = {"a/": "a/model.safetensors.index.json", "a.weights.json": "a.weights.json"}
CHANGES = [
    *[(target, before, CUT) for target in SETS for before in (None, CUT)],
    ("a/", (), CUT),
    ("a/", CUT, ()),
]
"""A set that is written by options over what others have written, or where nothing is."""


def save_set(target: str, seed: int, cut: tuple[str, ...], *more: str) -> list[str]:
    return ["save", "m.yaml", "-o", target, "--seed", str(seed), *cut, *more]


def held(path: Path) -> str | None:
    """The hash of all values of a file, a set, or the only one of them in a folder; None if there is none."""
    try:
        source = source_of(open_path(str(path)))
    except InputError:
        return None
    values = [source.read(each.path, 0, each.size).tobytes() for each in source.model.owners()]
    return hashlib.sha256(b"".join(values)).hexdigest()


def of_the_set(index: Path, target: str) -> set[str]:
    """The files that should be there of a set, or of the single file that a folder has in its place."""
    if not index.exists():
        return {"model.safetensors"} if target == "a/" else set()
    lists = json.loads(index.read_text())["weight_map"].values()
    named = {name for each in lists for name in (each if isinstance(each, list) else [each])}
    return {index.name} | named | ({"a_00000.weights.h5"} if target == "a.weights.json" else set())


def renaming(folder: Path) -> Iterator[tuple[str, int]]:
    """The calls in which files get their names, lose them, or get others, each with its number among those of its name."""
    counts: dict[str, int] = {}
    for line in (folder / ".strace").read_text().splitlines():
        if match := re.match(r"\d+ +(\w+)\(", line):
            counts[match[1]] = counts.get(match[1], 0) + 1
            yield match[1], counts[match[1]]


def spread(calls: list[tuple[str, int]], count: int) -> list[tuple[str, int]]:
    """Return so many of the calls, from the first to the last."""
    return [calls[round(k * (len(calls) - 1) / (count - 1))] for k in range(count)]


@pytest.mark.parametrize("target", SETS)
def test_every_file_of_a_set_is_synced_before_its_index_appears(target: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(DOCUMENTS["set"])
    assert traced(tmp_path, save_set(target, 1, CUT)).code == 0
    index = tmp_path / SETS[target]
    files = of_the_set(index, target) & set(os.listdir(index.parent))
    assert len(files) > 2
    synced = re.findall(r"fsync\(\d+</[^>]*/\.paramctl-[^>]*>", (tmp_path / ".strace").read_text())
    assert len(synced) >= len(files)


@pytest.mark.parametrize(("target", "before", "cut"), CHANGES)
def test_a_killed_writer_leaves_the_old_set_or_the_new_one(
    target: str, before: tuple[str, ...] | None, cut: tuple[str, ...], tmp_path: Path, server: Server
) -> None:
    """In each call that names, renames or removes a file; the next save succeeds and clears away what is not told."""
    (tmp_path / "m.yaml").write_text(DOCUMENTS["set"])
    folder, place = (tmp_path / SETS[target]).parent, tmp_path / target

    def clean() -> set[str]:
        for each in folder.iterdir() if folder.exists() else ():
            if each.is_file() and each.name not in ("m.yaml", ".strace"):
                each.unlink()
        if before is not None:
            assert server.run(tmp_path, save_set(target, 1, before)).code == 0
        return set(os.listdir(folder)) if folder.exists() else set()

    known = {}
    for seed in SEEDS:
        assert server.run(tmp_path, save_set(target, seed, cut, "--force")).code == 0
        known[held(place)] = seed
    assert len(known) == len(SEEDS)
    clean()
    new = save_set(target, 2, cut, *(["--force"] if before is not None else []))
    assert traced(tmp_path, new, names=RENAMING).code == 0
    calls = list(renaming(tmp_path))
    assert len(calls) > 4
    seen = set()
    for name, number in calls if TORTURE else spread(calls, 5):
        old = clean()
        fault = f"inject={name}:signal=KILL:when={number}"
        ended = traced(tmp_path, new, "-e", fault, names=RENAMING)
        assert ended.code in (-signal.SIGKILL, 128 + signal.SIGKILL), (name, number, ended)
        found = held(place)
        seed = known[found] if found else None
        assert seed in (2, 1 if before is not None else None), (name, number)
        seen.add(seed)
        again = ["--force"] if before is not None or seed else []
        ended = server.run(tmp_path, save_set(target, 3, cut, *again))
        assert ended.code == 0, (name, number, ended)
        assert known[held(place)] == 3
        assert not temporaries(folder), (name, number)
        left = set(os.listdir(folder)) - of_the_set(tmp_path / SETS[target], target) - {"m.yaml", ".strace"}
        assert left <= old, "what the new one replaces may stay, if that was being removed"
    assert len(seen) == 2, "it was killed before the new one stood, and after"


@SOME
def test_competing_writers_and_a_reader(suffix: str, tmp_path: Path, server: Server) -> None:
    """Four save to one name at once, some are killed: whoever reads finds a complete file, and nothing is left."""
    saved = Saved(tmp_path, "large", suffix, server)
    usual = saved.save()
    servers = [Server() for _ in range(4)]

    def write(number: int) -> int:
        choice, done = random.Random(number), 0  # noqa: S311
        for _ in range(30 if TORTURE else 6):
            delay = choice.uniform(0, 6 * usual) if choice.random() < 0.3 else None
            ended = servers[number].run(tmp_path, saved.command(choice.choice(SEEDS)), delay=delay)
            assert ended.code == 0 or delay is not None, ended
            done += ended.code == 0
        return done

    reads, found = 0, set()
    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, number) for number in range(4)]
        while not all(writer.done() for writer in writers):
            found.add(sha256(saved.path))
            reads += 1
        done = sum(writer.result() for writer in writers)
    LOG.info("%s: %d saved, %d read, %d different", suffix, done, reads, len(found))
    assert found <= saved.known.keys()
    assert len(found) > 1
    assert not any(each.orphans() for each in servers)
    saved.seed = saved.known[sha256(saved.path)]
    saved.save()


@EVERY
def test_a_link_stays_a_link(suffix: str, tmp_path: Path, server: Server) -> None:
    """To a file, which is replaced where it is, or to none yet, which is then made."""
    (tmp_path / "there").mkdir()
    link, file = tmp_path / f"a{suffix}", tmp_path / "there" / f"b{suffix}"
    link.symlink_to(file)
    (tmp_path / "m.yaml").write_text(DOCUMENTS["one"])
    for seed in SEEDS:
        assert server.run(tmp_path, command(link.name, seed)).code == 0
        assert link.readlink() == file
        assert hashes("one", suffix)[sha256(file)] == seed
        assert os.listdir(tmp_path / "there") == [file.name]


@EVERY
def test_the_mode_is_the_old_file_s_or_the_umask_s(suffix: str, tmp_path: Path, server: Server) -> None:
    saved = Saved(tmp_path, "one", suffix, server)
    for mode in (0o640, 0o600, 0o444, 0o755):
        saved.path.chmod(mode)
        assert server.run(tmp_path, saved.command(2), "os.umask(0o077)").code == 0
        assert stat.S_IMODE(saved.path.stat().st_mode) == mode
    for mask in (0o022, 0o027, 0o077):
        saved.path.unlink()
        assert server.run(tmp_path, saved.command(2), f"os.umask({mask})").code == 0
        assert stat.S_IMODE(saved.path.stat().st_mode) == 0o666 & ~mask


def make_target(path: Path, kind: str) -> None:
    """Create something at a path that is not a regular file."""
    if kind == "directory":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "link into no folder":
        path.symlink_to(path.parent / "none" / path.name)
    else:
        path.symlink_to(kind)


@SOME
@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("directory", "must be a regular file"),
        ("FIFO", "must be a regular file"),
        ("socket", "must be a regular file"),
        ("/dev/null", "must be a regular file"),
        ("/dev/full", "must be a regular file"),
        ("link to itself", "Too many levels of symbolic links"),
        ("link into no folder", "no such folder"),
    ],
)
def test_a_target_that_is_not_a_file_is_refused(
    kind: str, word: str, suffix: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written, and without waiting for a FIFO's reader."""
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    (tmp_path / "m.yaml").write_text(DOCUMENTS["one"])
    make_target(Path(f"a{suffix}"), kind)
    before = os.lstat(f"a{suffix}")
    ended = server.run(tmp_path, command(f"a{suffix}", 1))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(f"a{suffix}: ")
    assert word in ended.err
    assert os.path.samestat(before, os.lstat(f"a{suffix}"))
    assert sorted(os.listdir()) == sorted(["m.yaml", f"a{suffix}"])


@SOME
@pytest.mark.parametrize(
    ("folder", "word"),
    [
        ("none/", "no such folder"),
        ("m.yaml/", "Not a directory"),
        ("x" * 256, "File name too long"),
        ("x/" * 3000, "File name too long"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(
    folder: str, word: str, suffix: str, tmp_path: Path, server: Server
) -> None:
    (tmp_path / "m.yaml").write_text(DOCUMENTS["one"])
    ended = server.run(tmp_path, command(f"{folder}a{suffix}", 1))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(folder[:100])
    assert word in ended.err or len(folder) > 2000  # as much of it as a line has
    assert os.listdir(tmp_path) == ["m.yaml"]


@SOME
def test_the_longest_name(suffix: str, tmp_path: Path, server: Server) -> None:
    """A temporary file's name is no longer than what a folder allows, however long the target's is."""
    (tmp_path / "m.yaml").write_text(DOCUMENTS["one"])
    name = "x" * (255 - len(suffix)) + suffix
    assert server.run(tmp_path, command(name, 1)).code == 0
    assert hashes("one", suffix)[sha256(tmp_path / name)] == 1


@SOME
def test_a_folder_that_may_not_be_written_is_an_error(suffix: str, tmp_path: Path, server: Server) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write in every folder")
    saved = Saved(tmp_path, "one", suffix, server)
    tmp_path.chmod(0o555)
    try:
        saved.refused(server.run(tmp_path, saved.command(2)), "Permission denied")
    finally:
        tmp_path.chmod(0o755)


@EVERY
def test_an_existing_file_is_replaced_by_force_alone(suffix: str, tmp_path: Path, server: Server) -> None:
    """Also one that appeared while its name was not yet taken."""
    saved = Saved(tmp_path, "one", suffix, server)
    saved.refused(server.run(tmp_path, saved.command(2)[:-1]), "already exists (use --force to overwrite)")
    appear = f"os.path.exists('b') and os.rename('b', 'a{suffix}')"  # an archive has two temporary files
    late = f"make = atomic._create; atomic._create = lambda *rest: [make(*rest), {appear}][0]"
    saved.path.rename(tmp_path / "b")
    saved.refused(server.run(tmp_path, saved.command(2)[:-1], late), "already exists")


@SOME
def test_another_name_in_the_file_keeps_its_facts(suffix: str, tmp_path: Path, server: Server) -> None:
    """A hard link is broken, never written through."""
    saved = Saved(tmp_path, "one", suffix, server)
    (tmp_path / ".other").hardlink_to(saved.path)
    assert saved.found(2, server.run(tmp_path, saved.command(2)))
    assert saved.known[sha256(tmp_path / ".other")] == 1


@EVERY
def test_a_file_may_be_saved_over_itself(suffix: str, tmp_path: Path, server: Server) -> None:
    """Its contents are read from the old file until the new one is complete."""
    saved = Saved(tmp_path, "large", suffix, server)
    values = held(saved.path)
    ended = server.run(tmp_path, ["save", saved.path.name, "-o", saved.path.name, "--force"])
    assert ended.code == 0, ended
    assert held(saved.path) == values
    if suffix != ".keras":  # whose metadata is carried over, not made anew from the document
        assert saved.found(1, ended)


@SOME
def test_temporary_files_of_the_dead_alone_are_cleared_away(suffix: str, tmp_path: Path, server: Server) -> None:
    """A writer holds a lock on its temporary file. The sweep neither follows links nor waits for pipes."""
    saved = Saved(tmp_path, "one", suffix, server)
    dead, alive, link, fifo = (tmp_path / f".paramctl-{name}.tmp" for name in ("dead", "alive", "link", "fifo"))
    dead.write_text("old")
    (tmp_path / ".victim").write_text("kept")
    link.symlink_to(tmp_path / ".victim")
    os.mkfifo(fifo)
    with alive.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert saved.found(2, server.run(tmp_path, saved.command(2)))
        assert not dead.exists()
        assert alive.exists()
    assert (tmp_path / ".victim").read_bytes() == b"kept"
    link.unlink(missing_ok=True)
    fifo.unlink(missing_ok=True)
    saved.save()


@SOME
def test_a_temporary_file_that_becomes_a_link_is_not_followed(suffix: str, tmp_path: Path, server: Server) -> None:
    """Another user of the folder can neither have another file overwritten nor put one in place of the target."""
    saved = Saved(tmp_path, "one", suffix, server)
    (tmp_path / ".victim").write_text("kept")
    swap = (
        "make = atomic._create\n"
        "def swapped(*rest):\n"
        "    made = make(*rest)\n"
        "    os.unlink(made.path)\n"
        "    os.symlink(os.path.abspath('.victim'), made.path)\n"
        "    return made\n"
        "atomic._create = swapped\n"
    )
    ended = server.run(tmp_path, saved.command(2), swap)
    assert (tmp_path / ".victim").read_bytes() == b"kept"
    assert not saved.path.is_symlink(), ended
    if not saved.found(2, ended):
        saved.refused(ended)
