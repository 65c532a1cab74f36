"""The chapter "Parameter Management" of Dive into Deep Learning, by commands: each gives what the book shows.

Book: https://d2l.ai/chapter_builders-guide/parameters.html and init-param.html, with their TensorFlow code.
"""

import csv
import io
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT, Run

MLP, RGNET, TIED, FANCY, NEST = (
    str(ROOT / "sample_models" / f"{name}.yaml") for name in ("mlp", "rgnet", "tied_mlp", "fancy_mlp", "nest_mlp")
)
CUSTOM = "{mixture: [[0.25, {uniform: [5, 10]}], [0.5, zeros], [0.25, {uniform: [-10, -5]}]]}"


def values(paramctl: Run, *arguments: str) -> dict[str, np.ndarray]:
    """Return the arrays that dump prints, by name."""
    done = paramctl("dump", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return {name: np.array(numbers, np.float32) for name, numbers in json.loads(done.stdout).items()}


def initialized(paramctl: Run, *arguments: str) -> dict[str, np.ndarray]:
    """Return the arrays that init writes and dump reads back."""
    done = paramctl("init", *arguments, "-o", "net.h5", "--force", "-q")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return values(paramctl, "net.h5")


# Parameter access


def test_one_layers_parameters(paramctl: Run) -> None:
    """``net.layers[2].weights``: the kernel (4, 1) and the bias (1,) of the output layer, zero before any training."""
    paramctl("init", MLP, "-q")
    output = values(paramctl, "mlp.h5", "dense_1")
    assert {name: array.shape for name, array in output.items()} == {"dense_1/kernel": (4, 1), "dense_1/bias": (1,)}
    assert np.array_equal(output["dense_1/bias"], [0])
    assert output["dense_1/kernel"].all()


def test_a_targeted_parameter(paramctl: Run, tmp_path: Path) -> None:
    """``net.layers[2].weights[1]``: the bias by its path; from the document it is what the file holds."""
    paramctl("init", MLP, "-q")
    assert paramctl("dump", "mlp.h5", "dense_1/bias").stdout == "[0.]\n"
    kernel = paramctl("dump", "mlp.h5", "dense_1/kernel").stdout
    with h5py.File(tmp_path / "mlp.h5") as file:
        assert kernel == f"{file['dense_1/kernel'][()]}\n"
    assert kernel == paramctl("dump", MLP, "dense_1/kernel").stdout


def test_all_parameters_at_once(paramctl: Run, tmp_path: Path) -> None:
    """``net.get_weights()``: four arrays in the order of the layers, 25 values; ``net.get_weights()[1]`` by name."""
    paramctl("init", MLP, "-q")
    everything = values(paramctl, "mlp.h5")
    assert [(name, array.shape) for name, array in everything.items()] == [
        ("dense/kernel", (4, 4)),
        ("dense/bias", (4,)),
        ("dense_1/kernel", (4, 1)),
        ("dense_1/bias", (1,)),
    ]
    assert sum(array.size for array in everything.values()) == 25
    assert paramctl("dump", "mlp.h5", list(everything)[1]).stdout == "[0. 0. 0. 0.]\n"
    rows = list(csv.DictReader(io.StringIO(paramctl("dump", "mlp.h5", "--format", "csv").stdout)))
    assert [row["path"] for row in rows] == [name for name, array in everything.items() for _ in range(array.size)]
    with h5py.File(tmp_path / "mlp.h5") as file:
        assert all(np.array_equal(file[name], array) for name, array in everything.items())


def test_parameters_in_nested_blocks(paramctl: Run) -> None:
    """``rgnet.layers[0].layers[1].layers[1].weights[1]``: first major block, second block in it, second layer, bias."""
    shown = json.loads(paramctl("summary", RGNET, "--format", "json").stdout)
    assert shown["totals"]["parameters"] == 85
    assert [layer["path"] for layer in shown["layers"]][-1] == "dense"
    (bias,) = values(paramctl, RGNET, "block2/block-1/dense/bias").values()
    assert np.array_equal(bias, np.zeros(4))
    within = values(paramctl, RGNET, "block2/block-1")
    assert list(within) == ["block2/block-1/dense/kernel", "block2/block-1/dense/bias"]
    marked = initialized(paramctl, RGNET, "--rule", "block2/block-1/dense/bias=constant:1")
    assert {name for name, array in marked.items() if name.endswith("bias") and array.any()} == {
        "block2/block-1/dense/bias"
    }


# Built-in initialization


def test_normal_weights_and_zero_biases(paramctl: Run) -> None:
    """Weights from N(0, 0.01), biases zero."""
    small = initialized(paramctl, MLP, "--scheme", "normal:stddev=0.01")
    assert not small["dense/bias"].any()
    assert not small["dense_1/bias"].any()
    assert 0 < np.abs(small["dense/kernel"]).max() < 0.05
    large = initialized(paramctl, NEST, "--scheme", "normal:stddev=0.01")
    weights = np.concatenate([array.reshape(-1) for name, array in large.items() if name.endswith("kernel")])
    assert weights.size == 20 * 64 + 64 * 32 + 32 * 16
    assert weights.std() == pytest.approx(0.01, rel=5 / np.sqrt(2 * weights.size))
    assert abs(weights.mean()) < 5 * 0.01 / np.sqrt(weights.size)
    assert not any(array.any() for name, array in large.items() if name.endswith("bias"))


def test_a_given_constant(paramctl: Run) -> None:
    """Every weight 1, biases zero."""
    made = initialized(paramctl, MLP, "--scheme", "constant:1")
    for name, array in made.items():
        assert np.array_equal(array, np.full(array.shape, float(name.endswith("kernel")))), name
    assert paramctl("dump", "net.h5", "dense/kernel[0]").stdout == "[1. 1. 1. 1.]\n"


def test_different_initializers_for_different_blocks(paramctl: Run) -> None:
    """Glorot's uniform law for the first layer, the constant 42 for the second; the same with nested blocks."""
    made = initialized(paramctl, MLP, "--rule", "dense/kernel=glorot", "--rule", "dense_1/kernel=constant:42")
    bound = np.sqrt(6 / (4 + 4))
    assert 0.5 * bound < np.abs(made["dense/kernel"]).max() <= bound
    assert np.unique(made["dense/kernel"]).size == 16
    assert np.array_equal(made["dense_1/kernel"], np.full((4, 1), 42))
    assert not made["dense/bias"].any()

    nested = initialized(paramctl, RGNET, "--rule", "block2/**/kernel=glorot", "--rule", "dense/kernel=constant:42")
    inner = [array for name, array in nested.items() if name.startswith("block2/") and name.endswith("kernel")]
    assert len(inner) == 4
    assert np.unique(inner).size == 4 * 16, "each block has values of its own"
    assert np.abs(inner).max() <= bound
    assert np.array_equal(nested["dense/kernel"], np.full((4, 1), 42))
    assert all(not array.any() for name, array in nested.items() if name.endswith("bias"))


# Custom initialization


def test_the_custom_law_in_a_document_and_on_the_command_line(paramctl: Run, tmp_path: Path) -> None:
    """U(5, 10) with probability 1/4, 0 with 1/2, U(-10, -5) with 1/4: the same values however it is written."""
    wished = initialized(paramctl, NEST, "--scheme", CUSTOM)
    by_rule = initialized(paramctl, NEST, "--rule", f"**/kernel={CUSTOM}")
    shutil.copy(NEST, tmp_path / "patterns.yaml")
    with (tmp_path / "patterns.yaml").open("a") as document:
        document.write(f'initializers:\n  "**/kernel": {CUSTOM}\n')
    by_document = initialized(paramctl, "patterns.yaml")
    text = Path(NEST).read_text().replace("activation: relu}", f"activation: relu, kernel_initializer: {CUSTOM}}}")
    (tmp_path / "own.yaml").write_text(text)
    by_layer = values(paramctl, "own.yaml")
    for name, array in wished.items():
        for other in (by_rule, by_document, by_layer):
            assert np.array_equal(other[name], array), name

    weights = np.concatenate([array.reshape(-1) for name, array in wished.items() if name.endswith("kernel")])
    assert np.all((weights == 0) | (np.abs(weights) >= 5))
    assert np.abs(weights).max() < 10
    for share, expected in ((weights == 0, 1 / 2), (weights >= 5, 1 / 4), (weights <= -5, 1 / 4)):
        assert share.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / weights.size))
    assert all(not array.any() for name, array in wished.items() if name.endswith("bias"))


