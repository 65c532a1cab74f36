"""Facts that follow from a Keras configuration: missing arrays, what is trained, and names of variables."""

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from paramctl.core.ordering import in_numeric_order
from tests.conftest import Run
from tests.test_keras_files import FIXTURES, archived, dense, facts, floats, keras2, keras3, layer, names, sequential

LOST = str(FIXTURES / "odd/keras3_lost_layer.keras")


def totals(paramctl: Run, path: str) -> tuple[int, int, int]:
    counted = facts(paramctl, FIXTURES / path)["totals"]
    return counted["parameters"], counted["trainable"], counted["non_trainable"]


@pytest.mark.parametrize("style", ["table", "tree", "json", "jsonl", "csv", "markdown"])
def test_parameters_that_a_file_lacks_are_named(style: str, paramctl: Run) -> None:
    """In every format: on standard output where it has room for them, and otherwise on standard error."""
    done = paramctl("summary", LOST, "--format", style)
    assert done.returncode == 0
    shown = done.stdout if style in ("table", "tree", "json") else done.stderr
    assert "d2/kernel" in shown
    assert "d2/bias" in shown
    if style == "json":
        assert json.loads(shown)["missing"] == [
            {"path": "d2/kernel", "shape": [3, 3]},
            {"path": "d2/bias", "shape": [3]},
        ]


