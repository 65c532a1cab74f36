"""Files of Keras before 3: names as Keras 3 gives them, and configurations as they were written."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.conftest import Run
from tests.test_keras_files import FIXTURES, dense, facts, keras2, layer, names, sequential


@pytest.mark.parametrize(
    ("path", "layers"),
    [
        ("keras2_depthwise.h5", ["depthwise_conv2d/kernel", "depthwise_conv2d/bias"]),
        (
            "keras2_numbered_cell.h5",
            [
                *(f"lstm_1/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")),
                *("dense_1/kernel", "dense_1/bias"),
            ],
        ),
        (
            "keras2_two_deep.h5",
            [
                *("m1/m0/c0/kernel", "m1/m0/c0/bias"),
                *(f"m1/m0/b0/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
            ],
        ),
    ],
)
def test_names_of_keras_2_are_those_of_keras_3(path: str, layers: list[str], paramctl: Run, tmp_path: Path) -> None:
    """With the configuration, without it, and in the new configuration of a .keras."""
    found = facts(paramctl, FIXTURES / path)
    assert [row["path"] for row in found["parameters"]] == layers
    counts = {row["path"]: row["parameters"] for row in found["layers"]}
    assert "deep" not in path or (counts["m1/m0/c0"], counts["m1/m0/b0"]) == (112, 16)
    assert paramctl("save", str(FIXTURES / path), "-o", "k.keras").returncode == 0
    assert names(paramctl, tmp_path / "k.keras") == layers
    with h5py.File(FIXTURES / path) as file, h5py.File(tmp_path / "w.h5", "w") as alone:
        group = file["model_weights"]
        alone.attrs["layer_names"] = group.attrs["layer_names"]
        for name in group:
            file.copy(f"model_weights/{name}", alone)
    if "deep" not in path:
        assert names(paramctl, tmp_path / "w.h5") == layers


@pytest.mark.parametrize(
    ("shapes", "cell"),
    [
        ({"kernel": (5, 12), "recurrent_kernel": (3, 12), "bias": (12,)}, "lstm_cell/"),
        ({"kernel": (5, 9), "recurrent_kernel": (3, 9)}, "gru_cell/"),
        ({"kernel": (5, 9), "recurrent_kernel": (3, 9), "bias": (2, 9)}, "gru_cell/"),
        ({"kernel": (5, 3), "recurrent_kernel": (3, 3), "bias": (3,)}, "simple_rnn_cell/"),
        ({"kernel": (5, 12), "recurrent_kernel": (3, 12), "bias": (24,)}, ""),  # CuDNNLSTM
        ({"kernel": (3, 3, 2, 8), "recurrent_kernel": (3, 3, 2, 8), "bias": (8,)}, ""),  # ConvLSTM2D
    ],
)
def test_the_cell_of_a_recurrent_layer_follows_from_its_shapes(
    shapes: dict[str, tuple[int, ...]], cell: str, paramctl: Run, tmp_path: Path
) -> None:
    """As Keras up to 2.3.1 wrote weights: the layer's name, and no cell."""
    path = keras2(tmp_path / "w.h5", {"r": {f"r/{name}:0": np.ones(shape) for name, shape in shapes.items()}})
    assert names(paramctl, path) == [f"r/{cell}{name}" for name in shapes]


