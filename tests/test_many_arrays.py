"""Files of many arrays: the short ways that they take give what the long ways give."""

import json
import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tabulate
from safetensors.numpy import load_file, save_file

import paramctl as pc
from paramctl.cli import render
from paramctl.cli.fitting import align
from paramctl.core.ordering import in_numeric_order
from paramctl.core.parameter import Parameter
from paramctl.model import Block
from paramctl.store.checkpoint import name_tree, stored_parameter
from paramctl.store.io import write_values
from paramctl.store.location import open_location
from paramctl.store.safetensors import header
from tests.conftest import ROOT, Run

TEXTS = [
    "",
    "a",
    "kernel",
    "layer_10/kernel",
    "é",
    "日本語",
    "True",
    "None",
    "1,234",
    "1e5",
    "  x",
    "x  ",
    "a\u0301",
    "-",
]


def by_tabulate(headings: list[str], columns: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines of a table of aligned texts, as tabulate writes it without space around headings."""
    monkeypatch.setattr(tabulate, "MIN_PADDING", 0)
    rows = [*zip(*columns, strict=True)]
    options: Any = {"tablefmt": "simple", "disable_numparse": True, "preserve_whitespace": True}
    return [line.rstrip() for line in tabulate.tabulate(rows, headers=headings, **options).split("\n")]


@pytest.mark.parametrize("seed", range(30))
def test_a_table_is_that_of_tabulate(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines are equal for texts of each kind, for numbers with notes, and for a table without rows."""
    rng = random.Random(seed)  # noqa: S311
    rows = [
        SimpleNamespace(name=rng.choice(TEXTS), size=10 ** rng.randrange(7), note=rng.choice(["", "(= b)", "é"]))
        for _ in range(rng.choice((0, 1, 2, 50)))
    ]
    columns = [
        render.Column("name", rng.choice(["Layer", "Größe"]), lambda row: row.name),
        render.Column("size", "Size", lambda row: row.size, right=True, note=lambda row: row.note),
        render.Column("name", "Last", lambda row: row.name),
    ]
    texts = [column.texts(rows) for column in columns]
    headings = [column.heading.rjust(column.text_width) for column in texts]
    expected = by_tabulate(headings, [column.cells() for column in texts], monkeypatch)
    assert list(render.table(rows, columns)) == expected


def test_align() -> None:
    assert align(["A", "Name"], [["x", "yyy"], ["", "b"]]) == ["A    Name", "---  ----", "x", "yyy  b"]


PLAIN = b'{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}'
"""An entry as the safetensors library writes it."""


def both_ways(path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Return the parsed header, or its error: with plain entries, and without."""
    path.write_bytes(len(text).to_bytes(8, "little") + text)

    def parse() -> Any:
        try:
            return header.parse_header(open_location(str(path)))
        except ValueError as error:
            return str(error)

    fast = parse()
    with monkeypatch.context() as patch:
        patch.setattr(header, "_PLAIN", re.compile(b"(?!)"))
        return fast, parse()


ENTRIES = [
    PLAIN,
    b'{"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}',
    b'{"dtype":"F4","shape":[],"data_offsets":[7,9]} ',
    b'{"dtype":"XX","shape":[2],"data_offsets":[0,8]}',
    b'{"dtype":"F32","shape":[02],"data_offsets":[0,8]}',
    b'{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}',
    b'{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}',
    b'{"dtype":"F32","shape":[1,],"data_offsets":[0,4]}',
    b'{"dtype":"F32","shape":[1],"data_offsets":[4,0]}',
    b'{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}',
    b'{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}',
    b'{"shape":[1],"dtype":"F32","data_offsets":[0,4]}',
    b'{"dtype":"F32","shape":[true],"data_offsets":[0,4]}',
    *(b'{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}' % (size, size) for size in (10**18 - 1, 10**18, 2**63)),
    b'{"dtype":"F32","shape":[%s1],"data_offsets":[0,4]}' % (63 * b"1,"),
    b'{"dtype":"F32","shape":[%s1],"data_offsets":[0,4]}' % (64 * b"1,"),
    b'{"dtype":"F32","shape":[%s1],"data_offsets":[0,4]}' % (9_000 * b"1,"),
    b"null",
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry[:60].decode())
def test_an_entry_of_safetensors(entry: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (
        b'{"a":%s}' % entry,
        b'{"a":%s,"b":%s}' % (PLAIN, entry),
        b'{"__metadata__":{"a":"b"},"c":%s }' % entry,
    ):
        fast, slow = both_ways(tmp_path / "m", text, monkeypatch)
        assert fast == slow


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_header_of_safetensors(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)  # noqa: S311
    accepted = 0
    for _ in range(100):
        text = bytearray(b'{"a":%s,"b":%s}' % (rng.choice(ENTRIES[:3]), PLAIN))
        if rng.random() < 0.9:
            text[rng.randrange(len(text))] = rng.choice(b'{}[]":,0123456789-+.eE \\\n\xff')
        fast, slow = both_ways(tmp_path / "m", bytes(text), monkeypatch)
        assert fast == slow, bytes(text)
        accepted += not isinstance(fast, str)
    assert 0 < accepted < 100


def test_entries_of_the_library_are_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other way is not taken for a file of the safetensors library, nor for one of paramctl."""
    arrays = {f"layers.{number}.w": np.zeros((number, 2), "float16") for number in range(5)} | {"x": np.float32([1])}
    save_file(arrays, tmp_path / "a.safetensors")
    pc.save(tmp_path / "a.safetensors", tmp_path / "b.safetensors")

    def fail(*_: Any) -> Any:
        raise AssertionError("an entry was decoded as JSON")

    monkeypatch.setattr(header, "_entry", fail)
    for name in ("a", "b"):
        parsed = header.parse_header(open_location(str(tmp_path / f"{name}.safetensors")))
        assert {key: entry.shape for key, entry in parsed.entries.items()} == {k: v.shape for k, v in arrays.items()}


def slow_tree(tree: Any, prefix: str, separator: str) -> list[Any]:
    """Return the tree of names by whole paths: (path, paths of arrays, blocks) for each block."""
    blocks = []
    for name in in_numeric_order(tree):
        inner = tree[name]
        if isinstance(inner, dict):
            path = f"{prefix}{name.removesuffix(separator)}"
            members = [inner[member] for member in in_numeric_order(inner)]
            held = [member.path for member in members if isinstance(member, Parameter)]
            blocks.append((path, held, slow_tree(inner, f"{path}{separator}", separator)))
        elif not prefix:
            blocks.append((inner.path, [inner.path], []))
    return blocks


def as_tuples(blocks: tuple[Block, ...]) -> list[Any]:
    return [(block.path, [held.path for held in block.parameters], as_tuples(block.blocks)) for block in blocks]


@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("seed", range(40))
def test_the_tree_of_names(seed: int, separator: str) -> None:
    """Any names, with numbers, empty parts, and arrays and groups of one name."""
    rng = random.Random(seed)  # noqa: S311
    parts = ["a", "b2", "b10", "b1", "", "0", "00", "10", "9x", "1_2", "1_10", "w", "layer_02", "é3"]
    paths = {separator.join(rng.choices(parts, k=rng.randrange(1, 5))) for _ in range(40)}
    names = sorted(paths) if rng.random() < 0.7 else rng.sample(sorted(paths), len(paths))
    parameters = {path: stored_parameter(path, (2,), "float32") for path in names}
    tree: dict[str, Any] = {}
    for path, parameter in parameters.items():
        group = tree
        for folder in path.split(separator)[:-1]:
            group = group.setdefault(f"{folder}{separator}", {})
        group[f"{path}\0"] = parameter  # no folder has this key
    assert as_tuples(name_tree(parameters, separator)) == slow_tree(tree, "", separator)


@pytest.mark.parametrize("path", [ROOT / "sample_models/tied_mlp.yaml", ROOT / "tests/fixtures/keras2_full_model.h5"])
def test_rows_of_one_kind(path: Path) -> None:
    both = pc.summary(path)
    assert both.layers
    assert both.parameters
    layers, parameters = pc.summary(path, only="layers"), pc.summary(path, only="parameters")
    assert (layers.layers, layers.parameters) == (both.layers, [])
    assert (parameters.layers, parameters.parameters) == ([], both.parameters)
    assert layers.totals == parameters.totals == both.totals
    assert layers.cost == parameters.cost == both.cost
    with pytest.raises(pc.AddressError, match="only must be one of layers, parameters"):
        pc.summary(path, only="rows")


@pytest.mark.parametrize("options", [[], ["--parameters"], ["--top", "300"], ["--format", "tree"], ["--no-group"]])
def test_a_summary_of_many_arrays(options: list[str], paramctl: Run, tmp_path: Path) -> None:
    """The layers and arrays of a file are those that its JSON has, in its order."""
    arrays = {f"layers.{number}.{name}": np.zeros(2, "float32") for number in range(300) for name in ("weight", "bias")}
    save_file(arrays, tmp_path / "m.safetensors")
    text = paramctl("summary", "m.safetensors", *options, check=True).stdout
    facts = json.loads(paramctl("summary", "m.safetensors", "--format", "json", check=True).stdout)
    rows = facts["parameters" if "--parameters" in options else "layers"]
    paths = [row["path"] for row in rows if not ("--top" in options and row["parameters"] is None)]
    shown = [line.split()[0] for line in text.splitlines()[4 : 4 + len(paths)]]
    if "tree" not in options:
        assert shown == paths
    assert "Total parameters:  1,200" in text


def test_small_arrays_are_written_in_few_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []

    def counted(work: Any, batches: Any, threads: int | None) -> Any:
        for batch in batches:
            jobs.append([stop - start for _, start, stop in batch])
            yield work(batch)

    monkeypatch.setattr(write_values, "in_parallel", counted)
    arrays = {f"w{k:03}": np.full(3_000, k, "float32") for k in range(100)} | {"x": np.arange(600_000, dtype="int32")}
    save_file(arrays, tmp_path / "a.safetensors")
    pc.save(str(tmp_path / "a.safetensors"), tmp_path / "many.safetensors")
    assert [len(job) for job in jobs] == [88, 13, 1, 1], "at least 2^18 values each, a small array never cut"
    assert sum(map(sum, jobs)) == 900_000
    loaded = load_file(tmp_path / "many.safetensors")
    assert all(np.array_equal(loaded[path], array) for path, array in arrays.items())
