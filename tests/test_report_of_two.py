"""paramctl report of two files: findings of both, differences of the selected arrays alone, and undecodable arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paramctl as pc
from paramctl.source import stored
from tests.conftest import ROOT, Call
from tests.test_report import data_of, rows_of, saved

MLP = str(ROOT / "sample_models/mlp.yaml")


def name_of(row: dict[str, Any]) -> str:
    """Return the name of a row's array, with or without a link."""
    return str(row["path"] if isinstance(row["path"], str) else row["path"][0])


def packed(path: Path, value: float) -> str:
    """Write a file with an array of 4 bits, whose values cannot be decoded, and return its path."""
    spans = {"w": ("F4", [4, 4], [0, 8]), "v": ("F32", [1], [8, 12])}
    header = {
        name: {"dtype": kind, "shape": shape, "data_offsets": span} for name, (kind, shape, span) in spans.items()
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8) + np.float32(value).tobytes())
    return str(path)


def test_findings_of_both_files_are_named_by_file(tmp_path: Path) -> None:
    """NaN in the second file alone is a finding, and the details of the array have it; the same as check finds."""
    good = np.arange(6.0).reshape(2, 3)
    bad = good.copy()
    bad[1, 2] = np.nan
    first = saved(tmp_path / "a.safetensors", {"x.w": good, "y.w": np.ones((2, 2))})
    second = saved(tmp_path / "b.safetensors", {"x.w": bad, "y.w": good[:, :2]})
    page = pc.report(first, other=second).html
    rows = rows_of(page, "findings")
    assert [(row["severity"], row["file"], name_of({"path": row["place"]})) for row in rows] == [
        ("error", "B: b.safetensors", "x.w[1, 2]"),
        ("warning", "A: a.safetensors", "y.w"),
    ]
    texts = [each.text for file in (second, first) for each in pc.check(file).findings]
    assert [row["text"] for row in rows] == texts
    number = [name_of(row) for row in rows_of(page, "arrays")].index("x.w")
    assert data_of(page)["findings"][str(number)] == [0]
    assert rows_of(page, "changes")[0]["nan"] == "0 in A, 1 in B"
    alone = data_of(pc.report(first).html)["tables"]["findings"]["fields"]
    assert [field[3] for field in alone if field[0] == "file"] == [0]  # one file needs no column of files
    healthy = pc.report(second, "y", other=second).html
    assert "No findings, neither in A, b.safetensors, nor in B, b.safetensors." in healthy


def test_a_page_without_values_says_that_none_were_compared(call: Call) -> None:
    """Equal headers are not equal files."""
    for name, seed in (("a", "1"), ("b", "2")):
        assert call("init", MLP, "--seed", seed, "-o", f"{name}.safetensors", "-q")[0] == 0
    page = pc.report("a.safetensors", other="b.safetensors", values=False).html
    assert "No differences. No values were compared, only names, shapes, dtypes and ties." in page


def test_an_undecodable_array_is_a_row(tmp_path: Path) -> None:
    """The report of two files does not fail, and says which array was not compared, and why."""
    first, second = packed(tmp_path / "a.safetensors", 1.0), packed(tmp_path / "b.safetensors", 2.0)
    page = pc.report(first, other=second).html
    rows = {name_of(row): row for row in rows_of(page, "changes")}
    assert rows["w"]["status"].startswith("not compared: ")
    assert "float4_e2m1fn" in rows["w"]["status"]
    assert (rows["v"]["status"], rows["v"]["max_abs"]) == ("values", 1.0)
    assert "1 of the 2 arrays in both differs, 1 could not be compared." in page
    with pytest.raises(pc.InputError, match="float4_e2m1fn"):
        pc.diff(first, second)


def test_addresses_restrict_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that is not selected is read of neither file."""
    values = {"x.w": np.arange(4.0), "y.w": np.arange(5.0), "z.w": np.arange(6.0)}
    first = saved(tmp_path / "a.safetensors", values)
    second = saved(tmp_path / "b.safetensors", {name: array + 1 for name, array in values.items()})
    seen: set[str] = set()
    read = stored.Stored.read

    def spy(self: Any, path: str, start: int, stop: int) -> Any:
        seen.add(path)
        return read(self, path, start, stop)

    monkeypatch.setattr(stored.Stored, "read", spy)
    page = pc.report(first, "y", other=second).html
    assert [name_of(row) for row in rows_of(page, "changes")] == ["y.w"]
    assert seen == {"y.w"}


def test_the_second_name_of_an_array_has_its_difference(tmp_path: Path) -> None:
    """Both files share one array under two names. A report of the second name alone has the difference too."""
    model = "input: [4]\nlayers: [{dense: {units: 4, name: a}}, {dense: {units: 4, name: b}}]\n"
    (tmp_path / "m.yaml").write_text(f"{model}ties: [{{keep: a/kernel, tie: b/kernel}}]\n")
    for seed in (1, 2):
        pc.save(pc.initialize(tmp_path / "m.yaml", scheme="he", seed=seed), tmp_path / f"{seed}.safetensors")
    files = [tmp_path / f"{seed}.safetensors" for seed in (1, 2)]
    (change,) = rows_of(pc.report(files[0], "b/kernel", other=files[1]).html, "changes")
    (whole,) = (row for row in pc.diff(*files).rows if row.path == "a/kernel")
    assert (name_of(change), change["different"]) == ("b/kernel", whole.different)
    assert change["norm"] == pytest.approx(whole.norm, rel=1e-5)


def test_the_map_marks_the_arrays_that_differ(tmp_path: Path) -> None:
    """By a class for the eye, and in words for a screen reader."""
    values = {"x.w": np.arange(4.0), "y.w": np.arange(5.0)}
    first = saved(tmp_path / "a.safetensors", values)
    second = saved(tmp_path / "b.safetensors", values | {"y.w": np.arange(5.0) * 2})
    page = pc.report(first, other=second).html
    assert page.count(" changed") - pc.report(first).html.count(" changed") == 2  # a tile, and the legend
    assert 'y.w: 40 bytes, 55.6 %, float64 (5,), differs"' in page
    assert "differs from B" in page


def test_a_name_that_nobody_sees_is_in_quotes(tmp_path: Path) -> None:
    """A link without text could not be followed."""
    page = pc.report(saved(tmp_path / "m.safetensors", {"": np.ones(2), "\n": np.ones(3), "a\nb": np.ones(3)})).html
    assert [name_of(row) for row in rows_of(page, "arrays")] == ["''", "'\\n'", "a\\nb"]
    assert [node[1] for node in data_of(page)["tree"]] == ["''", "'\\n'", "a\\nb"]
    assert "No arrays." in pc.report(saved(tmp_path / "e.safetensors", {})).html
