"""paramctl report: the facts on the page, the tree and the map behind it, and that no name can leave its text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import paramctl as pc
from paramctl.inspect.report.facts import ArrayFacts
from paramctl.inspect.report.tree import Node, build_tree, fold
from paramctl.inspect.report.treemap import squarify, treemap
from tests.conftest import ROOT, Call, Run
from tests.test_keras_files import dense, keras3

MLP = str(ROOT / "sample_models/mlp.yaml")
GPT2 = str(ROOT / "sample_models/gpt2.yaml")
HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    '"><b onclick="x">',
    "]]>-->",
    "a\u202eb\x1b[31m",
    "'\u2028`${1}$title",
]


def saved(path: Path, arrays: dict[str, Any], metadata: dict[str, str] | None = None) -> str:
    save_file({name: np.asarray(values) for name, values in arrays.items()}, path, metadata)
    return str(path)


def data_of(page: str) -> dict[str, Any]:
    """Return the data in a page."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    data = json.loads(text)
    assert isinstance(data, dict)
    return data


def rows_of(page: str, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table as the script shows them, by key; unknown facts are left out."""
    wire = data_of(page)["tables"][table]
    keys = [field[0] for field in wire["fields"]]
    rows = [dict(zip(keys, row, strict=False)) for row in wire["rows"]]
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


class Markup(HTMLParser):
    """The elements and attributes of a page, as a browser reads them; without those in the fallback of a script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_has_the_statistics_of_stat(tmp_path: Path) -> None:
    """Statistics, histogram and shape of each array are those of the functions that have these names."""
    rng = np.random.default_rng(3)
    arrays = {"a.weight": rng.standard_normal((40, 30), dtype="f4"), "a.bias": np.arange(-3, 4), "s": np.array(2.5)}
    file = saved(tmp_path / "m.safetensors", arrays)
    rows = {row["path"][0]: row for row in rows_of(pc.report(file).html, "arrays")}
    assert rows.keys() == arrays.keys()
    for measured in pc.stat(file).rows:
        row = rows[measured.path]
        assert row["shape"] == str(arrays[measured.path].shape)
        assert row["mean"] == pytest.approx(measured.mean, rel=1e-5)
        assert row["std"] == pytest.approx(measured.stddev, rel=1e-5)
        assert float(row["min"]) == pytest.approx(arrays[measured.path].min(), rel=1e-5)
        assert (row["zeros"], row["nan"], row["inf"]) == (measured.zeros, 0, 0)
        low, high, counts = row["bars"]
        assert (float(low), sum(counts)) == (pytest.approx(float(row["min"]), rel=1e-5), measured.size)
        assert float(high) >= float(row["max"]) * (1 - 1e-5)
    assert rows["a.bias"]["min"] == "-3"  # an integer is a text, so that a script shows all of its digits


def test_a_large_integer_keeps_its_digits(tmp_path: Path) -> None:
    """A script's numbers would round 2^60 + 1."""
    file = saved(tmp_path / "m.safetensors", {"w": np.array([2**60 + 1, 2**62 + 3])})
    (row,) = rows_of(pc.report(file).html, "arrays")
    assert (row["min"], row["max"]) == (str(2**60 + 1), str(2**62 + 3))


def test_findings_lead_to_their_arrays(tmp_path: Path) -> None:
    """They are those of the checks, and the details of the array have them too."""
    file = saved(
        tmp_path / "m.safetensors", {"good.weight": np.eye(3), "bad.weight": np.array([[1.0, np.nan], [2, 3]])}
    )
    page = pc.report(file).html
    (finding,) = rows_of(page, "findings")
    names = [row["path"][0] for row in rows_of(page, "arrays")]
    assert (finding["severity"], finding["name"]) == ("error", "nan")
    assert finding["place"] == ["bad.weight[0, 1]", names.index("bad.weight")]
    assert data_of(page)["findings"] == {str(names.index("bad.weight")): [0]}


def test_two_files_have_their_differences_largest_first(tmp_path: Path) -> None:
    """Added and removed arrays come first, then the largest relative norm; addresses restrict them too."""
    a = {"x.w": np.ones(4), "y.w": np.ones(4), "same.w": np.ones(4), "old.w": np.ones(2)}
    b = {"x.w": np.ones(4) * 1.1, "y.w": np.ones(4) * 2, "same.w": np.ones(4), "new.w": np.ones(3)}
    first, second = saved(tmp_path / "a.safetensors", a), saved(tmp_path / "b.safetensors", b)
    report = pc.report(first, other=second)
    rows = rows_of(report.html, "changes")
    assert [(row["path"] if isinstance(row["path"], str) else row["path"][0], row["status"]) for row in rows] == [
        ("old.w", "only in A"),
        ("new.w", "only in B"),
        ("y.w", "values"),
        ("x.w", "values"),
    ]
    assert rows[2]["max_abs"] == 1.0
    assert rows[2]["relative_norm"] == 1.0
    chosen = pc.report(first, "x", other=second)
    assert [row["path"][0] for row in rows_of(chosen.html, "changes")] == ["x.w"]
    assert "No differences." in pc.report(first, other=first).html


def test_nothing_is_read_without_values(tmp_path: Path) -> None:
    """So a file whose values are damaged, or far away, still has a report of its header, which says so."""
    report = pc.report(GPT2, values=False)
    assert all(array.stat is None and array.histogram is None for array in report.facts.arrays)
    assert report.facts.findings is None
    page = report.html
    assert "Not checked, because no values were read." in page
    assert "No values were read, so no statistics are known." in page
    assert {"mean", "bars"} & {field[0] for field in data_of(page)["tables"]["arrays"]["fields"] if field[3]} == set()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text(name: str, tmp_path: Path) -> None:
    """In elements, in attributes, in the data, in the title, and in metadata: the page has no element more."""
    file = saved(
        tmp_path / "m.safetensors", {f"{name}/w": np.array([[1.0, np.nan]]), f"{name}/b": np.ones(2)}, {name: name}
    )
    plain = saved(tmp_path / "p.safetensors", {"n/w": np.array([[1.0, np.nan]]), "n/b": np.ones(2)}, {"n": "n"})
    page = Markup(pc.report(file, title=name, other=plain).html)
    reference = Markup(pc.report(plain, title="n", other=file).html)
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in reference.elements}
    assert {key for _, attributes in page.elements for key in attributes} == {
        key for _, attributes in reference.elements for key in attributes
    }
    assert sum(tag == "script" for tag, _ in page.elements) == 2
    assert all(text.replace("\n", "").isprintable() for text in page.texts)
    assert "$title" not in pc.report(plain).html


