"""save --suggest-renames: rules that give a file's arrays the names of a model, as options to paste."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import paramctl as pc
from tests.conftest import ROOT, Run

SAMPLES = ROOT / "sample_models"
LENET = str(SAMPLES / "lenet.yaml")
NAMES = {"conv2d": "features.0", "conv2d_1": "features.3", "dense": "fc.1", "dense_1": "fc.3", "dense_2": "fc.5"}


def arrays(*names: str, shape: tuple[int, ...] = (2, 3)) -> dict[str, np.ndarray]:
    return {name: np.full(shape, number, "f4") for number, name in enumerate(names)}


def options(output: str) -> list[str]:
    """Return the printed options as a shell would read them."""
    return shlex.split(output.replace("\\\n", " "))


def test_the_options_can_be_pasted(paramctl: Run, tmp_path: Path) -> None:
    """A checkpoint of torchvision's names becomes the model's, with the same values."""
    pc.save(LENET, tmp_path / "t.safetensors", layout="torch")
    theirs = {}
    for name, array in load_file(tmp_path / "t.safetensors").items():
        layer, _, last = name.rpartition(".")
        theirs[f"{NAMES[layer]}.{last}"] = array
    save_file(theirs, tmp_path / "n.safetensors")
    result = paramctl("save", "n.safetensors", "--like", LENET, "--suggest-renames")
    assert (result.returncode, result.stderr) == (0, "")
    pasted = options(result.stdout)
    assert len(pasted) == 2 * len(NAMES)
    saved = paramctl("save", "n.safetensors", *pasted, "--like", LENET, "--layout", "keras", "-o", "y.weights.h5")
    assert saved.returncode == 0, saved.stderr
    assert pc.diff(LENET, tmp_path / "y.weights.h5").equal
    assert not (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize("name", ["lenet", "mlp", "resnet50", "rgnet", "gpt2"])
def test_one_rule_removes_a_prefix(tmp_path: Path, name: str) -> None:
    """In the model's own layout."""
    separator = "/"
    weights = pc.rename(pc.initialize(SAMPLES / f"{name}.yaml"), {"**": f"net{separator}**"})
    assert pc.suggest_renames(weights, SAMPLES / f"{name}.yaml").rules == ["net/**=**"]


def test_one_expression_explains_all_numbers(tmp_path: Path) -> None:
    """12 before 2 in the file: the numbers decide, not the order of the text."""
    old = [f"blocks.{n}.attn.{each}.weight" for n in range(13) for each in "qkv"]
    new = [f"layers.{n}.attention.{each}.weight" for n in range(13) for each in ("query", "key", "value")]
    expected = dict(zip(old, new, strict=True))
    save_file(arrays(*old), tmp_path / "a.safetensors")
    save_file(arrays(*new), tmp_path / "b.safetensors")
    found = pc.suggest_renames(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert found.is_complete
    assert len(found.rules) == 3
    assert all(rule.startswith("re:") for rule in found.rules)
    renamed = pc.rename(tmp_path / "a.safetensors", found.rules)
    original = load_file(tmp_path / "a.safetensors")
    for before, after in expected.items():
        np.testing.assert_array_equal(renamed[after], original[before])


def test_names_with_several_possible_matches_are_listed(paramctl: Run, tmp_path: Path) -> None:
    """Never guessed: the exit code is 1, and nothing is proposed for them."""
    save_file(arrays("a.weight", "b.weight") | arrays("c.bias", shape=(4,)), tmp_path / "x.safetensors")
    save_file(arrays("p.weight", "q.weight") | arrays("d.bias", shape=(4,)), tmp_path / "y.safetensors")
    result = paramctl("save", "x.safetensors", "--like", "y.safetensors", "--suggest-renames")
    assert result.returncode == 1
    assert options(result.stdout) == ["--rename", "c.**=d.**"] or options(result.stdout) == [
        "--rename",
        "c.bias=d.bias",
    ]
    assert result.stderr == "ambiguous: a.weight, b.weight could be p.weight, q.weight\n"


def test_names_without_a_match_are_listed(paramctl: Run, tmp_path: Path) -> None:
    save_file(arrays("same") | arrays("a", shape=(7,)), tmp_path / "x.safetensors")
    save_file(arrays("same") | arrays("b", shape=(9,)), tmp_path / "y.safetensors")
    result = paramctl("save", "x.safetensors", "--like", "y.safetensors", "--suggest-renames")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "not in y.safetensors: a\nmissing: b\n"


def test_matching_names_need_no_rule(paramctl: Run, tmp_path: Path) -> None:
    pc.save(LENET, tmp_path / "t.safetensors", layout="torch")
    result = paramctl("save", "t.safetensors", "--like", LENET, "--suggest-renames")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("names", [["a=b", "c d"], ["x[0]", "it's"], ["re:x", "-1"]])
def test_rules_quote_names_with_a_meaning(paramctl: Run, tmp_path: Path, names: list[str]) -> None:
    """Each has another shape, so the match is clear."""
    old = {name: np.zeros((number + 1,), "f4") for number, name in enumerate(names)}
    new = {f"new{number}": array for number, array in enumerate(old.values())}
    save_file(old, tmp_path / "x.safetensors")
    save_file(new, tmp_path / "y.safetensors")
    result = paramctl("save", "x.safetensors", "--like", "y.safetensors", "--suggest-renames")
    assert result.returncode == 0, result.stderr
    saved = paramctl("save", "x.safetensors", *options(result.stdout), "--like", "y.safetensors", "-o", "z.safetensors")
    assert saved.returncode == 0, saved.stderr


@pytest.mark.parametrize("options", [[], ["--like", LENET, "--layout", "torch"]])
def test_it_requires_a_model(paramctl: Run, options: list[str]) -> None:
    result = paramctl("save", LENET, *options, "--suggest-renames")
    assert result.returncode == 2
    assert "--suggest-renames requires --like" in result.stderr


def test_ten_thousand_arrays_take_seconds(tmp_path: Path) -> None:
    """Alike in shape or not, with one group of names or as many as arrays."""
    numbered = arrays(*(f"a{number}.w" for number in range(10_000)), shape=(2,))
    lettered = arrays(*(f"b{'x' * (number % 97)}.{number}" for number in range(10_000)), shape=(2,))
    save_file(numbered, tmp_path / "x.safetensors")
    save_file(lettered, tmp_path / "y.safetensors")
    start = time.perf_counter()
    for pair in (("x", "y"), ("y", "x")):
        pc.suggest_renames(*(tmp_path / f"{name}.safetensors" for name in pair))
    assert time.perf_counter() - start < 20