@pytest.mark.parametrize("output", ["x.keras", "x.weights.h5", "x.h5", "x.npz", "x.safetensors", "-"])
def test_a_file_that_lacks_parameters_is_saved_only_by_name(output: str, paramctl: Run, tmp_path: Path) -> None:
    done = paramctl("save", LOST, "-o", output, text=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"missing d2/kernel (3, 3); missing d2/bias (3,)" in done.stderr
    assert b"--partial" in done.stderr
    assert not [*tmp_path.iterdir()]
    assert paramctl("save", LOST, "-o", output, "--partial", "d2/bias", text=False).returncode == 2
    assert paramctl("save", LOST, "-o", output, "--partial", "d2/*", "-q", text=False).returncode == 0


def test_a_model_that_lacks_parameters_requires_them_of_a_file(paramctl: Run, tmp_path: Path) -> None:
    """The weights of that very file, without its configuration, are not complete because they equal what it has."""
    with zipfile.ZipFile(LOST) as archive:
        (tmp_path / "w.weights.h5").write_bytes(archive.read("model.weights.h5"))
    done = paramctl("save", "w.weights.h5", "--like", LOST, "-o", "x.npz")
    assert (done.returncode, (tmp_path / "x.npz").exists()) == (2, False)
    assert "missing d2/kernel (3, 3); missing d2/bias (3,)" in done.stderr
    assert paramctl("save", "w.weights.h5", "--like", LOST, "-o", "x.npz", "--partial", "d2/*").returncode == 0


def test_the_report_names_what_a_partial_save_skips(paramctl: Run) -> None:
    done = paramctl("save", LOST, "-o", "x.npz", "--partial", "d2/*", "--format", "json")
    rows = json.loads(done.stdout)
    assert [row["source"] for row in rows if row["status"] == "skipped"] == [["d2/kernel"], ["d2/bias"]]
    assert paramctl("save", LOST, "-o", "y.npz", "--partial", "d3/*").returncode == 2


@pytest.mark.parametrize(
    "command", [("set", "d1/bias=0"), ("tie", "d1/bias", "d3/bias"), ("init", "--rule", "d1/*=ones")]
)
def test_an_edit_of_a_file_that_lacks_parameters_writes_none(command: tuple[str, ...], paramctl: Run) -> None:
    done = paramctl(command[0], LOST, *command[1:], "-o", "x.keras")
    assert done.returncode == 2
    assert not (paramctl.folder / "x.keras").exists()


def test_missing_arrays_of_keras_2(paramctl: Run, tmp_path: Path) -> None:
    """A layer without weights in a whole model; and one of its weights."""
    config = sequential(layer("a", units=2, batch_input_shape=[None, 2]), layer("b", units=2))
    weights = {"a": {"a/kernel:0": dense()[0], "a/bias:0": dense()[1]}, "b": {}}
    for lost, more in ((["b/kernel", "b/bias"], {}), (["b/bias"], {"b/kernel:0": dense()[0]})):
        path = keras2(tmp_path / "k.h5", weights | {"b": more}, config)
        assert [row["path"] for row in facts(paramctl, path)["missing"]] == lost
        assert paramctl("save", str(path), "-o", "x.keras").returncode == 2


def test_missing_arrays_beside_a_custom_layer(paramctl: Run, tmp_path: Path) -> None:
    """Of Keras' own layer it is known what it has; of the custom one it is not."""
    config = sequential(layer("own", "Own", "own"), layer("d", units=2), layer("empty", "Own", "own"))
    found = facts(paramctl, archived(tmp_path / "k.keras", config, {"layers/own": ("own", dense())}))
    assert [row["path"] for row in found["missing"]] == ["d/kernel", "d/bias"]


def test_a_gap_in_the_state_of_an_optimizer(paramctl: Run, tmp_path: Path) -> None:
    """Its variables are numbered without one; more than that is not known of them."""
    path = keras3(
        tmp_path / "k.weights.h5", {"layers/dense": ("d", dense()), "optimizer": ("adam", floats(*[(2,)] * 5))}
    )
    assert "missing" not in facts(paramctl, path)
    with h5py.File(path, "a") as file:
        del file["optimizer/vars/2"]
    assert facts(paramctl, path)["missing"] == [{"path": "optimizer/vars/2", "shape": None}]
    assert "Missing from the file: optimizer/vars/2\n" in paramctl("summary", str(path)).stdout
    assert "missing optimizer/vars/2)" in paramctl("save", str(path), "-o", "x.weights.h5").stderr
    assert paramctl("save", str(path), "-o", "x.weights.h5", "--partial", "optimizer/**").returncode == 0


@pytest.mark.parametrize("lists", ["layers", "_layer_checkpoint_dependencies"])
def test_layers_without_names_are_those_of_the_configuration(lists: str, paramctl: Run, tmp_path: Path) -> None:
    """Keras 2.12 to 3.2 recorded no names: the place in a file follows from the classes, and the layers' order."""
    config = sequential(
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 4, 2]}},
        layer("first", units=2),
        layer("cell", "LSTM", units=1, return_sequences=True),
        layer("last", units=2),
    )
    objects = {
        f"{lists}/dense": ("", dense()),
        f"{lists}/dense_1": ("", floats((1, 2), (2,))),
        f"{lists}/lstm/cell": ("", floats((2, 4), (1, 4), (4,))),
    }
    path = archived(tmp_path / "k.keras", config, objects)
    expected = ["first/kernel", "first/bias"]
    expected += [f"cell/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")]
    assert names(paramctl, path) == [*expected, "last/kernel", "last/bias"]
    assert facts(paramctl, path)["totals"]["trainable"] == 26
    del objects[f"{lists}/dense_1"]
    found = facts(paramctl, archived(tmp_path / "lost.keras", config, objects))
    assert [row["path"] for row in found["missing"]] == ["last/kernel", "last/bias"]


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("keras3_frozen_steps.keras", (8, 0, 8)),
        ("odd/keras3_model_at_steps.keras", (16, 12, 4)),
        ("keras2_two_deep.h5", (128, 120, 8)),
        ("keras3_deflated.keras", (49, 49, 0)),
    ],
)
def test_totals_are_those_of_keras(path: str, counts: tuple[int, int, int], paramctl: Run) -> None:
    assert totals(paramctl, path) == counts