def test_the_custom_law_in_python(paramctl: Run, tmp_path: Path) -> None:
    """The book's own code, ``data * (abs(data) >= 5)`` of U(-10, 10), as a function in a file."""
    (tmp_path / "my_init.py").write_text(
        "def my_init(shape, dtype, generator):\n"
        "    data = generator.uniform(-10, 10, shape)\n"
        "    return data * (abs(data) >= 5)\n"
    )
    made = initialized(paramctl, NEST, "--scheme", "my_init.py:my_init")
    weights = np.concatenate([array.reshape(-1) for name, array in made.items() if name.endswith("kernel")])
    assert np.all((weights == 0) | (np.abs(weights) >= 5))
    assert (weights == 0).mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(weights.size))


# Constant parameters


def test_a_constant_is_changed_by_a_rule_alone(paramctl: Run) -> None:
    """FancyMLP: R is drawn once from U(0, 1); 420 parameters are trained, and no scheme touches the 400 of R."""
    totals = json.loads(paramctl("summary", FANCY, "--format", "json").stdout)["totals"]
    assert (totals["trainable"], totals["non_trainable"]) == (420, 400)
    declared = initialized(paramctl, FANCY)
    wished = initialized(paramctl, FANCY, "--scheme", "constant:7")
    assert declared["constant/kernel"].shape == (20, 20)
    assert 0 <= declared["constant/kernel"].min() < 0.1
    assert 0.9 < declared["constant/kernel"].max() < 1
    assert np.array_equal(wished["constant/kernel"], declared["constant/kernel"])
    assert np.array_equal(wished["shared/kernel"], np.full((20, 20), 7))
    ruled = initialized(paramctl, FANCY, "--rule", "constant/kernel=constant:7")
    assert np.array_equal(ruled["constant/kernel"], np.full((20, 20), 7))
    assert np.array_equal(ruled["shared/kernel"], declared["shared/kernel"])


