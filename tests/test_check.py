"""check: each fault is found exactly once, with its place, in every dtype and format; healthy models have no findings."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import paramctl as pc
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.init.presets import PRESETS
from tests.conftest import ROOT, SAMPLES, Call
from tests.formats import ANY

FLOATS = [name for name in DTYPE_BYTES if "float" in name or "complex" in name]
SAFETENSORS_NAMES = {
    "bool": "BOOL",
    "float16": "F16",
    "bfloat16": "BF16",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float32": "F32",
    "float64": "F64",
    "uint8": "U8",
    "int64": "I64",
}
MLP = ROOT / "sample_models/mlp.yaml"
LARGEST = 400_000
"""The number of values of the largest sample that is initialized here."""


def write(path: Path, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a safetensors file as other programs do, without paramctl's record."""
    header: dict[str, Any] = {"__metadata__": dict(metadata or {})}
    data = b""
    for name, array in arrays.items():
        span = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": SAFETENSORS_NAMES[array.dtype.name], "shape": array.shape, "data_offsets": span}
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def values(shape: tuple[int, ...] = (8, 6), dtype: str = "float32") -> np.ndarray[Any, Any]:
    """Different values that every floating-point dtype can hold: powers of two, the signs of which differ if it can."""
    numbers = 2.0 ** (np.arange(np.prod(shape)) * 7 % 11 - 5)
    if dtype != "float8_e8m0fnu":
        numbers *= np.where(np.arange(np.prod(shape)) % 3, 1, -1)
    return numbers.reshape(shape).astype(numpy_dtype(dtype))


def findings(path: Any, **options: Any) -> list[tuple[str, str]]:
    """Return the name and the place of each finding."""
    return [(finding.name, finding.place) for finding in pc.check(path, **options).findings]


def holds(dtype: str, value: str) -> bool:
    """Return whether a dtype has NaN, or an infinity."""
    return value == "nan" or bool(np.isinf(np.array(np.inf, numpy_dtype(dtype))))


@pytest.mark.parametrize("dtype", [name for name in FLOATS if name in SAFETENSORS_NAMES])
@pytest.mark.parametrize("fault", ["nan", "inf", "zero", "constant"])
def test_a_fault_of_values_is_found_once_in_every_dtype(fault: str, dtype: str, tmp_path: Path) -> None:
    """Other tools scan only NumPy's own dtypes: with bfloat16 or float8 in the file they call it healthy."""
    kernel = values(dtype=dtype)
    if fault in ("nan", "inf"):
        if not holds(dtype, fault):
            pytest.skip("the dtype has no infinity")
        kernel[3, 5] = kernel[7, 0] = float(fault)
        expected = [(fault, "dense/kernel[3, 5]")]
    else:
        if dtype == "float8_e8m0fnu" and fault == "zero":
            pytest.skip("the dtype has no zero")
        kernel[:] = 0 if fault == "zero" else 0.5
        expected = [(fault, "dense/kernel")]
    arrays = {"dense/kernel": kernel, "dense/bias": values((6,), dtype), "other/kernel": values((4, 3))}
    assert findings(write(tmp_path / "w.safetensors", arrays)) == expected
    assert findings(write(tmp_path / "w.safetensors", arrays | {"dense/kernel": values(dtype=dtype)})) == []


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_fault_of_values_is_found_in_every_format(name: str, dtype: str, tmp_path: Path) -> None:
    arrays = {"dense/kernel": values(), "dense/bias": values((6,))}
    arrays["dense/kernel"][2, 1] = np.nan
    arrays["dense/bias"][4] = np.inf
    weights = pc.convert(pc.open(write(tmp_path / "w.safetensors", arrays)), dtype=dtype)
    pc.save(weights, f"{tmp_path}/{name}")
    assert findings(f"{tmp_path}/{name}") == [("nan", "dense/kernel[2, 1]"), ("inf", "dense/bias[4]")]


def test_an_array_with_nan_is_found_beside_float8(tmp_path: Path) -> None:
    arrays = {"a": values(dtype="float8_e4m3fn"), "b": np.array([1, np.nan, np.inf], np.float32)}
    assert findings(write(tmp_path / "w.safetensors", arrays)) == [("nan", "b[1]"), ("inf", "b[2]")]