@pytest.mark.parametrize(("version", "trained"), [("2.9.0", 0), ("3.15.1", 6)])
def test_a_setting_around_a_layer_counts_in_keras_2(version: str, trained: int, paramctl: Run, tmp_path: Path) -> None:
    """Keras 2 asks each layer around a variable; Keras 3 asks the one that has it."""
    inner = sequential(layer("a", units=2, batch_input_shape=[None, 2]))
    inner["config"] |= {"name": "inner", "trainable": False}
    path = keras2(tmp_path / "k.h5", {"inner": {"a/kernel:0": dense()[0], "a/bias:0": dense()[1]}}, sequential(inner))
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = version
    assert facts(paramctl, path)["totals"]["trainable"] == trained


def test_parameters_are_in_the_order_of_the_layers(paramctl: Run) -> None:
    """As in Keras' weights, not in that of the file, which is sorted by class."""
    first, *_ = names(paramctl, FIXTURES / "odd/keras3_model_at_steps.keras")
    assert first == "time_distributed_2/sequential/dense_2/kernel"


def test_variables_under_names_of_their_own_are_parameters(paramctl: Run, tmp_path: Path) -> None:
    """Not an optimizer's state: listed, and in each file that is written from this one."""
    path = keras3(tmp_path / "k.weights.h5", {"layers/dense": ("d", dense()), "layers/own": ("own", floats((2,)))})
    with h5py.File(path, "a") as file:
        file["layers/own/vars/alpha"] = np.ones(3, "float32")
        file["layers/own/vars/deep/beta"] = np.full(4, 2, "float32")
        file["loose"] = np.ones(5, "float32")
        file.create_group("optimizer/vars")["0"] = np.ones(6, "float32")
    expected = ["d/bias", "d/kernel", "loose", "own/0", "own/alpha", "own/deep/beta"]
    assert sorted(names(paramctl, path)) == expected
    assert "Optimizer state: 1 array, 6 values, 24 bytes\n" in paramctl("summary", str(path)).stdout
    refused = paramctl("save", str(path), "-o", "x.weights.json")
    assert (refused.returncode, [*tmp_path.glob("x*")]) == (2, [])
    assert "loose belongs to no object of Keras" in refused.stderr
    for name in ("x.npz", "x.safetensors", "x.h5", "x.weights.h5"):
        assert paramctl("save", str(path), "-o", name, "-q").returncode == 0
        assert sorted(names(paramctl, tmp_path / name)) == expected, name
    with h5py.File(tmp_path / "x.weights.h5") as file:
        assert file["layers/own/vars/deep/beta"][()].tolist() == [2.0] * 4
        assert file["loose"].shape == (5,)


def test_a_variable_with_a_number_must_be_numeric_and_one_with_a_name_may_not(paramctl: Run, tmp_path: Path) -> None:
    path = keras3(tmp_path / "k.weights.h5", {"layers/dense": ("d", dense())})
    with h5py.File(path, "a") as file:
        file["layers/dense/vars/words"] = "text"
    done = paramctl("summary", str(path))
    assert done.returncode == 0
    assert "layers/dense/vars/words (text)" in done.stderr


FLOAT8 = [()] + [(4,), ()] * 2 + [(4,)]
QUANTIZED: Mapping[str, tuple[list[tuple[str, tuple[int, ...]]], list[str]]] = {
    "int64 and a bias": ([("int64", (4, 3)), ("float32", (3,))], ["kernel", "bias"]),
    "int32 alone": ([("int32", (4, 3))], ["kernel"]),
    "int8 and an int8 bias": ([("int8", (4, 3)), ("int8", (3,))], ["kernel", "bias"]),
    "int8": ([("int8", (4, 3)), ("float32", (3,)), ("float32", (3,))], ["kernel", "bias", "kernel_scale"]),
    "int8 without bias": ([("int8", (4, 3)), ("float32", (3,))], ["kernel", "kernel_scale"]),
    "int4": (
        [("int8", (4, 2)), ("float32", (3,)), ("float32", (2, 3)), ("int8", (2, 3)), ("float32", (4,))],
        ["kernel", "bias", "kernel_scale", "kernel_zero", "g_idx"],
    ),
    "int4 without bias": (
        [("int8", (4, 2)), ("float32", (2, 3)), ("int8", (2, 3)), ("float32", (4,))],
        ["kernel", "kernel_scale", "kernel_zero", "g_idx"],
    ),
    "gptq": (
        [("float32", (3,)), ("uint8", (2, 4)), ("float32", (3, 1)), ("uint8", (3, 1)), ("float32", (4,))],
        ["bias", "kernel", "kernel_scale", "kernel_zero", "g_idx"],
    ),
    "awq without bias": (
        [("uint8", (2, 4)), ("float32", (3, 1)), ("uint8", (3, 1)), ("float32", (4,)), ("float32", (4,))],
        ["kernel", "kernel_scale", "kernel_zero", "awq_scales", "g_idx"],
    ),
    "float8": (
        [("float32", (4, 3)), ("float32", (3,)), *(("float32", shape) for shape in FLOAT8)],
        [
            *("kernel", "bias", "inputs_scale", "inputs_amax_history", "kernel_scale", "kernel_amax_history"),
            *("outputs_grad_scale", "outputs_grad_amax_history"),
        ],
    ),
}


