"""The mechanism of every benchmark: a row runs paramctl and its peers in turn, and first proves that they do the same.

Each command is a whole process, measured by the system's accounts. Before anything is timed, each runs once, and its
proof (the arrays that it lists, the values that it prints, the file that it writes) must agree with paramctl's: a peer
that does less looks fast. A row whose proofs differ is an error, and has no ratio.
"""

from __future__ import annotations

import ctypes
import json
import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

LEAST_RUNS, MOST_RUNS, ENOUGH_SECONDS, MOST_SECONDS = 3, 15, 5.0, 30.0
"""A row is repeated until its runs took ENOUGH_SECONDS, within these numbers of runs; MOST_SECONDS end it sooner."""
UNIT = 1024 if sys.platform == "linux" else 1024**2
PR_SET_CHILD_SUBREAPER = 36

Proof = Callable[[IO[bytes]], Any]
"""Read what a command prints, and return the facts that prove its work: names, shapes, numbers."""

with suppress(AttributeError):  # on Linux, what a command leaves behind comes here, and is counted with it
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


class ProofError(Exception):
    """A command that did not do the work of its row."""


class Cost(NamedTuple):
    """Seconds that passed, processor seconds (user and system), and the most memory held at once."""

    elapsed: float
    cpu: float
    megabytes: float


FIGURES: dict[str, Callable[[Cost, Cost], float]] = {
    "": lambda ours, theirs: ours.elapsed / theirs.elapsed,
    " of the CPU time": lambda ours, theirs: ours.cpu / theirs.cpu,
    " s": lambda ours, _: ours.elapsed,
    " s of CPU time": lambda ours, _: ours.cpu,
    " s more": lambda ours, theirs: ours.elapsed - theirs.elapsed,
}
"""The figures that a goal may bound, by the words after its number: the ratio to a peer, or seconds."""


class Goal(NamedTuple):
    """The most that a figure should be, and what keeps paramctl from it, by profile: printed if the goal is missed."""

    most: float
    figure: str = ""
    limit: str = ""

    def __str__(self) -> str:
        return f"at most {self.most:g}{self.figure}"


@dataclass(frozen=True)
class Side:
    """A command of a row, by the name of its program."""

    name: str
    command: list[str]
    proof: Proof | None = None
    """None: the row's proof."""
    expected: Any = None
    """The facts that the proof must find. None: those of paramctl."""
    at_least: bool = False
    """A yardstick, which does only a part of the work: reading or copying the bytes, or starting Python."""
    missing: str = ""
    """The program that is not installed."""
    environment: dict[str, str | None] = field(default_factory=dict)
    """Variables for the command; None removes one."""
    reports: bool = False
    """The command measures a part of itself: its last line has its cost and its proof in JSON."""
    scale: float = 1.0
    """The factor of its cost, for a peer that does a part of the same work."""


@dataclass(frozen=True)
class Row:
    """A piece of work that paramctl and its peers do."""

    name: str
    ours: Side
    peers: list[Side]
    proof: Proof
    goals: Mapping[str, float | Goal | Sequence[Goal]] = field(default_factory=dict)
    """By the name of a peer; a number is a goal for the ratio of the elapsed seconds."""
    before: Callable[[], None] | None = None
    """Called before each run, such as to remove what the run before it wrote."""
    tolerance: float = 2e-3
    """The largest difference of numbers in the proofs, relative or absolute."""

    def goals_beside(self, peer: str) -> list[Goal]:
        goals = self.goals.get(peer, ())
        if isinstance(goals, (int, float)):
            return [Goal(goals)]
        return [goals] if isinstance(goals, Goal) else [*goals]


class Result(NamedTuple):
    """A line of the table: paramctl beside one peer. Without runs, the costs are None."""

    row: str
    peer: str
    goals: list[Goal]
    yardstick: bool
    ours: Cost | None
    theirs: Cost | None

    @property
    def ratio(self) -> float | None:
        return self.ours.elapsed / self.theirs.elapsed if self.ours and self.theirs else None

    @property
    def missed(self) -> list[tuple[Goal, float]]:
        """The goals that paramctl misses, and what it reaches."""
        if self.ours is None or self.theirs is None:
            return []
        reached = [(goal, FIGURES[goal.figure](self.ours, self.theirs)) for goal in self.goals]
        return [(goal, figure) for goal, figure in reached if round(figure, 2) > goal.most]


