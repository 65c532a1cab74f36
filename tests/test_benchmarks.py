"""benchmarks/: each row runs at a toy size and proves its work, and a peer that does less is an error.

Peers that are not installed are skipped by name; tests/interop runs this file where all are.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"
GROUPS = re.findall(r'"(\w+)"', (BENCHMARKS / "run.py").read_text().partition("GROUPS = (")[2].partition("\n)\n")[0])
ALWAYS = {"startup", "headers", "documents", "scan", "library", "text", "edit", "init", "conversion", "addresses"}
"""The groups with a peer that needs no more than the tests do."""

ROW = """
import sys
from bench import Bench
from measure import Row, Side, measure
from proofs import arrays
def printing(text):
    return [sys.executable, "-c", f"print({text!r})"]
ours = Side("paramctl", printing("a (2, 3)\\nb (4,)"))
print(measure(Row("list", ours, [Side("peer", printing(sys.argv[1]))], arrays), runs=1)[0].ratio > 0)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=BENCHMARKS, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_every_group_is_listed() -> None:
    modules = {path.stem for path in BENCHMARKS.glob("*.py") if "def rows(" in path.read_text()}
    assert len(GROUPS) > 10
    assert set(GROUPS) == modules


@pytest.mark.parametrize("group", GROUPS)
def test_each_row_proves_its_work(group: str, tmp_path: Path) -> None:
    done = run("run.py", group, "--small", "--runs", "0", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "the same work" in done.stdout or (group not in ALWAYS and "not installed" in done.stdout)


def test_a_row_that_is_timed_has_a_ratio() -> None:
    assert run("-c", ROW, "b (4,)\na (2, 3)").stdout == "True\n"


@pytest.mark.parametrize("text", ["", "a (2, 3)", "a (2, 3)\nb (5,)", "a (2, 3)\nb (4,)\nc (1,)"])
def test_a_peer_that_does_other_work_is_an_error(text: str) -> None:
    done = run("-c", ROW, text)
    assert done.returncode == 1
    assert "ProofError: list: peer did other work" in done.stderr
    assert "True" not in done.stdout


PAGE = """
import json
from measure import Cost, Goal, Result
from page import Group, Record, group_of, plain, text
goals = [Goal(1.5, limit="The disk."), Goal(3.0, " of the CPU time"), Goal(0.5, " s more", "The start of Python.")]
result = Result("list", "peer", goals, False, Cost(3.0, 3.0, 9.0), Cost(1.0, 1.0, 9.0))
equal = Result("level", "peer", [Goal(1.0)], False, Cost(1.004, 1.0, 9.0), Cost(1.0, 1.0, 9.0))
group = Group("lists", "Lists", "about", "2026-01-01", "0123456", [result, equal], [])
stored = json.loads(json.dumps({**group._asdict(), "results": [plain(each) for each in group.results]}))
assert group_of(stored) == group
record = Record("machine", "versions", {"gone": group, "lists": group_of(stored)}).in_order(["new", "lists"])
print("\\n".join(text(record)))
"""


def test_each_goal_that_is_missed_is_listed_with_what_it_reaches_and_its_limit() -> None:
    page = run("-c", PAGE).stdout
    missed = page.partition("Of 4 goals, 2 are missed:\n\n")[2].partition("\n\n")[0]
    assert missed.splitlines() == [
        "- list, beside peer: 3.00; the goal is at most 1.5. The disk.",
        "- list, beside peer: 2.00 s more; the goal is at most 0.5 s more. The start of Python.",
    ]
    assert "| at most 1.5; at most 3 of the CPU time; at most 0.5 s more: **missed** |" in page
    assert "| at most 1 |" in page