# Tied parameters


def test_a_layer_used_twice_counts_once(paramctl: Run) -> None:
    """Flatten, shared, shared, Dense(1): 25 parameters, the second use having none of its own."""
    shown = json.loads(paramctl("summary", TIED, "--format", "json").stdout)
    assert shown["totals"]["parameters"] == 25
    uses = [(layer["parameters"], layer["reuse_of"]) for layer in shown["layers"] if layer["path"] == "shared"]
    assert uses == [(20, None), (0, "shared")]
    assert list(initialized(paramctl, TIED)) == ["shared/kernel", "shared/bias", "dense/kernel", "dense/bias"]


def test_two_names_for_one_array(paramctl: Run, tmp_path: Path) -> None:
    """Two layers whose parameters are tied: 25 parameters, and either name prints the same values."""
    (tmp_path / "tied.yaml").write_text(
        "input: [4]\nlayers:\n"
        "  - flatten\n"
        "  - dense: {name: first, units: 4, activation: relu}\n"
        "  - dense: {name: second, units: 4, activation: relu}\n"
        "  - dense: 1\n"
        "ties:\n  - {keep: first/kernel, tie: second/kernel}\n  - {keep: first/bias, tie: second/bias}\n"
    )
    assert json.loads(paramctl("summary", "tied.yaml", "--format", "json").stdout)["totals"]["parameters"] == 25
    assert paramctl("init", "tied.yaml", "--scheme", "normal:stddev=0.01", "-q").returncode == 0
    for source in ("tied.yaml", "tied.h5"):
        first, second = (paramctl("dump", source, f"{name}/kernel").stdout for name in ("first", "second"))
        assert first == second != ""
    with h5py.File(tmp_path / "tied.h5", "r+") as file:
        file["first/kernel"][0, 0] = 100
    changed = values(paramctl, "tied.h5", "first/kernel", "second/kernel")
    assert changed["first/kernel"][0, 0] == changed["second/kernel"][0, 0] == 100, "one array, not two that are equal"