@pytest.mark.parametrize("mode", QUANTIZED)
def test_the_dtypes_of_a_layer_give_its_quantization(mode: str, paramctl: Run, tmp_path: Path) -> None:
    """Only int8 and uint8 are dtypes to which Keras quantizes; the names are those of Keras 3.15."""
    arrays, expected = QUANTIZED[mode]
    variables = [np.ones(shape, dtype) for dtype, shape in arrays]
    found = facts(paramctl, keras3(tmp_path / "k.weights.h5", {"layers/dense": ("d", variables)}))["parameters"]
    assert [row["path"].removeprefix("d/") for row in found] == expected
    frozen = {row["path"].removeprefix("d/") for row in found if row["trainable"] is False}
    is_quantized = "kernel_scale" in expected and mode != "float8"
    assert frozen == ({*expected} - {"bias"} if is_quantized else set())


def test_a_deflated_archive_is_read_and_edited(paramctl: Run, tmp_path: Path) -> None:
    """Keras writes stored members, and loads any; what is written is stored, with the same values."""
    shutil.copy(FIXTURES / "keras3_deflated.keras", tmp_path / "k.keras")
    before = json.loads(paramctl("dump", "k.keras", "--format", "json").stdout)
    assert paramctl("set", "k.keras", "dense/bias = 3", "--in-place").returncode == 0
    after = json.loads(paramctl("dump", "k.keras", "--format", "json").stdout)
    assert after == before | {"dense/bias": [3.0] * 8}
    assert paramctl("diff", str(FIXTURES / "keras3_deflated.keras"), "k.keras").returncode == 1
    with zipfile.ZipFile(tmp_path / "k.keras") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_deflated_archive_with_damage_or_without_end_is_refused(paramctl: Run, tmp_path: Path) -> None:
    """A changed byte, and weights that claim to inflate to far more than honest ones."""
    data = bytearray((FIXTURES / "keras3_deflated.keras").read_bytes())
    with zipfile.ZipFile(FIXTURES / "keras3_deflated.keras") as archive:
        member = archive.getinfo("model.weights.h5")
    damaged = bytearray(data)
    damaged[member.header_offset + 300] ^= 0x55
    (tmp_path / "damaged.keras").write_bytes(damaged)
    entry = data.rfind(b"PK\1\2")
    data[entry + 24 : entry + 28] = (1 << 30).to_bytes(4, "little")
    (tmp_path / "bomb.keras").write_bytes(data)
    for name in ("damaged.keras", "bomb.keras"):
        done = paramctl("summary", name)
        assert (done.returncode, done.stdout) == (2, ""), name
        assert done.stderr.startswith(f"{name}: damaged .keras file"), done.stderr
        assert done.stderr.count("\n") == 1


