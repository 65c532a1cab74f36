"""Every format into every other: the same arrays, names, dtypes and ties come out, to the bit; as users of each expect."""

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from paramctl.conversion.match import Reference, match_to
from paramctl.conversion.report import Allowed
from paramctl.errors import InputError, OutputError
from paramctl.inspect.diff import compare
from paramctl.model import Model
from paramctl.source.base import Source
from paramctl.source.open import open_path, source_of
from paramctl.source.save import save
from paramctl.source.save import write as write_pieces
from paramctl.store.io.write_values import WriteOptions
from tests.conftest import ROOT, Run
from tests.formats import ANY, KERAS, NAMES

FIXTURES = ROOT / "tests/fixtures"
TIED = (
    "name: m\ninput: [6]\nlayers:\n  - dense: {name: a, units: 5}\n  - dense: {name: b, units: 6}\n  - dense: {name: c, units: 6}\n"
    "  - dense: {name: d, units: 6}\nties: [{keep: a/kernel, tie: b/kernel, transpose: true}, {keep: c/kernel, tie: d/kernel}]\n"
)

SUFFIXES = (".h5", ".keras", ".safetensors")
ALONE = [path.name for path in FIXTURES.iterdir() if path.suffix in SUFFIXES and "sharded_0" not in path.name]
FILES = [*sorted(ALONE), "hf_sharded", "keras3_sharded.weights.json"]
OF_KERAS3 = [name for name in FILES if name.startswith("keras3") or name == "keras2_v3format.weights.h5"]


def opened(path: Path) -> Source:
    return source_of(open_path(str(path)))


def saved(source: Source, path: Path, name: str) -> Source:
    """The source written under a name in a folder of its own, and read again."""
    path.mkdir(parents=True)
    target = f"{path}/{name}"
    save(source, target)
    return opened(Path(target))


def with_layers(source: Source, first: str, second: str, model: Model) -> Source:
    """Return the source to write. Keras' weights lack the configuration that ``.keras`` needs, which --like adds."""
    needed = second.endswith(".keras") and first.startswith("m.weights")
    return match_to(source, Reference(source, model), Allowed([]))[0] if needed else source


def assert_same(a: Source, b: Source) -> None:
    """The same names, shapes, dtypes and bits."""
    reports = []
    rows = compare(a, b, progress=lambda *report: reports.append(report))
    assert reports or not list(a.model.owners())
    assert [row for row in rows if row.status != "ties"] == []
    for parameter in a.model.owners():
        left, right = (s.read(s.model.owner(parameter.path).path, 0, parameter.size) for s in (a, b))
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes(), parameter.path


def ties(source: Source) -> set[frozenset[str]]:
    return {frozenset((tie.kept, tie.tied)) for tie in source.model.ties}


def test_every_fixture_is_tried() -> None:
    assert len(FILES) > 14
    assert len(OF_KERAS3) >= 8


@pytest.mark.parametrize("name", FILES)
def test_foreign_files_through_every_pair(name: str, tmp_path: Path) -> None:
    """Into one format, from that into another: what comes out is what the file has, ties included."""
    source = opened(FIXTURES / name)
    targets = ANY + (KERAS if name in OF_KERAS3 and source.origin.keras and source.origin.keras.config else [])
    targets += [each for each in KERAS if each != "m.keras"] if name in OF_KERAS3 and targets == ANY else []
    for number, first in enumerate(targets):
        once = saved(source, tmp_path / str(number), first)
        assert_same(source, once)
        assert ties(once) == ties(source)
        for second in targets:
            known = with_layers(once, first, second, source.model)
            twice = saved(known, tmp_path / f"{number}-{targets.index(second)}", second)
            assert_same(source, twice)
            assert ties(twice) == ties(source)


