"""paramctl summary, run as a process: every format, selections, and what people and pipes see."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import paramctl as pc
from tests.conftest import ROOT, Run

SAMPLES = ROOT / "sample_models"
TIED = str(SAMPLES / "tied_mlp.yaml")
GPT2 = str(SAMPLES / "gpt2.yaml")
RGNET = str(SAMPLES / "rgnet.yaml")

TABLE = """\
tied_mlp: input (None, 4)

Layer    Type     Output shape  Parameters
-------  -------  ------------  ---------------------
flatten  flatten  (None, 4)              0
shared   dense    (None, 4)             20
shared   dense    (None, 4)              0 (= shared)
dense    dense    (None, 1)              5

Total parameters:  25
    trainable:     25
    non-trainable:  0
Bytes in float32: 100
"""


def test_table(paramctl: Run) -> None:
    assert paramctl("summary", TIED).stdout == TABLE


def test_tree_with_parameters_as_leaves(paramctl: Run) -> None:
    lines = paramctl("summary", RGNET, "--format", "tree", "--parameters").stdout.splitlines()
    drawn = [line.split("  ")[0].rstrip() if line[:1] not in "├│└" else line[:20].rstrip() for line in lines[4:11]]
    assert drawn == [
        "├─ block2",
        "│  ├─ block-0",
        "│  │  ├─ flatten",
        "│  │  └─ dense",
        "│  │     ├─ kernel",
        "│  │     └─ bias",
        "│  ├─ block-1",
    ]
    counts = [int(line.split()[-1]) for line in lines[4:-5] if line.split()[-1].isdigit()]
    assert sum(counts) == 85


def test_json_is_one_object_with_all_facts(paramctl: Run) -> None:
    facts = json.loads(paramctl("summary", TIED, "--format", "json").stdout)
    assert facts["model"] == "tied_mlp"
    assert facts["inputs"] == [{"name": "input", "shape": [None, 4], "dtype": "float32"}]
    assert facts["outputs"] == ["dense"]
    assert facts["layers"][2] == {
        "path": "shared",
        "type": "dense",
        "output_shape": [None, 4],
        "parameters": 0,
        "reuse_of": "shared",
        "from": ["shared"],
    }
    assert facts["parameters"][0] == {
        "path": "shared/kernel",
        "shape": [4, 4],
        "dtype": "float32",
        "trainable": True,
        "size": 16,
        "axes": ["in", "out"],
        "fan_in": 4,
        "fan_out": 4,
        "scheme": "glorot_uniform",
        "tied_to": None,
    }
    assert facts["totals"] == {
        "parameters": 25,
        "trainable": 25,
        "non_trainable": 0,
        "bytes": 100,
        "bytes_by_dtype": {"float32": 100},
    }
    assert sum(row["parameters"] for row in facts["layers"]) == 25


def test_json_names_ties_on_both_sides(paramctl: Run) -> None:
    facts = json.loads(paramctl("summary", GPT2, "--format", "json").stdout)
    assert facts["ties"] == [{"keep": "tokens/embeddings", "tie": "head/kernel", "transpose": True}]
    assert {row["path"]: row["tied_to"] for row in facts["parameters"] if row["tied_to"]} == {
        "head/kernel": "tokens/embeddings"
    }
    assert all(row["parameters"] is None for row in facts["layers"] if row["type"] in ("block", "residual"))


def test_jsonl_and_csv_have_the_same_rows(paramctl: Run) -> None:
    for option in ([], ["--parameters"]):
        jsonl = [
            json.loads(line) for line in paramctl("summary", GPT2, *option, "--format", "jsonl").stdout.splitlines()
        ]
        rows = list(csv.DictReader(io.StringIO(paramctl("summary", GPT2, *option, "--format", "csv").stdout)))
        assert [row["path"] for row in rows] == [row["path"] for row in jsonl]
        assert list(rows[0]) == list(jsonl[0])
        key = "size" if option else "parameters"
        assert [row[key] for row in rows] == ["" if row[key] is None else str(row[key]) for row in jsonl]


def test_markdown_escapes_what_would_end_a_cell(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text('layers: [{dense: {name: "a|b", units: 3}}]\ninput: [4]\n')
    assert paramctl("summary", "--format", "markdown").stdout == (
        "| Layer | Type | Output shape | Parameters |\n| --- | --- | --- | ---: |\n| a\\|b | dense | (None, 3) | 15 |\n"
    )


def test_columns_are_chosen_in_order(paramctl: Run) -> None:
    shown = paramctl("summary", RGNET, "--parameters", "--columns", "fan_in,path", "--format", "csv").stdout
    assert shown.splitlines()[:2] == ["fan_in,path", "4,block2/block-0/dense/kernel"]
    wrong = paramctl("summary", RGNET, "--columns", "fan_in")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "No such column: 'fan_in'. The columns are path, type, output_shape" in wrong.stderr


def test_a_pattern_selects_with_all_below_and_totals_that(paramctl: Run) -> None:
    shown = paramctl("summary", RGNET, "block2/block-9").stderr
    assert "rgnet has no layer or parameter with this name" in shown
    assert "whole parameters are required" in paramctl("summary", RGNET, "block2/block-[13]").stderr
    facts = json.loads(paramctl("summary", RGNET, "block2/block-1", "dense/bias", "--format", "json").stdout)
    assert [row["path"] for row in facts["layers"]] == [
        "block2",
        "block2/block-1",
        "block2/block-1/flatten",
        "block2/block-1/dense",
        "dense",
    ]
    assert facts["totals"]["parameters"] == 20 + 1


def test_a_pattern_that_matches_nothing_is_an_error_with_the_nearest_name(paramctl: Run) -> None:
    failed = paramctl("summary", RGNET, "block2/block-1/dense/bais")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == (
        "rgnet has no layer or parameter with this name (got 'block2/block-1/dense/bais'). "
        "Did you mean 'block2/block-1/dense/bias'?\n"
    )


def test_a_partly_tied_layer_counts_the_rest(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(
        "input: [4]\nlayers:\n  - dense: {name: a, units: 4}\n  - dense: {name: b, units: 4}\n"
        "ties:\n  - {keep: a/kernel, tie: b/kernel}\n"
    )
    shown = paramctl("summary").stdout
    assert "b      dense  (None, 4)              4 (kernel = a/kernel)\n" in shown
    assert "Tied: b/kernel = a/kernel\n" in shown


def test_the_model_is_model_yaml_here_a_file_or_standard_input(paramctl: Run, tmp_path: Path) -> None:
    assert "no model.yaml in this folder" in paramctl("summary").stderr
    text = (SAMPLES / "tied_mlp.yaml").read_text()
    (tmp_path / "model.yaml").write_text(text)
    assert paramctl("summary").stdout == TABLE
    assert paramctl("summary", "-", input=text).stdout == TABLE


def test_an_unknown_input_shows_the_known_shapes_and_a_hint(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text("layers: [flatten, {dense: 3}]\n")
    shown = paramctl("summary")
    assert shown.returncode == 0
    assert "dense    dense    ?                      ?\n" in shown.stdout
    assert "Total parameters: ? (2 layers need the shape of an input; use --input-shape)" in shown.stdout
    assert json.loads(paramctl("summary", "--format", "json").stdout)["totals"]["parameters"] is None
    assert "Total parameters:  15" in paramctl("summary", "--input-shape", "4").stdout
    assert "Total parameters:  27" in paramctl("summary", "--input-shape", "(4,2)").stdout


def test_input_shapes_by_name(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(
        "inputs: {a: [1], b: [1]}\nlayers:\n  - dense: {units: 1, from: a}\n  - dense: {units: 1, from: b}\n"
    )
    assert "Total parameters:  8" in paramctl("summary", "--input-shape", "a=2", "--input-shape", "b=4").stdout
    wrong = paramctl("summary", "--input-shape", "4")
    assert "the model has no such input (got no name). Its inputs are a, b." in wrong.stderr


def test_wrong_values_on_the_command_line_say_which(paramctl: Run) -> None:
    cases = {
        ("-D", "width"): "-D must be NAME=VALUE (got 'width'",
        ("-D", "widht=3"): "-D widht: the document has no such variable (got 'widht'). Did you mean 'width'?",
        ("-D", "width=x"): "-D width: output_dim must be a positive integer (got 'x'",
        ("-D", "width=[1"): "-D width: not valid YAML",
        ("--input-shape", "a,b"): "--input-shape a,b: shape must be a list of positive integers",
    }
    for arguments, says in cases.items():
        failed = paramctl("summary", GPT2, *arguments)
        assert failed.returncode == 2
        assert says in failed.stderr
        assert failed.stderr.count("\n") == 1


def test_names_are_never_read_as_numbers(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(
        'input: [4]\nlayers: [{dense: {name: "1e5", units: 1}}, {dense: {name: "0x10", units: 1}}]\n'
    )
    shown = paramctl("summary", "odd.yaml").stdout
    assert "\n1e5    dense" in shown
    assert "\n0x10   dense" in shown


def test_control_characters_are_escaped_in_tables_and_errors_and_exact_in_json(paramctl: Run) -> None:
    text = 'name: "a\\e[31m\\u202e\\nb"\ninput: [4]\nlayers: [flatten]\n'
    assert paramctl("summary", "-", input=text).stdout.startswith("a\\x1b[31m\\u202e\\nb: input (None, 4)\n")
    assert json.loads(paramctl("summary", "-", "--format", "json", input=text).stdout)["model"] == "a\x1b[31m\u202e\nb"
    failed = paramctl("summary", "-", input='layers: [{"x\\e]0;owned\\a": 3}]')
    assert "\x1b" not in failed.stderr
    assert failed.stderr.count("\n") == 1
    missing = paramctl("summary", "no\x1b[31m\nsuch.yaml")
    assert missing.stderr == "no\\x1b[31m such.yaml: No such file or directory\n"


UNRECORDED = ("plain.safetensors", "plain.npz", "plain.h5", "keras.weights.h5")


@pytest.fixture
def unrecorded(paramctl: Run, tmp_path: Path) -> None:
    """Files that record for no parameter whether it is trained, nor its kind; the last records some kinds."""
    arrays = {"w": np.ones((2, 3), "float32"), "b": np.zeros(3, "float32")}
    save_file(arrays, tmp_path / "plain.safetensors")
    np.savez(tmp_path / "plain.npz", **arrays)
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    assert paramctl("save", str(SAMPLES / "mlp.yaml"), "-o", "keras.weights.h5").returncode == 0


@pytest.mark.usefixtures("unrecorded")
@pytest.mark.parametrize("name", UNRECORDED)
def test_facts_that_a_file_does_not_record_select_nothing(name: str, paramctl: Run) -> None:
    """Every command refuses to filter by them, in one line that says why, instead of showing zeros."""
    kinds = {} if "keras" in name else {("--kind", "weight"): "the kinds of its parameters"}
    trained = "which parameters are trainable"
    for options, what in ({("--trainable",): trained, ("--frozen",): trained} | kinds).items():
        for command in (["summary", name], ["stat", name], ["dump", name], ["set", name, "* = 1", "--dry-run"]):
            if command[0] == "set" and "keras" in name:
                command[2] = "** = 1"
            done = paramctl(*command, *options)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), command
            assert "no selected parameter passes the filters" in done.stderr
            assert f"This file does not record {what}." in done.stderr


@pytest.mark.usefixtures("unrecorded")
@pytest.mark.parametrize("name", UNRECORDED)
def test_unrecorded_facts_are_null_or_empty(name: str, paramctl: Run, tmp_path: Path) -> None:
    """They are not counted as 0, in any format, nor for a single layer."""
    totals = json.loads(paramctl("summary", name, "--format", "json").stdout)["totals"]
    count = totals["parameters"]
    assert count in (9, 25)
    assert (totals["trainable"], totals["non_trainable"], totals["unknown"]) == (None, None, count)
    columns = ["--columns", "parameters,trainable,non_trainable,unknown"]
    for line in paramctl("summary", name, *columns, "--format", "csv").stdout.splitlines()[1:]:
        values, trainable, non_trainable, unknown = line.split(",")
        assert (trainable, non_trainable, unknown) == ("", "", values)
    for line in paramctl("summary", name, *columns, "--format", "jsonl").stdout.splitlines():
        row = json.loads(line)
        assert (row["trainable"], row["non_trainable"], row["unknown"]) == (None, None, row["parameters"])
    assert "trainable" not in paramctl("summary", name).stdout
    assert "|  |  |" in paramctl("summary", name, *columns, "--format", "markdown").stdout
    opened = pc.open(tmp_path / name)
    assert "trainable" not in repr(opened)
    assert "trainable" not in opened._repr_html_()
    assert (pc.summary(opened).totals.trainable, pc.summary(opened).totals.unknown) == (None, count)
    assert {row["trainable"] for row in map(json.loads, paramctl(*SHOWN, name).stdout.splitlines())} == {None}


SHOWN = ("summary", "--parameters", "--format", "jsonl")


def test_facts_of_some_parameters_are_counted_apart(paramctl: Run, tmp_path: Path) -> None:
    """The numbers of trainable values are unknown then, and a filter is for parameters that record it."""
    arrays = {"a": np.ones((2, 3), "float32"), "b": np.zeros(3, "float32"), "c": np.zeros(4, "float32")}
    with h5py.File(tmp_path / "mixed.h5", "w") as file:
        file.create_group("__paramctl__")
        for name, array in arrays.items():
            file[f"block/{name}"] = array
        file["block/a"].attrs["trainable"], file["block/b"].attrs["trainable"] = True, False
    facts = json.loads(paramctl("summary", "mixed.h5", "--format", "json").stdout)["totals"]
    assert [facts[key] for key in ("parameters", "trainable", "non_trainable", "unknown")] == [13, None, None, 4]
    (row,) = paramctl(
        "summary", "mixed.h5", "--columns", "path,trainable,non_trainable,unknown", "--format", "csv"
    ).stdout.splitlines()[1:]
    assert row == "block,,,4"
    shown = paramctl("summary", "mixed.h5").stdout
    assert "    trainable:      6\n    non-trainable:  3\n    unknown:        4\n" in shown
    assert "Total parameters: 13 (6 trainable, 4 unknown)" in repr(pc.open(tmp_path / "mixed.h5"))
    for command in ("summary", "stat", "dump"):
        refused = paramctl(command, "mixed.h5", "--trainable")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "a filter by trainable requires parameters for which the file records it (got block/c)" in refused.stderr
    assert "Total parameters:  6\n" in paramctl("summary", "mixed.h5", "block/a", "--trainable").stdout
    assert paramctl("summary", "mixed.h5", "block/c", "--trainable").returncode == 2
    assert "Total parameters:  0\n" in paramctl("summary", "mixed.h5", "block/b", "--trainable").stdout


def bitsandbytes(shape: tuple[int, ...] = (32, 49), nested: bool = False, kind: str = "nf4") -> dict[str, np.ndarray]:
    """The arrays of a Linear4bit layer, as bitsandbytes writes them."""
    count = int(np.prod(shape))
    state = {"quant_type": kind, "blocksize": 64, "dtype": "bfloat16", "shape": list(shape)}
    blocks = -(-count // 64)
    tables: dict[str, np.ndarray] = {"absmax": np.ones(blocks, "float32"), "quant_map": np.ones(16, "float32")}
    if nested:
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.04}
        tables |= {"absmax": np.ones(blocks, "uint8"), "nested_absmax": np.ones(1, "float32")}
        tables["nested_quant_map"] = np.ones(256, "float32")
    data = np.frombuffer(json.dumps(state).encode(), "uint8").copy()
    return {
        "m.fc.weight": np.zeros((-(-count // 2), 1), "uint8"),
        **{f"m.fc.weight.{name}": table for name, table in tables.items()},
        f"m.fc.weight.quant_state.bitsandbytes__{kind}": data,
    }


def gptq(
    bits: int = 4, inputs: int = 96, outputs: int = 64, size: int = 40, g_idx: bool = True
) -> dict[str, np.ndarray]:
    """The arrays of a quantized linear layer, as AutoGPTQ and GPTQModel write them."""
    groups = -(-inputs // size)
    arrays = {
        "m.fc.qweight": np.zeros((inputs * bits // 32, outputs), "int32"),
        "m.fc.qzeros": np.zeros((groups, outputs * bits // 32), "int32"),
        "m.fc.scales": np.ones((groups, outputs), "float16"),
    }
    return arrays | ({"m.fc.g_idx": np.zeros(inputs, "int32")} if g_idx else {})


def awq(bits: int = 4, inputs: int = 96, outputs: int = 64, size: int = 32) -> dict[str, np.ndarray]:
    """The arrays of a WQLinear_GEMM, as AutoAWQ writes them."""
    return {
        "m.fc.qweight": np.zeros((inputs, outputs * bits // 32), "int32"),
        "m.fc.qzeros": np.zeros((inputs // size, outputs * bits // 32), "int32"),
        "m.fc.scales": np.ones((inputs // size, outputs), "float16"),
    }


def compressed(bits: int = 4, inputs: int = 96, outputs: int = 64, size: int = 32) -> dict[str, np.ndarray]:
    """The arrays of a quantized linear layer, as compressed-tensors writes them."""
    return {
        "m.fc.weight_packed": np.zeros((outputs, -(-inputs // (32 // bits))), "int32"),
        "m.fc.weight_scale": np.ones((outputs, -(-inputs // size)), "float16"),
        "m.fc.weight_shape": np.array([outputs, inputs]),
    }


def awq_for_vectors(inputs: int, outputs: int, width: int, fast: bool = False) -> dict[str, np.ndarray]:
    """The arrays of a WQLinear_GEMV or a WQLinear_GEMVFast, as AutoAWQ writes them. width: by calculate_zeros_width."""
    if fast:
        return {
            "m.fc.qweight": np.zeros((outputs // 4, inputs), "int16"),
            "m.fc.qzeros": np.zeros((8 * width, outputs), "float16"),
            "m.fc.scales": np.zeros((8 * width, outputs), "float16"),
        }
    return {
        "m.fc.qweight": np.zeros((outputs, inputs // 8), "int32"),
        "m.fc.qzeros": np.zeros((outputs, width), "int32"),
        "m.fc.scales": np.zeros((outputs, 8 * width), "float16"),
    }


def nvfp4() -> dict[str, np.ndarray]:
    """The arrays of a linear layer in NVFP4, as compressed-tensors writes them."""
    return {
        "m.fc.weight_packed": np.zeros((64, 48), "uint8"),
        "m.fc.weight_scale": np.ones((64, 6), ml_dtypes.float8_e4m3fn),
        "m.fc.weight_global_scale": np.ones(1, "float32"),
    }


def mxfp4() -> dict[str, np.ndarray]:
    """The arrays of the experts of gpt-oss."""
    return {"m.experts_blocks": np.zeros((2, 64, 3, 16), "uint8"), "m.experts_scales": np.zeros((2, 64, 3), "uint8")}


def eight_bits() -> dict[str, np.ndarray]:
    """The arrays of a Linear8bitLt layer, as bitsandbytes writes them."""
    return {
        "m.fc.weight": np.zeros((64, 96), "int8"),
        "m.fc.SCB": np.ones(64, "float32"),
        "m.fc.weight_format": np.array(0, "uint8"),
    }


PACKED = {
    "bitsandbytes in 8 bits": (eight_bits(), 8, (64, 96)),
    "AWQ for vectors": (awq_for_vectors(4096, 64, 4), 4, (4096, 64)),
    "AWQ for vectors, groups of 64": (awq_for_vectors(256, 64, 2), 4, (256, 64)),
    "AWQ for vectors, fast": (awq_for_vectors(256, 64, 1, fast=True), 4, (256, 64)),
    "AWQ for vectors, fast, groups of 32": (awq_for_vectors(2048, 64, 8, fast=True), 4, (2048, 64)),
    "NVFP4": (nvfp4(), 4, (64, 96)),
    "MXFP4": (mxfp4(), 4, (2, 64, 96)),
    "nf4": (bitsandbytes(), 4, (32, 49)),
    "fp4, an odd number": (bitsandbytes((5, 13), kind="fp4"), 4, (5, 13)),
    "nf4 with nested scales": (bitsandbytes((64, 64), nested=True), 4, (64, 64)),
    **{f"GPTQ in {bits} bits": (gptq(bits), bits, (96, 64)) for bits in (2, 3, 4, 8)},
    "GPTQ in one group, square": (gptq(inputs=64, size=64), 4, (64, 64)),
    "GPTQ without g_idx": (gptq(g_idx=False), 4, (96, 64)),
    "AWQ": (awq(), 4, (96, 64)),
    "AWQ, square": (awq(inputs=64), 4, (64, 64)),
    "AWQ in 8 bits": (awq(8), 8, (96, 64)),
    "compressed-tensors": (compressed(), 4, (64, 96)),
    "compressed-tensors in 8 bits, padded": (compressed(8, 97), 8, (64, 97)),
}


@pytest.mark.parametrize(("arrays", "bits", "shape"), PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_packed_weights_count_as_the_parameters_they_hold(
    arrays: dict[str, np.ndarray], bits: int, shape: tuple[int, ...], suffix: str, paramctl: Run, tmp_path: Path
) -> None:
    """Their scales are counted apart, and both numbers are shown."""
    arrays = arrays | {"m.fc.bias": np.zeros(shape[-1], "float16")}
    if suffix == "npz" and any(array.dtype.kind == "V" for array in arrays.values()):
        pytest.skip("NumPy's files do not record float8")
    save_file(arrays, tmp_path / "q.safetensors")
    np.savez(tmp_path / "q.npz", **arrays)
    logical, stored = int(np.prod(shape)), sum(array.size for array in arrays.values())
    path = next(name for name in arrays if name.endswith(("weight", "weight_packed", "_blocks")))
    scales = stored - arrays[path].size - shape[-1]
    shown = paramctl("summary", f"q.{suffix}").stdout
    assert f"Total parameters:  {logical + shape[-1]:,}\n" in shown
    held = f"stored in {arrays[path].size:,} values of {arrays[path].dtype}"
    assert f"Packed: {logical:,} logical parameters in {bits} bits, {held}\n" in shown
    assert f"Scales: {scales:,} values for packed parameters, counted apart\n" in shown
    facts = json.loads(paramctl("summary", f"q.{suffix}", "--format", "json").stdout)
    assert (
        facts["totals"]["parameters"] == logical + shape[-1] == sum(row["parameters"] or 0 for row in facts["layers"])
    )
    assert (facts["totals"]["stored"], facts["totals"]["scales"]) == (stored, scales)
    assert facts["totals"]["bytes"] == sum(array.nbytes for array in arrays.values())
    (packed,) = facts["packed"]
    assert (packed["path"], packed["bits"], packed["shape"]) == (path, bits, list(shape))
    assert (packed["parameters"], packed["stored"]) == (logical, arrays[path].size)
    assert {path, "m.fc.bias", *packed["scales"]} == set(arrays)
    lines = paramctl("summary", f"q.{suffix}", "--parameters").stdout
    holds = f" (holds {logical:,} parameters)" if logical != arrays[path].size else ""
    assert f"{arrays[path].size:,}{holds}" in lines
    assert lines.count("(counted apart)") == len(arrays) - 2
    alone = paramctl("summary", f"q.{suffix}", "m.fc.bias").stdout
    assert "Packed" not in alone
    assert "Scales" not in alone


def without(arrays: dict[str, np.ndarray], ending: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if not name.endswith(ending)}


def changed(arrays: dict[str, np.ndarray], ending: str, array: np.ndarray) -> dict[str, np.ndarray]:
    return {name: array if name.endswith(ending) else old for name, old in arrays.items()}


UNCERTAIN = {
    **{f"nf4 without {name}": without(bitsandbytes(), name) for name in ("absmax", "quant_map", "__nf4")},
    "nf4 of another size": changed(bitsandbytes(), "weight", np.zeros((700, 1), "uint8")),
    "nf4 with other blocks": changed(bitsandbytes(), "absmax", np.ones(7, "float32")),
    "a state that is not JSON": changed(bitsandbytes(), "__nf4", np.full(40, 91, "uint8")),
    "a state that is not text": changed(bitsandbytes(), "__nf4", np.full(40, 255, "uint8")),
    "a state without a shape": changed(bitsandbytes(), "__nf4", np.frombuffer(b'{"blocksize": 64}', "uint8")),
    "a state with another shape": changed(
        bitsandbytes(), "__nf4", np.frombuffer(b'{"blocksize": 64, "shape": [32, true, -49]}', "uint8")
    ),
    "a state with a huge shape": changed(
        bitsandbytes(), "__nf4", np.frombuffer(b'{"blocksize": 64, "shape": [1' + b"0" * 999 + b"]}", "uint8")
    ),
    "a state beyond all bounds": changed(bitsandbytes(), "__nf4", np.full(1 << 17, 91, "uint8")),
    **{f"GPTQ without {name}": without(gptq(), name) for name in ("qzeros", "scales")},
    "GPTQ with another g_idx": changed(gptq(), "g_idx", np.zeros(95, "int32")),
    "GPTQ in 5 bits": changed(gptq(), "qzeros", np.zeros((3, 10), "int32")),
    "GPTQ with other groups": changed(gptq(), "qzeros", np.zeros((4, 8), "int32")),
    "AWQ with too many groups": changed(
        changed(awq(), "qzeros", np.zeros((97, 8), "int32")), "scales", np.zeros((97, 64), "float16")
    ),
    "AWQ for matrix-vector products": changed(awq(), "qweight", np.zeros((64, 12), "int32")),
    "AWQ for vectors with another width": awq_for_vectors(4096, 64, 5),
    "AWQ for vectors, fast, with another width": awq_for_vectors(256, 64, 3, fast=True),
    "8 bits with other scales": changed(eight_bits(), "SCB", np.ones(96, "float32")),
    "MXFP4 of other blocks": changed(mxfp4(), "_blocks", np.zeros((2, 64, 3, 32), "uint8")),
    "NVFP4 without a global scale": without(nvfp4(), "_global_scale"),
    "qweight of floats": changed(awq(), "qweight", np.zeros((96, 8), "float32")),
    "compressed-tensors with another shape": changed(compressed(), "shape", np.array([64, 97])),
    "compressed-tensors with a shape of nothing": changed(compressed(), "shape", np.array([64, -1])),
    "compressed-tensors of unknown bits": compressed(inputs=8),
    "integers alone": {"m.fc.weight": np.zeros((8, 8), "uint8"), "m.fc.scale": np.ones(8, "float32")},
}


@pytest.mark.parametrize("arrays", UNCERTAIN.values(), ids=UNCERTAIN)
def test_arrays_that_may_not_be_packed_count_as_stored(
    arrays: dict[str, np.ndarray], paramctl: Run, tmp_path: Path
) -> None:
    save_file(arrays, tmp_path / "q.safetensors")
    facts = json.loads(paramctl("summary", "q.safetensors", "--format", "json").stdout)
    assert facts["totals"]["parameters"] == sum(array.size for array in arrays.values())
    assert "packed" not in facts
    assert "Packed" not in paramctl("summary", "q.safetensors").stdout


def terminal(*arguments: str, env: dict[str, str]) -> str:
    """Return the output of paramctl on a terminal of 40 columns."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"COLUMNS": "40"} | env
    command = [sys.executable, "-m", "paramctl", *arguments]
    with subprocess.Popen(command, stdout=theirs, stdin=theirs, stderr=theirs, env=environment, cwd=ROOT) as process:
        os.close(theirs)
        written = b""
        try:
            while block := os.read(ours, 65536):
                written += block
        except OSError:  # Linux's way to say that the other side is closed
            pass
        assert process.wait() == 0
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("format_", ["table", "tree", "json", "csv", "markdown"])
def test_a_terminal_and_a_pipe_get_the_same_text(paramctl: Run, format_: str) -> None:
    """The text is the same at any width, a table's with --wide; with NO_COLOR or a dumb terminal, to the byte."""
    arguments = ("summary", GPT2, "--parameters", "--format", format_, "--no-pager")
    piped = paramctl(*arguments).stdout
    arguments += ("--wide",) * (format_ in ("table", "tree"))
    assert terminal(*arguments, env={"NO_COLOR": "1", "TERM": "xterm"}) == piped
    assert terminal(*arguments, env={"TERM": "dumb"}) == piped
    coloured = terminal(*arguments, env={"TERM": "xterm"})
    assert coloured.replace("\x1b[1m", "").replace("\x1b[0m", "") == piped
    assert ("\x1b[1m" in coloured) is (format_ in ("table", "tree"))


def test_the_shape_of_one_number_is_written_alike_everywhere(paramctl: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", s=np.float32(1))
    for command in (("summary", "--parameters"), ("stat",), ("set", "s=2", "--dry-run")):
        arguments = (command[0], "m.npz", *command[1:])
        assert " ()" in next(line for line in paramctl(*arguments).stdout.splitlines() if line.startswith("s "))
        (row,) = csv.DictReader(io.StringIO(paramctl(*arguments, "--format", "csv").stdout))
        assert row["shape"] == "()"
        assert '"shape": []' in paramctl(*arguments, "--format", "json").stdout