def test_an_archive_without_weights_is_called_what_it_is(paramctl: Run, tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "odd/keras3_no_weights.keras", tmp_path / "model.yaml")
    done = paramctl("summary", "model.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "model.yaml: a .keras file without weights: it has a configuration, but no model.weights.h5\n"
    )
    with zipfile.ZipFile(tmp_path / "model.yaml", "a") as archive:
        archive.writestr("model.weights.npz", b"")
    assert "whose weights are model.weights.npz, which is not supported" in paramctl("summary", "model.yaml").stderr


def test_numbered_names_are_in_numeric_order(paramctl: Run, tmp_path: Path) -> None:
    """As Keras before 1.0 numbered layers in HDF5; layers of Keras 3 and of torch; arrays of NumPy."""
    count = 12
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["nb_layers"] = count
        for number in range(count):
            group = file.create_group(f"layer_{number}")
            group.attrs["nb_params"] = 2
            for place in range(2):
                group[f"param_{place}"] = np.full(2, number, "float32")
    objects = {f"layers/dense_{number}": (f"d{number}", dense()) for number in range(count)}
    keras3(tmp_path / "new.weights.h5", objects)
    with h5py.File(tmp_path / "many.weights.h5", "w") as file:
        file.create_group("vars")
        for number in range(count):
            file[f"layers/own/vars/{number}"] = np.full(2, number, "float32")
    np.savez(tmp_path / "a.npz", *[np.full(2, number) for number in range(count)])
    save_file({f"layers.{k}.weight": np.full(2, k, "float32") for k in range(count)}, tmp_path / "t.safetensors")
    expected = {
        "old.h5": [f"layer_{number}/param_{place}" for number in range(count) for place in range(2)],
        "new.weights.h5": [f"d{number}/{name}" for number in range(count) for name in ("kernel", "bias")],
        "many.weights.h5": [f"own/{number}" for number in range(count)],
        "a.npz": [f"arr_{number}" for number in range(count)],
        "t.safetensors": [f"layers.{number}.weight" for number in range(count)],
    }
    for name, paths in expected.items():
        assert names(paramctl, tmp_path / name) == paths, name
    assert paramctl("dump", "old.h5", "weights[4]").stdout == paramctl("dump", "old.h5", "layer_2/param_0").stdout
    assert paramctl("dump", "t.safetensors", "weights[2]").stdout == "[2. 2.]\n"
    assert paramctl("save", "old.h5", "-o", "copy.npz", "-q").returncode == 0
    assert names(paramctl, tmp_path / "copy.npz") == expected["old.h5"]


def test_another_order_than_that_of_text_is_kept() -> None:
    assert in_numeric_order(["a", "b_2", "b_1", "c_1", "c_10", "c_2"]) == ["a", "b_2", "b_1", "c_1", "c_2", "c_10"]
    assert in_numeric_order(["h10x1", "h1x10", "h1x2", "h2x1"]) == ["h1x2", "h1x10", "h2x1", "h10x1"]
    assert in_numeric_order(["x" + "9" * 5_000, "x1"]) == ["x" + "9" * 5_000, "x1"]


def test_the_kernel_of_spectral_normalization_is_that_of_its_layer(paramctl: Run, tmp_path: Path) -> None:
    """The file has it twice, and it counts once. Keras loads that of the layer last, so its values are those shown."""
    objects = {
        "layers/spectral_normalization": ("sn", floats((2, 2), (1, 2))),
        "layers/spectral_normalization/layer": ("dense", [10 * each for each in dense()]),
    }
    wrapped = {"class_name": "Dense", "module": "keras.layers", "registered_name": None, "config": {"name": "dense"}}
    config = sequential(layer("sn", "SpectralNormalization", layer=wrapped))
    path = archived(tmp_path / "k.keras", config, objects)
    assert totals(paramctl, path) == (8, 6, 2)
    assert sorted(names(paramctl, path)) == ["sn/dense/bias", "sn/dense/kernel", "sn/kernel", "sn/vector_u"]
    assert paramctl("dump", str(path), "sn/kernel").stdout == paramctl("dump", str(path), "sn/dense/kernel").stdout
    assert paramctl("set", str(path), "sn/dense/kernel = 3", "-o", "new.weights.h5").returncode == 0
    with h5py.File(tmp_path / "new.weights.h5") as file:
        group = file["layers/spectral_normalization"]
        assert group["vars/0"][()].tolist() == group["layer/vars/0"][()].tolist() == [[3, 3], [3, 3]]