def test_the_count_is_that_of_all_pieces(tmp_path: Path) -> None:
    """An array of more than one block: the first index, and the counts, are those of the whole array."""
    array = np.random.default_rng(0).standard_normal((700, 1000)).astype(np.float32)
    array[650, 3] = array[699, 999] = np.nan
    result = pc.check(write(tmp_path / "w.safetensors", {"w": array}))
    (finding,) = result.findings
    assert (finding.place, finding.text) == ("w[650, 3]", "2 of 700,000 values are NaN")
    assert (result.arrays, result.values, result.healthy) == (1, 700_000, False)


@pytest.mark.parametrize("integer", ["int64", "uint8", "bool"])
def test_integers_that_are_equal_are_no_fault(integer: str, tmp_path: Path) -> None:
    """Masks, counters and zero points are often constant."""
    assert findings(write(tmp_path / "w.safetensors", {"w.weight": np.ones((4, 4), integer)})) == []


@pytest.mark.parametrize(
    "name",
    "bias gamma running_var weight_scale pos_embed lora_B.weight lora_B.default.weight attn_mask query_tokens"
    " token_type_embeddings.weight".split(),
)
def test_arrays_that_start_as_zeros_or_ones_are_no_fault(name: str, tmp_path: Path) -> None:
    for value in (0, 1):
        path = write(tmp_path / "w.safetensors", {f"block.{name}": np.full((4, 4), value, np.float32)})
        assert findings(path) == []


