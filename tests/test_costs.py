"""Costs of models: multiply-accumulates, activations and memory, against numbers derived by hand and published ones."""

import csv
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import paramctl as pc
from paramctl.compute.optimizers import OPTIMIZERS as TRAINING
from paramctl.inspect.memory import Memory
from paramctl.inspect.optimizers import OPTIMIZERS
from paramctl.model.layers import LAYERS
from tests.conftest import ROOT, Run, layers, model
from tests.test_layers import CASES

SAMPLES = ROOT / "sample_models"
TIED = str(SAMPLES / "tied_mlp.yaml")
NO_LAYERS = "the layers are unknown; summarize the model's document instead"

MACS = {
    "conv2d": (3 * 4) * (3 * 2 * 3) * 4,  # positions of the output, weights of one output, filters
    "conv2d same": (4 * 5) * (3 * 3 * 6) * 4,
    "conv2d dilated": (2 * 3) * (3 * 3 * 6),
    "conv2d channels first": (7 * 4) * (3 * 3 * 8) * 2,
    "conv1d causal": 5 * (3 * 6) * 2,
    "depthwise": (6 * 7) * (3 * 3) * (6 * 2),
    "lstm": 5 * (6 + 3) * (4 * 3),  # steps, input and state, gates
    "attention": 5 * 6 * (6 + 6 + 10) + 5 * 5 * (6 + 10) + 5 * 10 * 7,  # projections, scores and sums, output
    "cross-attention": 5 * 6 * 6 + 9 * 4 * (6 + 6) + 5 * 9 * (6 + 6) + 5 * 6 * 6,
    "dense": 5 * 6 * 3,
    "conv3d": (3 * 4 * 5) * (2 * 2 * 2 * 2) * 3,
    "depthwise_conv1d": 2 * 2 * 6,
    "separable_conv1d": 4 * (2 * 6 + 6 * 4),
    "separable_conv2d": (6 * 7) * (3 * 3 * 12 + 12 * 4),
    "conv1d_transpose": 5 * (3 * 6) * 4,  # positions of the input
    "conv2d_transpose": (8 * 9) * (3 * 3 * 6) * 4,
    "conv3d_transpose": (4 * 5 * 6) * 2 * 3,
    "simple_rnn": 5 * (6 + 3) * 3,
    "gru": 5 * (6 + 3) * (3 * 3),
    "bidirectional": 2 * 5 * (6 + 3) * (3 * 3),
    "time_distributed": 5 * 6 * 3,
    "attention with biases of some projections": 5 * 6 * (6 + 6 + 6) + 5 * 5 * (6 + 6) + 5 * 6 * 6,
    "grouped attention with a bias of the key": 5 * 6 * (12 + 6 + 6) + 5 * 5 * (12 + 12) + 5 * 12 * 6,
    "grouped_query_attention": 5 * 6 * (12 + 6 + 6) + 5 * 5 * (12 + 12) + 5 * 12 * 6,
    "dot": 6 * 6 * 5,
    "expression": 5 * 6 * 3,
}
"""The multiply-accumulates of the cases of test_layers that have any."""

NONE = """
    activation adaptive_average_pooling1d adaptive_average_pooling2d adaptive_average_pooling3d adaptive_max_pooling1d
    adaptive_max_pooling2d adaptive_max_pooling3d add alpha_dropout average average_pooling1d average_pooling2d
    average_pooling3d batch_normalization centered_layer class_token concatenate cropping1d cropping2d cropping3d dropout elu embedding
    experts
    flatten gaussian_dropout gaussian_noise global_average_pooling1d global_average_pooling2d global_average_pooling3d
    global_max_pooling1d global_max_pooling2d global_max_pooling3d group_normalization halve_while identity
    layer_normalization leaky_re_lu masking max_pooling1d max_pooling2d max_pooling3d maximum minimum multiply p_re_lu
    normalization parallel permute position_embedding re_lu reduce_sum repeat_vector rescaling reshape residual reuse
    rms_normalization scale softmax spatial_dropout1d spatial_dropout2d spatial_dropout3d subtract take unit_normalization
    up_sampling1d up_sampling2d up_sampling3d zero_padding1d zero_padding2d zero_padding3d
""".split()
"""The layers without multiply-accumulates of their own."""


