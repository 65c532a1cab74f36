"""summary --group: one row for equal blocks, whose path is an address of all of them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from paramctl.address.numbers import has_number_set, number_set, number_set_regex
from paramctl.address.resolve import resolve, subtree_matcher
from paramctl.cli import display
from paramctl.inspect.summary import Summary
from tests.conftest import SAMPLES, Call, model

GPT2 = next(str(path) for path in SAMPLES if path.stem == "gpt2")


def arrays(folder: Path, shapes: dict[str, tuple[int, ...]]) -> str:
    path = str(folder / "model.npz")
    np.savez(path, **{name: np.zeros(shape, "float32") for name, shape in shapes.items()})
    return path


def paths(facts: Summary) -> dict[str, int]:
    """Return the paths of the rows of parameters, and the number of parameters of each."""
    return {row.path: row.count for row in facts.parameters}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("depth", [1, 2, None])
def test_rows_add_up_to_the_same_totals(path: Path, depth: int | None) -> None:
    """Counts, bytes and costs, of layers and of parameters."""
    plain, grouped = pc.summary(path, depth=depth), pc.summary(path, depth=depth, group=True)
    assert (grouped.totals, grouped.cost) == (plain.totals, plain.cost)
    for measure in ("parameters", "bytes", "trainable", "non_trainable"):
        sums = [sum(getattr(row, measure) or 0 for row in facts.layers) for facts in (plain, grouped)]
        assert sums[0] == sums[1], measure
    assert sum(row.count for row in grouped.layers) == len(plain.layers)
    assert sum(row.count for row in grouped.parameters) == len(plain.parameters)
    for measure in ("parameters", "bytes"):
        sums = [sum(row.counted(measure) or 0 for row in facts.parameters) for facts in (plain, grouped)]
        assert sums[0] == sums[1], measure


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_path_of_a_row_is_an_address_of_all_its_members(path: Path) -> None:
    tree, grouped = pc.load_model(path), pc.summary(path, group=True)
    for row in grouped.parameters:
        assert len(resolve(tree, row.path).paths) == row.count, row.path
    known = {block.path for block in tree.walk()}
    for layer in grouped.layers:
        matches = subtree_matcher(tree, layer.path)
        depth = layer.path.count("/")
        assert len({each for each in known if matches(each) and each.count("/") == depth}) in (layer.count, 1)


def test_the_layers_of_gpt2(call: Call) -> None:
    code, text, _ = call("summary", GPT2, "--group")
    assert code == 0
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.startswith("block")}
    assert len(rows) == 10
    assert rows["block-[0..11]"][1:3] == ["x12", "block"]
    assert rows["block-[0..11]/mlp/expand"] == [
        *("block-[0..11]/mlp/expand", "x12", "dense", "(None,", "1024,", "3072)", "28,348,416")
    ]
    assert "Total parameters:  124,439,808" in text


def test_nested_numbers_with_dots_and_with_slashes(tmp_path: Path) -> None:
    """A mixture of experts: w1 and w3 are equal, but name two roles."""
    for separator in "./":
        shapes = {}
        for layer in range(4):
            for expert in range(3):
                for name, shape in (("w1", (2, 3)), ("w2", (3, 2)), ("w3", (2, 3))):
                    shapes[separator.join(("layers", str(layer), "experts", str(expert), name, "weight"))] = shape
        around = separator.join(("layers", "[0..3]", "experts", "[0..2]"))
        file = arrays(tmp_path, shapes)
        assert paths(pc.summary(file, group=True)) == {
            separator.join((around, name, "weight")): 12 for name in ("w1", "w2", "w3")
        }
        rows = pc.summary(file, group=True).layers
        assert [(row.path, row.count) for row in rows][-3:] == [
            (separator.join((around, name)), 12) for name in ("w1", "w2", "w3")
        ]
        assert rows[-1].parameters == 72


def test_blocks_that_differ_stay_apart(tmp_path: Path) -> None:
    """Each kind of difference: a shape, a name, a number of arrays, a dtype, a deeper array."""
    shapes = {f"layers.{layer}.{name}": (2, 2) for layer in range(8) for name in ("a.weight", "b.weight")}
    for change in ({"layers.3.a.weight": (2, 3)}, {"layers.3.c.weight": (1,)}, {"layers.3.a.bias": (2,)}):
        found = paths(pc.summary(arrays(tmp_path, shapes | change), group=True))
        assert found["layers.[0..2,4..7].a.weight"] == 7
        assert found["layers.3.b.weight"] == 1
    values = {name: np.zeros(shape, "float32") for name, shape in shapes.items()}
    np.savez(tmp_path / "m.npz", **values | {"layers.3.a.weight": np.zeros((2, 2), "float16")})
    assert "layers.3.a.weight" in paths(pc.summary(tmp_path / "m.npz", group=True))


def test_depth_does_not_hide_a_difference() -> None:
    """Blocks with equal counts and shapes, but other layers inside, are two rows at depth 1 too."""
    text = "[{residual: {name: r-%d, layers: [%s]}}, {residual: {name: r-%d, layers: [%s]}}]"
    one, two = "{dense: 4}, {layer_normalization: {}}", "{layer_normalization: {}}, {dense: 4}"
    for second, expected in ((one, ["r-[1..2]"]), (two, ["r-1", "r-2"])):
        facts = pc.summary(model(f"input: [4]\nlayers: {text % (1, one, 2, second)}"), depth=1, group=True)
        assert [row.path for row in facts.layers] == expected


def test_ties_are_equal_if_they_lead_to_the_same_place() -> None:
    """Inside of each block, or to one place outside; a tie to the block before is different in each."""
    blocks = "".join(
        f"  - residual: {{name: b-{n}, layers: [{{dense: {{name: x, units: 4}}}}, {{dense: {{name: y, units: 4}}}}]}}\n"
        for n in range(4)
    )
    inner = "".join(f"  - {{keep: b-{n}/x/kernel, tie: b-{n}/y/kernel}}\n" for n in range(4))
    facts = pc.summary(model(f"input: [4]\nlayers:\n{blocks}ties:\n{inner}"), group=True)
    row = next(row for row in facts.parameters if row.path == "b-[0..3]/y/kernel")
    assert (row.shared, row.counted_at, row.count) == ("= b-[0..3]/x/kernel", "b-[0..3]/x/kernel", 4)
    assert sum(row.counted("parameters") or 0 for row in facts.parameters) == facts.totals.parameters

    outer = "  - {keep: b-0/x/kernel, tie: [b-1/x/kernel, b-2/x/kernel, b-3/x/kernel]}\n"
    facts = pc.summary(model(f"input: [4]\nlayers:\n{blocks}ties:\n{outer}"), group=True)
    found = paths(facts)
    assert found["b-0/x/kernel"] == 1
    assert found["b-[1..3]/x/kernel"] == 3
    shared = next(row for row in facts.parameters if row.path == "b-[1..3]/x/kernel")
    assert shared.shared == "= b-0/x/kernel"
    assert sum(row.parameters or 0 for row in facts.layers) == facts.totals.parameters


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["dense", "dense_1", "dense_2"], ["dense", "dense_[1..2]"]),
        (["w1", "w2", "w3"], ["w[1..3]"]),
        (["w1", "w3"], ["w1", "w3"]),
        (["a_1", "a_3"], ["a_[1..3:2]"]),
        (["x.0", "x.2", "x.4", "x.6", "x.7"], ["x.[0..6:2,7]"]),
        (["e_08", "e_09", "e_10"], ["e_[08..10]"]),
        (["e_1", "e_01"], ["e_1", "e_01"]),
        (["b1_c2", "b1_c3", "b2_c2", "b2_c3"], ["b[1..2]_c[2..3]"]),
        (["b1_c2", "b1_c3", "b2_c2"], ["b1_c[2..3]", "b2_c2"]),
        ([f"n{'9' * 5000}", f"n{'8' * 5000}"], None),
        ([".".join("12345678901"), ".".join("22345678901")], ["[1..2].2.3.4.5.6.7.8.9.0.1"]),
    ],
)
def test_numbers_anywhere_in_a_name(names: list[str], expected: list[str] | None, tmp_path: Path) -> None:
    facts = pc.summary(arrays(tmp_path, dict.fromkeys(names, (2,))), group=True)
    assert [*paths(facts)] == (expected or names)
    tree = pc.open(tmp_path / "model.npz").model
    for path, count in paths(facts).items() if expected else ():
        assert len(resolve(tree, path).paths) == count


def test_a_group_can_be_selected_sorted_and_shown_as_a_tree(call: Call) -> None:
    arguments = ("summary", GPT2, "--group", "--parameters")
    _, text, _ = call(*arguments, "--top", "2", "--format", "csv")
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["path"], first["count"]) == ("tokens/embeddings", "1")
    assert (second["path"], second["count"], second["size"]) == ("block-[0..11]/mlp/expand/kernel", "12", "28311552")
    _, text, _ = call("summary", GPT2, second["path"], "--parameters", "--format", "csv")
    assert sum(int(row["size"]) for row in csv.DictReader(io.StringIO(text))) == 28311552
    assert "kernel x12" in call(*arguments, "--format", "tree")[1]
    facts = json.loads(call("summary", GPT2, "--group", "--format", "json")[1])
    assert [row["count"] for row in facts["layers"]][2:5] == [1, 12, 12]
    assert {row["path"]: row["from"] for row in facts["layers"]}["block-[0..11]"] is None
    assert facts["totals"]["parameters"] == 124439808


def test_several_files_and_filters(call: Call, tmp_path: Path) -> None:
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", **{f"layers.{n}.w": np.zeros((2, 2)) for n in range(3)})
    _, text, _ = call("summary", "a.npz", "b.npz", "--parameters", "--group", "--format", "csv")
    rows = [(row["file"], row["path"], row["count"]) for row in csv.DictReader(io.StringIO(text))]
    assert rows == [("a.npz", "layers.[0..2].w", "3"), ("b.npz", "layers.[0..2].w", "3")]
    _, text, _ = call("summary", GPT2, "block-[2..4]", "--kind", "bias", "--group", "--parameters", "--format", "csv")
    rows = [*csv.DictReader(io.StringIO(text))]
    assert {row["count"] for row in rows} == {"3"}
    assert all(row["path"].startswith("block-[2..4]/") for row in rows)


def test_the_state_of_an_optimizer_is_grouped_too() -> None:
    facts = pc.summary(Path(__file__).parent / "fixtures" / "torch_training.ckpt", state=True, group=True)
    plain = pc.summary(Path(__file__).parent / "fixtures" / "torch_training.ckpt", state=True)
    assert sum(row.count for row in facts.optimizer) == len(plain.optimizer)
    assert sum(row.size for row in facts.optimizer) == sum(row.size for row in plain.optimizer)


def test_a_long_table_on_a_terminal_is_grouped(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only there, only if it does not fit, and with a line that names the option for all rows."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("LINES", "60")
    monkeypatch.setenv("COLUMNS", "300")
    piped = call("summary", GPT2, "--no-pager")[1]
    assert "block-11" in piped
    monkeypatch.setattr(display, "is_terminal", lambda: True)
    text = call("summary", GPT2, "--no-pager")[1]
    assert text.startswith(call("summary", GPT2, "--no-pager", "--group")[1])
    assert text.endswith("\nEqual blocks are one row; --no-group shows all 125 rows.\n")
    for option in ("--no-group", "--wide"):
        assert call("summary", GPT2, "--no-pager", option)[1] == piped
    assert "block-11" in call("summary", GPT2, "--no-pager", "--sort", "path")[1]
    monkeypatch.setenv("LINES", "150")
    assert call("summary", GPT2, "--no-pager")[1] == piped


def test_sets_of_numbers_match_their_members_alone() -> None:
    """Against every set of some numbers, and their neighbours."""
    for numbers in ([0, 1], [1, 3], [0, 5, 7], [7, 8, 9, 10, 11], [*range(98, 1203)], [1, 4, 7, 9, 10], [0, 100_000]):
        text = number_set([*map(str, numbers)])
        assert has_number_set(f"x{text}")
        tree = {n for n in range(1300) if _matches(text, str(n))}
        assert tree == {n for n in numbers if n < 1300}, text


def _matches(text: str, number: str) -> bool:
    import re

    return re.fullmatch(number_set_regex(text[1:-1]), number) is not None


@pytest.mark.parametrize(
    ("address", "count"),
    [
        ("block-[0..11]/mlp/expand/kernel", 12),
        ("block-[3..5]", 48),
        ("block-[0..2,11]/**/kernel[0]", 24),
        ("block-[0..10:5]/mlp/expand/bias", 3),
        ("block-[00..03]/mlp/expand/bias", 4),
        ("**/e[0..3]xpand", None),
        ("block-[12..99]", None),
        ("'block-[0..11]'/mlp/expand/kernel", None),
    ],
)
def test_addresses_with_sets_of_numbers(address: str, count: int | None) -> None:
    tree = pc.load_model(GPT2)
    if count is None:
        with pytest.raises(pc.AddressError):
            resolve(tree, address)
    else:
        assert len(resolve(tree, address).paths) == count


@pytest.mark.parametrize("text", ["a[3..1]", "a[0..4:0]", "a[0..999999999:2]"])
def test_wrong_sets_are_refused(text: str) -> None:
    with pytest.raises(pc.AddressError, match="range"):
        resolve(pc.load_model(GPT2), text)


def test_a_slice_stays_a_slice(call: Call, tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", a=np.arange(6).reshape(2, 3), a1=np.zeros(2))
    assert call("dump", "m.npz", "a[1, 2]")[1] == "5\n"
    assert call("dump", "m.npz", "a[..., 0]")[1] == "[0 3]\n"
    assert call("dump", "m.npz", "a[0..1]")[1] == "[0. 0.]\n"