@pytest.mark.parametrize(("first", "second"), list(product(NAMES, NAMES)))
def test_a_custom_model_through_every_pair(first: str, second: str, tmp_path: Path) -> None:
    """A tie is kept everywhere; a transposed one where the format can say it, and as a copy in Keras'."""
    (tmp_path / "m.yaml").write_text(TIED)
    source = opened(tmp_path / "m.yaml")
    once = saved(source, tmp_path / "1", first)
    twice = saved(with_layers(once, first, second, source.model), tmp_path / "2", second)
    assert_same(source, twice)
    transposed = {frozenset(("a/kernel", "b/kernel"))}
    same = {frozenset(("c/kernel", "d/kernel"))}
    assert ties(twice) == (same if {first, second} & set(KERAS) else same | transposed)


@pytest.fixture
def every_dtype(tmp_path: Path) -> Path:
    """A safetensors file that has every dtype, and numbers that no conversion may touch."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    arrays = {
        f"{kind}{bits}": rng.integers(0, 100, (3, 5)).astype(f"{kind}{bits}")
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    }
    arrays |= {name: rng.normal(size=(3, 5)).astype(name) for name in ("float16", "float32", "float64")}
    arrays |= {"bool": rng.random((3, 5)) > 0.5, "complex64": rng.normal(size=(2, 2)).astype("complex64")}
    arrays["scalar"], arrays["empty"] = np.array(3.5, "float32"), np.zeros((0, 4), "float32")
    arrays["not finite"] = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0], "float32")
    path = tmp_path / "every.safetensors"
    save_file(arrays, path)
    return path


@pytest.mark.parametrize(("first", "second"), list(product(ANY, ANY)))
def test_every_dtype_through_every_pair(first: str, second: str, every_dtype: Path, tmp_path: Path) -> None:
    source = opened(every_dtype)
    assert len(source.model.parameters) == 16
    assert_same(source, saved(saved(source, tmp_path / "1", first), tmp_path / "2", second))


def test_a_tie_in_each_format(tmp_path: Path) -> None:
    """A hard link in HDF5, an entry of the metadata in safetensors, both names in npz."""
    (tmp_path / "m.yaml").write_text(TIED)
    source = opened(tmp_path / "m.yaml")
    for name in ("m.h5", "m.weights.h5", "m.safetensors", "m.npz"):
        saved(source, tmp_path / name.replace(".", "-"), name)
    with h5py.File(tmp_path / "m-h5/m.h5") as file:
        assert file["c/kernel"] == file["d/kernel"]
        assert "kernel" not in file["b"], "a transposed tie is stored once"
    with h5py.File(tmp_path / "m-weights-h5/m.weights.h5") as file:
        assert file["layers/dense_2/vars/0"] == file["layers/dense_3/vars/0"]
        assert np.array_equal(file["layers/dense_1/vars/0"], file["layers/dense/vars/0"][()].T)
        assert "__paramctl__" not in file
        assert file["layers/dense_2/vars"].attrs["name"] == "c"
    with safe_open(tmp_path / "m-safetensors/m.safetensors", "numpy") as file:
        assert file.metadata()["d/kernel"] == "c/kernel"
        assert "d/kernel" not in file.keys()  # noqa: SIM118
    loaded = np.load(tmp_path / "m-npz/m.npz")
    assert np.array_equal(loaded["d/kernel"], loaded["c/kernel"])
    assert np.array_equal(loaded["b/kernel"], loaded["a/kernel"].T)


def test_an_array_in_fortrans_order_is_written_right(tmp_path: Path) -> None:
    """safetensors' own writer gives other values for such an array (its issue 825); here it is itself."""
    w = np.arange(12, dtype="float32").reshape(3, 4)
    np.savez(tmp_path / "w.npz", w=np.asfortranarray(w), t=w.T)
    saved(opened(tmp_path / "w.npz"), tmp_path / "s", "w.safetensors")
    loaded = load_file(tmp_path / "s/w.safetensors")
    assert np.array_equal(loaded["w"], w)
    assert np.array_equal(loaded["t"], w.T)


