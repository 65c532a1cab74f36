"""summary --sort and --top: the order of rows, the first of them, and the share of each in the total."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from paramctl.inspect.shares import rank, sort_key
from paramctl.inspect.sorts import SORTS
from paramctl.inspect.summary import Summary
from paramctl.inspect.summary_rows import LayerRow, ParameterRow
from tests.conftest import SAMPLES, Call, model

GPT2 = next(str(path) for path in SAMPLES if path.stem == "gpt2")
RESNET = next(str(path) for path in SAMPLES if path.stem == "resnet50")

SIZES = """
input: [4]
layers:
  - dense: {name: layer_2, units: 8}
  - parallel:
      name: block
      merge: add
      branches: {a: [{dense: {name: layer_10, units: 6}}], b: [{dense: {name: twin, units: 6}}]}
  - dense: {name: layer_1, units: 40}
"""


def unique(rows: Sequence[LayerRow | ParameterRow]) -> list[str]:
    return [row.path for row in rows]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("depth", [1, 2, None])
def test_shares_add_up_to_a_hundred_at_any_depth(path: Path, depth: int | None) -> None:
    """The numbers that rows count add up to the total, grouped or not, and the last cumulative share is 100 %."""
    for group in (False, True):
        for sort in SORTS:
            facts = pc.summary(path, depth=depth, sort=sort, group=group)
            measure = sort if sort in ("bytes", "macs") else "parameters"
            total = facts.total(measure)
            if total is None:
                assert all(row.percent is None and row.cumulative is None for row in facts.layers)
                continue
            assert sum(row.counted(measure) or 0 for row in facts.layers) == total
            assert sum(row.percent or 0 for row in facts.layers) == pytest.approx(100)
            assert facts.layers[-1].cumulative == 100
            if sort != "macs":
                assert sum(row.percent or 0 for row in facts.parameters) == pytest.approx(100)
                assert facts.parameters[-1].cumulative == 100


@pytest.mark.parametrize("sort", ["parameters", "bytes", "macs"])
def test_the_largest_come_first_and_equal_ones_keep_their_order(sort: str) -> None:
    original = unique(pc.summary(RESNET).layers)
    rows = pc.summary(RESNET, sort=sort).layers
    keys = [(-(row.counted(sort) or 0), original.index(row.path)) for row in rows]
    assert keys == sorted(keys)
    assert not any(row.expanded for row in rows), "an expanded block has no count of its own"


def test_paths_are_in_natural_order() -> None:
    facts = pc.summary(model(SIZES), sort="path")
    assert unique(facts.layers) == ["block/a/layer_10", "block/b/twin", "layer_1", "layer_2"]
    assert unique(pc.summary(GPT2, depth=1, sort="path").layers)[:4] == ["block-0", "block-1", "block-2", "block-3"]


def test_unknown_numbers_come_last() -> None:
    facts = pc.summary(model("layers: [{dense: {name: a, units: 3}}, {dense: {name: b, units: 2}}]"), sort="parameters")
    assert [row.parameters for row in facts.layers] == [None, None]
    assert {row.percent for row in facts.layers} == {None}
    image = "input: [null, null, 3]\nlayers: [{conv2d: [4, 3]}, {global_average_pooling2d: {}}, {dense: 2}]"
    partly = pc.summary(model(image), sort="macs")
    assert [(row.path, row.macs) for row in partly.layers] == [
        ("dense", 8),
        ("global_average_pooling2d", 0),
        ("conv2d", None),
    ]
    assert {row.percent for row in partly.layers} == {None}, "a share of an unknown total is unknown"


def test_top_keeps_the_first_and_totals_stay_those_of_all() -> None:
    whole = pc.summary(GPT2)
    facts = pc.summary(GPT2, top=3)
    assert unique(facts.layers)[0] == "tokens"
    assert len(facts.layers) == len(facts.parameters) == 3
    assert (facts.totals, facts.cost) == (whole.totals, whole.cost)
    assert facts.left_out is not None
    assert facts.left_out.layers.rows == sum(not row.expanded for row in whole.layers) - 3
    counted = sum(row.parameters or 0 for row in facts.layers)
    assert facts.left_out.layers.counted == whole.totals.parameters - counted


def test_a_tied_array_is_ranked_where_it_is_counted() -> None:
    facts = pc.summary(GPT2, sort="parameters")
    assert facts.parameters[0].path == "tokens/embeddings"
    (head,) = (row for row in facts.parameters if row.path == "head/kernel")
    assert head.percent == 0
    assert head is facts.parameters[-1]


def test_a_selection_has_shares_of_itself() -> None:
    facts = pc.summary(GPT2, "block-0", sort="parameters", kind="bias")
    assert sum(row.percent or 0 for row in facts.layers) == pytest.approx(100)
    assert facts.layers[-1].cumulative == 100
    assert facts.totals.parameters == sum(row.parameters for row in facts.parameters)


def test_the_table_has_shares_and_a_line_about_the_rest(call: Call) -> None:
    code, text, _ = call("summary", RESNET, "--top", "2")
    assert code == 0
    lines = text.splitlines()
    assert lines[2].split() == ["Layer", "Type", "Output", "shape", "Parameters", "Percent", "Cumulative"]
    assert lines[4].split()[-5:] == ["2,359,808", "9.2", "%", "9.2", "%"]
    assert lines[6] == "158 more rows with 20,917,096 parameters (81.6 %), not shown"
    assert "Total parameters:  25,636,712" in lines
    assert "more row" not in call("summary", RESNET, "--top", "1000")[1]


def test_top_sorts_by_the_first_measure_among_the_columns(call: Call) -> None:
    for columns, expected in (("path,macs", "conv2d"), ("path,parameters,macs", None), ("path,bytes", None)):
        first = call("summary", RESNET, "--top", "1", "--columns", columns, "--format", "csv")[1].splitlines()[1]
        assert first.startswith("conv2d," if expected else "conv5/"), columns


@pytest.mark.parametrize("format_", ["csv", "jsonl", "markdown"])
def test_rows_of_machines_are_ranked_alike(format_: str, call: Call) -> None:
    """Standard error names the rows that are left out."""
    code, text, error = call("summary", GPT2, "--parameters", "--top", "2", "--format", format_)
    assert code == 0
    assert error == "gpt2: 195 more rows with 83,483,136 parameters (67.1 %), not shown\n"
    assert text.index("tokens/embeddings") < text.index("block-0/mlp/expand/kernel")
    if format_ == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["path"] for row in rows] == ["tokens/embeddings", "block-0/mlp/expand/kernel"]
        assert float(rows[0]["percent"]) == 100 * 38597376 / 124439808


def test_json_has_both_lists_ranked_and_the_numbers_left_out(call: Call) -> None:
    facts = json.loads(call("summary", GPT2, "--top", "2", "--format", "json")[1])
    assert [len(facts["layers"]), len(facts["parameters"])] == [2, 2]
    assert facts["left_out"] == {"layers": 87, "parameters": 195}
    assert facts["layers"][0]["cumulative"] == facts["parameters"][0]["percent"] == 100 * 38597376 / 124439808
    by_macs = json.loads(call("summary", GPT2, "--sort", "macs", "--format", "json")[1])
    assert by_macs["layers"][0]["path"] == "head"
    assert len(by_macs["parameters"]) == 197
    assert "percent" not in by_macs["parameters"][0], "parameters have no macs"


def test_several_files_are_ranked_together(call: Call, tmp_path: Path) -> None:
    """One table has one order, and shares of the total of all files."""
    np.savez(tmp_path / "a.npz", x=np.zeros(10), y=np.zeros(5))
    np.savez(tmp_path / "b.npz", x=np.zeros(60), y=np.zeros(25))
    arguments = ("summary", "a.npz", "b.npz", "--parameters", "--top", "3")
    _, text, _ = call(*arguments, "--format", "csv")
    rows = [(row["file"], row["path"], row["percent"]) for row in csv.DictReader(io.StringIO(text))]
    assert rows == [("b.npz", "x", "60.0"), ("b.npz", "y", "25.0"), ("a.npz", "x", "10.0")]
    lines = call(*arguments)[1].splitlines()
    assert "1 more row of both files with 5 parameters (5.0 %), not shown" in lines
    assert "Percent of both files" in lines[0], "a share is of the total of all files"
    three = call("summary", "a.npz", "a.npz", "b.npz", "--parameters", "--sort", "bytes")[1].splitlines()
    assert "Percent of all 3 files" in three[0]
    facts = json.loads(call(*arguments, "--format", "json")[1])
    assert [[row["path"] for row in each["parameters"]] for each in facts["files"]] == [["x"], ["x", "y"]]
    assert facts["totals"]["parameters"] == 100


def test_the_state_of_an_optimizer_has_no_share(call: Call) -> None:
    """Its arrays are ranked among the others by their size, but they are no part of the total."""
    state = Path(__file__).parent / "fixtures" / "torch_training.ckpt"
    rows = list(
        csv.DictReader(io.StringIO(call("summary", str(state), "--state", "--sort", "bytes", "--format", "csv")[1]))
    )
    kinds = {row["kind"]: [each["percent"] for each in rows if each["kind"] == row["kind"]] for row in rows}
    assert set(kinds.pop("optimizer")) == {""}
    assert sum(float(percent) for each in kinds.values() for percent in each) == pytest.approx(100)
    sizes = [int(row["bytes"]) for row in rows if not row["tied_to"]]
    assert sizes == sorted(sizes, reverse=True)


def test_columns_have_shares_without_an_order(call: Call) -> None:
    _, text, _ = call("summary", RESNET, "--depth", "1", "--columns", "path,cumulative", "--format", "jsonl")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["path"] for row in rows] == unique(pc.summary(RESNET, depth=1).layers)
    shares = [row["cumulative"] for row in rows]
    assert shares == sorted(shares)
    assert shares[-1] == 100


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--sort", "size"), "'size' is not one of 'parameters', 'bytes', 'path', 'macs'"),
        (("--top", "0"), "0 is not in the range x>=1"),
        (("--sort", "macs", "--parameters"), "--sort macs is for layers"),
        (("--sort", "path", "--format", "tree"), "--sort requires a format with rows (got tree)"),
        (("--top", "2", "--format", "tree"), "--top requires a format with rows (got tree)"),
        (("--memory", "--top", "2"), "does not support --top"),
        (("--metadata", "--sort", "path"), "does not support --sort"),
    ],
)
def test_options_without_an_effect_are_refused(arguments: Sequence[str], expected: str, call: Call) -> None:
    code, text, error = call("summary", GPT2, *arguments)
    assert (code, text) == (2, "")
    assert expected in error


def test_sorting_does_not_depend_on_the_order_of_files() -> None:
    """Each row keeps the separator of its own file."""
    dotted = pc.summary(model("input: [1]\nlayers: [{dense: 1}]"))
    assert isinstance(rank([dotted])[0], Summary)
    assert sort_key("path", ".")(pc.summary(GPT2).parameters[0])


def test_arguments_of_the_library_are_checked() -> None:
    with pytest.raises(pc.AddressError, match="sort must be one of parameters, bytes, path, macs"):
        pc.summary(GPT2, sort="name")
    with pytest.raises(pc.AddressError, match="top must be at least 1"):
        pc.summary(GPT2, top=0)
