"""paramctl save: casts, layouts, and files checked against a model; what it refuses, allows and reports."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from paramctl.conversion.convert import convert
from paramctl.core.dtypes import CastLoss, cast, checked_cast, numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.declare.option_types import SchemeType
from paramctl.model.layers import LAYERS
from paramctl.source.open import Opened, source_of
from tests.conftest import ROOT, Run, model

MLP = "input: [4]\nlayers:\n  - dense: {name: a, units: 3}\n  - dense: {name: b, units: 2}\n"


def report(paramctl: Run, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return the rows that save prints, by their source arrays."""
    result = paramctl("save", *arguments, "--format", "json")
    assert result.returncode == 0, result.stderr
    return {",".join(row["source"]): row for row in json.loads(result.stdout)}


def refused(paramctl: Run, folder: Path, *arguments: str) -> str:
    """Return the one-line error of a save, and check that it wrote nothing."""
    before = sorted(folder.iterdir())
    result = paramctl("save", *arguments)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert sorted(folder.iterdir()) == before
    return result.stderr


LOSSES = [
    ("float64", [1e300], "float32", "overflow"),
    ("float32", [1e5], "float16", "overflow"),
    ("float32", [500.0], "float8_e4m3fn", "overflow"),
    ("int64", [2**53 + 1], "float64", "integers"),
    ("uint64", [2**64 - 1], "float64", "integers"),
    ("int64", [2**63 - 1], "float64", "integers"),
    ("int32", [2**24 + 1], "float32", "integers"),
    ("int16", [257], "bfloat16", "integers"),
    ("int32", [70000], "float16", "overflow"),
    ("float32", [0.5], "int32", "integers"),
    ("float32", [3e9], "int32", "overflow"),
    ("float64", [2.0**63], "int64", "overflow"),
    ("float32", [np.nan], "int8", "overflow"),
    ("int64", [300], "uint8", "overflow"),
    ("int8", [-1], "uint64", "overflow"),
    ("uint8", [2], "bool", "overflow"),
    ("complex64", [1 + 1e-30j], "float32", "parts"),
]


@pytest.mark.parametrize(("dtype", "values", "wanted", "kind"), LOSSES)
def test_a_lossy_cast_is_refused_unless_allowed(dtype: str, values: list[Any], wanted: str, kind: str) -> None:
    array = np.array(values, dtype)
    with pytest.raises(CastLoss) as loss:
        checked_cast(array, wanted)
    assert loss.value.kind == kind
    result = checked_cast(array, wanted, CastLoss.KINDS)
    assert result.dtype.name == wanted


REAL = [name for name in DTYPE_BYTES if not name.startswith(("complex", "float8_e8m0"))]
FLOATS = [name for name in REAL if numpy_dtype(name).kind not in "biu"]


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("wanted", FLOATS)
def test_the_largest_value_of_each_dtype_stays_finite_or_is_refused(dtype: str, wanted: str) -> None:
    """The range decides, not the size: bfloat16 and float16 both have 2 bytes."""
    source = numpy_dtype(dtype)
    highest = 1 if dtype == "bool" else (np.iinfo if source.kind in "iu" else ml_dtypes.finfo)(source).max
    largest = np.array([highest]).astype(source)
    with np.errstate(over="ignore"):
        fits = np.isfinite(largest.astype(np.float64).astype(numpy_dtype(wanted))).all()
    if fits:
        assert np.isfinite(cast(largest, wanted)).all()
        return
    with pytest.raises(OverflowError):
        cast(largest, wanted)
    with pytest.raises(CastLoss):
        checked_cast(largest, wanted, ["integers"])


EXACT = [
    ("float32", [1.5, -0.0, np.inf, np.nan], "float64"),
    ("float64", [0.1], "float32"),
    ("float32", [0.1], "bfloat16"),
    ("int64", [2**53, -(2**63)], "float64"),
    ("int32", [2**24], "float32"),
    ("uint8", [255], "float16"),
    ("bool", [True, False], "float32"),
    ("float32", [0.0, 1.0], "bool"),
    ("float64", [-(2.0**63), 2.0**62], "int64"),
    ("complex128", [2.5 + 0j], "float32"),
    ("int64", [127, -128], "int8"),
]


@pytest.mark.parametrize(("dtype", "values", "wanted"), EXACT)
def test_a_cast_that_only_rounds_floats_is_allowed(dtype: str, values: list[Any], wanted: str) -> None:
    array = np.array(values, dtype)
    result = checked_cast(array, wanted)
    assert np.array_equal(result.astype("float64"), array.real.astype(wanted).astype("float64"), equal_nan=True)


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
    st.sampled_from(["float32", "float64", "bfloat16"]),
)
def test_integers_are_exact_or_refused(values: list[int], wanted: str) -> None:
    """Compared with Python's integers."""
    dtype = np.dtype(ml_dtypes.bfloat16 if wanted == "bfloat16" else wanted)
    exact = all(int(np.float64(np.array(value, "int64").astype(dtype))) == value for value in values)
    try:
        result = checked_cast(np.array(values, "int64"), wanted)
    except CastLoss as loss:
        assert loss.kind == "integers"
        assert not exact
    else:
        assert exact
        assert [int(value) for value in result.astype("float64")] == values


def test_casts_on_the_command_line(paramctl: Run, tmp_path: Path) -> None:
    """A bare DTYPE casts floating-point arrays only; others are named. Losses are refused and allowed by name."""
    arrays = {
        "steps": np.array([2**53 + 1, 3], "int64"),
        "w": np.array([0.1, 1e5], "float32"),
        "z": np.array([1 + 2j], "complex64"),
        "f8": np.array([0.5, 448.0], ml_dtypes.float8_e4m3fn).astype("float32"),
    }
    save_file(arrays, tmp_path / "a.safetensors")
    result = paramctl("save", "a.safetensors", "-o", "b.safetensors", "--dtype", "bfloat16")
    assert result.returncode == 0, result.stderr
    summary = json.loads(paramctl("summary", "b.safetensors", "--format", "json").stdout)
    assert {row["path"]: row["dtype"] for row in summary["parameters"]} == {
        "steps": "int64",
        "w": "bfloat16",
        "z": "complex64",
        "f8": "bfloat16",
    }
    error = refused(paramctl, tmp_path, "a.safetensors", "-o", "c.safetensors", "--dtype", "float16")
    assert error == "w: a value exceeds the range of float16 (use --allow overflow to cast it anyway)\n"
    error = refused(paramctl, tmp_path, "a.safetensors", "-o", "c.safetensors", "--dtype", "steps=float32")
    assert error == "steps: an integer is rounded in float32 (use --allow integers to cast it anyway)\n"
    error = refused(paramctl, tmp_path, "a.safetensors", "-o", "c.safetensors", "--dtype", "z=float32")
    assert "float32 cannot represent an imaginary part" in error
    allowed = ("--allow", "overflow=w", "--allow", "integers=steps", "--allow", "parts")
    casts = ("--dtype", "steps=float64", "--dtype", "z=float32", "--dtype", "float16")
    assert paramctl("save", "a.safetensors", "-o", "d.safetensors", *casts, *allowed).returncode == 0
    arrays = load_file(tmp_path / "d.safetensors")
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "steps": "float64",
        "w": "float16",
        "z": "float32",
        "f8": "float16",
    }
    assert arrays["w"].tolist()[1] == np.inf
    assert arrays["z"].tolist() == [1.0]
    for rule, message in {
        "float7": "a dtype must be one of",
        "x=float32": "has no parameter with this name",
        "int8": "PATTERN=DTYPE",
    }.items():
        assert message in refused(paramctl, tmp_path, "a.safetensors", "-o", "e.h5", "--dtype", rule)
    assert "overflow, integers, parts" in refused(paramctl, tmp_path, "a.safetensors", "-o", "e.h5", "--allow", "all")