def test_bfloat16_in_keras_files_is_keras_own(tmp_path: Path) -> None:
    """Opaque values of two bytes, and the dtype as an attribute."""
    (tmp_path / "m.yaml").write_text("input: [4]\ndtype: bfloat16\nlayers: [{dense: 3}]\n")
    saved(opened(tmp_path / "m.yaml"), tmp_path / "k", "m.weights.h5")
    with h5py.File(tmp_path / "k/m.weights.h5") as file, h5py.File(FIXTURES / "keras3_bf16.weights.h5") as theirs:
        ours, other = file["layers/dense/vars/0"], theirs["layers/dense/vars/0"]
        assert ours.dtype == other.dtype == "V2"
        assert dict(ours.attrs) == dict(other.attrs) == {"dtype": "bfloat16"}
        assert np.isfinite(ours[()].view(ml_dtypes.bfloat16).astype("float32")).all()


def paths(path: Path) -> Iterator[tuple[str, str, tuple[int, ...] | None]]:
    """Return the datasets of an HDF5 file, and the names that its groups record."""
    found = []
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.append((name, item.attrs.get("name", ""), getattr(item, "shape", None)))
        )
    return iter(found)


DOCUMENTS = {
    "keras3_tied_functional.weights.h5": (
        "name: tied\ninput: [4]\nlayers:\n  - flatten: {name: flatten_1}\n  - dense: {name: dense_3, units: 4}\n"
        "  - reuse: dense_3\n  - dense: {name: dense_4, units: 1}\n"
    ),
    "keras3_shared_at_two_depths.weights.h5": (
        "inputs: {x: [4], y: [4]}\nlayers:\n  - dense: {name: shared, units: 4, from: y}\n"
        "  - reuse: {layer: shared, from: x, name: long}\n  - dense: {name: b1, units: 4, use_bias: false}\n"
        "  - dense: {name: b2, units: 4, use_bias: false}\n  - add: {name: sum, from: [shared, b2]}\n"
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_file_of_a_document_is_laid_out_as_keras_lays_it_out(name: str, tmp_path: Path) -> None:
    """Against a file that Keras wrote: a layer used twice is listed once, by the greater of its depths in the graph."""
    (tmp_path / "m.yaml").write_text(DOCUMENTS[name])
    saved(opened(tmp_path / "m.yaml"), tmp_path / "k", "m.weights.h5")
    ours = {(path, shape) for path, _, shape in paths(tmp_path / "k/m.weights.h5")}
    theirs = {(path, shape) for path, _, shape in paths(FIXTURES / name)}
    assert ours == theirs
    assert any(path.startswith("layers/dense_1/vars/") for path, _ in ours)


def test_all_files_of_keras_have_the_same_names(tmp_path: Path) -> None:
    """Those of .keras in the weights alone and in shards, of a layer that is used twice, and of a nested Functional."""
    nested = "blocks: {inner: {layers: [{identity: {name: in}}, {dense: {name: d, units: 4}}]}}\n"
    for text in (TWICE, f"{TWICE}  - inner: {{name: nested}}\n{nested}"):
        folder = tmp_path / str(len(text))
        folder.mkdir()
        (folder / "m.yaml").write_text(text)
        source = opened(folder / "m.yaml")
        for name in ("m.keras", "m.weights.h5", "m.weights.json"):
            save(source, str(folder / name))
        with zipfile.ZipFile(folder / "m.keras") as archive:
            archive.extract("model.weights.h5", folder)
        expected = {*paths(folder / "model.weights.h5")}
        assert {*paths(folder / "m.weights.h5")} == {*paths(folder / "m_00000.weights.h5")} == expected
        assert ("layers/dense_2/vars/0", "", (4, 2)) in expected
        assert (text == TWICE) is not any(path.startswith("layers/functional/layers/dense/") for path, *_ in expected)


TWICE = (
    "input: [4]\nlayers:\n  - dense: {name: first, units: 4}\n  - dense: {name: shared, units: 4}\n  - reuse: shared\n"
    "  - dense: {name: out, units: 2}\n  - dense: {name: last, units: 4}\n"
)


NOT_KERAS = {
    "input: [4]\nlayers: [{dense: 4}, {halve_while: {limit: 1}}]\n": "Keras has no layer halve_while",
    "input: {shape: [4], dtype: int32}\nlayers: [{embedding: [5, 6]}, {position_embedding: 4}]\n": "Keras has no layer position_embedding",
    "input: [4]\nlayers: [{dense: {units: 4, activation: {gelu: {approximate: true}}}}]\n": "activation of dense is a function with options",
    "input: [5, 4]\nlayers: [{grouped_query_attention: {head_dim: 2, num_query_heads: 2, num_key_value_heads: 1, rope_theta: 10000}}]\n": "has no rope_theta",
    "input: [5, 4]\nlayers: [{multi_head_attention: {num_heads: 2, key_dim: 2, use_bias: [query, value]}}]\n": "has no biases of single projections",
    "input: [4]\nlayers: [{dense: {name: a, units: 4}}, {dense: {name: b, units: 4, from: input}}]\n": "no output depends on a",
}


@pytest.mark.parametrize("text", NOT_KERAS)
def test_a_model_that_keras_cannot_build_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(text)
    source = opened(tmp_path / "m.yaml")
    with pytest.raises(OutputError, match=NOT_KERAS[text]) as error:
        saved(source, tmp_path / "k", "m.keras")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "k").iterdir()) == []


