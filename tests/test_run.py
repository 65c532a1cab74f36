"""paramctl run: the outputs of a model, on small networks with exact values. tests/interop compares with Keras."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import paramctl as pc
from paramctl.errors import AddressError, InputError, ParamctlError
from tests.conftest import ROOT, Run

TEXT = (
    "name: m\ninput: [2]\nlayers:\n"
    "  - dense: {name: a, units: 2, activation: relu, kernel_initializer: ones}\n"
    "  - dense: {name: b, units: 1, use_bias: false, kernel_initializer: ones}\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(TEXT)
    return tmp_path


def test_the_output_is_that_of_the_layers(folder: Path, paramctl: Run) -> None:
    np.save(folder / "x.npy", np.array([[1.0, 2.0], [-3.0, 1.0]]))
    done = paramctl("run", "m.yaml", "--input", "x.npy", "--taps", "a", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"a": [[3, 3], [0, 0]], "b": [[6], [0]]}


def test_inputs_of_every_kind_give_the_same(folder: Path, paramctl: Run) -> None:
    """An npy file, an npz, a safetensors file, by name or alone; an array, a mapping and weights in the library."""
    x = np.array([[1.0, 2.0], [5.0, 1.0]], "float32")
    np.save(folder / "x.npy", x)
    np.savez(folder / "x.npz", input=x)
    assert paramctl("save", "x.npz", "-o", "x.safetensors").returncode == 0
    expected = paramctl("run", "m.yaml", "--input", "x.npy").stdout
    assert expected == "[[ 6.]\n [12.]]\n"
    for words in ("x.npz", "x.safetensors", "input=x.npy"):
        assert paramctl("run", "m.yaml", "--input", words).stdout == expected
    for name in ("x.npy", "x.npz"):
        with (folder / name).open("rb") as file:
            assert paramctl("run", "m.yaml", "--input", "-", stdin=file).stdout == expected
    model = pc.load_model(folder / "m.yaml")
    for value in (
        x,
        x.tolist(),
        {"input": x},
        {"input": folder / "x.npy"},
        folder / "x.npz",
        pc.open(folder / "x.npz"),
    ):
        assert np.asarray(pc.run(model, value)["b"]).tolist() == [[6], [12]]


def test_the_dtype_of_a_layer_is_not_that_of_the_computation(tmp_path: Path) -> None:
    """The file has the layer's dtype, the outputs that of the computation, from the rounded values."""
    text = TEXT.replace("units: 2, activation: relu, kernel_initializer: ones", "units: 2, dtype: float16")
    (tmp_path / "m.yaml").write_text(text.replace("kernel_initializer: ones", "kernel_initializer: {constant: 1}"))
    weights = pc.initialize(tmp_path / "m.yaml", seed=1)
    assert {name: str(array.dtype) for name, array in weights.items()} == {
        "a/kernel": "float16",
        "a/bias": "float16",
        "b/kernel": "float32",
    }
    x = np.ones((1, 2), "float32")
    (output,) = pc.run(weights, x).values()
    assert output.dtype == np.float32
    assert np.allclose(output, np.asarray(weights["a/kernel"], "float32").sum(), rtol=1e-6)


def test_the_outputs_are_a_file_like_any_other(folder: Path, paramctl: Run) -> None:
    for name in ("y.npy", "y.npz", "y.h5", "y.safetensors"):
        done = paramctl("run", "m.yaml", "--rows", "3", "--seed", "4", "-o", name)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"wrote {name}: 1 array, 3 values\n"
    y = np.load(folder / "y.npy")
    assert y.shape == (3, 1)
    assert np.array_equal(np.load(folder / "y.npz")["b"], y)
    assert paramctl("diff", "y.h5", "y.safetensors").returncode == 0
    refused = paramctl("run", "m.yaml", "--taps", "a", "-o", "two.npy")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "an npy file holds one array" in refused.stderr


@pytest.mark.parametrize("layout", ["keras", "torch"])
def test_the_values_of_a_checkpoint(layout: str, folder: Path, paramctl: Run) -> None:
    """In either layout, with the values that init gave them."""
    assert paramctl("init", "m.yaml", "--scheme", "he", "--seed", "5", "-o", "w.h5").returncode == 0
    assert paramctl("save", "w.h5", "--layout", layout, "-o", "w.safetensors").returncode == 0
    x = np.array([[1.0, 2.0], [-5.0, 1.0]], "float32")
    weights = pc.open(folder / "w.h5")
    kernels = [np.asarray(weights[f"{name}/kernel"]) for name in "ab"]
    expected = np.maximum(x @ kernels[0], 0) @ kernels[1]
    assert np.abs(expected).max() > 0.1
    outputs = pc.run(pc.load_model(folder / "m.yaml"), x, weights=folder / "w.safetensors")
    assert np.allclose(np.asarray(outputs["b"]), expected, rtol=1e-6)