def test_every_float8_into_npz_and_float32(paramctl: Run, tmp_path: Path) -> None:
    """NumPy lacks float8, so an npz gets float32."""
    source = str(ROOT / "tests/fixtures/dtypes.safetensors")
    assert paramctl("save", source, "-o", "f.npz", "--dtype", "float32").returncode == 0
    loaded = np.load(tmp_path / "f.npz")
    summary = json.loads(paramctl("summary", source, "--format", "json").stdout)
    eights = [row["path"] for row in summary["parameters"] if row["dtype"].startswith("float8")]
    assert eights
    assert all(loaded[name].dtype == np.float32 for name in eights)


@pytest.mark.parametrize("dtype", ["float8_e5m2", "float8_e4m3fn", "bfloat16"])
def test_dump_as_npy_is_readable_by_numpy(dtype: str, paramctl: Run, tmp_path: Path) -> None:
    """NumPy has none of these dtypes, so dump writes float32, exactly."""
    save_file({"w": np.array([0.5, -2.0, 1.5], "float32")}, tmp_path / "w.safetensors")
    assert paramctl("save", "w.safetensors", "--dtype", dtype, "-o", "e.safetensors").returncode == 0
    (tmp_path / "w.npy").write_bytes(paramctl("dump", "e.safetensors", "w", "--format", "npy", text=False).stdout)
    loaded = np.load(tmp_path / "w.npy")
    assert (loaded.dtype, loaded.tolist()) == (np.float32, [0.5, -2.0, 1.5])


def test_a_file_is_checked_against_a_model(paramctl: Run, tmp_path: Path) -> None:
    """One error lists missing, unexpected and misshaped arrays; --partial allows them by name only."""
    (tmp_path / "m.yaml").write_text(MLP)
    arrays = {"a/kernel": np.ones((4, 3), "float32"), "b/kernel": np.ones((2, 3), "float32")}
    arrays |= {"b/bias": np.zeros(2, "float32"), "c": np.zeros(1, "float32")}
    save_file(arrays, tmp_path / "w.safetensors")
    error = refused(paramctl, tmp_path, "w.safetensors", "--like", "m.yaml", "-o", "x.h5")
    for words in ("missing a/bias (3,)", "b/kernel of shape (2, 3), expected (3, 2)", "unexpected c (1,)"):
        assert words in error
    error = refused(paramctl, tmp_path, "w.safetensors", "--like", "m.yaml", "-o", "x.h5", "--partial", "c")
    assert "unexpected" not in error
    rows = report(
        *(paramctl, "w.safetensors", "--like", "m.yaml", "-o", "x.h5", "--partial", "c", "--partial", "**/bias"),
        *("--partial", "b/*"),
    )
    assert rows["a/kernel"]["status"] == rows["b/bias"]["status"] == "mapped"
    assert (rows["c"]["status"], rows["c"]["path"]) == ("skipped", "")
    summary = json.loads(paramctl("summary", "x.h5", "--format", "json").stdout)
    assert {row["path"] for row in summary["parameters"]} == {"a/kernel", "b/bias"}
    error = refused(
        paramctl, tmp_path, "w.safetensors", "--like", "m.yaml", "-o", "y.h5", "--partial", "**", "--partial", "q"
    )
    assert "--partial must match a missing, unexpected or misshaped array (got 'q'" in error
    assert "requires --like or --layout" in refused(paramctl, tmp_path, "w.safetensors", "-o", "y.h5", "--partial", "c")


def test_a_complete_match_has_the_layers_of_the_model(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MLP)
    paramctl("save", "m.yaml", "-o", "m.npz")
    arrays = dict(np.load(tmp_path / "m.npz"))
    save_file({f"net.{name.replace('/', '.')}": array for name, array in arrays.items()}, tmp_path / "w.safetensors")
    rows = report(paramctl, "w.safetensors", "--rename", "net.*.*=*/*", "--like", "m.yaml", "-o", "x.h5")
    assert rows["net.a.kernel"]["path"] == "a/kernel"
    shown = paramctl("summary", "x.h5").stdout
    assert "(None, 3)" in shown
    assert paramctl("diff", "x.h5", "m.yaml").returncode == 0


def test_tied_arrays_of_a_file_must_be_equal(paramctl: Run, tmp_path: Path) -> None:
    """Two equal arrays that the model ties become one; dropping one that differs would lose values."""
    (tmp_path / "m.yaml").write_text(
        "input: [3]\nlayers:\n  - dense: {name: a, units: 3}\n  - dense: {name: b, units: 3}\n"
        "ties: [{keep: a/kernel, tie: b/kernel, transpose: true}]\n"
    )
    w = np.arange(9, dtype="float32").reshape(3, 3)
    biases = {"a/bias": np.zeros(3, "float32"), "b/bias": np.zeros(3, "float32")}
    save_file({"a/kernel": w, "b/kernel": np.ascontiguousarray(w.T), **biases}, tmp_path / "same.safetensors")
    save_file({"a/kernel": w, "b/kernel": w, **biases}, tmp_path / "other.safetensors")
    assert paramctl("save", "same.safetensors", "--like", "m.yaml", "-o", "x.h5").returncode == 0
    assert "Tied: b/kernel = a/kernel, transposed" in paramctl("summary", "x.h5").stdout
    error = refused(paramctl, tmp_path, "other.safetensors", "--like", "m.yaml", "-o", "y.h5")
    assert "ties b/kernel to a/kernel, so their values must be equal (got different values in other)" in error


def test_a_layout_requires_known_layers(paramctl: Run, tmp_path: Path) -> None:
    """The layer type of a matrix called weight is unknown."""
    save_file({"a.weight": np.ones((3, 4), "float32")}, tmp_path / "w.safetensors")
    for layout in ("keras", "torch"):
        error = refused(paramctl, tmp_path, "w.safetensors", "--layout", layout, "-o", "x.h5")
        assert (
            "--layout requires a model with layers (got w.safetensors, which has only arrays). Name it with --like."
            in error
        )


def test_mismatch_errors_suggest_a_fix(paramctl: Run, tmp_path: Path) -> None:
    """Another layout, a common prefix, a model without layers; the errors name both files."""
    (tmp_path / "m.yaml").write_text(MLP)
    assert paramctl("save", "m.yaml", "--layout", "torch", "-o", "t.safetensors", "-q").returncode == 0
    assert paramctl("save", "m.yaml", "-o", "m.weights.h5").returncode == 0
    names = load_file(tmp_path / "t.safetensors")
    save_file({f"net.{name}": array for name, array in names.items()}, tmp_path / "prefixed.safetensors")
    save_file(names, tmp_path / "t.safetensors")  # without what paramctl message beside
    like = ("--like", "m.yaml", "-o", "x.h5")
    error = refused(paramctl, tmp_path, "t.safetensors", *like)
    assert error.startswith("t.safetensors must match m.yaml (got missing a/kernel (4, 3); missing a/bias (3,); ")
    assert error.endswith(" and 4 more). It has torch.nn's layout: use --layout keras.\n")
    error = refused(paramctl, tmp_path, "prefixed.safetensors", "--layout", "keras", *like)
    assert error.endswith("Use --rename 'net.**=**' to match the names.\n")
    renamed = ("--rename", "net.**=**", "--layout", "keras")
    assert paramctl("save", "prefixed.safetensors", *renamed, *like).returncode == 0
    assert paramctl("diff", "x.h5", "m.yaml").returncode == 0
    error = refused(paramctl, tmp_path, "t.safetensors", "--layout", "keras", "--like", "m.weights.h5", "-o", "y.h5")
    assert "--like must be a model with layers (got m.weights.h5, which has only arrays" in error