def test_arrays_without_layers_are_no_keras_model(paramctl: Run, tmp_path: Path) -> None:
    """A file of names alone does not tell whose they are, and nothing is guessed; a document by --like does."""
    np.savez(tmp_path / "w.npz", **{"dense/kernel": np.ones((4, 3), "float32"), "dense/bias": np.zeros(3, "float32")})
    for target in ("w.keras", "w.weights.h5", "w.weights.json"):
        done = paramctl("save", "w.npz", "-o", target)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "Name the model document with --like" in done.stderr
        assert not (tmp_path / target).exists()
    (tmp_path / "m.yaml").write_text("input: [4]\nlayers: [{dense: 3}]\n")
    assert paramctl("save", "w.npz", "--like", "m.yaml", "-o", "w.weights.h5").returncode == 0
    assert paramctl("diff", "w.npz", "w.weights.h5").returncode == 0


TWO = "name: m\ninput: [4]\nlayers: [{dense: 4}, {dense: 4}]\n"
SETS = pytest.mark.parametrize("name", ["m/", "m.safetensors", "m.weights.json"])
INDEX = {
    "m/": "m/model.safetensors.index.json",
    "m.safetensors": "m.safetensors.index.json",
    "m.weights.json": "m.weights.json",
}
FIRST = {
    "m/": "m/model-00001-of-00004.safetensors",
    "m.safetensors": "m-00001-of-00004.safetensors",
    "m.weights.json": "m_00000.weights.h5",
}


def drawn(folder: Path, seed: int) -> Source:
    (folder / "m.yaml").write_text(TWO)
    return source_of(open_path(str(folder / "m.yaml")), seed)


def write(
    source: Source, path: Path | str, force: bool = False, most: int = 60, each: Callable[[], object] = lambda: None
) -> None:
    """Write a set of files, and do something after each piece of it."""
    for _ in write_pieces(source, str(path), WriteOptions(force, most)):
        each()