def bare(*layers: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": [*layers]}


def test_a_sequential_that_is_a_bare_list(paramctl: Run, tmp_path: Path) -> None:
    """As Keras up to 2.2.2 wrote it, within another too, which then has no name but that of its weights."""
    inner = bare(layer("b", units=2, batch_input_shape=[None, 2]), layer("c", units=2))
    config = bare(layer("a", units=2, batch_input_shape=[None, 2]), inner)
    weights = {
        "a": {"a/kernel:0": dense()[0], "a/bias:0": dense()[1]},
        "sequential_7": {f"{name}/{part}:0": dense()[part == "bias"] for name in "bc" for part in ("kernel", "bias")},
    }
    path = keras2(tmp_path / "k.h5", weights, config)
    expected = [f"{owner}/{part}" for owner in ("a", "sequential_7/b", "sequential_7/c") for part in ("kernel", "bias")]
    assert names(paramctl, path) == expected
    assert facts(paramctl, path)["inputs"][0]["shape"] == [None, 2]
    assert paramctl("save", str(path), "-o", "k.keras").returncode == 0
    assert names(paramctl, tmp_path / "k.keras") == expected


def test_the_order_of_variables_decides_over_their_names(paramctl: Run, tmp_path: Path) -> None:
    """In a layer of a known class: Keras assigns them in the order of weight_names."""
    weights = {"d": {"whatever:0": dense()[0], "else/x:0": dense()[1]}}
    path = keras2(tmp_path / "k.h5", weights, sequential(layer("d", units=2, batch_input_shape=[None, 2])))
    assert names(paramctl, path) == ["d/kernel", "d/bias"]


def test_options_of_keras_2_under_their_names(paramctl: Run, tmp_path: Path) -> None:
    """The slope of LeakyReLU was alpha, and GRU had no reset_after."""
    config = sequential(
        layer("g", "GRU", units=2, batch_input_shape=[None, 4, 2], return_sequences=False),
        layer("slope", "LeakyReLU", alpha=0.125),
    )
    arrays = {"kernel": (2, 6), "recurrent_kernel": (2, 6), "bias": (6,)}
    path = keras2(tmp_path / "k.h5", {"g": {f"g/{k}:0": np.ones(s) for k, s in arrays.items()}, "slope": {}}, config)
    assert paramctl("save", str(path), "-o", "k.keras", "--dtype", "float32").returncode == 0
    with zipfile.ZipFile(tmp_path / "k.keras") as archive:
        written = {
            each["class_name"]: each["config"] for each in json.loads(archive.read("config.json"))["config"]["layers"]
        }
    assert written["LeakyReLU"]["negative_slope"] == 0.125
    assert written["GRU"]["reset_after"] is False


def test_files_of_keras_1(paramctl: Run, tmp_path: Path) -> None:
    """Old names, which stay, and the roles that they have; what a custom layer or an unknown name is, is not told."""
    arrays = {
        "dense_1": {"dense_1_W": (2, 3), "dense_1_b": (3,)},
        "bn": {"bn_gamma": (3,), "bn_beta": (3,), "bn_running_mean": (3,), "bn_running_std": (3,)},
        "lstm_1": {"lstm_1_W_i": (3, 2), "lstm_1_U_i": (2, 2), "lstm_1_b_i": (2,), "lstm_1_other": (2,)},
    }
    config = bare(
        layer("dense_1", module=None, output_dim=3, init="glorot_uniform", batch_input_shape=[None, 2]),
        layer("bn", "BatchNormalization", gamma_init="one"),
        layer("lstm_1", "LSTM", output_dim=2, init="glorot_uniform"),
    )
    for each in config["config"]:
        del each["module"], each["registered_name"], each["build_config"]
    weights = {name: {key: np.ones(shape) for key, shape in members.items()} for name, members in arrays.items()}
    path = keras2(tmp_path / "k.h5", weights, config)
    found = facts(paramctl, path)["parameters"]
    assert [row["path"] for row in found] == [f"{name}/{key}" for name, members in arrays.items() for key in members]
    untrained = {"bn/bn_running_mean": False, "bn/bn_running_std": False, "lstm_1/lstm_1_other": None}
    assert {row["path"]: row["trainable"] for row in found if not row["trainable"]} == untrained
    done = paramctl("save", str(path), "-o", "k.keras")
    assert (done.returncode, (tmp_path / "k.keras").exists()) == (2, False)


def test_a_policy_or_a_function_is_no_layer_within(paramctl: Run, tmp_path: Path) -> None:
    """Keras 3 writes a dtype as a named object into this format too, and an activation may be a layer."""
    named = [
        ("dtype", {"class_name": "DTypePolicy", "config": {"name": "float32"}}),
        ("activation", {"class_name": "ReLU", "config": {"name": "re_lu"}}),
    ]
    for option, value in named:
        config = sequential(layer("d", units=2, **{option: value}), layer("own", "Own", "own"))
        path = keras2(tmp_path / "k.h5", {"d": {"d/kernel": dense()[0], "d/bias": dense()[1]}, "own": {}}, config)
        assert names(paramctl, path) == ["d/kernel", "d/bias"]
        assert facts(paramctl, path)["totals"]["trainable"] == 6


TWICE = "keras2_models_called_twice"


def test_models_within_are_counted_by_their_own_calls(paramctl: Run, tmp_path: Path) -> None:
    """Keras 2 gives the calls of a model within a model the numbers 1, 2, ...; the file is one that it wrote."""
    trees = [facts(paramctl, FIXTURES / f"{TWICE}.{suffix}") for suffix in ("h5", "keras")]
    counts = {row["path"]: row["parameters"] for row in trees[0]["layers"]}
    assert (counts["encoder/a"], counts["encoder/bn"], counts["middle/core/a"], counts["middle/b"]) == (20, 16, 20, 20)
    for tree in trees:
        totals = tree["totals"]
        assert (totals["parameters"], totals["trainable"], totals["non_trainable"]) == (156, 128, 28)
    assert [row["path"] for row in trees[0]["parameters"]] == [row["path"] for row in trees[1]["parameters"]]
    assert paramctl("diff", *(str(FIXTURES / f"{TWICE}.{suffix}") for suffix in ("h5", "keras"))).returncode == 0
    for suffix in ("h5", "keras"):
        done = paramctl("save", str(FIXTURES / f"{TWICE}.{suffix}"), "-o", f"{suffix}.keras")
        assert done.returncode == 0, done.stderr
        assert paramctl("diff", str(FIXTURES / f"{TWICE}.h5"), f"{suffix}.keras").returncode == 0


def test_a_layer_with_the_name_of_a_group_of_keras_3(paramctl: Run, tmp_path: Path) -> None:
    """A layer may be called ``vars`` or ``layers``: the list of layers shows that the file is one of Keras 2."""
    called = ("vars", "layers", "optimizer", "metrics", "loss_tracker", "seed_generator")
    layers = {name: {f"{name}/{part}:0": dense()[part == "bias"] for part in ("kernel", "bias")} for name in called}
    alone = keras2(tmp_path / "w.h5", layers)
    assert names(paramctl, alone) == [f"{name}/{part}" for name in called for part in ("kernel", "bias")]
    assert facts(paramctl, alone)["totals"]["parameters"] == 6 * len(called)


@pytest.mark.parametrize(("version", "named"), [("2.2.4", True), ("3.15.1", False)])
def test_the_hard_sigmoid_of_keras_2_is_named(version: str, named: bool, paramctl: Run, tmp_path: Path) -> None:
    """Keras 3 has another slope, so the network computes something else; the gates of old files have it by default."""
    arrays = {"kernel": (2, 8), "recurrent_kernel": (2, 8), "bias": (8,)}
    options = {"units": 2, "recurrent_activation": "hard_sigmoid", "batch_input_shape": [None, 4, 2]}
    config = sequential(layer("r", "LSTM", **options))
    path = keras2(tmp_path / "k.h5", {"r": {f"r/{name}:0": np.ones(shape) for name, shape in arrays.items()}}, config)
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = version
    done = paramctl("save", str(path), "-o", "k.keras", "--dtype", "float32")
    assert done.returncode == 0, done.stderr
    assert ("hard_sigmoid with the slope 0.2 (Keras 3 has 1/6) of r" in done.stderr) is named