def test_a_title_from_python_is_escaped() -> None:
    """The frame of a notebook has the page in an attribute, so every quote in it is escaped."""
    shown = pc.report(MLP, title='"><script>alert(1)</script>')._repr_html_()
    page = Markup(shown)
    ((tag, attributes),) = page.elements
    assert (tag, attributes["sandbox"]) == ("iframe", "allow-scripts")
    assert str(attributes["srcdoc"]).startswith("<!DOCTYPE html>")
    assert "<script>alert" not in str(attributes["srcdoc"])


def test_the_page_is_one_file_under_a_strict_policy() -> None:
    """No address of another file, no style or handler in an attribute, and a policy that allows only its own code."""
    html = pc.report(MLP).html
    page = Markup(html)
    policy = next(str(attributes["content"]) for tag, attributes in page.elements if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    for tag, attributes in page.elements:
        assert not attributes.keys() & {"src", "style", "srcset", "action"}
        assert not [key for key in attributes if key.startswith("on")]
        assert tag not in ("img", "link", "iframe", "object", "embed", "base")
        assert str(attributes.get("href", "#")).startswith("#")
    assert ("html", {"lang": "en"}) in page.elements
    assert "://" not in html.replace(
        "http://www.w3.org/2000/svg", ""
    )  # the name of a namespace, which nothing requests


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    """For any number of threads, and whatever the folder."""
    source = pc.initialize(GPT2.replace("gpt2", "lenet"), seed=4)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        pc.save(source, tmp_path / folder / "m.h5")
    assert pc.report(tmp_path / "a/m.h5").html == pc.report(tmp_path / "b/m.h5").html


def test_each_row_is_in_the_page_without_scripts() -> None:
    """A browser that runs no script shows every array, with the numbers that the script shows."""
    report = pc.report(MLP, seed=1)
    (fallback,) = re.findall(r'data-table="arrays"></div><noscript>(.*?)</noscript>', report.html, re.DOTALL)
    texts = re.findall(r"<td>([^<]*)", fallback)
    width = len(re.findall(r"<th ", fallback))
    assert len(texts) == width * len(report.facts.arrays)
    assert re.findall(r"<tr id=(p\d+)>", fallback) == [f"p{number}" for number in range(len(report.facts.arrays))]
    assert texts[:5] == ["dense/kernel", "(4, 4)", "float32", "16", "64"]
    stat = report.facts.arrays[0].stat
    assert stat is not None
    assert texts[5] == f"{stat.mean:,.4g}"


def test_ties_metadata_and_provenance_are_on_the_page(tmp_path: Path) -> None:
    """The scheme and the seed of a file of paramctl's own, and the other name of a shared array."""
    model = "input: [4]\nlayers: [{dense: {units: 4, name: a}}, {dense: {units: 4, name: b}}]\nties: [{keep: a/kernel, tie: b/kernel}]\n"
    (tmp_path / "m.yaml").write_text(model)
    pc.save(pc.initialize(tmp_path / "m.yaml", scheme="he_normal", seed=7), tmp_path / "m.safetensors")
    page = pc.report(tmp_path / "m.safetensors").html
    rows = {row["path"][0]: row for row in rows_of(page, "arrays")}
    assert (rows["a/kernel"]["scheme"], rows["a/kernel"]["seed"]) == ("he_normal", "7")
    assert rows["b/kernel"]["shared"] == ["= a/kernel", list(rows).index("a/kernel")]
    assert rows["b/kernel"]["bytes"] == 0
    assert "mean" not in rows["b/kernel"]  # it has the values of the other row
    assert rows_of(page, "ties")[0]["kept"][0] == "a/kernel"
    keys = [row["key"] for row in rows_of(page, "metadata")]
    assert "paramctl.recipe" in keys
    assert "scheme" not in keys  # each array has its own, which a long table would repeat


def test_an_optimizer_is_a_group_of_its_own(tmp_path: Path) -> None:
    """Its arrays are no parameters, and are rows only with the option."""
    objects = {"layers/dense": ("dense", dense()), "optimizer": ("adam", [np.array(7, "i4"), np.array(0.01, "f4")])}
    file = keras3(tmp_path / "trained.weights.h5", objects)
    without, page = pc.report(file).html, pc.report(file, state=True).html
    kinds = [row.get("kind") for row in rows_of(page, "arrays")]
    assert kinds.count("optimizer") == 2
    assert len(rows_of(without, "arrays")) == len(kinds) - 2
    outermost = data_of(page)["tree"]
    assert outermost[-1][1:3] == ["optimizer state", 0]
    assert len(outermost[-1][4]) == 2


def node(label: str, *children: Node, size: int = 4) -> Node:
    total = sum(child.bytes for child in children) or size
    return Node(f"k{label}", label, label, "", "", total, total, children, None if children else 0)


def test_alike_blocks_are_folded() -> None:
    """Siblings whose names differ in numbers and whose insides are equal; others keep their places."""
    blocks = [node(f"block-{number}", node("w"), node("b")) for number in range(12)]
    folded = fold([node("stem", node("w")), *blocks, node("head", node("w"))])
    assert [each.label for each in folded] == ["stem", "block-0 … block-11", "head"]
    assert (len(folded[1].children), folded[1].bytes) == (12, 96)
    odd = node("block-12", node("w"))
    assert [each.label for each in fold([*blocks[:3], odd])] == ["block-0", "block-1", "block-2", "block-12"]
    named = [node(name, node("w")) for name in ("query", "key", "value", "output")]
    assert len(fold(named)) == 4


def test_the_tree_has_every_array_once() -> None:
    """Also those of a layer that is applied again, and of blocks."""
    for name in ("gpt2", "resnet50", "rgnet", "fancy_mlp"):
        facts = pc.summary(str(ROOT / f"sample_models/{name}.yaml"))
        arrays = [ArrayFacts(row) for row in facts.parameters]
        nodes = build_tree(facts, arrays)
        assert sorted(number for each in nodes for number in each.arrays()) == list(range(len(arrays)))
        assert sum(each.parameters or 0 for each in nodes) == facts.totals.parameters
        assert sum(each.bytes for each in nodes) == sum(facts.totals.bytes.values())


@pytest.mark.parametrize("names", [["a." * 600 + "w"], [f"{'b.' * depth}w" for depth in range(1, 300)]])
def test_a_deep_name_has_its_place(names: list[str], tmp_path: Path) -> None:
    """A hostile name has hundreds of parts: the tree ends at a depth, below which names stay whole."""
    page = pc.report(saved(tmp_path / "m.safetensors", {name: np.ones(2) for name in names})).html
    text = json.dumps(data_of(page)["tree"])
    assert len(re.findall(r'"p\d+"', text)) == len(names)


def test_the_areas_of_a_treemap_are_the_sizes() -> None:
    """The boxes fill the whole without gaps and overlaps, and none is a sliver where sizes are alike."""
    sizes = [600, 300, 200, 100, 100, 50, 25, 25]
    boxes = list(squarify(sizes, 1000, 400))
    for size, box in zip(sizes, boxes, strict=True):
        assert box.width * box.height == pytest.approx(size / sum(sizes) * 400_000)
        assert max(box.width / box.height, box.height / box.width) < 4
        assert 0 <= box.left <= box.left + box.width <= 1000 + 1e-6
        assert 0 <= box.top <= box.top + box.height <= 400 + 1e-6
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
            down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
            assert min(across, down) < 1e-6


def test_a_treemap_of_many_arrays_has_few_tiles() -> None:
    """Small siblings share tiles, and every byte is in one."""
    tiles = treemap([node(f"w{number}", size=8) for number in range(10_000)])
    assert len(tiles) < 150
    assert sum(len(tile.nodes) for tile in tiles) == 10_000
    assert sum(tile.share for tile in tiles) == pytest.approx(1)
    assert treemap([]) == ()


def test_the_command_writes_the_page_of_the_function(call: Call) -> None:
    """Under the file's name; an existing file needs --force, and -o - is standard output."""
    assert call("report", MLP) == (0, "", "wrote mlp.html\n")
    page = Path("mlp.html").read_text()
    assert page == pc.report(MLP).html
    code, out, err = call("report", MLP)
    assert (code, out, err) == (2, "", "mlp.html: already exists (use --force to overwrite)\n")
    assert call("report", MLP, "--force", "-q") == (0, "", "")
    assert call("report", MLP, "-o", "-") == (0, page, "")
    assert call("report", MLP, "dense_1", "--title", "T", "--no-values", "-o", "t.htm")[0] == 0
    assert [row["path"][0] for row in rows_of(Path("t.htm").read_text(), "arrays")] == [
        "dense_1/kernel",
        "dense_1/bias",
    ]


def test_a_page_has_the_name_of_the_file(call: Call) -> None:
    """Files of one model have pages of their own, and so have a folder, a set, a URL and the default document."""
    for file in ("s1.safetensors", "s2.h5", "v1.5/model.safetensors", "w.weights.h5"):
        Path(file).parent.mkdir(exist_ok=True)
        assert call("init", MLP, "-o", file)[0] == 0
    assert call("save", MLP, "-o", "set/", "--max-shard-size", "40")[0] == 0
    Path("model.yaml").write_text(Path(MLP).read_text())
    (index,) = Path("set").glob("*.json")
    for source, page in {
        "s1.safetensors": "s1.html",
        "s2.h5": "s2.html",
        "v1.5": "v1.5.html",
        "v1.5/": "v1.5.html",
        "v1.5/model.safetensors": "model.html",
        "set": "set.html",
        str(index): "model.html",
        "w.weights.h5": "w.html",
        f"file://{Path('s1.safetensors').resolve()}": "s1.html",
    }.items():
        assert call("report", source, "--no-values", "--force") == (0, "", f"wrote {page}\n"), source
    assert call("report", "--no-values", "--force") == (0, "", "wrote model.html\n")
    for source, page in {
        "https://example.invalid/a/big.safetensors?token=1/2": "big.html",
        "hf://org/gpt2@main": "gpt2.html",
        "hf://org/gpt2/model.safetensors": "model.html",
    }.items():
        Path(page).touch()
        code, _, err = call("report", source)
        assert (code, err) == (2, f"{page}: already exists (use --force to overwrite)\n"), source


def test_a_page_never_replaces_a_checkpoint(call: Call) -> None:
    """Even with --force: a report has the suffix of a page. Nothing is written."""
    for target in ("m.safetensors", "https://example.invalid/x.html", "missing/x.html"):
        code, out, err = call("report", MLP, "-o", target, "--force")
        assert (code, out, err.count("\n")) == (2, "", 1), err
    assert list(Path().iterdir()) == []
    Path("model.html").write_text(Path(MLP).read_text())
    Path("link.html").symlink_to("model.html")
    for target in ("model.html", "link.html"):
        code, _, err = call("report", "model.html", "-o", target, "--force")
        assert (code, "is the file that the report is about" in err) == (2, True)
    assert Path("model.html").read_text() == Path(MLP).read_text()
    code, _, err = call("report", MLP, "dense/kernel[0]", "-o", "x.html")
    assert (code, "slice" in err) == (2, True)
    code, _, err = call("report", MLP, MLP, MLP)
    assert code == 2
    assert "A report is of one file, or of two to compare (got 3 files)" in err


def test_a_page_on_standard_output_is_utf_8(paramctl: Run) -> None:
    """As the page itself declares, also where the terminal's encoding has no such characters, and from a pipe."""
    name = "caf\u00e9 \u2603"
    options = {"env": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}, "text": False}
    done = paramctl.process("report", "-", "--title", name, "-o", "-", input=Path(MLP).read_bytes(), **options)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"<h1>{name}</h1>" in done.stdout.decode("utf-8")