def files(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


def of_the_set(index: Path) -> set[str]:
    """Return the files of a complete set: the index, and the files that it names."""
    lists = json.loads(index.read_text())["weight_map"].values()
    named = {name for each in lists for name in (each if isinstance(each, list) else [each])}
    return named | {index.name}


def whole(folder: Path, name: str) -> set[str]:
    """Return the files of a folder with a document and this set, the file that Keras opens first included."""
    index = folder / INDEX[name]
    there = {str((index.parent / each).relative_to(folder)) for each in of_the_set(index)}
    return there | {"m.yaml"} | ({FIRST[name]} if name == "m.weights.json" else set())


def test_a_set_is_listed_in_the_order_of_its_index(tmp_path: Path) -> None:
    """As other programs write it, without a document."""
    write(drawn(tmp_path, 0), f"{tmp_path}/m/")
    index = tmp_path / INDEX["m/"]
    weight_map = json.loads(index.read_text())["weight_map"]
    for paths in (list(weight_map), list(weight_map)[::-1]):
        index.write_text(json.dumps({"weight_map": {path: weight_map[path] for path in paths}}))
        assert list(opened(index).model.parameters) == paths


@SETS
def test_the_old_set_is_read_while_a_new_one_is_written(name: str, tmp_path: Path) -> None:
    """After each piece, by its index, and all of it; afterwards only the new one is there."""
    for seed in range(4):
        before = opened(tmp_path / INDEX[name]) if seed else None
        looks = []

        def look(before: Source | None = before, looks: list[int] = looks) -> None:
            assert (tmp_path / INDEX[name]).exists() is (before is not None)
            if before is not None:
                assert_same(before, opened(tmp_path / INDEX[name]))
            looks.append(1)

        write(drawn(tmp_path, seed), f"{tmp_path}/{name}", bool(seed), each=look)
        assert len(looks) == 4
        assert_same(drawn(tmp_path, seed), opened(tmp_path / INDEX[name]))
        assert files(tmp_path) == whole(tmp_path, name)


@SETS
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OutputError, None])
def test_a_set_that_is_not_finished_leaves_nothing(
    name: str, error: type[BaseException] | None, tmp_path: Path
) -> None:
    """A set that ends early, by any cause, after its first file or its last, leaves the folder unchanged."""
    (tmp_path / "m").mkdir()
    for seed, pieces in product((0, 1), (1, 4)):
        if seed:
            write(drawn(tmp_path, 0), f"{tmp_path}/{name}", True)
        source = drawn(tmp_path, 1)
        before = files(tmp_path)
        saving = write_pieces(source, f"{tmp_path}/{name}", WriteOptions(True, 60))
        for _ in range(pieces):
            next(saving)
        assert files(tmp_path) > before, "it is being written"
        if error is None:
            saving.close()
        else:
            with pytest.raises(error):
                saving.throw(error("enough"))
        assert files(tmp_path) == before
        assert not list(tmp_path.rglob(".paramctl-*"))


