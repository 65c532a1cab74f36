"""Files that Keras wrote: real names, optimizers apart, the tree where a configuration tells it. tests/fixtures has them."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT, Run

FIXTURES = ROOT / "tests/fixtures"


def parameters(paramctl: Run, path: str) -> dict[str, list[int]]:
    """The names and shapes that summary tells."""
    done = paramctl("summary", str(FIXTURES / path), "--format", "json")
    assert done.returncode == 0, done.stderr
    return {row["path"]: row["shape"] for row in json.loads(done.stdout)["parameters"]}


BN = ["gamma", "beta", "moving_mean", "moving_variance"]
NAMES = {
    "keras3_nested.weights.h5": [
        *("block1/dense/kernel", "block1/dense/bias", "block1/dense_1/kernel", "block1/dense_1/bias"),
        *(f"batch_normalization/{name}" for name in BN),
        *("sharedname/kernel", "sharedname/bias", "foo/kernel", "foo/bias", "dense_2/kernel", "dense_2/bias"),
    ],
    "keras3_mha_lstm.weights.h5": [
        *(f"lstm/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")),
        *(
            f"multi_head_attention/{part}/{name}"
            for part in ("query", "key", "value", "attention_output")
            for name in ("kernel", "bias")
        ),
    ],
    "keras3_tied_sequential.weights.h5": ["dense_3/kernel", "dense_3/bias", "dense_4/kernel", "dense_4/bias"],
    "keras3_bf16.weights.h5": ["dense_7/kernel", "dense_7/bias"],
    "keras2_weights.h5": [
        *("block1/dense/kernel", "block1/dense/bias", "block1/dense_1/kernel", "block1/dense_1/bias"),
        *(f"batch_normalization/{name}" for name in BN),
        *("dense_2/kernel", "dense_2/bias"),
    ],
    "keras2_v3format.weights.h5": [
        *(f"sequential/{layer}/{name}" for layer in ("dense", "dense_1") for name in ("kernel", "bias")),
        *(f"batch_normalization/{name}" for name in BN),
        *("dense/kernel", "dense/bias"),
    ],
    "keras2_subclass.weights.h5": ["dense/kernel", "dense/bias", "net/dense/kernel", "net/dense/bias"],
    # dense is an attribute here, and might be of any class: its variables are not guessed
    "keras3_subclass_nestmlp.weights.h5": [
        *(f"sequential/{layer}/{name}" for layer in ("dense", "dense_1") for name in ("kernel", "bias")),
        *(f"blocks/{layer}/{name}" for layer in ("dense_3", "dense_4") for name in ("kernel", "bias")),
        *("d/dense_5/kernel", "d/dense_5/bias", "dense_2/0", "dense_2/1"),
    ],
}


@pytest.mark.parametrize("path", NAMES)
def test_the_real_names(path: str, paramctl: Run) -> None:
    assert sorted(parameters(paramctl, path)) == sorted(NAMES[path])


@pytest.mark.parametrize("path", ["keras3_nested.weights.h5", "keras3_nested.keras"])
def test_the_values_under_those_names(path: str, paramctl: Run) -> None:
    """Against what Keras itself told of the same model."""
    told = json.loads((FIXTURES / "keras3_nested.values.json").read_text())
    made = json.loads(paramctl("dump", str(FIXTURES / path), "--format", "json").stdout)
    assert len(told) == 14
    for name, values in told.items():
        ours = name.removeprefix("sequential/")
        assert np.array_equal(np.array(made[ours], "float32"), np.array(values, "float32")), name


@pytest.mark.parametrize(
    ("path", "total", "trainable"), [("keras3_nested.keras", 91, 85), ("keras2_full_model.h5", 41, 37)]
)
def test_a_configuration_gives_the_tree(path: str, total: int, trainable: int, paramctl: Run) -> None:
    facts = json.loads(paramctl("summary", str(FIXTURES / path), "--format", "json").stdout)
    assert (facts["totals"]["parameters"], facts["totals"]["trainable"]) == (total, trainable)
    types = {row["path"]: (row["type"], row["output_shape"]) for row in facts["layers"]}
    assert types["flatten"] == ("flatten", [None, 4])
    assert types["block1/dense"] == ("dense", [None, 4])
    assert facts["parameters"][0]["axes"] == ["in", "out"]


def test_what_an_optimizer_keeps_stands_apart(paramctl: Run) -> None:
    shown = paramctl("summary", str(FIXTURES / "keras2_full_model.h5")).stdout
    assert "Total parameters:  41" in shown
    assert shown.endswith("Beside them: 17 arrays of an optimizer or of metrics, 75 values\n")


def test_a_stored_path_is_an_address_too(paramctl: Run) -> None:
    path = str(FIXTURES / "keras3_nested.weights.h5")
    by_name = paramctl("dump", path, "block1/dense/kernel[0]", "--format", "csv").stdout
    assert paramctl("dump", path, "layers/sequential/layers/dense/vars/0[0]", "--format", "csv").stdout == by_name
    assert len(by_name.splitlines()) == 5


def test_an_edit_in_place_is_keras_file_still(paramctl: Run, tmp_path: Path) -> None:
    """Only the bytes of what was named change."""
    before = (FIXTURES / "keras3_nested.weights.h5").read_bytes()
    (tmp_path / "k.weights.h5").write_bytes(before)
    assert paramctl("set", "k.weights.h5", "block1/dense/bias[2] = 7", "--in-place").returncode == 0
    after = (tmp_path / "k.weights.h5").read_bytes()
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(after, before, strict=True)) <= 4
    assert paramctl("dump", "k.weights.h5", "block1/dense/bias").stdout == "[0. 0. 7. 0.]\n"


def test_an_edit_into_another_name_has_that_names_layout(paramctl: Run, tmp_path: Path) -> None:
    """A native file edited into .weights.h5 is Keras' own, and the reverse; in place each stays what it is."""
    paramctl("save", str(ROOT / "sample_models/mlp.yaml"), "-o", "m.h5")
    assert paramctl("set", "m.h5", "dense/kernel = 1", "-o", "k.weights.h5").returncode == 0
    assert paramctl("set", "k.weights.h5", "dense/bias = 2", "-o", "back.h5").returncode == 0
    assert paramctl("set", "back.h5", "dense/bias[0] = 3", "--in-place").returncode == 0
    with h5py.File(tmp_path / "k.weights.h5") as keras, h5py.File(tmp_path / "back.h5") as native:
        assert keras["layers/dense/vars/0"][()].tolist() == native["dense/kernel"][()].tolist() == [[1.0] * 4] * 4
        assert native["dense/bias"][()].tolist() == [3.0, 2.0, 2.0, 2.0]


def test_a_tie_in_a_file_of_keras_is_a_hard_link(paramctl: Run, tmp_path: Path) -> None:
    paramctl("save", str(ROOT / "sample_models/rgnet.yaml"), "-o", "r.weights.h5")
    names = [f"block2/block-{k}/dense/kernel" for k in (0, 1)]
    assert paramctl("tie", "r.weights.h5", *names, "--in-place").returncode == 0
    with h5py.File(tmp_path / "r.weights.h5") as file:
        inside = "layers/sequential/layers"
        assert file[f"{inside}/sequential/layers/dense/vars/0"] == file[f"{inside}/sequential_1/layers/dense/vars/0"]
    assert f"Tied: {names[1]} = {names[0]}" in paramctl("summary", "r.weights.h5").stdout