def test_every_layer_states_its_multiply_accumulates() -> None:
    """A new layer is in MACS or in NONE, and one whose weights sum over inputs is not in NONE."""
    types = {name: next(iter(model(document).walk())).type for name, (document, _, _) in CASES.items()}
    assert set(MACS) <= types.keys()
    counted = {types[name] for name in MACS}
    assert counted.isdisjoint(NONE)
    missing = sorted(LAYERS.keys() - counted - set(NONE))
    assert not missing, f"add {', '.join(missing)} to MACS or to NONE"
    assert set(NONE) <= LAYERS.keys()


@pytest.mark.parametrize("name", CASES)
def test_the_multiply_accumulates_of_a_layer(name: str) -> None:
    document, output, _ = CASES[name]
    built = model(document)
    (row,) = pc.summary(built).layers
    sums = any(axis.role in ("in", "field") for each in built.parameters.values() for axis in each.axes)
    assert row.macs == MACS.get(name, 0)
    assert not sums or row.macs
    assert row.activations == np.prod(output[1:])


PUBLISHED = {
    "vgg16": 15.47e9,  # torchvision: 15.47
    "mobilenet_v2": 0.301e9,  # torchvision: 0.301; Sandler et al. (2018): 300 M
    "vit_b16": 17.564e9,  # torchvision: 17.564
    "resnet50": 3.858e9,  # He et al. (2015): 3.8
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name: str) -> None:
    total = pc.summary(SAMPLES / f"{name}.yaml").cost.macs
    assert total == pytest.approx(PUBLISHED[name], rel=2e-3)


def test_resnet50_with_strides_in_the_second_convolution() -> None:
    """As torch builds it: 4.089 G in torchvision, where the sample has the strides of the paper."""
    text = (SAMPLES / "resnet50.yaml").read_text()
    first = '- conv2d: {filters: "${filters}", kernel_size: 1, strides: "${strides}"}'
    second = '- conv2d: {filters: "${filters}", kernel_size: 3, padding: same}'
    assert text.count(first) == text.count(second) == 1
    text = text.replace(first, first.replace(', strides: "${strides}"', ""))
    text = text.replace(second, second.replace("padding", 'strides: "${strides}", padding'))
    assert pc.summary(model(text)).cost.macs == pytest.approx(4.089e9, rel=2e-3)


BLOCKS = """
input: [4]
blocks:
  pair:
    layers:
      - dense: 4
      - residual: [{dense: 4}]
layers:
  - pair: {name: a}
  - pair: {name: b}
  - reuse: {layer: a, name: again}
  - dense: {name: last, units: 1}
"""


def test_a_block_sums_those_inside_and_a_reused_one_counts_at_each_use() -> None:
    """At any depth, and the outermost rows add up to the total. The sum of a residual block is an output too."""
    for depth in (None, 1, 2):
        shown = pc.summary(model(BLOCKS), depth=depth)
        rows = {row.path: (row.macs, row.activations) for row in shown.layers}
        assert rows["a"] == rows["b"] == rows["again"] == (32, 12)
        assert shown.cost == (3 * 32 + 4, 3 * 12 + 1)
        assert sum(row.macs or 0 for row in shown.layers if row.depth == 1) == shown.cost.macs
    assert {row.path: row.macs for row in pc.summary(model(BLOCKS)).layers}["b/residual"] == 16


def test_a_selection_has_the_costs_of_what_is_selected() -> None:
    for patterns, cost in {
        ("a/dense",): (16, 4),
        ("**/kernel",): (2 * 32 + 4, 17),
        ("again",): (32, 12),
        ("b/residual", "last"): (20, 9),
        ("b/residual/dense",): (16, 4),
    }.items():
        assert pc.summary(model(BLOCKS), *patterns).cost == cost, patterns