def test_two_files_on_the_command_line(call: Call) -> None:
    """The second one is compared, and addresses may follow."""
    for name, seed in (("a", "1"), ("b", "2")):
        assert call("init", MLP, "--seed", seed, "-o", f"{name}.safetensors", "-q")[0] == 0
    assert call("report", "a.safetensors", "b.safetensors", "dense", "-o", "d.html") == (0, "", "wrote d.html\n")
    assert [row["path"][0] for row in rows_of(Path("d.html").read_text(), "changes")] == ["dense/kernel"]


def test_a_page_of_10_000_arrays_is_a_few_megabytes(tmp_path: Path) -> None:
    """And it has one row for each; the tree folds the layers."""
    rng = np.random.default_rng(0)
    arrays = {
        f"model.layers.{layer}.{name}.weight": rng.standard_normal((2, 3), dtype="f4")
        for layer in range(2_500)
        for name in ("query", "key", "value", "output")
    }
    page = pc.report(saved(tmp_path / "m.safetensors", arrays)).html
    assert len(page.encode()) < 5_000_000
    data = data_of(page)
    assert len(data["tables"]["arrays"]["rows"]) == 10_000
    (layers,) = data["tree"]
    assert (layers[1], [child[1] for child in layers[4]]) == ("model.layers", ["0 … 2499"])


def test_an_array_that_cannot_be_decoded_has_its_reason(tmp_path: Path) -> None:
    """Its statistics are unknown, not guessed, and the other arrays have theirs."""
    spans = {"w": ("F4", [4, 4], [0, 8]), "v": ("F32", [1], [8, 12])}
    header = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": span} for name, (dtype, shape, span) in spans.items()
    }
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))
    rows = {row["path"][0]: row for row in rows_of(pc.report(tmp_path / "m.safetensors").html, "arrays")}
    assert "float4_e2m1fn" in rows["w"]["unread"]
    assert not {"mean", "zeros", "bars"} & rows["w"].keys()
    assert (rows["v"]["mean"], rows["v"]["zeros"]) == (0, 1)