@pytest.mark.parametrize(
    "name",
    ["embed_tokens.weight", "gate_proj.weight", "mask_head.conv.weight", "norm.to_qkv.weight", "mean/0/kernel:0"],
)
def test_a_weight_of_zeros_is_found_whatever_the_name_of_its_layer(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", {f"block.{name}": np.zeros((4, 4), np.float32)})
    assert [found for found, _ in findings(path)] == ["zero"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["bn.running_var", "bn/moving_variance", "optimizer.state.0.exp_avg_sq"])
def test_a_negative_variance_is_an_error(name: str, dtype: str, tmp_path: Path) -> None:
    """Its square root is NaN. A mean may be negative, and NaN is found as such."""
    array = np.array([1, 0, -0.5, np.nan, -2], numpy_dtype(dtype))
    path = write(tmp_path / "w.safetensors", {name: array, "bn.running_mean": -values((3,))})
    found = pc.check(path, state=True).findings
    assert [(each.name, each.place) for each in found] == [("nan", f"{name}[3]"), ("negative-variance", f"{name}[2]")]
    assert found[1].text == "2 of 5 values are negative, down to -2"
    assert findings(write(path, {name: array[:2]})) == []


def drawn(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def saved(path: Path, changes: Mapping[str, Any]) -> Path:
    """Save the weights of a sample with trained-like values, and with changes to them."""
    model = pc.load_model(MLP)
    trained = {p.path: drawn(p.shape, number) for number, p in enumerate(model.owners())}
    pc.save(pc.assign(pc.initialize(model), trained | changes), path)
    return path


@pytest.mark.parametrize("name", ["w.h5", "w.safetensors", "w.npz"])
def test_dead_units_have_neither_weights_nor_bias(name: str, tmp_path: Path) -> None:
    """The bias of the second unit keeps it alive."""
    kernel, bias = drawn((4, 4)), drawn((4,))
    kernel[:, 1] = kernel[:, 2] = bias[2] = 0
    path = saved(tmp_path / name, {"dense/kernel": kernel, "dense/bias": bias})
    (finding,) = pc.check(path).findings
    assert (finding.name, finding.place) == ("dead-units", "dense/kernel[:, 2]")
    assert finding.text == "1 of 4 output units has only zeros: 2"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_dead_unit_of_a_recurrent_layer_is_one_finding(cell: str, tmp_path: Path) -> None:
    """Its weights of inputs, its weights of the state, and each row of its bias are zero; without the first it lives."""
    document = tmp_path / "m.yaml"
    document.write_text(f"input: [7, 5]\nlayers: [{{{cell}: 3}}]\n")
    model = pc.load_model(document)
    trained = {p.path: drawn(p.shape, number) for number, p in enumerate(model.owners())}
    for array in trained.values():
        array[..., 4] = 0
    pc.save(pc.assign(pc.initialize(model), trained), tmp_path / "w.h5")
    ((name, place),) = findings(tmp_path / "w.h5")
    assert name == "dead-units"
    assert place.endswith("/kernel[:, 4]")
    next(array for path, array in trained.items() if path.endswith("/kernel"))[2, 4] = 1
    pc.save(pc.assign(pc.initialize(model), trained), tmp_path / "v.h5")
    assert findings(tmp_path / "v.h5") == []


def test_equal_units_are_found_by_all_of_their_values(tmp_path: Path) -> None:
    """Units that differ in the last value alone are not equal, whatever their first values are."""
    document = tmp_path / "m.yaml"
    document.write_text("input: [700]\nlayers: [{dense: 900}]\n")
    kernel = drawn((700, 900))
    kernel[:, 5] = kernel[:, 899]
    kernel[:-1, 7] = kernel[:-1, 8]
    weights = pc.assign(pc.initialize(document), {"dense/kernel": kernel})
    pc.save(weights, tmp_path / "w.h5")
    (finding,) = pc.check(tmp_path / "w.h5").findings
    assert (finding.name, finding.place) == ("equal-units", "dense/kernel[:, 5]")
    assert finding.text == "2 of 900 output units have the incoming weights of another: 5, 899"
    pc.save(pc.convert(weights, layout="torch"), tmp_path / "t.safetensors")
    assert findings(tmp_path / "t.safetensors") == [("equal-units", "dense.weight[5, :]")]


def test_equal_weights_are_one_finding_and_a_warning_if_drawn(tmp_path: Path) -> None:
    arrays = {f"block.{k}.weight": drawn((8, 6)) for k in range(3)} | {"other.weight": drawn((8, 6), 1)}
    (finding,) = pc.check(write(tmp_path / "w.safetensors", arrays)).findings
    assert (finding.name, finding.severity) == ("equal-arrays", "note")
    assert finding.paths == ("block.0.weight", "block.1.weight", "block.2.weight")


def test_a_broken_tie_is_found_and_a_copy_is_a_note(tmp_path: Path) -> None:
    document = tmp_path / "m.yaml"
    document.write_text(
        "input: {shape: [5], dtype: int32}\nlayers: [{embedding: {name: e, input_dim: 9, output_dim: 4}},"
        " {dense: {name: d, units: 9, use_bias: false}}]\nties: [{keep: e/embeddings, tie: d/kernel, transpose: true}]\n"
    )
    table = drawn((9, 4))
    for other, severity in ((table.T.copy(), "note"), (drawn((4, 9), 1), "warning")):
        path = write(tmp_path / "w.safetensors", {"e/embeddings": table, "d/kernel": other})
        (finding,) = pc.check(path, like=document).findings
        assert (finding.name, finding.severity, finding.place) == ("broken-tie", severity, "d/kernel")
    (tmp_path / "config.json").write_text('{"tie_word_embeddings": true}')
    names = ("model.embed_tokens.weight", "lm_head.weight")
    path = write(tmp_path / "w.safetensors", dict(zip(names, (table, table + 1), strict=True)))
    (finding,) = pc.check(path).findings
    assert finding.text == "differs from model.embed_tokens.weight, to which config.json ties it"


@pytest.mark.parametrize(
    ("kept", "tied"),
    [
        ("model.decoder.embed_tokens.weight", "lm_head.weight"),  # OPT
        ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),  # LLaVA
        ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        ("shared.weight", "lm_head.weight"),  # T5, whose encoder has a copy
    ],
)
def test_a_broken_tie_of_config_json_is_found(kept: str, tied: str, tmp_path: Path) -> None:
    """Each difference is found: a value, the shape, or the dtype."""
    (tmp_path / "config.json").write_text('{"tie_word_embeddings": true}')
    table = drawn((9, 4))
    for other, text in (
        (table + 1, f"differs from {kept}, to which config.json ties it"),
        (table[:5].copy(), f"has the shape (5, 4), not the (9, 4) of {kept}, to which config.json ties it"),
        (table.astype(np.float16), f"is float16, not float32 as {kept}, to which config.json ties it"),
    ):
        arrays = {kept: table, tied: other} | ({"encoder.embed_tokens.weight": -table} if kept[0] == "s" else {})
        (finding,) = pc.check(write(tmp_path / "w.safetensors", arrays)).findings
        assert (finding.name, finding.severity, finding.text) == ("broken-tie", "warning", text)


@pytest.mark.parametrize(
    ("target", "numbers", "expected"),
    [
        ("float16", [1, 70_000, -1e6], [("overflow", "w[1]")]),
        ("bfloat16", [1, 70_000, -1e6], []),
        ("float8_e4m3fn", [1, 500, 448], [("overflow", "w[1]")]),
        ("float16", [1, 1e-9, 2], [("underflow", "w")]),
        ("float32", [1, 1e-9, 2], []),
    ],
)
def test_values_that_another_dtype_cannot_hold(
    target: str, numbers: list[float], expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    path = write(tmp_path / "w.safetensors", {"w": np.array(numbers, np.float32)})
    assert findings(path, as_dtype=target) == expected
    try:
        pc.convert(pc.open(path), dtype=target)["w"][...]
        refused = False
    except pc.OutputError:
        refused = True
    assert refused == ("overflow" in dict(expected))


def test_integers_that_a_float_rounds_are_found(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", {"w": np.array([1, 2**53, 2**53 + 1, 2**63 - 1], np.int64)})
    assert findings(path, as_dtype="w=float64") == [("inexact", "w[2]")]
    assert pc.check(path, as_dtype="w=float64").findings[0].text.startswith("2 of 4 values")
    assert findings(path, as_dtype="w=int16") == [("overflow", "w[1]")]


def test_values_that_their_recorded_scheme_does_not_draw(tmp_path: Path) -> None:
    """set removes the record of what it changes, so only a change by another program is found."""
    document = tmp_path / "m.yaml"
    document.write_text("input: [64]\nlayers: [{dense: {units: 64, kernel_initializer: random_normal}}]\n")
    pc.save(pc.initialize(document), tmp_path / "w.safetensors")
    assert findings(tmp_path / "w.safetensors") == []
    pc.save(pc.assign(tmp_path / "w.safetensors", {"dense/kernel": drawn((64, 64))}), tmp_path / "set.safetensors")
    assert findings(tmp_path / "set.safetensors") == []
    data = (tmp_path / "w.safetensors").read_bytes()
    size = 8 + int.from_bytes(data[:8], "little")
    for change, text in ((1.3, "the standard deviation is"), (30, "a value is"), (1, "")):
        numbers = np.frombuffer(data[size:], np.float32).copy() * np.float32(change)
        (tmp_path / "c.safetensors").write_bytes(data[:size] + numbers.tobytes())
        texts = [finding.text for finding in pc.check(tmp_path / "c.safetensors", select="scheme").findings]
        assert [each.startswith(text) for each in texts] == ([True] if text else [])


def test_names_shapes_and_dtypes_are_compared_with_a_model(tmp_path: Path) -> None:
    arrays = {
        "dense/kernel": values((4, 4), "float16"),
        "dense/bias": values((5,)),
        "dense_1/kernel": values((4, 1)),
        "extra": values((2,)),
    }
    path = write(tmp_path / "w.safetensors", arrays)
    assert findings(path, like=MLP) == [
        ("missing", "dense_1/bias"),
        ("unexpected", "extra"),
        ("shape", "dense/bias"),
        ("dtype", "dense/kernel"),
    ]
    torch = pc.convert(pc.initialize(MLP), layout="torch")
    pc.save(torch, tmp_path / "t.safetensors")
    assert findings(tmp_path / "t.safetensors", like=MLP) == []
    renamed = {f"model/{owner.path}": values(owner.shape) for owner in pc.load_model(MLP).owners()}
    path = write(tmp_path / "w.safetensors", renamed)
    (finding,) = pc.check(path, like=MLP).findings
    assert finding.name == "layout"
    assert "--rename 'model/**=**'" in finding.text
    assert findings(path, like=MLP, rename={"model/**": "**"}) == []


@pytest.mark.parametrize(("fault", "name"), [("extra", "unexpected"), ("shape", "shape")])
def test_a_keras_file_is_compared_with_its_configuration(fault: str, name: str, tmp_path: Path) -> None:
    """Keras ignores a layer that its configuration lacks, without a word."""
    with zipfile.ZipFile(ROOT / "tests/fixtures/keras3_nested.keras") as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    stored = tmp_path / "w.h5"
    stored.write_bytes(members["model.weights.h5"])
    with h5py.File(stored, "r+") as file:
        if fault == "extra":
            file["layers/dense_99/vars/0"] = values((2, 2))
        else:
            shape = file["layers/dense/vars/0"].shape
            del file["layers/dense/vars/0"]
            file["layers/dense/vars/0"] = values((shape[0] + 1, *shape[1:]))
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for member, data in (members | {"model.weights.h5": stored.read_bytes()}).items():
            archive.writestr(member, data)
    assert [each for each, _ in findings(tmp_path / "m.keras")] == [name]


def test_an_array_that_was_never_written_is_found(tmp_path: Path) -> None:
    """Keras and h5py read zeros."""
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("bias", (4,), "f4")
        file.create_dataset("weight", (4, 4), "f4")
        file.create_dataset("empty", (0,), "f4")
        file["kernel"] = values()
    assert findings(tmp_path / "w.h5") == [("unwritten", "bias"), ("unwritten", "weight")]


def test_every_fault_of_a_set_of_files_is_named(tmp_path: Path) -> None:
    index = tmp_path / "m.safetensors.index.json"
    write(tmp_path / "m-1.safetensors", {"a": values(), "extra": values((3, 3))})
    write(tmp_path / "m-2.safetensors", {"b": values((5, 4))})
    places = {"a": "m-1.safetensors", "gone": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-3.safetensors"}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    found = pc.check(index).findings
    assert [(finding.name, finding.place, finding.text) for finding in found] == [
        ("shards", "m-3.safetensors", "does not exist, with 1 of the arrays in the index"),
        ("shards", "m-1.safetensors", "lacks gone, which the index lists there"),
        ("shards", "m-1.safetensors", "has extra, which the index does not list there"),
    ]
    write(tmp_path / "m-1.safetensors", {"a": values()})
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": {"a": places["a"], "b": places["b"]}}))
    (finding,) = pc.check(index).findings
    assert (finding.severity, finding.text) == ("warning", "total_size is 1, but the files hold 272 bytes")
    index.write_text(json.dumps({"metadata": {"total_size": 272}, "weight_map": {"a": places["a"], "b": places["b"]}}))
    assert findings(index) == findings(tmp_path) == []
    # an array in no file is one fault, whatever the total is
    index.write_text(
        json.dumps(
            {"metadata": {"total_size": 999}, "weight_map": {"a": places["a"], "b": places["b"], "c": places["a"]}}
        )
    )
    assert findings(index) == [("shards", "m-1.safetensors")]


def test_a_flipped_bit_in_a_zip_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.npz", {})
    data = bytearray(path.read_bytes())
    place = data.find(drawn((4, 4)).tobytes())
    data[place + 9] ^= 1
    path.write_bytes(data)
    (finding,) = pc.check(path).findings
    assert finding.name in ("checksum", "unreadable")


@pytest.mark.parametrize("name", ANY)
def test_a_truncated_file_is_a_finding(name: str, tmp_path: Path) -> None:
    """The reader refuses the file, or it reads the header and then not the values."""
    saved(tmp_path / "w.npz", {})
    folder = tmp_path / "files"
    folder.mkdir()
    pc.save(pc.open(tmp_path / "w.npz"), f"{folder}/{name}")
    largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-40])
    result = pc.check(f"{folder}/{name}")
    assert result.findings
    assert {finding.severity for finding in result.findings} == {"error"}


def test_a_file_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(pc.InputError):
        pc.check(tmp_path / "none.h5")
    with pytest.raises(pc.AddressError, match="Did you mean 'nan'"):
        pc.check(MLP, select="nam")
    (tmp_path / "bad.yaml").write_text("input: [4]\nlayers: [{dens: 4}]\n")
    (finding,) = pc.check(tmp_path / "bad.yaml").findings
    assert (finding.name, finding.place) == ("unreadable", f"{tmp_path}/bad.yaml:2:11")


def test_checks_can_be_selected_and_ignored(tmp_path: Path) -> None:
    array = values()
    array[0, 0], array[1, 1] = np.nan, np.inf
    path = write(tmp_path / "w.safetensors", {"w": array})
    assert findings(path, select="inf") == [("inf", "w[1, 1]")]
    assert findings(path, ignore=["inf"]) == [("nan", "w[0, 0]")]
    assert findings(path, select="warning") == findings(path, ignore="error") == []


def small_samples() -> list[Path]:
    return [path for path in SAMPLES if _size(path) <= LARGEST]


def _size(path: Path) -> int:
    model = pc.load_model(path)
    return LARGEST + 1 if model.unbuilt else sum(owner.size for owner in model.owners())


def test_fresh_models_have_no_findings(tmp_path: Path) -> None:
    """Every sample, with every preset and its own defaults, in a file: no finding but notes on declared zeros."""
    samples = small_samples()
    assert len(samples) > 5
    for sample in samples:
        for preset in (None, *PRESETS):
            path = tmp_path / "w.safetensors"
            pc.save(pc.initialize(sample, preset=preset, seed=3), path, force=True)
            result = pc.check(path, like=sample)
            assert result.healthy, (sample, preset, result.findings)
            assert all(finding.name == "zero" for finding in result.findings), (sample, preset, result.findings)


def test_the_files_of_other_programs_have_no_findings() -> None:
    """Files that Keras, torch and TensorFlow wrote, with an optimizer's state, whose values are not constant."""
    fixtures = ROOT / "tests/fixtures"
    paths = [*fixtures.glob("keras[23]*.h5"), *fixtures.glob("keras*.keras"), fixtures / "keras3_sharded.weights.json"]
    paths += [
        fixtures / name for name in ("torch_module.pt", "torch_tied.pt", "torch_training.ckpt", "adapter.safetensors")
    ]
    assert len(paths) > 20
    for path in paths:
        # random numbers were written over all arrays of this file, its variances too
        ignored = ["negative-variance"] if path.name == "keras2_two_deep.h5" else []
        expected = [("skipped", "sparse")] if path.name == "torch_training.ckpt" else []  # a sparse tensor
        assert [(each.name, each.place) for each in pc.check(path, state=True, ignore=ignored).findings] == expected
    assert findings(fixtures / "odd/keras3_lost_layer.keras") == [("missing", "d2/kernel"), ("missing", "d2/bias")]


def test_exit_codes_and_closing_lines(call: Call, tmp_path: Path) -> None:
    array = values()
    array[3, 5] = np.nan
    write(tmp_path / "w.safetensors", {"w": array})
    write(tmp_path / "ok.safetensors", {"w": values()})
    write(tmp_path / "note.safetensors", {"a": values(), "b": values()})
    assert call("check", "ok.safetensors") == (0, "", "no findings: 1 array, 48 values checked\n")
    code, out, err = call("check", "w.safetensors")
    assert (code, err) == (1, "1 error, 0 warnings, 0 notes: 1 array, 48 values checked\n")
    assert out.splitlines()[-1].split(None, 3) == ["error", "nan", "w[3,", "5]  1 of 48 values is NaN"]
    assert call("check", "w.safetensors", "-q") == (1, "", "")
    assert call("check", "note.safetensors")[0] == 0
    assert call("check", "note.safetensors", "--fail-on", "note")[0] == 1
    assert call("check", "none.safetensors")[0] == 2
    code, out, err = call("check", "ok.safetensors", "w.safetensors", "--format", "csv")
    assert (code, out.splitlines()[0]) == (1, "severity,name,place,text,paths,file")
    assert out.splitlines()[1].endswith(",w,w.safetensors")
    code, out, _ = call("check", "ok.safetensors", "--format", "json")
    assert (code, json.loads(out)) == (0, [])


def test_findings_in_similar_layers_are_one_row(call: Call, tmp_path: Path) -> None:
    arrays = {f"block.{k}.weight": np.zeros((3, 3), np.float32) for k in range(12)}
    write(tmp_path / "w.safetensors", arrays)
    rows = call("check", "w.safetensors")[1].splitlines()
    assert len(rows) == 3
    assert "block.0.weight and 11 more" in rows[2]
    assert len(json.loads(call("check", "w.safetensors", "--format", "json")[1])) == 12


def test_the_commands_of_github_are_escaped(call: Call, tmp_path: Path) -> None:
    array = np.array([np.nan, 1], np.float32)
    write(tmp_path / "a,b.safetensors", {"100%:\n::x": array})
    code, out, _ = call("check", "a,b.safetensors", "--format", "github")
    assert code == 1
    (line,) = out.splitlines()
    assert line.startswith("::error file=a%2Cb.safetensors,title=nan%3A ")
    assert "100%25" in line


SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"enum": ["2.1.0"]},
        "runs": {
            "type": "array",
            "items": {
                "required": ["tool"],
                "properties": {
                    "tool": {"required": ["driver"], "properties": {"driver": {"required": ["name"]}}},
                    "results": {
                        "type": "array",
                        "items": {
                            "required": ["message"],
                            "properties": {
                                "ruleIndex": {"type": "integer", "minimum": -1},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "locations": {"type": "array", "uniqueItems": True},
                            },
                        },
                    },
                },
            },
        },
    },
}
"""The parts of the schema of SARIF 2.1.0 that the log uses."""


