"""The library: the functions beside the commands, and weights as a mapping."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import io
import json
import os
import subprocess
import sys
import typing
from pathlib import Path

import click
import numpy as np
import pytest

import paramctl as pc
from paramctl.cli import paramctl as command_line
from paramctl.cli.render import Column
from paramctl.compute.probe import Probe
from paramctl.compute.signals import LayerSignal, ParameterSignal
from paramctl.conversion.report import TensorRow
from paramctl.edit.extract_lora import ExtractedRow
from paramctl.edit.merge import MergeRow
from paramctl.inspect.summary_rows import LayerRow, ParameterRow
from paramctl.library.gradients import GradientRow
from paramctl.library.printing import BINARY, FORMATS
from paramctl.model import Tie
from tests.conftest import ROOT
from tests.formats import ANY

SAMPLES = ROOT / "sample_models"
MLP = SAMPLES / "mlp.yaml"

FUNCTIONS = {"init": "initialize", "set": "assign", "grad": "gradients", "extract-lora": "extract_lora", "sum": "sums"}
"""The functions whose command has another name: set and sum are builtins, and init says little outside a command line."""

PRINTING = {
    "format",
    "columns",
    "parameters",
    "quiet",
    "report",
    "dry_run",
    "help",
    "find",
    "plot",
    "log",
    "split_ties",
    "list_",
    "fail_on",
    "fits",
    "phase",
}
"""Options about what a command prints, or whether it writes. ties --find prints what find_ties returns, and summary
--fits what MemoryRow.fits returns.
"""

NAMES_IN_PYTHON = {
    "source": "weights",
    "files": "weights",
    "addresses": "select",
    "define": "variables",
    "input_shape": "input_shapes",
    "output": "path",
    "rules_": "rules",
    "count": "rows",
    "input_": "inputs",
    "schemes": "names",
}


def commands() -> list[str]:
    context = click.Context(command_line)
    return [
        name for name in command_line.list_commands(context) if name not in ("completion", "env", "help")
    ]  # of the shell alone


def called(name: str) -> set[str]:
    """Return the library's functions that a command calls, as ``paramctl.NAME`` or through write_file."""
    nodes = ast.walk(ast.parse((ROOT / f"paramctl/cli/{name.replace('-', '_')}.py").read_text()))
    texts = {ast.unparse(node) for node in nodes if isinstance(node, (ast.Attribute, ast.Name))}
    return {function for function in pc.__all__ if f"paramctl.{function}" in texts} | (
        {"save"} if "write_file" in texts else set()
    )


@pytest.mark.parametrize("name", commands())
def test_a_command_calls_a_function_that_has_its_options(name: str) -> None:
    """That of its own name, if there is one; an option may be a function too.

    Opening and writing have the options of load_model and save.
    """
    functions = called(name)
    own = FUNCTIONS.get(name, name)
    assert own in functions or (functions and own not in pc.__all__)
    command = command_line.get_command(click.Context(command_line), name)
    assert command is not None
    accepted = {
        argument
        for function in (*functions, "load_model", "save")
        if inspect.isfunction(getattr(pc, function))
        for argument in inspect.signature(getattr(pc, function)).parameters
    }
    for parameter in command.params:
        option = NAMES_IN_PYTHON.get(str(parameter.name), str(parameter.name))
        assert option in accepted | functions | PRINTING, f"paramctl {name}: no function that it calls has {option}"


def test_every_function_has_a_default_where_the_command_has_one() -> None:
    for name in commands():
        command = command_line.get_command(click.Context(command_line), name)
        assert command is not None
        accepted = inspect.signature(getattr(pc, FUNCTIONS.get(name, name))).parameters
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.required and parameter.name in accepted:
                assert accepted[str(parameter.name)].default is not inspect.Parameter.empty, (name, parameter.name)