def test_the_kernel_of_a_layer_with_lora_is_not_trained(paramctl: Run, tmp_path: Path) -> None:
    """It is by lora_rank that the configuration says so; the bias is trained."""
    config = sequential(layer("a", units=2, lora_rank=1), layer("b", units=2))
    objects = {"layers/dense": ("a", dense()), "layers/dense_1": ("b", dense())}
    found = facts(paramctl, archived(tmp_path / "k.keras", config, objects))["parameters"]
    assert {row["path"] for row in found if row["trainable"] is False} == {"a/kernel"}


def test_layers_that_documents_lack_have_their_names(paramctl: Run, tmp_path: Path) -> None:
    """The cell of ConvLSTM2D, and a tied embedding."""
    kernels = floats((2, 2, 1, 8), (2, 2, 2, 8), (8,))
    objects = {
        "layers/conv_lstm2d": ("c", ()),
        "layers/conv_lstm2d/cell": ("conv_lstm_cell", kernels),
        "layers/reversible_embedding": ("e", floats((4, 2))),
    }
    config = sequential(layer("c", "ConvLSTM2D"), layer("e", "ReversibleEmbedding"))
    path = archived(tmp_path / "k.keras", config, objects)
    cell = [f"c/conv_lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")]
    assert names(paramctl, path) == [*cell, "e/embeddings"]
    size = 32 + 64 + 8 + 8
    assert totals(paramctl, path) == (size, size, 0)


def test_names_of_a_file_without_names_follow_from_its_configuration(paramctl: Run, tmp_path: Path) -> None:
    """Also if no document expresses it: layers beside a custom class, in a wrapper, and in a model within the model."""
    steps = {"class_name": "Dense", "config": {"name": "step", "units": 2}}
    inner = sequential(layer("x", units=2), layer("y", units=2))
    inner["config"]["name"] = "inner"
    cells = [{"class_name": "LSTMCell", "config": {"name": f"cell{number}", "units": 1}} for number in (1, 2)]
    stacked = {"class_name": "StackedRNNCells", "config": {"name": "both", "cells": cells}}
    config = sequential(
        layer("own", "Own", module=None),
        layer("first", units=2),
        layer("each", "TimeDistributed", layer=steps),
        inner,
        layer("r", "RNN", cell=stacked),
    )
    kernels = floats((2, 4), (1, 4), (4,))
    objects = {
        "layers/own": ("", floats((3,))),
        "layers/dense": ("", dense()),
        "layers/time_distributed": ("", ()),
        "layers/time_distributed/layer": ("", dense()),
        "layers/sequential": ("", ()),
        "layers/sequential/layers/dense": ("", dense()),
        "layers/sequential/layers/dense_1": ("", dense()),
        "layers/rnn": ("", ()),
        "layers/rnn/cell": ("", ()),
        "layers/rnn/cell/cells/lstm_cell": ("", kernels),
        "layers/rnn/cell/cells/lstm_cell_1": ("", kernels),
    }
    path = tmp_path / "k.keras"
    archived(path, config, objects)
    with zipfile.ZipFile(path) as archive:
        (tmp_path / "w.h5").write_bytes(archive.read("model.weights.h5"))
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file["vars"].attrs["name"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    both = ("kernel", "bias")
    expected = ["own/0", *(f"{name}/{part}" for name in ("first", "inner/x", "inner/y") for part in both)]
    expected += [f"r/both/cell{number}/{part}" for number in (1, 2) for part in ("kernel", "recurrent_kernel", "bias")]
    found = facts(paramctl, path)["parameters"]
    assert [row["path"] for row in found if "each" not in row["path"]] == expected
    assert [row["path"] for row in found if row["trainable"] is None] == ["own/0", "each/step/0", "each/step/1"]