@SETS
def test_an_index_that_cannot_be_written_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names that the files have got by then go too."""
    (tmp_path / "m").mkdir()

    def fail(path: str, text: str, force: bool) -> None:
        assert (tmp_path / FIRST[name]).exists()
        raise OutputError(f"{path}: No space left on device")

    source = drawn(tmp_path, 1)
    monkeypatch.setattr("paramctl.store.io.set_writer.write_text", fail)
    with pytest.raises(OutputError, match="No space left"):
        write(source, f"{tmp_path}/{name}")
    assert files(tmp_path) == {"m.yaml"}


@pytest.mark.parametrize(("first", "second"), [("m-2", "m"), ("m", "m-2")])
@pytest.mark.parametrize("suffix", [".safetensors", ".weights.json"])
def test_sets_with_similar_names_leave_each_other_alone(first: str, second: str, suffix: str, tmp_path: Path) -> None:
    """A later generation of one may be called what the other is: no file of another set is replaced or removed."""
    index = ".safetensors.index.json" if suffix == ".safetensors" else suffix
    write(drawn(tmp_path, 10), tmp_path / f"{first}{suffix}")
    for seed in range(5):
        write(drawn(tmp_path, seed), tmp_path / f"{second}{suffix}", seed > 0)
        assert_same(drawn(tmp_path, 10), opened(tmp_path / f"{first}{index}"))
        assert_same(drawn(tmp_path, seed), opened(tmp_path / f"{second}{index}"))
    write(drawn(tmp_path, 11), tmp_path / f"{first}{suffix}", True)
    assert_same(drawn(tmp_path, 4), opened(tmp_path / f"{second}{index}"))


@SETS
def test_only_files_of_the_set_are_removed_with_it(name: str, tmp_path: Path) -> None:
    """The index cannot claim other files, and files that another index names stay."""
    (tmp_path / "m").mkdir()
    write(drawn(tmp_path, 0), f"{tmp_path}/{name}")
    index = tmp_path / INDEX[name]
    others = {"train.py", "model-00001-of-00002.safetensors.bak", "other-00001-of-00002.safetensors", "m_0.weights.h5"}
    for other in others:
        (index.parent / other).write_text("kept")
    told = json.loads(index.read_text())
    told["weight_map"] |= {f"/{other}": other for other in others}
    index.write_text(json.dumps(told))
    copy = index.parent / f"copy{'.weights.json' if name == 'm.weights.json' else '.safetensors.index.json'}"
    last = sorted(of_the_set(index) - others - {index.name})[-1]
    copy.write_text(json.dumps({"weight_map": {"w": last}}))
    write(drawn(tmp_path, 1), f"{tmp_path}/{name}", True)
    kept = {str((index.parent / each).relative_to(tmp_path)) for each in (*others, copy.name, last)}
    assert files(tmp_path) == whole(tmp_path, name) | kept
    assert all((index.parent / other).read_text() == "kept" for other in others)


@SETS
@pytest.mark.parametrize("text", ["mine", '{"weight_map": {"w": "gone.safetensors"}}', "{}"])
def test_an_index_is_replaced_by_force_alone(name: str, text: str, tmp_path: Path) -> None:
    """Also one that is damaged, or whose files are gone; and it is refused before anything is done."""
    index = tmp_path / INDEX[name]
    index.parent.mkdir(exist_ok=True)
    source = drawn(tmp_path, 1)
    index.write_text(text)
    with pytest.raises(OutputError, match=r"already exists \(use --force to overwrite\)"):
        save(source, f"{tmp_path}/{name}", WriteOptions(max_shard_size=60))
    assert files(tmp_path) == {"m.yaml", INDEX[name]}
    assert index.read_text() == text
    write(source, f"{tmp_path}/{name}", True)
    assert files(tmp_path) == whole(tmp_path, name)


@pytest.mark.parametrize("name", ["m/", "m.safetensors"])
def test_a_set_in_the_place_of_a_file_and_back(name: str, tmp_path: Path) -> None:
    """By force alone, and what was there is gone then: other readers would open it before the index, or after it."""
    alone = "m/model.safetensors" if name == "m/" else "m.safetensors"
    write(drawn(tmp_path, 0), f"{tmp_path}/{name}", most=1_000)
    assert files(tmp_path) == {"m.yaml", alone}
    with pytest.raises(OutputError, match="already exists"):
        save(drawn(tmp_path, 1), f"{tmp_path}/{name}", WriteOptions(max_shard_size=60))
    assert files(tmp_path) == {"m.yaml", alone}
    write(drawn(tmp_path, 1), f"{tmp_path}/{name}", True)
    assert files(tmp_path) == whole(tmp_path, name)
    for most, path in ((1_000, name), (None, alone)):
        with pytest.raises(OutputError, match="already exists"):
            save(drawn(tmp_path, 2), f"{tmp_path}/{path}", WriteOptions(max_shard_size=most))
    save(drawn(tmp_path, 2), f"{tmp_path}/{alone}", WriteOptions(force=True))
    assert files(tmp_path) == {"m.yaml", alone}
    assert_same(drawn(tmp_path, 2), opened(tmp_path / alone))


@SETS
@pytest.mark.parametrize("sizes", [(60, 60), (60, 100), (60, 1_000)])
def test_savers_of_one_set_at_once(name: str, sizes: tuple[int, int], tmp_path: Path) -> None:
    """The last one wins, and its set is complete; nothing of the other is left."""
    sources = [drawn(tmp_path, seed) for seed in (0, 1)]
    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda k: write(sources[k], f"{tmp_path}/{name}", True, sizes[k]), (0, 1)))
        index = tmp_path / INDEX[name]
        alone = tmp_path / ("m/model.safetensors" if name == "m/" else name)
        found = opened(index if index.exists() else alone)
        kernels = [each.read("dense/kernel", 0, 16).tobytes() for each in (*sources, found)]
        assert_same(sources[kernels.index(kernels[2])], found)
        assert files(tmp_path) == (
            whole(tmp_path, name) if index.exists() else {"m.yaml", str(alone.relative_to(tmp_path))}
        )


def test_a_folder_of_shards_without_their_index_is_not_read(tmp_path: Path) -> None:
    """Not even if one is left alone; a single file that has come in their place is."""
    (tmp_path / "m").mkdir()
    write(drawn(tmp_path, 0), f"{tmp_path}/m/")
    (tmp_path / INDEX["m/"]).unlink()
    while shards := sorted((tmp_path / "m").glob("model-*")):
        with pytest.raises(InputError, match=r"the index of model-0000\d-of-00004.safetensors is missing") as error:
            opened(tmp_path / "m")
        assert "\n" not in str(error.value)
        shards[0].unlink()
    write(drawn(tmp_path, 0), f"{tmp_path}/m/")
    (tmp_path / INDEX["m/"]).unlink()
    (tmp_path / "m/adapter.safetensors").write_bytes((tmp_path / FIRST["m/"]).read_bytes())
    with pytest.raises(InputError, match="the index"):
        opened(tmp_path / "m")
    write(drawn(tmp_path, 3), f"{tmp_path}/m/", most=1_000)
    (tmp_path / "m/adapter.safetensors").unlink()
    assert_same(drawn(tmp_path, 3), opened(tmp_path / "m"))


def test_a_suffix_in_capitals(tmp_path: Path) -> None:
    """It is no part of what the files of a set are called."""
    write(drawn(tmp_path, 0), tmp_path / "M.WEIGHTS.JSON")
    assert files(tmp_path) == {"m.yaml", "M.WEIGHTS.JSON", *(f"M_0000{k}.weights.h5" for k in range(4))}
    (tmp_path / "s").mkdir()
    write(drawn(tmp_path, 0), tmp_path / "s/M.SafeTensors")
    shards = {f"M-0000{k + 1}-of-00004.safetensors" for k in range(4)}
    assert set(os.listdir(tmp_path / "s")) == {"M.safetensors.index.json", *shards}


def test_a_set_of_keras_files(paramctl: Run, tmp_path: Path) -> None:
    """Files of the size asked for under Keras' names; while a new set is written the old one is whole."""
    (tmp_path / "m.yaml").write_text(TIED)
    assert paramctl("save", "m.yaml", "-o", "m.weights.json", "--max-shard-size", "150").returncode == 0
    first = set(tmp_path.glob("*.h5"))
    assert {path.name for path in first} == {f"m_{number:05d}.weights.h5" for number in range(len(first))}
    assert len(first) > 2
    assert paramctl("diff", "m.yaml", "m.weights.json").returncode == 1, "a transposed tie is a copy there"
    assert paramctl("save", "m.weights.json", "-o", "n.weights.h5").returncode == 0
    refused = paramctl("save", "m.yaml", "-o", "m.weights.json", "--max-shard-size", "150")
    assert (refused.returncode, "already exists (use --force to overwrite)" in refused.stderr) == (2, True)
    assert set(tmp_path.glob("m_*.h5")) == first
    again = paramctl("save", "m.yaml", "-o", "m.weights.json", "--max-shard-size", "150", "--seed", "3", "--force")
    assert again.returncode == 0
    second = set(tmp_path.glob("m*_0*.h5"))
    assert second & first == {tmp_path / "m_00000.weights.h5"}, "which Keras opens whatever the index says"
    assert paramctl("diff", "m.weights.json", "n.weights.h5", "-q").returncode == 1