def measure(row: Row, runs: int | None = None) -> list[Result]:
    """Return paramctl's cost beside each peer's: the least of several runs in turn, after one whose work is proved."""
    sides = [row.ours, *(peer for peer in row.peers if not peer.missing)]
    facts = [prove(side, row) for side in sides]
    for side, fact in zip(sides, facts, strict=True):
        expected = facts[0] if side.expected is None else side.expected
        if not agree(fact, expected, row.tolerance) or fact in (None, [], "", 0):
            raise ProofError(f"{row.name}: {side.name} did other work: {brief(fact)} instead of {brief(expected)}")
    rounds: list[list[Cost]] = []
    begin = time.monotonic()
    while more(len(rounds), time.monotonic() - begin) if runs is None else len(rounds) < runs:
        rounds.append([cost(side, row) for side in sides])
    costs = [least(list(each)) for each in zip(*rounds, strict=True)] if rounds else [None] * len(sides)
    peers = zip(sides[1:], costs[1:], strict=True)
    return [
        Result(row.name, peer.name, row.goals_beside(peer.name), peer.at_least, costs[0], used) for peer, used in peers
    ]


def more(rounds: int, seconds: float) -> bool:
    """Return whether a row needs another round. The first is complete however long it takes."""
    enough = MOST_SECONDS if rounds < LEAST_RUNS else ENOUGH_SECONDS
    return rounds == 0 or (rounds < MOST_RUNS and seconds < enough)


def least(costs: list[Cost]) -> Cost:
    """Return the least time of the runs, because other programs only add to it, and the most memory."""
    elapsed, cpu, megabytes = zip(*costs, strict=True)
    return Cost(min(elapsed), min(cpu), max(megabytes))


def agree(a: Any, b: Any, tolerance: float) -> bool:
    """Return True if two proofs are equal; floats may differ by rounding."""
    if isinstance(a, float) or isinstance(b, float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(agree(*pair, tolerance) for pair in zip(a, b, strict=True))
    return bool(a == b)


def brief(fact: Any) -> str:
    text = repr(fact)
    size = f"{len(fact):,} facts, " if isinstance(fact, (list, tuple)) else ""
    return size + (text if len(text) < 300 else f"{text[:150]} ... {text[-150:]}")


def prove(side: Side, row: Row) -> Any:
    """Run a command once, and return the facts of its proof. A fork reads them, so that this process stays small:
    the system counts its peak as the peak of each command that it starts."""
    if row.before is not None:
        row.before()
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sending.send(_proved(side, row.proof)))
    process.start()
    sending.close()
    try:
        fact, error = receiving.recv()
    except EOFError:
        fact, error = None, "its proof cannot be read"
    process.join()
    if error:
        raise ProofError(f"{row.name}: {side.name}: {error}")
    return fact


def _proved(side: Side, proof: Proof) -> tuple[Any, str]:
    with started(side, subprocess.PIPE) as process:
        try:
            if side.reports:
                fact = json.loads(process.stdout.read().splitlines()[-1])["proof"]
            else:
                fact = (side.proof or proof)(process.stdout)
            process.stdout.read()
            errors = process.stderr.read().decode(errors="replace")
        except (ValueError, KeyError, IndexError, OSError) as error:
            return None, f"{error!r}: {process.stderr.read().decode(errors='replace')}"
        return fact, f"exit code {process.returncode}: {errors}" if process.wait() else ""


@contextmanager
def started(side: Side, stdout: int) -> Iterator[Any]:
    environment = {key: value for key, value in (os.environ | side.environment).items() if value is not None}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled files, as an installation has them
    with subprocess.Popen(
        side.command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, env=environment
    ) as process:
        yield process


def cost(side: Side, row: Row) -> Cost:
    """Return the cost of one run. The memory of its processes is added up."""
    if row.before is not None:
        row.before()
    begun = time.perf_counter()
    with started(side, subprocess.PIPE if side.reports else subprocess.DEVNULL) as process:
        printed = process.stdout.read() if side.reports else b""
        errors = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ProofError(f"{side.name} ended with {process.returncode}: {errors.decode(errors='replace')}")
    seconds, memory = used.ru_utime + used.ru_stime, used.ru_maxrss
    with suppress(ChildProcessError):
        while True:
            _, _, used = os.wait4(-1, 0)
            seconds, memory = seconds + used.ru_utime + used.ru_stime, memory + used.ru_maxrss
    total = Cost(elapsed, seconds, memory / UNIT)
    if side.reports:
        report = json.loads(printed.splitlines()[-1])
        total = Cost(*(report.get(name, getattr(total, name)) for name in Cost._fields))
    return Cost(total.elapsed * side.scale, total.cpu * side.scale, total.megabytes)
