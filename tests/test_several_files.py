"""stat and summary of several files: one table with a column File."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import paramctl as pc
from tests.conftest import ROOT, Run

MLP = ROOT / "sample_models" / "mlp.yaml"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The same model with two seeds, and a document."""
    pc.save(MLP, tmp_path / "a.safetensors", seed=1)
    pc.save(MLP, tmp_path / "b.h5", seed=2)
    (tmp_path / "m.yaml").write_text(MLP.read_text())
    return tmp_path


@pytest.mark.parametrize("command", ["stat", "summary", "sum"])
def test_the_rows_are_those_of_each_file(paramctl: Run, files: Path, command: str) -> None:
    """With the same values as for the file alone, in csv and in JSON lines."""
    names = ["a.safetensors", "b.h5", "m.yaml"]
    options = ["--parameters"] if command == "summary" else []
    for address in ([], ["dense/kernel"]):
        expected = []
        for name in names:
            alone = paramctl(command, name, *address, *options, "--format", "jsonl")
            expected += [{"file": name, **json.loads(line)} for line in alone.stdout.splitlines()]
        result = paramctl(command, *names, *address, *options, "--format", "jsonl")
        assert (result.returncode, result.stderr) == (0, "")
        assert [json.loads(line) for line in result.stdout.splitlines()] == expected
        assert len(expected) == 3 * (1 if address else 4)
        result = paramctl(command, *names, *address, *options, "--format", "csv")
        assert [row["file"] for row in csv.DictReader(io.StringIO(result.stdout))] == [row["file"] for row in expected]


def test_a_summary_has_totals_of_each_and_of_all(paramctl: Run, files: Path) -> None:
    shown = paramctl("summary", "a.safetensors", "b.h5")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[0].split()[:2] == ["File", "Layer"]
    assert [line.split() for line in shown.stdout.splitlines()[-3:]] == [
        ["a.safetensors", "25", "25", "0", "100"],
        ["b.h5", "25", "25", "0", "100"],
        ["total", "50", "50", "0", "200"],
    ]
    result = json.loads(paramctl("summary", "a.safetensors", "b.h5", "--format", "json").stdout)
    assert result["totals"] == {"parameters": 50, "trainable": 50, "non_trainable": 0, "bytes": 200}
    assert [each["file"] for each in result["files"]] == ["a.safetensors", "b.h5"]
    alone = json.loads(paramctl("summary", "b.h5", "--format", "json").stdout)
    assert result["files"][1] == {"file": "b.h5", **alone}


def test_counts_that_a_file_does_not_record_are_unknown_together(paramctl: Run, files: Path) -> None:
    import numpy as np

    np.savez(files / "plain.npz", w=np.zeros(3, "f4"))
    result = json.loads(paramctl("summary", "a.safetensors", "plain.npz", "--format", "json").stdout)
    assert result["totals"] == {"parameters": 28, "trainable": None, "non_trainable": None, "bytes": 112}


@pytest.mark.parametrize("command", ["stat", "summary", "sum"])
def test_a_file_that_fails_is_named_and_the_others_are_shown(paramctl: Run, files: Path, command: str) -> None:
    """As by grep, with exit code 2."""
    (files / "bad.safetensors").write_bytes(b"\xff" * 40)
    result = paramctl(command, "a.safetensors", "bad.safetensors", "b.h5", "--format", "csv")
    assert result.returncode == 2
    assert {row["file"] for row in csv.DictReader(io.StringIO(result.stdout))} == {"a.safetensors", "b.h5"}
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("bad.safetensors: ")
    result = paramctl(command, "a.safetensors", "b.h5", "nope")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 2)
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["a.safetensors", "b.h5"]


def test_an_address_is_none_of_the_files(paramctl: Run, files: Path) -> None:
    """dense is a layer, also beside a folder of that name."""
    (files / "dense").mkdir()
    result = paramctl("stat", "a.safetensors", "dense", "--format", "jsonl")
    assert [json.loads(line)["path"] for line in result.stdout.splitlines()] == ["dense/kernel", "dense/bias"]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["stat", "-", "a.safetensors"], "Standard input"),
        (["summary", "a.safetensors", "b.h5", "--memory"], "--memory is for one model"),
        (["summary", "a.safetensors", "b.h5", "--format", "tree"], "--format tree is for one file"),
        (["sum", "-", "a.safetensors"], "Standard input"),
        (["sum", "a.safetensors", "b.h5", "--format", "lines"], "--format lines is for one file"),
    ],
)
def test_options_for_one_file(paramctl: Run, files: Path, arguments: list[str], rule: str) -> None:
    result = paramctl(*arguments)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert rule in result.stderr


def test_hashes_of_several_files_are_a_table_and_no_list_of_one(paramctl: Run, files: Path) -> None:
    """The default is a table with the files; verify --against refuses the JSON of several, and reads that of one."""
    shown = paramctl("sum", "a.safetensors", "b.h5")
    lines = shown.stdout.splitlines()
    assert (shown.returncode, lines[0].split()) == (0, ["File", "Parameter", "Dtype", "Shape", "SHA-256"])
    assert [line.split()[0] for line in lines[2:]] == ["a.safetensors"] * 4 + ["b.h5"] * 4
    for format_ in ("json", "jsonl"):
        (files / "all.json").write_text(paramctl("sum", "a.safetensors", "m.yaml", "--format", format_).stdout)
        refused = paramctl("verify", "a.safetensors", "--against", "all.json")
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert "hashes of several files" in refused.stderr
    (files / "one.json").write_text(paramctl("sum", "a.safetensors", "--format", "json").stdout)
    assert paramctl("verify", "a.safetensors", "--against", "one.json").returncode == 0