def test_the_log_of_sarif_is_valid(call: Call, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    write(tmp_path / "a b.safetensors", {"w": np.array([np.nan, np.inf], np.float32)})
    for arguments in (["a b.safetensors"], [str(MLP)]):
        log = json.loads(call("check", *arguments, "--format", "sarif")[1])
        jsonschema.validate(log, SARIF)
        (run,) = log["runs"]
        rules = run["tool"]["driver"]["rules"]
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            (location,) = result["locations"]
            assert location["physicalLocation"]["artifactLocation"]["uri"] == "a%20b.safetensors"
            assert location["physicalLocation"]["region"]["startLine"] == 1
        hashes = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]
        assert len(set(hashes)) == len(hashes)
    assert run["results"] == []


def test_files_are_named_within_the_working_directory(call: Call, tmp_path: Path) -> None:
    """GitHub finds no other file of a repository; one outside is a URL, and standard input is no file."""
    path = write(tmp_path / "a:b.safetensors", {"w": np.array([np.nan], np.float32)})
    write(tmp_path.parent / "outside.safetensors", {"w": np.array([np.nan], np.float32)})
    for name, uri, annotated in (
        (str(path), "a%3Ab.safetensors", "a%3Ab.safetensors"),
        ("./a:b.safetensors", "a%3Ab.safetensors", "a%3Ab.safetensors"),
        ("../outside.safetensors", f"file://{tmp_path.parent}/outside.safetensors", f"{tmp_path.parent}/outside.safe"),
    ):
        log = json.loads(call("check", name, "--format", "sarif")[1])
        (location,) = log["runs"][0]["results"][0]["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"] == uri
        assert call("check", name, "--format", "github")[1].startswith(f"::error file={annotated}")


