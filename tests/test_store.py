"""Files: what a native one holds and shows, and what is read of any other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from paramctl.errors import InputError
from paramctl.model import Model
from paramctl.source.open import open_checkpoint
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.hdf5 import files as hdf5
from paramctl.store.hdf5.listing import Listing, ParameterCollector
from paramctl.store.location import open_location
from tests.conftest import ROOT, SAMPLES, Run

TIED = str(ROOT / "sample_models/tied_mlp.yaml")
MLP = str(ROOT / "sample_models/mlp.yaml")
BOTH = (
    "name: both\ninput: [6]\nvars: {width: 5}\nlayers:\n"
    '  - dense: {name: a, units: "${width}"}\n  - dense: {name: b, units: 6}\n  - dense: {name: c, units: 6, use_bias: false}\n'
    "  - dense: {name: d, units: 6, trainable: false}\n  - batch_normalization\n"
    "ties: [{keep: a/kernel, tie: b/kernel, transpose: true}, {keep: c/kernel, tie: d/kernel}]\n"
)


def test_a_native_file_is_readable_by_h5py(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text(BOTH)
    assert paramctl("init", "both.yaml", "-D", "width=4", "--seed", "11", "-q").returncode == 0
    with h5py.File(tmp_path / "both.h5") as file:
        assert list(file) == ["a", "b", "c", "d", "batch_normalization", "__paramctl__"], "in the order of the document"
        kernel = file["a/kernel"]
        assert (kernel.shape, kernel.dtype, kernel.chunks, kernel.compression) == ((6, 4), "float32", None, None)
        assert dict(kernel.attrs) == {
            "axes": "in, out",
            "kind": "weight",
            "trainable": True,
            "scheme": "glorot_uniform",
            "seed": 11,
        }
        assert file["a"].attrs["type"] == "dense"
        assert file["d/bias"].attrs["trainable"] == np.False_
        assert file["d/kernel"] == file["c/kernel"], "a tie is a hard link"
        assert "kernel" not in file["b"], "a transposed one is no array of its own"
        own = file["__paramctl__"]
        assert own["document"][()].decode() == BOTH
        assert json.loads(own["ties"][()]) == [["a/kernel", "b/kernel", True], ["c/kernel", "d/kernel", False]]
        assert json.loads(own["model"][()])["variables"] == {"width": 4}
        assert (own.attrs["version"], own.attrs["recipe"]) == (1, 1)
        assert own.attrs["written_by"].startswith("paramctl ")


@pytest.mark.parametrize(
    "path", [path for path in SAMPLES if path.stem not in ("llama3_8b", "vgg16")], ids=lambda path: path.stem
)
def test_a_file_shows_the_same_tree_as_its_document(path: Path, paramctl: Run, tmp_path: Path) -> None:
    """Every sample but two that take more than half a gigabyte, made small by its variables where it is large; as HDF5 and as safetensors."""
    small = {
        "gpt2": ["width=24", "depth=2", "heads=2", "vocabulary=50", "context=8"],
        "bert_base": ["width=24", "depth=2", "heads=2", "vocabulary=50", "positions=16"],
        "vit_b16": ["width=24", "depth=2", "heads=2"],
    }
    text = path.read_text()
    arguments = [
        each for value in small.get(path.stem, []) if f"{value.split('=')[0]}:" in text for each in ("-D", value)
    ]
    model = paramctl("summary", str(path), *arguments, "--format", "json")
    for suffix in ("h5", "safetensors"):
        made = paramctl("save", str(path), *arguments, "-o", f"m.{suffix}")
        assert made.returncode == 0, made.stderr
        again = paramctl("summary", f"m.{suffix}", "--format", "json")
        assert again.stdout == model.stdout
        os.unlink(tmp_path / f"m.{suffix}")


def test_the_file_goes_on_when_its_document_does_not_fit(paramctl: Run, tmp_path: Path) -> None:
    """Somebody has changed an array: the file's own groups are shown, and no error."""
    paramctl("init", MLP, "-q")
    with h5py.File(tmp_path / "mlp.h5", "a") as file:
        del file["dense/bias"]
    shown = paramctl("summary", "mlp.h5", "--format", "json")
    assert [row["path"] for row in json.loads(shown.stdout)["parameters"]] == [
        "dense/kernel",
        "dense_1/kernel",
        "dense_1/bias",
    ]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_other_libraries_read_the_written_file(dtype: str, paramctl: Run, tmp_path: Path) -> None:
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    for suffix in ("h5", "safetensors"):
        paramctl("init", MLP, "--dtype", dtype, "-o", f"m.{suffix}", "-q")
    with h5py.File(tmp_path / "m.h5") as file:
        dataset = file["dense/kernel"]
        if dtype == "bfloat16":
            assert (dataset.dtype.kind, dataset.attrs["dtype"]) == ("V", "bfloat16"), "Keras' convention"
        values = dataset[()].view(kind)
    told = json.loads(paramctl("dump", "m.h5", "dense/kernel", "--format", "json").stdout)["dense/kernel"]
    assert np.array_equal(values, np.array(told).astype(kind))
    if dtype == "bfloat16":  # the library's NumPy side does not know it
        data = (tmp_path / "m.safetensors").read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        assert header["dense/kernel"]["dtype"] == "BF16"
        start = 8 + int.from_bytes(data[:8], "little") + header["dense/kernel"]["data_offsets"][0]
        assert data[start : start + 32] == values.tobytes()
    else:
        assert np.array_equal(load_file(tmp_path / "m.safetensors")["dense/kernel"], values)