def test_skipped_arrays_are_reported_and_prevent_a_keras_file(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MLP)
    arrays = {"a/kernel": np.ones((4, 3), "float32"), "a/bias": np.ones(3, "float32")}
    save_file(arrays | {"b/kernel": np.ones((3, 9), "float32")}, tmp_path / "w.safetensors")
    rows = report(paramctl, "w.safetensors", "--like", "m.yaml", "--partial", "b/*", "-o", "x.h5")
    reported = {name: (row["status"], row["was"], row["note"]) for name, row in rows.items()}
    assert reported == {
        "a/kernel": ("mapped", [4, 3], ""),
        "a/bias": ("mapped", [3], ""),
        "b/kernel": ("skipped", [3, 9], "must be (3, 2)"),
        "b/bias": ("skipped", None, "missing"),
    }
    error = refused(paramctl, tmp_path, "w.safetensors", "--like", "m.yaml", "--partial", "b/*", "-o", "x.keras")
    assert "Fill in the others with: paramctl init MODEL --rule 'PATTERN=from:FILE'" in error
    filled = ("--rule", "a/*=from:w.safetensors", "-o", "new.h5", "-q")
    assert paramctl("init", "m.yaml", *filled).returncode == 0
    assert paramctl("dump", "new.h5", "a/bias").stdout == "[1. 1. 1.]\n"