def test_an_unknown_size_makes_the_total_unknown(paramctl: Run, tmp_path: Path) -> None:
    """Never a sum of the known numbers; other rows keep their numbers."""
    (tmp_path / "model.yaml").write_text("input: [null, 4]\nlayers: [{dense: 3}, {lstm: 2}, {dense: 1}]\n")
    columns = ["--columns", "path,macs,activations"]
    shown = paramctl("summary", *columns, "--format", "csv").stdout.splitlines()
    assert shown == ["path,macs,activations", "dense,,", "lstm,,2", "dense_1,2,1"]
    table = paramctl("summary", *columns).stdout
    reason = "axis 1 of the input 'input' has an unknown size; use --input-shape, such as --input-shape 2048,4"
    assert f"Total MACs: unknown ({reason})\n" in table
    assert f"Total activations: unknown ({reason})\n" in table
    totals = json.loads(paramctl("summary", *columns, "--format", "json").stdout)["totals"]
    assert (totals["macs"], totals["activations"]) == (None, None)
    known = paramctl("summary", *columns, "--input-shape", "5,4").stdout
    assert f"Total MACs: {5 * 4 * 3 + 5 * (3 + 2) * 8 + 2}\n" in known
    assert f"Total activations: {15 + 2 + 1}\n" in known
    (tmp_path / "model.yaml").write_text("layers: [flatten, {dense: 3}]\n")
    reason = "the input 'input' has an unknown shape; use --input-shape"
    assert f"Total MACs: unknown ({reason})\n" in paramctl("summary", *columns).stdout


def test_the_example_of_a_missing_shape_can_be_typed(paramctl: Run, tmp_path: Path) -> None:
    """The example that --memory prints makes the estimate complete, for each rank and for several inputs."""
    documents = {
        "input: [null]\nlayers: [{embedding: [9, 2]}]\n": ("axis 1 of the input 'input'", "2048"),
        "input: [null, null, 3]\nlayers: [{conv2d: [2, 3]}]\n": ("the axes 1 and 2 of the input 'input'", "224,224,3"),
        "inputs: {a: [null, 2], b: [3], c-d: [null, 1]}\nlayers: [{concatenate: {from: [a, c-d], axis: -1}}, {dense: 1}]\n": (
            "",
            "a=2048,2",
        ),
    }
    for text, (axes, example) in documents.items():
        (tmp_path / "model.yaml").write_text(text)
        facts = json.loads(paramctl("summary", "--memory", "--format", "json").stdout)
        reason, _, option = facts["why_unknown"].partition("; use --input-shape, such as ")
        assert reason.startswith(axes)
        assert example in option
        done = paramctl("summary", "--memory", "--format", "json", *shlex.split(option))
        assert None not in [row["bytes"] for row in json.loads(done.stdout)["memory"]], done.stderr


def test_a_file_without_layers_has_no_costs(paramctl: Run, tmp_path: Path) -> None:
    save_file({"a.w": np.ones((2, 3), "float32"), "a.n": np.ones(2, "int64")}, tmp_path / "w.safetensors")
    shown = paramctl("summary", "w.safetensors", "--columns", "path,macs,activations")
    assert f"Total MACs: unknown ({NO_LAYERS})\n" in shown.stdout
    rows = paramctl("summary", "w.safetensors", "--columns", "path,macs,activations", "--format", "jsonl").stdout
    assert [json.loads(line) for line in rows.splitlines()] == [{"path": "a", "macs": None, "activations": None}]


def test_examples_that_are_combined_have_no_number_each() -> None:
    built = model("inputs: {a: [4], b: [4]}\nlayers: [{concatenate: {from: [a, b], axis: 0}}, {dense: 3}]\n")
    shown = pc.summary(built)
    assert (shown.cost.macs, shown.why_unknown) == (None, "a layer has an input of unknown shape, or combines examples")