def test_ties_survive_every_way(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text(BOTH)
    paramctl("save", "both.yaml", "-o", "a.h5")
    paramctl("save", "a.h5", "-o", "b.safetensors")
    paramctl("save", "b.safetensors", "-o", "c.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "c.h5").read_bytes()
    shown = paramctl("summary", "b.safetensors").stdout
    assert shown.endswith("Tied: b/kernel = a/kernel, transposed\nTied: d/kernel = c/kernel\n")


def test_the_tied_chapter_model_counts_once(paramctl: Run) -> None:
    paramctl("init", TIED, "-q", "-o", "t.h5")
    assert "Total parameters:  25" in paramctl("summary", "t.h5").stdout


def test_any_hdf5_file_is_read(paramctl: Run, tmp_path: Path) -> None:
    """Chunked, compressed, compact, big-endian, scalar, empty, linked twice; what is no number is passed over."""
    rng = np.random.default_rng(0)
    large = rng.random((300, 2000), dtype="float32")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("zipped/w", data=large, compression="gzip", chunks=(7, 900))
        file["big"] = large.astype(">f8")
        file["deep/a/b/c/scalar"] = np.float32(3)
        file["empty"] = np.zeros((0, 4), "float32")
        file["twice"] = file["big"]
        file["text"] = "words"
        file["soft"] = h5py.SoftLink("/big")
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3,))
        made = h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, dcpl=compact)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1, 2, 3], "float32"))
    shown = paramctl("summary", "f.h5", "--format", "json")
    assert json.loads(shown.stdout)["totals"]["parameters"] == 2 * large.size + 1 + 3
    for name in ("text", "soft"):
        assert name in shown.stderr
    everything = np.frombuffer(_raw(paramctl, tmp_path, "zipped/w"), "float32").reshape(large.shape)
    assert np.array_equal(everything, large)
    assert np.array_equal(
        np.frombuffer(_raw(paramctl, tmp_path, "zipped/w[5:290:17, 3]"), "float32"), large[5:290:17, 3]
    )
    assert np.array_equal(np.frombuffer(_raw(paramctl, tmp_path, "twice[1]"), "<f8"), large[1].astype("float64"))
    assert np.array_equal(np.frombuffer(_raw(paramctl, tmp_path, "compact"), "float32"), [1, 2, 3])
    assert _raw(paramctl, tmp_path, "empty") == b""
    saved = paramctl("save", "f.h5", "-o", "g.h5")
    assert saved.returncode == 0, saved.stderr
    with h5py.File(tmp_path / "g.h5") as file:
        assert np.array_equal(file["zipped/w"], large)
        assert file["big"].dtype == "<f8"
        assert file["big"] == file["twice"]


