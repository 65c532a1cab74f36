"""The page docs/benchmarks.md: written from the results of each group, which benchmarks/results.json keeps."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import ROOT
from measure import Cost, Goal, Result

PACKAGES = (
    *("numpy", "h5py", "click", "pyyaml", "safetensors", "torch", "torchinfo", "keras", "tensorflow-cpu", "gguf"),
    *("pandas", "polars", "orjson", "h5glance", "sft-cli"),
)
HEAD = """# Benchmarks

`make bench` writes this page. It measures paramctl beside other programs that do the same work, on one machine.

How it is measured:

- Each command is a whole process, so that the start of Python counts, and so do the writing and the syncing of files.
- Before anything is timed, each command runs once and proves its work: the arrays that it lists, the values that it
  prints or the file that it writes must agree with those of paramctl. Otherwise the run ends with an error.
- paramctl and its peers then run in turn, 3 to 15 times each, and less often only if that takes more than 30 seconds.
  Times are the least of these runs, because other programs on the machine only add to them. Memory is the most that all
  processes of a command hold.
- Files are made by the benchmark. They are on a disk, and in the system's cache when they are read.

How to read it: the ratio is the time of paramctl divided by that of the peer. Below 1, paramctl is faster. A peer in
*italics* is a yardstick, which does only a part of the work: the start of Python, or reading or copying the same bytes.
"""


class Group(NamedTuple):
    """The results of one group, when it was run, and for which commit."""

    name: str
    title: str
    about: str
    date: str
    commit: str
    results: list[Result]
    skipped: list[str]


class Record(NamedTuple):
    """The results of all groups on one machine."""

    machine: str
    versions: str
    groups: dict[str, Group]

    def kept(self, path: Path) -> Record:
        """Return this record with the results of an earlier run, if machine and versions are those of this one."""
        if not path.exists():
            return self
        earlier = json.loads(path.read_text())
        if (earlier["machine"], earlier["versions"]) != (self.machine, self.versions):
            return self
        return self._replace(groups={name: group_of(group) for name, group in earlier["groups"].items()})

    def in_order(self, names: Sequence[str]) -> Record:
        """Return this record with its groups in an order; a group that is not named is dropped."""
        return self._replace(groups={name: self.groups[name] for name in names if name in self.groups})

    def write(self, path: Path, page: Path) -> None:
        groups = {
            name: {**group._asdict(), "results": list(map(plain, group.results))} for name, group in self.groups.items()
        }
        path.write_text(
            json.dumps({"machine": self.machine, "versions": self.versions, "groups": groups}, indent=1) + "\n"
        )
        page.write_text("\n".join(text(self)))


def plain(result: Result) -> dict[str, Any]:
    costs = {name: [float(f"{figure:.4g}") for figure in getattr(result, name) or ()] for name in ("ours", "theirs")}
    return {**result._asdict(), **costs}


def group_of(fields: dict[str, Any]) -> Group:
    return Group(**{**fields, "results": [*map(result_of, fields["results"])]})


def result_of(fields: dict[str, Any]) -> Result:
    costs = {side: Cost(*fields[side]) for side in ("ours", "theirs")}
    return Result(**{**fields, **costs, "goals": [Goal(*goal) for goal in fields["goals"]]})


def text(record: Record) -> Iterator[str]:
    yield HEAD
    yield wrapped(f"The machine: {record.machine}.") + "\n"
    yield wrapped(f"The versions: {record.versions}.") + "\n"
    yield from behind(record)
    for group in record.groups.values():
        yield f"## {group.title}\n"
        yield wrapped(group.about[:1].upper() + group.about[1:]) + "\n"
        yield "| work | beside | paramctl, s | peer, s | ratio | goal | CPU s | peer, CPU s | MB | peer, MB |"
        yield "|---|---|--:|--:|--:|---|--:|--:|--:|--:|"
        for result in group.results:
            yield "| " + " | ".join(cells(result)) + " |"
        if group.skipped:
            yield "\n" + wrapped(f"Not installed, and so not measured: {', '.join(group.skipped)}.")
        yield f"\nMeasured on {group.date} at commit {group.commit}.\n"


def wrapped(words: str, indent: str = "") -> str:
    """Return a paragraph, wrapped to the width of the pages. indent: what the lines after the first begin with."""
    return textwrap.fill(words, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def behind(record: Record) -> Iterator[str]:
    """Yield the list of everything that a peer does faster, and of the goals that are missed."""
    results = [result for group in record.groups.values() for result in group.results if result.ratio is not None]
    slower = [result for result in results if not result.yardstick and result.ratio > 1]  # type: ignore[operator]
    missed = [(result, *missed) for result in results for missed in result.missed]
    yield "## Where paramctl is behind\n"
    yield (
        "Peers that do the same work in less time:\n"
        if slower
        else "No peer of the rows below does the same work in less time."
    )
    yield from (f"- {result.row}: {result.ratio:.2f} times the time of {result.peer}" for result in slower)
    goals = sum(len(result.goals) for result in results)
    yield f"\nOf {goals} goals, {len(missed)} are missed:\n" if missed else f"\nNone of {goals} goals is missed."
    for result, goal, reached in missed:
        words = f"{result.row}, beside {result.peer}: {reached:.2f}{goal.figure}; the goal is {goal}. {goal.limit}"
        yield wrapped(f"- {words.strip()}", "  ")
    yield ""


def cells(result: Result) -> list[str]:
    assert result.ours
    assert result.theirs
    peer = f"*{result.peer}*" if result.yardstick else result.peer
    goal = "; ".join(map(str, result.goals)) + ": **missed**" * bool(result.missed)
    costs = (result.ours.cpu, result.theirs.cpu, result.ours.megabytes, result.theirs.megabytes)
    times = (figure(result.ours.elapsed), figure(result.theirs.elapsed), f"{result.ratio:.2f}")
    return [result.row.replace("|", "\\|").replace("*", "\\*"), peer, *times, goal, *map(figure, costs)]


def figure(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.0f}"


def line(result: Result) -> str:
    """Return a result as a line for the terminal."""
    if result.ours is None or result.theirs is None:
        return f"{result.row}, beside {result.peer}: the same work"
    goal = "".join(f", goal {goal}" for goal in result.goals) + ": MISSED" * bool(result.missed)
    seconds = f"{figure(result.ours.elapsed)} s to {figure(result.theirs.elapsed)} s"
    cpu = f"CPU {figure(result.ours.cpu)} s to {figure(result.theirs.cpu)} s"
    memory = f"{result.ours.megabytes:.0f} MB to {result.theirs.megabytes:.0f} MB"
    return f"{result.row}, beside {result.peer}: {result.ratio:.2f}{goal} ({seconds}, {cpu}, {memory})"


def machine(folder: str | None) -> str:
    """Return the processor, memory, system and file system."""
    cpu, memory, system = platform.processor() or platform.machine(), "", platform.system()
    if Path("/proc/cpuinfo").exists():
        match = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        cpu = match[1] if match else cpu
        kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
        memory = f", {kilobytes / 1024**2:.0f} GiB of memory"
        system = f"{platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')}, kernel {platform.release()}"
    kind = printed("df", "--output=fstype", folder or tempfile.gettempdir()).rpartition("\n")[2]
    return f"{cpu}, {os.cpu_count()} cores{memory}; {system}; files on {kind or 'a disk'}"


def versions(peers: str) -> str:
    code = (
        f"import importlib.metadata as m\nfor p in {PACKAGES!r}:\n"
        " try: print(p, m.version(p))\n except m.PackageNotFoundError: pass"
    )
    found = dict(each.split(" ", 1) for each in printed(peers, "-c", code).splitlines())
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)  # those that paramctl itself is measured with
        except importlib.metadata.PackageNotFoundError:
            continue
    tool = printed("h5ls", "--version").rpartition(" ")[2]
    listed = [f"Python {platform.python_version()}", *(f"{name} {found[name]}" for name in PACKAGES if name in found)]
    return ", ".join([*listed, *([f"hdf5-tools {tool}"] if tool else [])])


def printed(*command: str) -> str:
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def now() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def revision() -> str:
    """Return the commit of this checkout, and whether its code was changed since."""
    commit = printed("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") or "unknown"
    changed = printed("git", "-C", str(ROOT), "status", "--porcelain", "--", "paramctl")
    return f"{commit} with changes" if changed else commit