def test_all_names_every_public_name_once() -> None:
    assert sorted(set(pc.__all__)) == sorted(pc.__all__)
    tree = ast.parse((ROOT / "paramctl/__init__.py").read_text())
    typed = {
        alias.asname
        for node in tree.body
        if isinstance(node, ast.If)
        for line in node.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert typed | {"__version__"} == set(pc.__all__)
    for name in pc.__all__:
        value = getattr(pc, name)
        if name != "__version__":
            assert (value.__doc__ or "").strip(), f"{name} has no docstring"
            assert value.__module__.startswith("paramctl.")
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        pc.nonsense  # noqa: B018


def test_every_function_is_typed() -> None:
    for name in pc.__all__:
        value = getattr(pc, name)
        if inspect.isfunction(value):
            signature = inspect.signature(value)
            assert signature.return_annotation is not inspect.Signature.empty, name
            assert all(each.annotation is not inspect.Parameter.empty for each in signature.parameters.values()), name


def test_importing_the_package_is_free() -> None:
    """It imports nothing but what Python has imported anyway; a name imports what it needs."""
    code = (
        "import sys; before = set(sys.modules); import paramctl; new = set(sys.modules) - before;"
        "assert 'open' in dir(paramctl); new = {name for name in new if not name.startswith('paramctl')};"
        "print(sorted(new & {'numpy', 'h5py', 'yaml', 'click', 'tabulate', 'ml_dtypes', 'typing', 'json'}),"
        "[name for name in sys.modules if name.startswith('paramctl')])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] ['paramctl']"


def test_a_session_as_the_documentation_begins(tmp_path: Path) -> None:
    path = tmp_path / "mlp.h5"
    model = pc.load_model(MLP)
    weights = pc.initialize(model, scheme="he_normal", rules={"dense_1/**": "zeros"}, seed=7)
    pc.save(weights, path)
    with pc.open(path) as checkpoint:
        assert checkpoint.parameters["dense/kernel"].shape == (4, 4)
        column = checkpoint["dense/kernel"][:, 0]
        assert type(column) is np.ndarray
        assert np.array_equal(column, weights["dense/kernel"][:, 0])
        assert not checkpoint["dense_1/kernel"][...].any()
        assert np.concatenate(list(checkpoint.blocks("dense/kernel"))).shape == (16,)
        assert pc.summary(checkpoint).totals.parameters == 25
        pc.save(checkpoint, tmp_path / "b.safetensors")
        difference = pc.diff(path, tmp_path / "b.safetensors")
        assert difference.equal
        assert difference.rows == []
        changed = pc.assign(checkpoint, {"dense/bias": 0.5, "dense/kernel[0]": [1, 2, 3, 4]})
        assert [row.changed for row in changed.report] == [4, 4]
        assert changed["dense/bias"][...].tolist() == [0.5] * 4
        assert checkpoint["dense/bias"][...].tolist() == [0] * 4
        assert [row.path for row in pc.diff(checkpoint, changed).rows] == ["dense/kernel", "dense/bias"]
        assert {row.path: row.mean for row in pc.stat(changed, "**/bias").rows} == {
            "dense/bias": 0.5,
            "dense_1/bias": 0,
        }
        torch = pc.convert(model, layout="torch")
        assert list(torch) == ["1.weight", "1.bias", "2.weight", "2.bias"] or "dense.weight" in torch
        saved = pc.save(changed, path, in_place=True, measure=True)
        assert saved == changed.report
    with pytest.raises(pc.InputError):
        pc.open(tmp_path / "none.h5")


def test_a_report_is_the_same_however_often_it_is_read(tmp_path: Path) -> None:
    weights = pc.initialize(MLP)
    edited = pc.assign(weights, {"dense/bias": 1})
    before = edited.report
    edited["dense/bias"][...]
    pc.save(edited, tmp_path / "a.h5")
    assert edited.report == before
    assert [(row.path, row.changed, row.max_abs) for row in before] == [("dense/bias", 4, 1.0)]


def shards_of(path: Path) -> int:
    if path.suffix != ".json":
        return 1
    return len({str(files) for files in json.loads(path.read_text())["weight_map"].values()})


@pytest.mark.parametrize("name", ["m.weights.json", "m.safetensors.index.json"])
@pytest.mark.parametrize("limit", [80, None])
def test_a_set_is_edited_in_place_again_and_again(name: str, limit: int | None, tmp_path: Path) -> None:
    """It keeps its format and the size of its shards."""
    target = tmp_path / (name.removesuffix(".index.json"))
    pc.save(MLP, target, max_shard_size=limit)
    written = tmp_path / name if limit is not None or name == "m.weights.json" else target
    shards = shards_of(written)
    for value in (1, 2, 3):
        with pc.open(written) as weights:
            pc.save(pc.assign(weights, "dense_1/bias = " + str(value)), written, in_place=True)
        assert shards_of(written) == shards
        with pc.open(written) as weights:
            assert weights["dense_1/bias"][...].tolist() == [value]


def test_in_place_is_the_file_that_the_weights_come_from_alone(tmp_path: Path) -> None:
    pc.save(MLP, tmp_path / "a.safetensors")
    pc.save(MLP, tmp_path / "b.safetensors", seed=1)
    before = (tmp_path / "b.safetensors").read_bytes()
    weights = pc.open(tmp_path / "a.safetensors")
    for saved in (weights, pc.assign(weights, {"dense/bias": 1})):
        with pytest.raises(pc.OutputError, match="only the file that the weights come from"):
            pc.save(saved, tmp_path / "b.safetensors", in_place=True)
        with pytest.raises(pc.OutputError, match="max_shard_size must be None"):
            pc.save(saved, tmp_path / "a.safetensors", in_place=True, max_shard_size=9)
    with pytest.raises(pc.OutputError):
        pc.save(MLP, tmp_path / "a.safetensors", in_place=True)
    assert (tmp_path / "b.safetensors").read_bytes() == before


def test_ties_are_made_in_models_and_in_weights(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "input: [4]\nlayers: [{dense: {name: a, units: 4}}, {dense: {name: b, units: 4}}]\n"
    )
    model = pc.tie(pc.load_model(tmp_path / "m.yaml"), "a/kernel", "b/kernel")
    assert model.document is not None
    (tmp_path / "tied.yaml").write_text(model.document.text)
    assert pc.ties(tmp_path / "tied.yaml") == pc.ties(model) != ()
    pc.save(tmp_path / "m.yaml", tmp_path / "m.h5")
    with pc.open(tmp_path / "m.h5") as weights:
        tied = pc.tie(weights, "a/kernel", ["b/kernel"])
        assert isinstance(tied, pc.Weights)
        assert np.array_equal(tied["b/kernel"], weights["a/kernel"])
        assert pc.untie(tied, "b/kernel").model.ties == ()
        with pytest.raises(pc.AddressError):
            pc.untie(weights, "b/kernel")


def test_weights_are_a_mapping() -> None:
    weights = pc.initialize(MLP)
    assert list(weights) == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"] == list(weights.keys())
    assert len(weights) == 4
    assert "dense/kernel" in weights
    assert "dense" not in weights
    assert 3 not in weights
    assert {path: array.shape for path, array in weights.items()}["dense/kernel"] == (4, 4)
    assert weights.get("nothing") is None
    with pytest.raises(KeyError):
        dict(weights)["nothing"]
    with pytest.raises(LookupError, match="has no parameter with this name"):
        weights["dense/kernle"]


INDICES = [
    ...,
    0,
    -1,
    slice(None),
    (slice(None), 0),
    (slice(1, None, 2), slice(None, None, -1)),
    (0, 0),
    ([0, 1], [1, 0]),
    (None, 0),
    np.array([True, False, True, False]),
    (..., slice(0, 0)),
]


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_an_array_is_indexed_as_numpys(index: object) -> None:
    array = pc.initialize(MLP, seed=3)["dense/kernel"]
    whole = np.asarray(array)
    expected = whole[index]  # type: ignore[index]
    actual = array[index]
    assert np.array_equal(actual, expected)
    assert np.shape(actual) == np.shape(expected)
    assert (array.shape, array.size, array.ndim, array.dtype, len(array)) == ((4, 4), 16, 2, whole.dtype, 4)


@pytest.mark.parametrize("index", [4, -5, (0, 9), (0, 0, 0)], ids=repr)
def test_an_index_out_of_range_is_an_index_error(index: object) -> None:
    with pytest.raises(IndexError):
        pc.initialize(MLP)["dense/kernel"][index]


@pytest.mark.parametrize("format_", FORMATS)
def test_dump_writes_what_the_command_writes(format_: str, tmp_path: Path) -> None:
    binary = format_ in BINARY
    if format_ in ("arrow", "parquet"):
        pytest.importorskip("pyarrow")
    file: typing.IO[typing.Any] = io.BytesIO() if binary else io.StringIO()
    pc.dump(MLP, "dense/kernel[:2]", file=file, format=format_, seed=1)
    done = subprocess.run(
        [sys.executable, "-m", "paramctl", "dump", str(MLP), "dense/kernel[:2]", "--format", format_, "--seed", "1"],
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    written = file.getvalue()  # type: ignore[attr-defined]
    assert (written if binary else written.encode()) == done.stdout
    with pytest.raises(pc.AddressError, match="format must be one of"):
        pc.dump(MLP, format="yaml")


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_repr_has_at_most_30_lines_and_the_total(path: Path) -> None:
    model = pc.load_model(path)
    lines = repr(model).splitlines()
    assert len(lines) <= 30
    assert all(len(line) <= 110 for line in lines)
    total = pc.summary(model).totals.parameters
    assert ("?" if model.unbuilt else f"{total:,}") in lines[-1]
    html = model._repr_html_()
    assert html.count("<tr>") - 2 == len(list(model.walk()))
    if not model.unbuilt:
        assert f"{total:,}" in html


def test_names_in_html_are_escaped(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"<script>/w": np.ones(2, "float32"), "\x1b[2J/w": np.ones(2, "float32")})
    with pc.open(tmp_path / "x.npz") as weights:
        assert "<script>" not in weights._repr_html_()
        assert "&lt;script&gt;" in weights._repr_html_()
        assert "\x1b" not in repr(weights)


def test_reports_are_json_serializable_rows() -> None:
    rows = pc.initialize(MLP).report
    assert [row.path for row in rows] == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    assert json.dumps([row.scheme for row in rows])


REFUSED: list[tuple[typing.Callable[[], object], str]] = [
    (lambda: pc.initialize(MLP, fan_convention="x"), "fan_convention must be one of true, keras, torch"),
    (lambda: pc.initialize(MLP, dtype="int32"), "dtype must be one of float16"),
    (lambda: pc.initialize(MLP, preset="x"), "preset must be one of"),
    (lambda: pc.initialize(MLP, seed=-1), "seed must be at least 0"),
    (lambda: pc.stat(MLP, seed=1 << 63), "seed must be less than"),
    (lambda: pc.schemes("he_normal", parameter=(MLP, "dense/kernel"), fan_convention="x"), "fan_convention must be"),
    (lambda: pc.convert(MLP, layout="x"), "layout must be one of keras, torch"),
    (lambda: pc.rename(MLP, {"dense=a": "b"}), "can have an equals sign only in quotes"),
    (lambda: pc.diff(MLP, MLP, top=0), "top must be at least 1"),
    (lambda: pc.diff(MLP, MLP, rtol=float("nan")), "rtol must be at least 0"),
    (lambda: pc.summary(MLP, depth=0), "depth must be at least 1"),
    (lambda: pc.summary(MLP, kind="x"), "kind must be one of"),
    (lambda: pc.dump(MLP, precision=-1), "precision must be at least 0"),
    (lambda: pc.save(MLP, "x.safetensors", max_shard_size=0), "max_shard_size must be at least 1"),
    (lambda: pc.assign(MLP, {"dense/bias": [[1], [1, 2]]}), "a value must be a number"),
    (lambda: pc.assign(MLP, {"dense/bias": np.array(["a"])}), "a value must be a number"),
    (lambda: pc.assign(MLP, {"dense/bias": np.zeros(4, "M8[s]")}), "a value must be a number"),
    (lambda: pc.save(pc.initialize(MLP), "x.h5", in_place=True), "only the file that the weights come from"),
    (lambda: pc.save(MLP, io.BytesIO(), in_place=True), "an open file"),
    (lambda: pc.reopen({"source": "x"}), "must have an operation"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_value_that_an_argument_cannot_have_is_refused(call: typing.Callable[[], object], message: str) -> None:
    with pytest.raises(pc.ParamctlError, match=message):
        call()


WRONG_TYPES: list[typing.Callable[[], object]] = [
    lambda: pc.open(None),  # type: ignore[arg-type]
    lambda: pc.summary(3),  # type: ignore[arg-type]
    lambda: pc.diff(MLP, None),  # type: ignore[arg-type]
    lambda: pc.save(MLP, None),  # type: ignore[arg-type]
    lambda: pc.dump(MLP, file="x.txt"),  # type: ignore[arg-type]
    lambda: pc.initialize(MLP, seed=1.5),  # type: ignore[arg-type]
    lambda: pc.initialize(MLP, seed=True),
    lambda: pc.initialize(MLP, dtype=np.float16),  # type: ignore[arg-type]
    lambda: pc.initialize(MLP, scheme=3),  # type: ignore[arg-type]
    lambda: pc.initialize(MLP, rules=["**=zeros"]),  # type: ignore[list-item]
    lambda: pc.assign(MLP, [3]),  # type: ignore[list-item]
    lambda: pc.load_model(MLP, variables="x"),  # type: ignore[arg-type]
    lambda: pc.stat(MLP, min_size="3"),  # type: ignore[arg-type]
    lambda: pc.Weights(pc.load_model(MLP)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("call", WRONG_TYPES)
def test_another_type_is_a_type_error(call: typing.Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        call()


def test_closed_weights_say_so(tmp_path: Path) -> None:
    pc.save(MLP, tmp_path / "a.h5")
    pc.save(MLP, f"{tmp_path}/set/", max_shard_size=64)
    for path in (tmp_path / "a.h5", tmp_path / "set"):
        with pc.open(path) as weights:
            array = weights["dense/kernel"]
        with pytest.raises(pc.InputError, match=r"^[^:]+: is closed$"):
            array[...]


def test_an_assigned_array_is_copied() -> None:
    values = np.ones(4, "float32")
    weights = pc.assign(MLP, {"dense/bias": values})
    values[:] = 9
    assert weights["dense/bias"][...].tolist() == [1] * 4


def test_only_the_file_of_the_weights_is_changed_in_place(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5", "a.weights.json"):
        pc.save(MLP, tmp_path / name)
    before = (tmp_path / "b.h5").read_bytes()
    for name in ("a.h5", "a.weights.json"):
        edited = pc.assign(tmp_path / name, {"dense/bias": 5})
        with pytest.raises(pc.OutputError, match="only the file"):
            pc.save(edited, tmp_path / "b.h5", in_place=True)
        pc.save(edited, tmp_path / name, in_place=True)
        assert pc.open(tmp_path / name)["dense/bias"][...].tolist() == [5] * 4
    assert (tmp_path / "b.h5").read_bytes() == before


def test_a_set_of_keras_weights_stays_a_set_in_place(tmp_path: Path) -> None:
    """Its files are at most as large as they were, as those of a set of safetensors are."""
    path = tmp_path / "a.weights.json"
    pc.save(MLP, path, max_shard_size=80)
    files = len(set(json.loads(path.read_text())["weight_map"].values()))
    assert files > 1
    pc.save(pc.assign(path, {"**": 0.5}), path, in_place=True)
    assert len(set(json.loads(path.read_text())["weight_map"].values())) == files


@pytest.mark.parametrize("name", ANY)
def test_an_assignment_after_another_change_keeps_both(name: str, tmp_path: Path) -> None:
    """A patched copy of the file would have its old dtypes and ties, so an untied name would change with the other."""
    model = pc.initialize(SAMPLES / "rgnet.yaml", scheme="normal")
    kept, tied = "block2/block-0/dense/kernel", "block2/block-1/dense/kernel"
    pc.save(pc.tie(model, kept, tied), f"{tmp_path}/a{name}")
    weights = pc.open(f"{tmp_path}/a{name}")
    pc.save(pc.assign(pc.untie(weights, tied), {tied: 5}), f"{tmp_path}/b{name}")
    untied = pc.open(f"{tmp_path}/b{name}")
    assert np.array_equal(untied[kept][...], weights[kept][...])
    assert untied[tied][...].max() == untied[tied][...].min() == 5
    pc.save(pc.assign(pc.convert(weights, dtype="float16"), {"**/bias": 5}), f"{tmp_path}/c{name}")
    assert {array.dtype.name for array in pc.open(f"{tmp_path}/c{name}").values()} == {"float16"}


DOCUMENT_WORDS = {"ties": {"keep", "tie"}, "summary": {"from"}, "probe": {"forward_bar", "gradient_bar"}}
"""Keys that are the words of a document instead: its ties have keep, tie and transpose, and its layers from.

The bars of probe are in tables alone.
"""


def test_columns_are_called_as_the_fields_of_rows() -> None:
    """JSON, CSV and --columns have the names that the library has."""
    fields = {
        field.name
        for module in (
            "stat",
            "diff",
            "edits",
            "summary",
            "memory",
            "plan",
            "schemes",
            "layers",
            "check.finding",
            "check.registry",
            "sums",
            "verify",
        )
        for row in vars(importlib.import_module(f"paramctl.inspect.{module}")).values()
        if dataclasses.is_dataclass(row)
        for field in dataclasses.fields(row)
    }
    fields |= {*ParameterRow._fields, *LayerRow._fields}
    others = (ExtractedRow, MergeRow, TensorRow, Tie, GradientRow, LayerSignal, ParameterSignal, Probe)
    fields |= {field.name for row in others for field in dataclasses.fields(row)}
    seen = 0
    for name in commands():
        for columns in vars(importlib.import_module(f"paramctl.cli.{name.replace('-', '_')}")).values():
            keys = (
                {column.key for column in columns if isinstance(column, Column)} if isinstance(columns, list) else set()
            )
            seen += len(keys)
            if name != "summary" or "count" not in keys:  # the lines of a tree are only printed
                assert keys - fields <= DOCUMENT_WORDS.get(name, set()), name
    assert seen > 50