def _raw(paramctl: Run, folder: Path, address: str) -> bytes:
    with open(folder / "out", "wb") as out:
        done = paramctl("dump", "f.h5", address, "--format", "raw", stdout=out, capture_output=False)
    assert done.returncode == 0
    return (folder / "out").read_bytes()


REFUSED = {
    "a virtual dataset": "v is a virtual dataset, which paramctl never reads",
    "external storage": "e has external storage, which paramctl never reads",
    "claims": "claims 4,000,000,000,000 bytes in a file of",
    "nested": "groups are nested deeper than 64 levels",
}


class Marked:
    """A dialect of files whose root has the attribute mark."""

    texts, lists = ("mark",), ("order",)

    def matches(self, listing: Listing) -> bool:
        return "mark" in listing.groups[""]

    def read(self, listing: Listing) -> Checkpoint:
        root = listing.groups[""]
        model = Model(f"{root['mark']}, {root['order']}", (), (), ())
        return Checkpoint(model, ParameterCollector(listing).reader, listing.file)


def test_a_dialect_reads_the_files_that_it_recognizes(paramctl: Run, tmp_path: Path) -> None:
    """It gets the attributes that it asks for, a split list in one piece, and never a native file."""
    assert paramctl("save", MLP, "-o", "native.h5").returncode == 0
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["w"] = np.ones(2)
    for name in ("native", "plain"):
        with h5py.File(tmp_path / f"{name}.h5", "a") as file:
            file.attrs["other"] = "x"
        assert "," not in hdf5.read(open_location(str(tmp_path / f"{name}.h5")), dialects=[Marked()]).model.name
    for name in ("native", "plain"):
        with h5py.File(tmp_path / f"{name}.h5", "a") as file:
            file.attrs["mark"] = "here"
            file.attrs["order10"], file.attrs["order2"], file.attrs["order"] = ["c"], ["b"], ["a", "a"]
    read = {
        name: hdf5.read(open_location(str(tmp_path / f"{name}.h5")), dialects=[Marked()])
        for name in ("native", "plain")
    }
    assert read["native"].model.name == "mlp"
    assert read["plain"].model.name == "here, ['a', 'a', 'b', 'c']"