@pytest.mark.parametrize(("page", "start"), [("docs/models.md", "## Costs"), ("man/model.mdoc", ".Sh COSTS")])
def test_the_manual_names_every_layer_and_optimizer_that_counts(page: str, start: str) -> None:
    text = (ROOT / page).read_text().partition(start)[2]
    text = text[: text.index(start[:3], 1)]
    names = {next(iter(model(CASES[name][0]).walk())).type for name in MACS} | set(OPTIMIZERS)
    assert len(names) > 25
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_the_columns_in_every_format(paramctl: Run) -> None:
    """Rows and totals are equal, other output is as before, and JSON has the columns that were chosen."""
    columns = ["--columns", "path,macs,activations"]
    expected = [("flatten", 0, 4), ("shared", 16, 4), ("shared", 16, 4), ("dense", 4, 1)]
    facts = json.loads(paramctl("summary", TIED, *columns, "--format", "json").stdout)
    assert [tuple(row.values()) for row in facts["layers"]] == expected
    assert (facts["totals"]["macs"], facts["totals"]["activations"]) == (36, 13)
    lines = paramctl("summary", TIED, *columns, "--format", "jsonl").stdout.splitlines()
    assert [tuple(json.loads(line).values()) for line in lines] == expected
    rows = csv.DictReader(io.StringIO(paramctl("summary", TIED, *columns, "--format", "csv").stdout))
    assert [(row["path"], int(row["macs"]), int(row["activations"])) for row in rows] == expected
    assert "| shared | 16 | 4 |\n" in paramctl("summary", TIED, *columns, "--format", "markdown").stdout
    table = paramctl("summary", TIED, *columns).stdout
    assert table.endswith("Bytes in float32: 100\nTotal MACs: 36\nTotal activations: 13\n")
    usual = json.loads(paramctl("summary", TIED, "--format", "json").stdout)
    assert "macs" not in usual["totals"] | usual["layers"][0]
    assert usual["parameters"] == facts["parameters"]
    of_parameters = ["--parameters", "--columns", "path,size", "--format", "json"]
    chosen = json.loads(paramctl("summary", TIED, *of_parameters).stdout)
    assert chosen["parameters"][0] == {"path": "shared/kernel", "size": 16}
    assert chosen["layers"] == usual["layers"]


def test_no_cost_imports_numpy(paramctl: Run) -> None:
    """Costs follow from shapes."""
    for options in (["--columns", "macs"], ["--memory"]):
        done = paramctl.process("summary", TIED, *options, env={"PYTHONPROFILEIMPORTTIME": "1"})
        assert done.returncode == 0
        assert " numpy\n" not in done.stderr
        assert "paramctl.model" in done.stderr


def bytes_by_name(memory: Memory) -> dict[str, int | None]:
    return {row.name: row.bytes for row in memory.rows}


def test_memory_of_a_residual_network() -> None:
    """The input of a residual block is in use until it is added, and no output longer than that."""
    built = layers("  - dense: {name: a, units: 8}\n  - residual: [{dense: {name: b, units: 8}}, relu]\n  - dense: 2\n")
    parameters = 4 * (4 * 8 + 8 + 8 * 8 + 8 + 8 * 2 + 2)
    kept = 4 * (4 + 8 + 8 + 8 + 8 + 2)  # the input, a, b, relu, the sum, the last layer
    for batch in (1, 3):
        assert bytes_by_name(pc.memory(built, optimizer="adam", batch=batch)) == {
            "inference parameters": parameters,
            "inference activations": batch * 4 * (8 + 8 + 8),
            "inference total": parameters + batch * 4 * 24,
            "training parameters": parameters,
            "training gradients": parameters,
            "training optimizer state": 2 * parameters,
            "training activations": batch * kept,
            "training total": 4 * parameters + batch * kept,
        }


def test_a_frozen_parameter_has_no_gradient_and_a_tied_array_counts_once() -> None:
    built = model(
        "input: [4]\nlayers:\n  - dense: {name: a, units: 4}\n  - dense: {name: b, units: 4, trainable: false}\n"
        "  - dense: {name: c, units: 4}\n  - batch_normalization\nties:\n  - {keep: a/kernel, tie: c/kernel}\n"
    )
    sizes = bytes_by_name(pc.memory(built, optimizer="momentum"))
    trained = 4 * (16 + 4 + 4 + 4 + 4)  # a, the bias of c, gamma and beta
    assert sizes["inference parameters"] == trained + 4 * (16 + 4) + 4 * (4 + 4)
    assert sizes["training gradients"] == sizes["training optimizer state"] == trained
    assert bytes_by_name(pc.memory(built, optimizer="sgd"))["training optimizer state"] == 0


def test_a_layer_applied_twice_keeps_both_outputs() -> None:
    sizes = bytes_by_name(pc.memory(TIED))
    assert sizes["training activations"] == 4 * (4 + 4 + 4 + 4 + 1)
    assert sizes["inference parameters"] == 4 * 25


