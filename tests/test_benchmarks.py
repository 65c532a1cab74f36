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