def test_the_chapters_networks_run(paramctl: Run) -> None:
    """net(X); FancyMLP, whose output is a scalar with an absolute value of at most 1; the chimera."""
    mlp = paramctl("run", str(ROOT / "sample_models/mlp.yaml"), "--rows", "2", "--format", "jsonl")
    assert json.loads(mlp.stdout)["shape"] == [2, 1]
    for name in ("fancy_mlp", "chimera"):
        done = paramctl("run", str(ROOT / f"sample_models/{name}.yaml"), "--rows", "2", "--format", "jsonl")
        facts = json.loads(done.stdout)
        assert facts["shape"] == []
        assert abs(facts["values"]) <= 1


def test_a_layer_that_is_applied_twice_has_two_outputs(tmp_path: Path) -> None:
    text = "input: [2]\nlayers: [{dense: {name: s, units: 2, kernel_initializer: ones}}, {reuse: s}]\n"
    (tmp_path / "m.yaml").write_text(text)
    outputs = pc.run(tmp_path / "m.yaml", [[1, 2]], taps="s")
    assert {name: np.asarray(outputs[name]).tolist() for name in outputs} == {"s": [[3, 3]], "s#2": [[6, 6]]}


def test_batches_change_nothing_but_the_order_of_sums(folder: Path) -> None:
    model = pc.initialize(folder / "m.yaml", scheme="he_normal")
    x = np.random.default_rng(0).standard_normal((101, 2), "float32")
    whole = np.asarray(pc.run(model, x, batch_size=101)["b"])
    parts = np.asarray(pc.run(model, x, batch_size=7)["b"])
    assert whole.shape == (101, 1)
    assert np.allclose(whole, parts, rtol=1e-6)