@pytest.mark.parametrize("what", REFUSED)
def test_content_that_is_never_read_in_hdf5(what: str, paramctl: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        if what == "a virtual dataset":
            layout = h5py.VirtualLayout((3,), "float32")
            layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
            file.create_virtual_dataset("v", layout)
        elif what == "external storage":
            file.create_dataset("e", (3,), "float32", external=[("/etc/passwd", 0, 12)])
        elif what == "claims":
            file.create_dataset("c", (10**12,), "float32", chunks=(1000,))
        else:
            file.create_group("/".join("g" * 70))
    done = paramctl("summary", "f.h5")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("f.h5: ")
    assert REFUSED[what] in done.stderr


def test_a_damaged_file_is_one_line(paramctl: Run, tmp_path: Path) -> None:
    paramctl("init", MLP, "-q")
    whole = (tmp_path / "mlp.h5").read_bytes()
    for size in (9, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.h5").write_bytes(whole[:size])
        done = paramctl("dump", "cut.h5")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), size
        assert done.stderr.startswith("cut.h5: ")


def _safetensors(path: Path, header: object, data: bytes = b"", length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def entry(**other: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **other}


STRICT: dict[str, tuple[object, bytes, str]] = {
    "twins": (
        b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"\0",
        "the key 'w' twice",
    ),
    "a space": (b' {"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\0", "must begin with '{'"),
    "a hole": ({"w": entry(data_offsets=[8, 16])}, bytes(16), "'w' must begin at byte 0"),
    "an overlap": ({"v": entry(), "w": entry(data_offsets=[4, 12])}, bytes(12), "'w' must begin at byte 8"),
    "trailing bytes": ({"w": entry()}, bytes(9), "but its header describes"),
    "too short": ({"w": entry()}, bytes(7), "but its header describes"),
    "another size": ({"w": entry(shape=[3])}, bytes(8), "in float32 needs 12"),
    "an overflow": ({"w": entry(shape=[2**32, 2**32, 2])}, bytes(8), "in float32 needs"),
    "a negative size": ({"w": entry(shape=[-2])}, bytes(8), "shape must be a list of integers, not negative"),
    "a size that is no number": ({"w": entry(shape=[True])}, bytes(8), "shape must be a list of integers"),
    "an unknown dtype": ({"w": entry(dtype="F5")}, bytes(8), "unsupported dtype 'F5'"),
    "something more": ({"w": entry(more=1)}, bytes(8), "must have dtype, shape and data_offsets, and nothing else"),
    "no JSON": (b"{", b"", "the header is not JSON"),
    "a list": (b"{]", b"", "the header is not JSON"),
    "deep": (b'{"w":' + b"[" * 100_000, b"", "must have dtype"),
    "metadata": ({"__metadata__": {"a": 1}, "w": entry()}, bytes(8), "must map strings to strings"),
}


@pytest.mark.parametrize("what", STRICT)
def test_safetensors_are_read_as_strictly_as_specified(what: str, paramctl: Run, tmp_path: Path) -> None:
    header, data, says = STRICT[what]
    _safetensors(tmp_path / "x.safetensors", header, data)
    done = paramctl("summary", "x.safetensors")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("x.safetensors: ")
    assert says in done.stderr


def test_safetensors_of_the_library(paramctl: Run, tmp_path: Path) -> None:
    arrays = {
        "a.b": np.arange(6, dtype="float32").reshape(2, 3),
        "n": np.array(7, "int64"),
        "e": np.zeros((0, 2), "float16"),
    }
    save_file(arrays, tmp_path / "x.safetensors")
    made = json.loads(paramctl("dump", "x.safetensors", "--format", "json").stdout)
    assert made == {"a.b": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], "n": 7, "e": []}
    paramctl("save", "x.safetensors", "-o", "y.safetensors")
    again = load_file(tmp_path / "y.safetensors")
    assert again.keys() == arrays.keys()
    assert all(np.array_equal(again[name], arrays[name]) and again[name].dtype == arrays[name].dtype for name in arrays)


def test_npz(paramctl: Run, tmp_path: Path) -> None:
    arrays = {"a/w": np.arange(6.0).reshape(2, 3), "flags": np.array([True, False])}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        made = json.loads(paramctl("dump", "x.npz", "--format", "json").stdout)
        assert made == {name: each.tolist() for name, each in arrays.items()}
    np.savez(tmp_path / "o.npz", o=np.array([{}], dtype=object))
    done = paramctl("dump", "o.npz")
    skipped = "o.npz: skipped 1 non-numeric item: o (pickled objects)\n"
    assert (done.returncode, done.stderr) == (0, f"{skipped}o.npz: contains no arrays\n")
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-30])
    done = paramctl("dump", "cut.npz")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_file_that_shrinks_after_it_was_opened_is_an_error(tmp_path: Path) -> None:
    save_file({"w": np.arange(8, dtype="float32")}, tmp_path / "m.safetensors")
    source = open_checkpoint(str(tmp_path / "m.safetensors"))
    assert list(source.read("w", 0, 8)) == list(range(8))
    os.truncate(tmp_path / "m.safetensors", (tmp_path / "m.safetensors").stat().st_size - 1)
    with pytest.raises(InputError, match="w"):
        source.read("w", 0, 8)


def test_a_file_outlives_the_modules() -> None:
    """Python clears modules as it ends, and the file that it deletes after them is closed without a complaint."""
    code = (
        "import os, sys; from paramctl.store.location import open_location; "
        "file = open_location('README.md'); "
        "sys.kept = file; del os.close"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stderr == ""