def test_an_optimizer_has_the_state_that_training_keeps() -> None:
    """The names and arrays of the optimizers that train, without importing them."""
    slots = {name: len(each.slots) for name, each in TRAINING.items()}
    assert len(slots) > 3
    assert slots.items() <= OPTIMIZERS.items()


def test_dtypes_of_memory() -> None:
    """Floating-point values have the dtype that is assumed; token numbers keep theirs."""
    text = "dtype: bfloat16\ninput: {shape: [5], dtype: int32}\nlayers: [{embedding: [10, 3]}]\n"
    half, single = (bytes_by_name(pc.memory(model(text), dtype=dtype)) for dtype in (None, "float32"))
    assert (half["inference parameters"], single["inference parameters"]) == (2 * 30, 4 * 30)
    assert (half["inference activations"], single["inference activations"]) == (20 + 2 * 15, 20 + 4 * 15)
    assert half["training optimizer state"] == 2 * 2 * 30


def test_memory_of_a_file_without_layers(paramctl: Run, tmp_path: Path) -> None:
    """Parameters, gradients and state are known, activations and totals are not, and the assumption is named."""
    save_file({"a.w": np.ones((2, 3), "float32"), "a.n": np.ones(2, "int64")}, tmp_path / "w.safetensors")
    done = paramctl("summary", "w.safetensors", "--memory", "--format", "csv")
    assert done.stdout.splitlines() == [
        *("name,bytes,at_least", "inference parameters,40,40", "inference activations,,", "inference total,,40"),
        *("training parameters,40,40", "training gradients,24,24", "training optimizer state,48,48"),
        *("training activations,,", "training total,,112"),
    ]
    assumption = "6 values count as trained, because the file does not record it"
    assert done.stderr == f"w: {assumption}\n"
    shown = paramctl("summary", "w.safetensors", "--memory").stdout
    assert re.search(r"^inference total +at least 40$", shown, re.MULTILINE)
    assert re.search(r"^training total +at least 112$", shown, re.MULTILINE)
    assert f"\nUnknown: {NO_LAYERS}\n{assumption}\nAn estimate. It leaves out temporary arrays" in shown
    facts = json.loads(paramctl("summary", "w.safetensors", "--memory", "--format", "json").stdout)
    assert (facts["assumed_trained"], facts["why_unknown"]) == (6, NO_LAYERS)
    assert {"name": "inference total", "bytes": None, "at_least": 40} in facts["memory"]


def test_memory_in_every_format(paramctl: Run) -> None:
    options = ["summary", TIED, "--memory", "--optimizer", "adamw", "--batch", "2", "--dtype", "float16"]
    rows_of = pc.memory(TIED, optimizer="adamw", batch=2, dtype="float16").rows
    expected = [(row.name, row.bytes, row.bytes) for row in rows_of]
    facts = json.loads(paramctl(*options, "--format", "json").stdout)
    assert [tuple(row.values()) for row in facts["memory"]] == expected
    assert (facts["batch"], facts["dtype"], facts["optimizer"]) == (2, "float16", "adamw")
    assert facts["is_estimate"] is True
    assert "attention scores" in facts["leaves_out"]
    lines = paramctl(*options, "--format", "jsonl").stdout.splitlines()
    assert [tuple(json.loads(line).values()) for line in lines] == expected
    rows = csv.DictReader(io.StringIO(paramctl(*options, "--format", "csv").stdout))
    assert [(row["name"], int(row["bytes"]), int(row["at_least"])) for row in rows] == expected
    table = paramctl(*options).stdout
    assert table.startswith("tied_mlp: batch 2, float16, optimizer adamw\n")
    tree = paramctl(*options, "--format", "tree").stdout
    for name, size, _ in expected:
        assert f"{name.partition(' ')[2] if 'total' not in name else name.partition(' ')[0]} " in tree
        assert name in table
        assert str(size) in tree
        assert f"| {name} | {size} | {size} |\n" in paramctl(*options, "--format", "markdown").stdout