def test_a_layer_that_mixes_examples_takes_them_all(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("input: [2]\nlayers: [reduce_sum]\n")
    assert float(np.asarray(pc.run(tmp_path / "m.yaml", np.ones((50, 2)), batch_size=8)["reduce_sum"])) == 100


def test_random_inputs_follow_the_seed(folder: Path, paramctl: Run) -> None:
    first, again, other = (paramctl("run", "m.yaml", "--rows", "4", "--seed", seed).stdout for seed in "112")
    assert first == again != other


def test_random_integers_are_valid(tmp_path: Path) -> None:
    text = "input: [100]\nlayers: [{embedding: {input_dim: 3, output_dim: 1, embeddings_initializer: ones}}]\n"
    (tmp_path / "m.yaml").write_text(text)
    assert np.asarray(pc.run(tmp_path / "m.yaml")["embedding"]).tolist() == [[[1]] * 100]


REFUSED: dict[str, tuple[Any, str]] = {
    "no batch axis": (np.ones(2), r"must have the shape \(None, 2\).*For one example, write the shape \(1, 2\)"),
    "another size": (np.ones((4, 3)), r"must have the shape \(None, 2\), a row for each example \(got \(4, 3\)\)"),
    "another name": ({"x": np.ones((4, 2)), "z": np.ones((4, 2))}, r"has no input with this name \(got 'x', 'z'\)"),
    "complex": (np.ones((4, 2), complex), "must have real numbers"),
    "text": (np.array([["a", "b"]]), "must have real numbers"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_inputs_that_do_not_fit_are_refused(kind: str, folder: Path) -> None:
    value, words = REFUSED[kind]
    with pytest.raises(AddressError, match=words) as error:
        pc.run(folder / "m.yaml", value)
    assert "\n" not in str(error.value)


def test_inputs_of_different_numbers_of_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("inputs: {x: [2], y: [2]}\nlayers: [{add: {from: [x, y]}}]\n")
    with pytest.raises(AddressError, match=r"equal numbers of rows \(got x 3, y 4\)"):
        pc.run(tmp_path / "m.yaml", {"x": np.ones((3, 2)), "y": np.ones((4, 2))})
    with pytest.raises(AddressError, match="the input 'y' is missing"):
        pc.run(tmp_path / "m.yaml", {"x": np.ones((3, 2))})


def test_a_file_without_layers_is_refused(folder: Path, paramctl: Run) -> None:
    np.savez(folder / "w.npz", a=np.ones(3))
    done = paramctl("run", "w.npz")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "its layers are unknown" in done.stderr


def test_missing_weights_are_named(folder: Path, paramctl: Run) -> None:
    np.savez(folder / "w.npz", **{"a/kernel": np.ones((2, 2), "float32"), "a/bias": np.ones(2, "float32")})
    done = paramctl("run", "m.yaml", "--weights", "w.npz")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "b/kernel" in done.stderr


def test_the_first_value_that_is_not_finite_is_named(folder: Path, paramctl: Run) -> None:
    """By the layer it comes from, or by the input."""
    assert paramctl("save", "m.yaml", "-o", "w.h5").returncode == 0
    assert paramctl("set", "w.h5", "a/kernel[0, 1] = inf", "--in-place").returncode == 0
    x = np.ones((40, 2), "float32")
    x[:33, 0] = 0
    np.save(folder / "x.npy", x)
    done = paramctl("run", "m.yaml", "--weights", "w.h5", "--input", "x.npy", "-o", "y.npz")
    assert done.returncode == 0
    assert "note: the output of a has NaN at [0, 1], the first on the way" in done.stderr
    x[35, 0] = np.nan
    np.save(folder / "x.npy", x)
    done = paramctl("run", "m.yaml", "--input", "x.npy", "-o", "y.npz", "--force")
    assert "note: the input 'input' has NaN at [35, 0]" in done.stderr


def test_a_pattern_without_layers_is_refused(folder: Path, paramctl: Run) -> None:
    done = paramctl("run", "m.yaml", "--taps", "c")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "m has no layer with this name" in done.stderr


def test_an_input_document_is_no_input(folder: Path) -> None:
    with pytest.raises(InputError, match="must be an npy file"):
        pc.run(folder / "m.yaml", folder / "m.yaml")


def test_targets_beside_the_inputs_are_ignored(folder: Path) -> None:
    """The file of a training serves run too: y is not an input, and the array that remains is the only one."""
    x = np.ones((3, 2), "float32")
    np.savez(folder / "xy.npz", x=x, y=np.arange(3))
    expected = np.asarray(pc.run(folder / "m.yaml", x)["b"])
    for inputs in (folder / "xy.npz", {"x": x, "y": np.arange(3)}, {"input": folder / "x.npz"}):
        np.savez(folder / "x.npz", other=x)
        assert np.array_equal(np.asarray(pc.run(folder / "m.yaml", inputs)["b"]), expected)


def test_an_input_y_is_not_taken_for_targets(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("inputs: {x: [2], y: [2]}\nlayers: [{add: {from: [x, y]}}]\n")
    outputs = pc.run(tmp_path / "m.yaml", {"x": np.ones((1, 2)), "y": np.full((1, 2), 4)})
    assert np.asarray(outputs["add"]).tolist() == [[5, 5]]


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float16", "int4", "uint64", "bool"])
def test_inputs_of_every_real_dtype(dtype: str, folder: Path) -> None:
    """Also those that NumPy does not know by itself."""
    x = np.array([[1, 0], [0, 1]]).astype(getattr(ml_dtypes, dtype, dtype))
    expected = np.asarray(pc.run(folder / "m.yaml", x.astype("float32"))["b"])
    assert np.array_equal(np.asarray(pc.run(folder / "m.yaml", x)["b"]), expected)


def refused(model: Path, inputs: Any, capfd: pytest.CaptureFixture[str]) -> str:
    """Return the error of a run, which is one line, without any warning of NumPy."""
    with pytest.raises(ParamctlError) as error:
        pc.run(model, inputs)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""
    return str(error.value)


def test_a_value_beyond_float32_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By its row in the file, whatever batch it is in. Infinity itself stays a value."""
    x = np.ones((40, 2))
    x[37, 1] = 1e50
    np.savez(folder / "x.npz", x=x)
    text = refused(folder / "m.yaml", folder / "x.npz", capfd)
    assert f"{folder / 'x.npz'}: the input 'input' must be within the range of float32 (got 1e+50 in row 37)" in text
    assert np.isfinite(np.asarray(pc.run(folder / "m.yaml", x, dtype="float64")["b"])).all()
    x[37, 1] = np.inf
    assert pc.run(folder / "m.yaml", x).notes


def test_whole_numbers_are_refused_by_their_value(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.yaml").write_text("input: [1]\nlayers: [{embedding: {input_dim: 3, output_dim: 1}}]\n")
    for value, dtype in ((2**63 + 5, "uint64"), (1.5, "float32"), (np.nan, "float64"), (2.0**63, "float64")):
        text = refused(tmp_path / "m.yaml", np.array([[1], [value]], dtype), capfd)
        assert f"(got {value} in row 1)" in text


def test_files_that_hold_no_arrays_are_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "a.csv").write_text("1,2\n3,4\n")
    (folder / "list.yaml").write_text("- [1, 2]\n")
    np.savez(folder / "text.npz", x=np.array([["a", "b"]]))
    np.savez(folder / "targets.npz", x=np.array([["a", "b"]]), y=np.ones((1, 2)))  # y is not the input
    for name in ("a.csv", "list.yaml"):
        assert f"{name}: must be an npy file, or an npz or another" in refused(folder / "m.yaml", folder / name, capfd)
    text = refused(folder / "m.yaml", folder / "text.npz", capfd)
    assert text.endswith("text.npz: the input 'input' is missing (got no arrays). Skipped: x (text).")
    assert "the input 'input' is missing" in refused(folder / "m.yaml", folder / "targets.npz", capfd)
    assert "must have equal shapes" in refused(folder / "m.yaml", [[1, 2], [3]], capfd)
    assert "must have equal shapes" in refused(folder / "m.yaml", {"input": [[1, 2], [3]]}, capfd)


def test_random_values_require_sizes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.yaml").write_text("input: [null, 2]\nlayers: [{dense: 1}]\n")
    assert "Give the sizes with --input-shape" in refused(tmp_path / "m.yaml", None, capfd)


def test_a_second_application_takes_no_name_of_another_layer(tmp_path: Path) -> None:
    """A layer may be called ``a#2``: then the second application of ``a`` is ``a#3``, and no output is lost."""
    layers = "  - dense: {name: a, units: 2}\n  - reuse: a\n  - dense: {name: 'a#2', units: 2}\n  - reuse: 'a#2'\n"
    (tmp_path / "m.yaml").write_text(f"name: m\ninput: [2]\nlayers:\n{layers}")
    outputs = pc.run(tmp_path / "m.yaml", taps="**")
    assert list(outputs) == ["a", "a#3", "a#2", "a#2#2"]
    kernel = np.asarray(pc.initialize(tmp_path / "m.yaml")["a#2/kernel"])
    assert np.asarray(outputs["a#2"]) == pytest.approx(np.asarray(outputs["a#3"]) @ kernel, rel=1e-5)


@pytest.mark.parametrize("command", [("run",), ("grad", "--loss", "sum")])
@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("old.h5", "already exists"),
        ("no/x.h5", "no such folder"),
        ("x.txt", "the suffix must name a format"),
        ("x.npy", "an npy file holds one array"),
    ],
)
def test_a_target_is_checked_before_computing(
    command: tuple[str, ...], output: str, error: str, folder: Path, paramctl: Run
) -> None:
    """The input does not exist, so that only a check before the work can name the target; nothing is printed."""
    (folder / "old.h5").write_text("old")
    taps, source = (("--taps", "a"), "--input") if command[0] == "run" else ((), "--data")
    done = paramctl(*command, "m.yaml", *taps, source, "none.npy", "-o", output)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1
    assert (folder / "old.h5").read_text() == "old"
    assert len(list(folder.iterdir())) == 2


def test_rows_are_the_first_of_a_file(folder: Path, paramctl: Run) -> None:
    """For run, grad and probe alike."""
    x = np.array([[1.0, 2.0], [5.0, 1.0], [np.nan, 0.0]], "float32")
    np.save(folder / "x.npy", x)
    assert paramctl("run", "m.yaml", "--input", "x.npy", "--rows", "1").stdout == "[[6.]]\n"
    assert np.asarray(pc.run(folder / "m.yaml", x, rows=5)["b"]).shape == (3, 1)
    assert "nan" not in paramctl("grad", "m.yaml", "--loss", "sum", "--data", "x.npy", "--rows", "2").stdout
    assert paramctl("probe", "m.yaml", "--input", "x.npy", "--rows", "2").returncode == 0
    assert paramctl("probe", "m.yaml", "--input", "x.npy").returncode == 2


def test_sets_of_files_are_checked_too(folder: Path, paramctl: Run) -> None:
    (folder / "set").mkdir()
    (folder / "set" / "model.safetensors").write_text("old")
    done = paramctl("run", "m.yaml", "-o", "set/")
    assert (done.returncode, done.stderr) == (2, "set/model.safetensors: already exists (use --force to overwrite)\n")
    assert paramctl("run", "m.yaml", "-o", "new/").returncode == 0