def test_every_damaged_file_of_a_keras_set_is_named(tmp_path: Path) -> None:
    for name in ("keras3_sharded.weights.json", "keras3_sharded_00000.weights.h5", "keras3_sharded_00001.weights.h5"):
        (tmp_path / name).write_bytes((ROOT / "tests/fixtures" / name).read_bytes())
    index, first, second = sorted(tmp_path.iterdir())
    assert findings(index) == []
    first.write_bytes(first.read_bytes()[:1000])
    second.unlink()
    assert findings(index) == [("shards", first.name), ("shards", second.name)]


def test_a_gap_in_the_variables_of_a_keras_layer_is_found(tmp_path: Path) -> None:
    """Keras numbers them from 0, so a file without a configuration shows it too."""
    path = tmp_path / "m.weights.h5"
    path.write_bytes((ROOT / "tests/fixtures/keras3_mha_lstm.weights.h5").read_bytes())
    with h5py.File(path, "a") as file:
        del file["layers/lstm/cell/vars/1"]
    (finding,) = pc.check(path).findings
    assert (finding.name, finding.place) == ("missing", "layers/lstm/cell/vars/1")
    assert finding.text == "not in the file, which has arrays with higher numbers"


def test_the_list_has_every_check_in_every_format(call: Call) -> None:
    names = {row["name"] for row in json.loads(call("check", "--list", "--format", "json")[1])}
    assert {"nan", "inf", "zero", "constant", "dead-units", "shards", "checksum", "scheme"} <= names
    for format_ in ("table", "csv", "markdown", "jsonl"):
        out = call("check", "--list", "--format", format_)[1]
        assert all(name in out for name in names)
    assert call("check", "--list", "--format", "sarif")[0] == 2


def test_an_array_that_is_skipped_is_a_note_that_names_it(call: Call, tmp_path: Path) -> None:
    """A sparse tensor of torch and an array of records, but no text; the exit code stays 0."""
    found = pc.check(ROOT / "tests/fixtures/torch_training.ckpt").findings
    assert [(each.severity, each.name, each.place, each.paths) for each in found] == [
        ("note", "skipped", "sparse", ("sparse",))
    ]
    assert found[0].text == "not checked, because it is not read: a sparse tensor"
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["w"] = values()
        file["records"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        file["words"] = "text"
        file["link"] = h5py.SoftLink("/w")
    code, out, err = call("check", "w.h5")
    assert (code, out.splitlines()[2].split()[:3]) == (0, ["note", "skipped", "records"])
    assert err.splitlines()[-1] == "0 errors, 0 warnings, 1 note: 1 array, 48 values checked"
    assert len(out.splitlines()) == 3