def test_whether_a_model_fits(paramctl: Run, tmp_path: Path) -> None:
    """The lines and the exit code compare the totals with the size; the phase of --for sets the code."""
    totals = {phase: pc.memory(TIED).total(phase).bytes for phase in ("inference", "training")}
    inference, training = totals["inference"], totals["training"]
    assert inference is not None
    assert training is not None
    assert inference < 1000
    for size, phase, code, lines in [
        (inference, None, 0, ["inference fits", f"training does not fit in {inference} bytes: it takes "]),
        (inference - 1, None, 1, [f"inference does not fit in {inference - 1} bytes: it takes 1 byte more"]),
        (training - 1, "training", 1, [f", with {training - 1 - inference} bytes left", "it takes 1 byte more"]),
        (training, "training", 0, ["training fits", "with 0 bytes left"]),
    ]:
        options = ["summary", TIED, "--memory", "--fits", str(size), *(["--for", phase] if phase else [])]
        done = paramctl(*options)
        assert (done.returncode, done.stderr) == (code, ""), size
        for line in lines:
            assert line in done.stdout
        facts = json.loads(paramctl(*options, "--format", "json").stdout)
        assert facts["fits"] == {"size": size, "inference": size >= inference, "training": size >= training}
        assert lines[0] in paramctl(*options, "--format", "csv").stderr
    assert "24 GB, with 24 GB left" in paramctl("summary", TIED, "--memory", "--fits", "24GB").stdout
    assert "in 25.8 GB, with 25.8 GB left" in paramctl("summary", TIED, "--memory", "--fits", "24GiB").stdout


def test_a_model_with_unknown_activations_is_never_said_to_fit(paramctl: Run, tmp_path: Path) -> None:
    """The known part may be too large already; otherwise the answer is unknown, and an error."""
    save_file({"w": np.ones(10, "float32")}, tmp_path / "w.safetensors")
    options = ["summary", "w.safetensors", "--memory", "--fits"]
    done = paramctl(*options, "100")
    assert (done.returncode, done.stderr) == (2, f"w: whether inference fits is unknown: {NO_LAYERS}\n")
    assert "\nwhether inference fits in 100 bytes is unknown: it takes at least 40 bytes\n" in done.stdout
    assert "\ntraining does not fit in 100 bytes: it takes at least 60 bytes more\n" in done.stdout
    assert paramctl(*options, "100", "--for", "training").returncode == 1
    assert paramctl(*options, "39").returncode == 1
    facts = json.loads(paramctl(*options, "40", "--format", "json").stdout)
    assert facts["fits"] == {"size": 40, "inference": None, "training": False}
    (tmp_path / "model.yaml").write_text("layers: [{dense: 3}]\n")
    done = paramctl("summary", "--memory", "--fits", "1GB")
    assert (done.returncode, "at least" in done.stdout) == (2, False)


def test_options_that_do_not_go_with_memory_are_refused(paramctl: Run) -> None:
    """In one line that names the option, and nothing is printed."""
    cases = {
        ("--memory", "--depth", "1"): "--depth",
        ("--memory", "--parameters"): "--parameters",
        ("--memory", "--columns", "path"): "--columns",
        ("--memory", "--frozen"): "--trainable or --frozen",
        ("--memory", "--kind", "bias"): "--kind",
        ("--memory", "--min-size", "3"): "--min-size",
        ("dense", "--memory"): "a pattern",
        ("--optimizer", "adam"): "--optimizer requires --memory",
        ("--batch", "2"): "--batch requires --memory",
        ("--fits", "2GB"): "--fits requires --memory",
        ("--memory", "--for", "training"): "--for requires --fits",
        ("--memory", "--fits", "24 cows"): "optionally with KB, MB, GB or TB",
        ("--memory", "--dtype", "int8"): "dtype must be one of float16, bfloat16, float32, float64 (got 'int8')",
        ("--memory", "--optimizer", "adan"): "'adan' is not one of 'sgd'",
        ("--memory", "--batch", "0"): "--batch",
    }
    for options, message in cases.items():
        failed = paramctl("summary", TIED, *options)
        assert (failed.returncode, failed.stdout) == (2, ""), options
        assert message in failed.stderr
        assert failed.stderr.strip().count("\n") == 0, failed.stderr