def test_a_dtype_that_the_format_lacks(paramctl: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", c=np.array([1 + 2j]))
    error = refused(paramctl, tmp_path, "c.npz", "-o", "c.safetensors")
    assert error == "c: safetensors does not support complex128. Use --dtype 'c=complex64'\n"
    assert refused(paramctl, tmp_path, "c.npz", "--dtype", "c=bf16", "-o", "c.h5").endswith(
        "Did you mean 'bfloat16'?\n"
    )


LSTM = "input: [5, 3]\nlayers:\n  - lstm: {units: 2, return_sequences: true}\n  - batch_normalization: {scale: false}\n"
TIED = (
    "inputs: {words: {shape: [5], dtype: int32}}\nlayers:\n  - embedding: {input_dim: 7, output_dim: 3}\n"
    "  - dense: {name: mid, units: 3}\n  - dense: {name: head, units: 7, use_bias: false}\n"
    "ties: [{keep: embedding/embeddings, tie: head/kernel, transpose: true}]\n"
)


def in_torch_layout(paramctl: Run, folder: Path, text: str) -> dict[str, Any]:
    """Return the arrays of a document in torch's layout; also write m.h5 with the same values."""
    (folder / "m.yaml").write_text(text)
    assert paramctl("save", "m.yaml", "-o", "m.h5", "-q", "--force").returncode == 0
    assert paramctl("save", "m.h5", "--layout", "torch", "-o", "t.safetensors", "-q", "--force").returncode == 0
    return dict(load_file(folder / "t.safetensors"))


def test_diff_across_layouts_reports_every_difference(paramctl: Run, tmp_path: Path) -> None:
    """A mismatched array is part of the comparison."""
    arrays = in_torch_layout(paramctl, tmp_path, LSTM)
    running, scale = "batch_normalization.running_mean", "batch_normalization.weight"
    changes: dict[str, tuple[dict[str, Any], list[str]]] = {
        "nothing": ({}, []),
        "one more": ({"more.weight": np.ones((2, 2), "float32")}, ["more.weight only in B"]),
        "a scale that Keras' layer has not": ({scale: np.full(2, 7, "float32")}, [f"{scale} only in B"]),
        "one of another shape": ({running: np.zeros(3, "float32")}, ["batch_normalization/moving_mean shape"]),
        "other values": ({running: np.ones(2, "float32")}, ["batch_normalization/moving_mean values"]),
    }
    for change, expected in changes.values():
        save_file(arrays | change, tmp_path / "other.safetensors")
        for pair in (("m.h5", "other.safetensors"), ("other.safetensors", "m.h5")):
            result = paramctl("diff", *pair, "--format", "json")
            reported = [f"{row['path']} {row['status']}" for row in json.loads(result.stdout)]
            if pair[0] == "m.h5":
                assert reported == expected
            assert (result.returncode, len(reported)) == (1 if expected else 0, len(expected))
    del arrays[running]
    save_file(arrays, tmp_path / "other.safetensors")
    assert paramctl("diff", "m.h5", "other.safetensors").returncode == 1


def test_mismatches_from_torch_to_keras(paramctl: Run, tmp_path: Path) -> None:
    """Errors use torch's names; a bias that is the sum of two tensors requires both."""
    arrays = in_torch_layout(paramctl, tmp_path, LSTM)
    back = ("w.safetensors", "--like", "m.yaml", "--layout", "keras", "-o", "x.h5")
    for change, message in (
        ({"lstm.bias_hh_l0": None}, "missing lstm.bias_hh_l0 (8,)"),
        ({"more": np.ones(1, "float32")}, "unexpected more (1,)"),
        ({"lstm.weight_ih_l0": np.ones((8, 4), "float32")}, "lstm.weight_ih_l0 of shape (8, 4), expected (8, 3)"),
        ({"lstm.bias_hh_l0": np.zeros(8)}, "lstm.bias_ih_l0 (float32) and lstm.bias_hh_l0 (float64) become one array"),
    ):
        changed = {name: array for name, array in (arrays | change).items() if array is not None}
        save_file(changed, tmp_path / "w.safetensors")
        assert message in refused(paramctl, tmp_path, *back)
    whole = {name: array.astype("int32") for name, array in arrays.items()}
    whole["lstm.bias_ih_l0"][:] = 2**24
    whole["lstm.bias_hh_l0"][:] = 1
    save_file(whole, tmp_path / "w.safetensors")
    assert paramctl("save", *back, "-q").returncode == 0
    assert paramctl("dump", "x.h5", "lstm/lstm_cell/bias[0]").stdout == "16777217\n", "exact, not by way of float32"


def test_ties_of_incomplete_files(paramctl: Run, tmp_path: Path) -> None:
    """A tied array follows its owner; a packed tensor is required even if one of its parts is tied."""
    arrays = in_torch_layout(paramctl, tmp_path, TIED)
    arrays.pop("mid.bias")
    save_file(arrays, tmp_path / "w.safetensors")
    like = ("--like", "m.yaml", "--layout", "keras", "-o", "x.h5")
    rows = json.loads(paramctl("save", "w.safetensors", *like, "--partial", "mid.bias", "--format", "json").stdout)
    assert [row["note"] for row in rows if row["path"] == "head/kernel"] == ["tied to embedding/embeddings"]
    assert paramctl("ties", "x.h5", "--format", "csv").stdout.splitlines()[1] == "embedding/embeddings,head/kernel,true"
    attention = "multi_head_attention: {name: NAME, num_heads: 2, key_dim: 2, use_bias: false}"
    text = "input: [5, 4]\nlayers:\n" + "".join(f"  - {attention.replace('NAME', name)}\n" for name in "mn")
    arrays = in_torch_layout(paramctl, tmp_path, f"{text}ties: [{{keep: m/query/kernel, tie: n/query/kernel}}]\n")
    arrays.pop("n.in_proj_weight")
    save_file(arrays, tmp_path / "w.safetensors")
    assert "missing n.in_proj_weight (12, 4)" in refused(paramctl, tmp_path, "w.safetensors", *like[:-1], "y.h5")


def test_ties_are_kept_if_torch_has_the_same_array(paramctl: Run, tmp_path: Path) -> None:
    """Two convolution kernels stay tied; a (7, 1) table and its transpose do not, though their values are in one order."""
    text = "input: [6, 6, 3]\nlayers:\n  - conv2d: {name: a, filters: 3, kernel_size: 3, padding: same}\n"
    text += "  - conv2d: {name: b, filters: 3, kernel_size: 3}\n"
    arrays = in_torch_layout(paramctl, tmp_path, f"{text}ties: [{{keep: a/kernel, tie: b/kernel}}]\n")
    assert sorted(arrays) == ["a.bias", "a.weight", "b.bias"]
    one = TIED.replace("output_dim: 3", "output_dim: 1").replace("units: 3", "units: 1")
    assert "head.weight" not in in_torch_layout(paramctl, tmp_path, one), "(7, 1) is the transpose of (1, 7)"
    assert paramctl("save", "t.safetensors", "--layout", "keras", "-o", "back.h5", "-q").returncode == 0
    assert paramctl("diff", "m.h5", "back.h5").returncode == 0
    rows = report(paramctl, "m.h5", "--layout", "torch", "--rename", "**=net.**", "-o", "named.safetensors")
    assert rows["head/kernel"]["note"] == "tied to net.embedding.weight"


def test_arrays_of_different_dtypes_are_not_packed(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("input: [5, 4]\nlayers:\n  - multi_head_attention: {num_heads: 2, key_dim: 2}\n")
    mixed = ("--dtype", "**/query/*=float16", "-o", "m.h5", "-q")
    assert paramctl("save", "m.yaml", *mixed).returncode == 0
    error = refused(paramctl, tmp_path, "m.h5", "--layout", "torch", "-o", "x.safetensors")
    assert "query/kernel (float16) and multi_head_attention/key/kernel (float32)" in error
    assert "become one array, so they must have the same dtype: cast them with --dtype" in error


def test_a_file_in_torch_layout_can_be_renamed_and_checked(paramctl: Run, tmp_path: Path) -> None:
    arrays = in_torch_layout(paramctl, tmp_path, MLP)
    rows = report(paramctl, "t.safetensors", "--layout", "torch", "--rename", "**=net.**", "-o", "n.safetensors")
    assert {name: row["path"] for name, row in rows.items()} == {name: f"net.{name}" for name in arrays}
    save_file(arrays, tmp_path / "bare.safetensors")
    held = ("--like", "m.yaml", "--layout", "torch")
    assert paramctl("save", "bare.safetensors", *held, "-o", "again.safetensors", "-q").returncode == 0
    save_file(arrays | {"a.bias": np.ones(9, "float32")}, tmp_path / "bare.safetensors")
    error = refused(paramctl, tmp_path, "bare.safetensors", *held, "-o", "x.safetensors")
    assert "a.bias of shape (9,), expected (3,)" in error


UNKNOWN_ORDERS = {
    "a flattened image concatenated with a vector": "inputs: {x: [4, 5, 3], v: [4]}\nlayers:\n  - flatten: {name: f, from: x}\n"
    "  - concatenate: {from: [f, v]}\n  - dense: 3\n",
    "two images of other sizes, flattened and added": "inputs: {x: [4, 5, 3], y: [5, 4, 3]}\nlayers:\n"
    "  - flatten: {name: f, from: x}\n  - flatten: {name: g, from: y}\n  - add: {from: [f, g]}\n  - dense: 3\n",
    "a vector added to a flattened image": "input: [4, 5, 3]\nlayers:\n  - flatten\n  - residual: [{dense: 60}]\n  - dense: 3\n",
    "flattened steps": "input: [6, 4, 5, 3]\nlayers:\n  - time_distributed: {layer: flatten}\n  - lstm: 3\n",
    "a flattened image repeated as steps": "input: [4, 5, 3]\nlayers:\n  - flatten\n  - repeat_vector: 4\n  - lstm: 3\n",
    "a layer applied to a vector and to a flattened image": "inputs: {x: [2, 2, 3], v: [12]}\nlayers:\n  - dense: {name: d, units: 3, from: v}\n"
    "  - flatten: {name: f, from: x}\n  - reuse: {layer: d, from: f, name: e}\n  - add: {from: [d, e]}\n",
    "an image after a dense layer": "input: [4, 5, 3]\nlayers:\n  - dense: 2\n  - flatten\n  - dense: 3\n",
    "an image that only flatten reads": "input: [4, 5, 3]\nlayers:\n  - flatten\n  - dense: 3\n",
    "a sequence that only flatten reads": "input: [4, 5]\nlayers:\n  - flatten\n  - dense: 3\n",
    "a volume that only flatten reads": "input: [2, 2, 2, 2]\nlayers:\n  - flatten\n  - dense: 3\n",
    "an image with channels first and last": "input: [3, 3, 3]\nlayers:\n  - flatten: {name: f}\n"
    "  - conv2d: {name: c, filters: 2, kernel_size: 1, data_format: channels_first, from: input}\n"
    "  - conv2d: {name: d, filters: 2, kernel_size: 1, from: input}\n  - dense: {units: 3, from: f}\n",
    "a feature map moved back to channels last": "input: [3, 4, 5]\nlayers:\n"
    "  - conv2d: {filters: 2, kernel_size: 1, data_format: channels_first}\n  - permute: [2, 3, 1]\n  - flatten\n  - dense: 3\n",
    "a sequence normalized between dense layers": "input: [4, 5]\nlayers:\n  - dense: 3\n  - batch_normalization\n  - flatten\n  - dense: 3\n",
    "a flattened image repeated along a convolution": "input: [4, 5, 3]\nlayers:\n  - conv2d: [2, 1]\n  - flatten\n"
    "  - repeat_vector: 4\n  - conv1d: [3, 2]\n",
    "a flattened image reshaped to an image of other sizes": "input: [4, 5, 3]\nlayers:\n  - conv2d: [2, 1]\n  - flatten\n"
    "  - reshape: [5, 4, 2]\n  - max_pooling2d\n  - conv2d: [3, 1]\n",
    "rows of an image with the channels of all their positions": "input: [4, 5, 3]\nlayers:\n  - conv2d: [2, 1]\n"
    "  - reshape: [4, 10]\n  - conv1d: [3, 2]\n",
    "an image after attention": "input: [4, 5, 3]\nlayers:\n  - conv2d: [4, 1]\n"
    "  - multi_head_attention: {num_heads: 2, key_dim: 2}\n  - flatten\n  - dense: 3\n",
    "embeddings of indices that a convolution reads too": "inputs: {x: [4, 5]}\nlayers:\n"
    "  - embedding: {input_dim: 9, output_dim: 3, from: x}\n  - flatten\n  - dense: 3\n  - conv1d: {filters: 2, kernel_size: 1, from: x}\n",
    "means of the steps of a volume": "input: [2, 3, 4, 5]\nlayers:\n  - conv3d: [2, 1]\n"
    "  - time_distributed: {layer: global_average_pooling2d}\n  - flatten\n  - dense: 3\n",
    "normalized steps of images": "input: [4, 2, 2, 3]\nlayers:\n  - time_distributed: {layer: {conv2d: [2, 1]}}\n"
    "  - flatten: {from: input}\n  - dense: 3\n",
}


@pytest.mark.parametrize("case", UNKNOWN_ORDERS)
def test_an_unknown_order_of_features_is_refused(case: str, paramctl: Run, tmp_path: Path) -> None:
    """Weights are not converted if the order of their inputs in torch is unknown."""
    (tmp_path / "m.yaml").write_text(UNKNOWN_ORDERS[case])
    error = refused(paramctl, tmp_path, "m.yaml", "--layout", "torch", "-o", "x.safetensors")
    assert "the order of the layer's input features in torch is unknown" in error


DETERMINED: dict[str, tuple[str, str, Callable[[np.ndarray], np.ndarray]]] = {
    "a normalization before channels first": (
        "inputs: {x: [3, 4, 5]}\nlayers:\n  - layer_normalization: {name: n, axis: [1, 2, 3], from: x}\n"
        "  - conv2d: {filters: 4, kernel_size: 2, data_format: channels_first}\n",
        "n.weight n/gamma",
        lambda gamma: gamma,
    ),
    "a flatten beside channels first": (
        "inputs: {x: [2, 3, 4]}\nlayers:\n  - flatten: {from: x}\n  - dense: {name: a, units: 2}\n"
        "  - conv2d: {filters: 2, kernel_size: 1, data_format: channels_first, from: x}\n",
        "a.weight a/kernel",
        lambda kernel: kernel.T,
    ),
    "a flatten beside a sequence's convolution": (
        "inputs: {x: [4, 3]}\nlayers:\n  - flatten: {from: x}\n  - dense: {name: a, units: 2}\n"
        "  - conv1d: {filters: 2, kernel_size: 1, from: x}\n",
        "a.weight a/kernel",
        lambda kernel: kernel.reshape(4, 3, 2).transpose(2, 1, 0).reshape(2, 12),
    ),
    "a volume after a normalization": (
        "input: [2, 3, 4, 5]\nlayers:\n  - batch_normalization\n  - flatten\n  - dense: {name: a, units: 2}\n",
        "a.weight a/kernel",
        lambda kernel: kernel.reshape(2, 3, 4, 5, 2).transpose(4, 3, 0, 1, 2).reshape(2, 120),
    ),
    "a normalization of volumes": (
        "input: [2, 3, 4, 5]\nlayers:\n  - layer_normalization: {name: n, axis: [1, 2, 3, 4]}\n  - conv3d: [2, 1]\n",
        "n.weight n/gamma",
        lambda gamma: gamma.transpose(3, 0, 1, 2),
    ),
    "two inputs added, of which a convolution reads one": (
        "inputs: {x: [2, 3, 4], y: [2, 3, 4]}\nlayers:\n  - conv2d: {filters: 2, kernel_size: 1, from: y}\n"
        "  - add: {from: [x, y]}\n  - flatten\n  - dense: {name: a, units: 2}\n",
        "a.weight a/kernel",
        lambda kernel: kernel.reshape(2, 3, 4, 2).transpose(3, 2, 0, 1).reshape(2, 24),
    ),
    "an image scaled by a vector with a factor for each channel": (
        "inputs: {x: [2, 3, 4], v: [4]}\nlayers:\n  - conv2d: {name: c, filters: 4, kernel_size: 1, from: x}\n"
        "  - multiply: {from: [c, v]}\n  - flatten\n  - dense: {name: a, units: 2}\n",
        "a.weight a/kernel",
        lambda kernel: kernel.reshape(2, 3, 4, 2).transpose(3, 2, 0, 1).reshape(2, 24),
    ),
    "an image without channels that a reshape gives one": (
        "input: [4, 5]\nlayers:\n  - reshape: [4, 5, 1]\n  - conv2d: {name: a, filters: 2, kernel_size: [3, 2]}\n",
        "a.weight a/kernel",
        lambda kernel: kernel.transpose(3, 2, 0, 1),
    ),
    "channels first, reshaped to a sequence": (
        "input: [3, 4, 5]\nlayers:\n  - conv2d: {filters: 2, kernel_size: 1, data_format: channels_first}\n"
        "  - reshape: [8, 5]\n  - lstm: {name: a, units: 2}\n",
        "a.weight_ih_l0 a/lstm_cell/kernel",
        lambda kernel: kernel.T,
    ),
    "a transposed image under a dense layer": (
        "input: [3, 4, 5]\nlayers:\n  - conv2d: [2, 1]\n  - permute: [1, 3, 2]\n  - dense: {name: a, units: 2}\n",
        "a.weight a/kernel",
        lambda kernel: kernel.T,
    ),
    "axes of a layer that are not ascending": (
        "input: [4, 5]\nlayers:\n  - dense: 6\n  - layer_normalization: {name: n, axis: [1, -1]}\n",
        "n.weight n/gamma",
        lambda gamma: gamma.reshape(4, 6),
    ),
}


@pytest.mark.parametrize("case", DETERMINED)
def test_the_order_of_an_input_follows_from_the_layers_that_read_it(case: str) -> None:
    """Of every rank, and whichever of several layers reads it first."""
    text, names, arranged = DETERMINED[case]
    name, path = names.split()
    drawn = source_of(Opened(model(text.replace("axis:", "gamma_initializer: {random_uniform: [0, 1]}, axis:")), None))
    tensors = convert(drawn, "torch").source
    values, tensor = (
        source.read(array.path, 0, array.size).reshape(array.shape)
        for source, array in ((drawn, drawn.model.parameters[path]), (tensors, tensors.model.parameters[name]))
    )
    assert np.unique(values).size > 1
    assert np.array_equal(tensor, arranged(values))


IMPOSSIBLE = {
    "lstm: {units: 2, go_backwards: true}": "torch.nn.LSTM does not support go_backwards true",
    "lstm: {units: 2, recurrent_activation: hard_sigmoid}": "torch.nn.LSTM does not support recurrent_activation hard_sigmoid",
    "gru: {units: 2, activation: {leaky_relu: 0.3}}": "torch.nn.GRU does not support activation leaky_relu(negative_slope=0.3)",
    "gru: {units: 2, reset_after: false, use_bias: false}": "torch.nn.GRU does not support reset_after false",
    "simple_rnn: {units: 2, activation: {relu: {max_value: 1}}}": "does not support activation relu(max_value=1)",
    "bidirectional: {layer: {gru: {units: 2, reset_after: false}}}": "torch.nn.GRU does not support reset_after false",
    "layer_normalization: {axis: 1}": "torch.nn.LayerNorm does not support axis [1]",
    "rms_normalization: {axis: 1}": "torch.nn.RMSNorm does not support axis [1]",
    "p_re_lu": "torch.nn.PReLU has one slope per channel",
}


@pytest.mark.parametrize("entry", IMPOSSIBLE)
def test_behavior_that_a_torch_module_lacks_is_refused(entry: str, paramctl: Run, tmp_path: Path) -> None:
    """One line names the layer, the option and its value; also after a layer that determines the order."""
    for first in ("", "  - layer_normalization: {name: first}\n"):
        (tmp_path / "m.yaml").write_text(f"input: [4, 3]\nlayers:\n{first}  - {entry}\n")
        error = refused(paramctl, tmp_path, "m.yaml", "--layout", "torch", "-o", "x.safetensors")
        layer = entry.partition(":")[0]
        assert f"{layer}: " in error
        assert IMPOSSIBLE[entry] in error
        assert f"--partial '{layer}/**'" in error


def test_a_normalization_over_other_axes_than_the_channels_is_refused(paramctl: Run, tmp_path: Path) -> None:
    for name in ("batch_normalization", "group_normalization"):
        groups = ", groups: 1" if name.startswith("group") else ""
        for first, axis in (("channels_first", 3), ("channels_last", 1), ("channels_last", 2)):
            (tmp_path / "m.yaml").write_text(
                f"input: [4, 4, 4]\nlayers:\n  - conv2d: {{filters: 4, kernel_size: 1, data_format: {first}}}\n"
                f"  - {name}: {{axis: {axis}{groups}}}\n"
            )
            error = refused(paramctl, tmp_path, "m.yaml", "--layout", "torch", "-o", "x.safetensors")
            assert f"does not support axis {axis}, which is not the channel axis in torch" in error


NOTED = {
    "batch_normalization": "set eps=0.001, momentum=0.01 in torch.nn.BatchNorm2d",
    "batch_normalization: {epsilon: 1.0e-5, momentum: 0.9}": "",
    "layer_normalization": "set eps=0.001 in torch.nn.LayerNorm",
    "group_normalization: {groups: -1}": "set num_groups=6, eps=0.001 in torch.nn.GroupNorm",
    "conv2d: {filters: 2, kernel_size: 3, strides: 2, dilation_rate: 1}": "set stride=2 in torch.nn.Conv2d",
    "conv2d: {filters: 2, kernel_size: 3, padding: same}": "set padding='same' in torch.nn.Conv2d",
    "conv2d: {filters: 2, kernel_size: 3, padding: same, strides: 2}": "pad the input by torch.nn.functional.pad(x, (1, 1, 0, 1))",
    "conv2d: {filters: 2, kernel_size: 1, activation: softmax}": "apply torch.nn.Softmax(dim=1) to its output",
    "dense: {units: 2, activation: relu}": "apply torch.nn.ReLU() to its output",
    "dense: {units: 2, activation: squareplus}": "apply squareplus (not in torch.nn) to its output",
    "conv2d_transpose: {filters: 2, kernel_size: 4, strides: 2, padding: same}": "set stride=2, padding=1 in torch.nn.ConvTranspose2d",
    "max_pooling2d: {pool_size: 3, padding: same}": "torch.nn.functional.pad(x, (0, 0, 0, 1), value=-torch.inf)",
    "up_sampling2d: {interpolation: lanczos3}": "interpolation lanczos3: torch.nn.Upsample has none",
    "leaky_re_lu": "set negative_slope=0.3 in torch.nn.LeakyReLU",
    "activation: softmax": "this is torch.nn.Softmax(dim=1)",
    "softmax": "axis -1 is 1 in torch",
    "softmax: {axis: 1}": "axis 1 is 2 in torch",
    "unit_normalization: {axis: [1, -1]}": "axis [1, -1] is [2, 1] in torch",
    "dropout: 0.1": "set p=0.1 in torch.nn.Dropout",
}


@pytest.mark.parametrize("entry", NOTED)
def test_settings_of_the_torch_module_are_noted(entry: str, paramctl: Run, tmp_path: Path) -> None:
    """On standard error, unless -q; nothing for a layer that has torch's defaults."""
    end = "  - conv2d: {name: end, filters: 2, kernel_size: 1}\n"
    (tmp_path / "m.yaml").write_text(f"input: [8, 9, 6]\nlayers:\n  - {entry}\n{end}")
    result = paramctl("save", "m.yaml", "--layout", "torch", "-o", "x.safetensors")
    layer, note = entry.partition(":")[0], NOTED[entry]
    assert result.returncode == 0, result.stderr
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert notes == [] if not note else any(line.startswith(f"note: {layer}: ") and note in line for line in notes)
    quiet = paramctl("save", "m.yaml", "--layout", "torch", "-o", "y.safetensors", "-q")
    assert "note" not in quiet.stderr


def test_notes_on_sequences(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "input: {shape: [5], dtype: int32}\nlayers:\n  - embedding: {input_dim: 9, output_dim: 4, mask_zero: true}\n"
        "  - multi_head_attention: {num_heads: 2, key_dim: 2, dropout: 0.1, use_causal_mask: true}\n"
        "  - lstm: {units: 4, dropout: 0.2, recurrent_dropout: 0.3, return_sequences: true}\n"
        "  - simple_rnn: {units: 4, activation: relu, return_sequences: true}\n"
        "  - bidirectional: {layer: {gru: 3}, merge_mode: sum}\n"
    )
    result = paramctl("save", "m.yaml", "--layout", "torch", "-o", "x.safetensors")
    for words in (
        "embedding: mask_zero: torch has padding_idx but no masks",
        "set num_heads=2, dropout=0.1, batch_first=True in torch.nn.MultiheadAttention",
        "use_causal_mask: pass attn_mask and is_causal=True in the call",
        "lstm: dropout 0.2",
        "lstm: recurrent_dropout 0.3",
        "set nonlinearity='relu', batch_first=True in torch.nn.RNN",
        "set batch_first=True, bidirectional=True in torch.nn.GRU",
        "bidirectional: torch returns every step: take the last state of each direction",
        "bidirectional: merge_mode sum: torch concatenates both directions",
    ):
        assert words in result.stderr


def test_notes_on_a_flattened_map_that_is_reshaped(paramctl: Run, tmp_path: Path) -> None:
    """Back to its own sizes, with the channels first; and of a vector, to the sizes in Keras."""
    for first, note in (
        ("input: [4, 5, 3]\nlayers:\n  - conv2d: [2, 1]\n  - flatten\n", "reshape to (2, 4, 5): torch flattens"),
        ("input: [40]\nlayers:\n", "reshape to the sizes in Keras, and only then move the channels"),
    ):
        (tmp_path / "m.yaml").write_text(
            f"{first}  - reshape: [4, -1, 2]\n  - conv2d: {{name: b, filters: 1, kernel_size: 1}}\n"
        )
        result = paramctl("save", "m.yaml", "--layout", "torch", "-o", "x.safetensors", "--force")
        assert result.returncode == 0, result.stderr
        notes = [line for line in result.stderr.splitlines() if line.startswith("note: reshape: ")]
        assert len(notes) == 1
        assert note in notes[0]


def test_layers_with_one_setting_share_a_note(paramctl: Run, tmp_path: Path) -> None:
    layers = "".join(f"  - dense: {{name: d{number}, units: 3, activation: relu}}\n" for number in range(6))
    (tmp_path / "m.yaml").write_text(f"input: [3]\nlayers:\n{layers}")
    result = paramctl("save", "m.yaml", "--layout", "torch", "-o", "x.safetensors")
    assert "note: d0, d1, d2 and 3 more: apply torch.nn.ReLU() to its output\n" in result.stderr


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_option_has_a_fate_in_torch(name: str) -> None:
    """A new layer or option must decide: carried by the arrays, an argument, a remark, or impossible."""
    assert len(LAYERS) > 80
    cls = LAYERS[name]
    decided = {option for option, declared in cls.signature.items() if isinstance(declared.type, SchemeType)}
    assert cls.signature.keys() - decided <= cls.torch_options.keys()


def test_attention_that_the_torch_module_lacks_is_separate_projections(paramctl: Run, tmp_path: Path) -> None:
    """torch.nn.MultiheadAttention neither rotates, nor has single biases, nor attends along other axes than the second."""
    for shape, option in (
        ("[5, 4]", "rope_theta: 10000"),
        ("[5, 4]", "use_bias: [query, value]"),
        ("[5, 3, 4]", "attention_axes: 1"),
        ("[2, 2, 4]", "use_bias: true"),
    ):
        (tmp_path / "m.yaml").write_text(
            f"input: {shape}\nlayers:\n  - multi_head_attention: {{name: m, num_heads: 2, key_dim: 2, {option}}}\n"
        )
        result = paramctl("save", "m.yaml", "--layout", "torch", "-o", "x.safetensors", "--force")
        assert "m: the projections are torch.nn.Linear, and torch code computes the attention" in result.stderr
        assert "m.query.weight" in load_file(tmp_path / "x.safetensors")


def test_other_lossy_casts(paramctl: Run, tmp_path: Path) -> None:
    """To complex numbers, to a dtype without infinity, of a slice, and of a model whose values exceed the dtype."""
    arrays = {"n": np.array([2**53 + 1]), "w": np.array([np.inf, 1], "float32"), "v": np.ones(3, "float32")}
    save_file(arrays, tmp_path / "w.safetensors")
    to = ("-o", "x.safetensors")
    assert "is rounded in complex64" in refused(paramctl, tmp_path, "w.safetensors", "--dtype", "n=complex64", *to)
    assert "exceeds the range of float8_e4m3fn" in refused(
        paramctl, tmp_path, "w.safetensors", "--dtype", "w=float8_e4m3fn", *to
    )
    for option in (("--dtype", "v[0]=float16"), ("--dtype", "n=float32", "--allow", "integers=n[0]")):
        assert "only whole parameters can be cast, not slices" in refused(
            paramctl, tmp_path, "w.safetensors", *option, *to
        )
    (tmp_path / "m.yaml").write_text(
        "input: [2]\nlayers:\n  - dense: {units: 2, kernel_initializer: {constant: 1.0e+9}}\n"
    )
    refused(paramctl, tmp_path, "m.yaml", "--dtype", "float16", *to)
    assert paramctl("save", "m.yaml", "--dtype", "float16", "--allow", "overflow", *to).returncode == 0
    assert np.isinf(load_file(tmp_path / "x.safetensors")["dense/kernel"]).all()


def test_infinity_is_not_assigned_to_a_dtype_without_it(paramctl: Run, tmp_path: Path) -> None:
    """It would become NaN; a dtype with infinity accepts it."""
    arrays = {dtype: np.ones(2, getattr(ml_dtypes, dtype)) for dtype in ("float8_e4m3fn", "float8_e5m2")}
    save_file(arrays, tmp_path / "w.safetensors")
    for dtype, code in (("float8_e4m3fn", 2), ("float8_e5m2", 0)):
        result = paramctl("set", "w.safetensors", f"{dtype}[0] = inf", "-o", "x.safetensors")
        assert result.returncode == code, result.stderr
        assert ("a value exceeds the range of float8_e4m3fn" in result.stderr) == bool(code)
    assert paramctl("dump", "x.safetensors", "float8_e5m2").stdout == "[inf  1.]\n"


@pytest.mark.parametrize("wanted", ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "bfloat16"])
def test_casts_between_dtypes_that_numpy_lacks(wanted: str) -> None:
    for dtype in ("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "bfloat16"):
        values = np.array([0.5, 1, 4]).astype(getattr(ml_dtypes, dtype))
        assert checked_cast(values, wanted).astype("float32").tolist() == [0.5, 1, 4]


def test_the_round_trip_through_torch_layout_is_exact(paramctl: Run, tmp_path: Path) -> None:
    """For every small sample model, torch's layout and back gives the same bits, without --like."""
    small = {"mlp": (), "rgnet": (), "tied_mlp": (), "nest_mlp": (), "fancy_mlp": (), "chimera": (), "lenet": ()}
    small |= {
        "lstm_classifier": ("-D", "vocabulary=50"),
        "gpt2": ("-D", "depth=1", "-D", "width=24", "-D", "vocabulary=60"),
    }
    small |= {"bert_base": ("-D", "depth=1", "-D", "width=24", "-D", "vocabulary=60")}
    small |= {"vit_b16": ("-D", "depth=1", "-D", "width=24")}
    small |= {"llama3_8b": ("-D", "depth=1", "-D", "width=64", "-D", "hidden=80", "-D", "vocabulary=60")}
    for name, variables in small.items():
        sample = str(ROOT / f"sample_models/{name}.yaml")
        assert paramctl("save", sample, *variables, "-o", f"{name}.h5").returncode == 0
        result = paramctl("save", f"{name}.h5", "--layout", "torch", "-o", f"{name}.safetensors")
        assert result.returncode == 0, result.stderr
        names = load_torch_names(tmp_path / f"{name}.safetensors")
        assert not any("/" in name for name in names)
        result = paramctl("save", f"{name}.safetensors", "--layout", "keras", "-o", f"{name}-back.h5")
        assert result.returncode == 0, result.stderr
        assert paramctl("diff", f"{name}.h5", f"{name}-back.h5").returncode == 0, name
        assert paramctl("diff", f"{name}.h5", f"{name}.safetensors").returncode == 0, "diff converts the layout"


def gates(kernel: np.ndarray, order: str) -> np.ndarray:
    """Return a GRU's kernel (in, z r h) as torch has it, with the gates in this order."""
    parts = dict(zip("zrh", np.split(kernel, 3, 1), strict=True))
    return np.concatenate([parts[gate].T for gate in order])


IN_TORCH: dict[str, tuple[str, str, str, Callable[[np.ndarray], np.ndarray]]] = {
    "dense": ("[6]", "{dense: 5}", "weight kernel", lambda kernel: kernel.T),
    "embedding": ("{shape: [6], dtype: int32}", "{embedding: [9, 5]}", "weight embeddings", lambda table: table),
    "conv1d": ("[8, 3]", "{conv1d: [5, 2]}", "weight kernel", lambda kernel: kernel.transpose(2, 1, 0)),
    "conv2d": ("[8, 8, 3]", "{conv2d: [5, [2, 4]]}", "weight kernel", lambda kernel: kernel.transpose(3, 2, 0, 1)),
    "conv3d": (
        "[8, 8, 8, 3]",
        "{conv3d: [5, [2, 3, 4]]}",
        "weight kernel",
        lambda kernel: kernel.transpose(4, 3, 0, 1, 2),
    ),
    "transposed": (
        "[8, 8, 3]",
        "{conv2d_transpose: [5, [2, 4]]}",
        "weight kernel",
        lambda kernel: kernel.transpose(3, 2, 0, 1),
    ),
    "depthwise": (
        "[8, 8, 3]",
        "{depthwise_conv2d: {kernel_size: [2, 4], depth_multiplier: 2}}",
        "weight kernel",
        lambda kernel: kernel.reshape(2, 4, 6).transpose(2, 0, 1)[:, None],
    ),
    "lstm": ("[7, 6]", "{lstm: 5}", "weight_ih_l0 lstm_cell/kernel", lambda kernel: kernel.T),
    "gru": ("[7, 6]", "{gru: 5}", "weight_hh_l0 gru_cell/recurrent_kernel", lambda kernel: gates(kernel, "rzh")),
    "after flatten": (
        "[2, 3, 4]",
        "{max_pooling2d: 1}, flatten, {dense: 5}",
        "weight kernel",
        lambda kernel: kernel.reshape(2, 3, 4, 5).transpose(3, 2, 0, 1).reshape(5, 24),
    ),
}


@pytest.mark.parametrize("case", IN_TORCH)
def test_the_axes_of_a_tensor_are_in_torchs_order(case: str) -> None:
    """Value by value; tests/interop/test_torch_layout.py computes with torch itself."""
    shape, entries, names, arranged = IN_TORCH[case]
    name, path = names.split()
    drawn = source_of(Opened(model(f"input: {shape}\nlayers: [{entries}]"), None), seed=1)
    (layer,) = {path.partition("/")[0] for path in drawn.model.parameters}
    tensors = convert(drawn, "torch")[0]
    kernel, tensor = (
        source.read(parameter.path, 0, parameter.size).reshape(parameter.shape)
        for source, parameter in (
            (drawn, drawn.model.parameters[f"{layer}/{path}"]),
            (tensors, tensors.model.parameters[f"{layer}.{name}"]),
        )
    )
    assert np.array_equal(tensor, arranged(kernel))


def load_torch_names(path: Path) -> list[str]:
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return [name for name in header if name != "__metadata__"]


def test_the_report_of_a_conversion(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "input: [5, 6]\nlayers:\n  - lstm: {units: 4, return_sequences: true}\n  - batch_normalization: {scale: false}\n"
        "  - multi_head_attention: {num_heads: 2, key_dim: 2}\n  - dense: 3\n"
    )
    rows = report(paramctl, "m.yaml", "--layout", "torch", "-o", "m.safetensors")
    assert rows["dense/kernel"]["status"] == "transposed"
    assert rows["dense/kernel"]["was"] == [4, 3]
    assert rows["dense/kernel"]["shape"] == [3, 4]
    assert rows["dense/bias"] == {
        "path": "dense.bias",
        "status": "mapped",
        "shape": [3],
        "source": ["dense/bias"],
        "was": [3],
        "note": "",
    }
    queries = ",".join(f"multi_head_attention/{part}/kernel" for part in ("query", "key", "value"))
    assert (rows[queries]["status"], rows[queries]["path"]) == ("packed", "multi_head_attention.in_proj_weight")
    back = report(paramctl, "m.safetensors", "--layout", "keras", "-o", "back.h5")
    both = "lstm.bias_ih_l0,lstm.bias_hh_l0"
    assert (back[both]["path"], back[both]["status"]) == ("lstm/lstm_cell/bias", "added")
    assert back[both]["note"] == "the sum of both, which cannot be reversed"
    assert back["batch_normalization.num_batches_tracked"]["status"] == "skipped"
    assert paramctl("diff", "m.yaml", "back.h5").returncode == 0

    arrays = load_file(tmp_path / "m.safetensors")
    arrays["batch_normalization.weight"][1] = 2
    save_file(arrays, tmp_path / "scaled.safetensors")
    error = refused(paramctl, tmp_path, "scaled.safetensors", "--like", "m.yaml", "--layout", "keras", "-o", "x.h5")
    assert "batch_normalization.weight must be all 1" in error


def test_rename_with_torch_layout(paramctl: Run, tmp_path: Path) -> None:
    """--rename applies to torch's names, on the way in and out."""
    (tmp_path / "m.yaml").write_text(MLP)
    rows = report(paramctl, "m.yaml", "--layout", "torch", "--rename", "**=model.**", "-o", "m.safetensors")
    assert rows["a/kernel"]["path"] == "model.a.weight"
    assert sorted(load_file(tmp_path / "m.safetensors")) == [
        "model.a.bias",
        "model.a.weight",
        "model.b.bias",
        "model.b.weight",
    ]
    result = paramctl("save", "m.safetensors", "--rename", "model.**=**", "--layout", "keras", "-o", "back.h5")
    assert result.returncode == 0, result.stderr
    assert paramctl("diff", "m.yaml", "back.h5").returncode == 0
    assert paramctl("diff", "m.yaml", "m.safetensors", "--rename", "model.**=**").returncode == 0
    assert paramctl("diff", "m.yaml", "m.safetensors").returncode == 1


def test_large_arrays_are_transposed_within_bounded_memory(tmp_path: Path) -> None:
    """Transposing a matrix of 400 MB takes less memory than that."""
    import subprocess
    import sys

    (tmp_path / "m.yaml").write_text("input: [10000]\nlayers: [{dense: {units: 10000, use_bias: false}}]\n")
    code = (  # VmHWM is the peak of this program alone; ru_maxrss would include its parent's
        "import sys; from paramctl.cli.main import run; code = run(sys.argv[1:])\n"
        "lines = open('/proc/self/status').read().splitlines() if sys.platform == 'linux' else ['VmHWM: 0']\n"
        "print([line.split()[1] for line in lines if 'VmHWM' in line][0], file=sys.stderr); sys.exit(code)"
    )

    def run(*arguments: str) -> int:
        """Run paramctl and return its peak memory in MB."""
        command = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return int(result.stderr.split()[-1]) // 1024

    run("init", "m.yaml", "--scheme", "normal", "-o", "m.safetensors", "-q")
    assert run("save", "m.safetensors", "--layout", "torch", "-o", "t.safetensors", "-q") < 300
    run("save", "t.safetensors", "--layout", "keras", "-o", "back.safetensors", "-q")
    one, other = (
        np.memmap(tmp_path / name, "float32", "r", offset=offset(tmp_path / name))
        for name in ("m.safetensors", "t.safetensors")
    )
    rng = np.random.default_rng(0)
    for i, j in rng.integers(0, 10_000, (200, 2)):
        assert one[i * 10_000 + j] == other[j * 10_000 + i]
    for name in ("m.safetensors", "back.safetensors", "t.safetensors"):
        assert (tmp_path / name).stat().st_size > 400_000_000
    assert np.array_equal(
        one, np.memmap(tmp_path / "back.safetensors", "float32", "r", offset=offset(tmp_path / "back.safetensors"))
    )


def offset(path: Path) -> int:
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def test_scalars_go_to_torch_and_back(paramctl: Run, tmp_path: Path) -> None:
    """An array without axes has no axis to be joined along; its dtype is its own."""
    layers = "[{normalization: {axis: null}}, {expression: {formula: s * x, params: {s: []}}}, normalization]"
    (tmp_path / "m.yaml").write_text(f"input: [3]\nlayers: {layers}\n")
    rules = ["--rule", "expression/s=constant:3", "--rule", "*/mean=constant:2"]
    assert paramctl("init", "m.yaml", *rules, "-o", "m.safetensors").returncode == 0
    saved = paramctl("save", "m.safetensors", "--layout", "torch", "-o", "t.safetensors")
    assert saved.returncode == 0, saved.stderr
    arrays = load_file(tmp_path / "t.safetensors")
    assert (arrays["expression.s"], arrays["normalization.mean"]) == (3, 2)
    assert {name: array.dtype.name for name, array in arrays.items() if name.endswith("count")} == {
        "normalization.count": "int32",
        "normalization_1.count": "int32",
    }
    back = paramctl("save", "t.safetensors", "--layout", "keras", "--like", "m.yaml", "-o", "k.safetensors")
    assert back.returncode == 0, back.stderr
    assert paramctl("diff", "m.safetensors", "k.safetensors").returncode == 0
