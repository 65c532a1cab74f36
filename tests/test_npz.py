"""npz: exact for every dtype, read in every order, within limits whatever the file; NumPy itself is what it is held against."""

import io
import itertools
import json
import os
import random
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.errors import InputError, ParamctlError
from paramctl.model import Tie
from paramctl.parallel import in_parallel
from paramctl.source.open import Opened, open_path
from paramctl.source.stored import Stored
from paramctl.store.contents import Provenance
from paramctl.store.io import fortran_order, inflate, slab_reader
from paramctl.store.safetensors.header import CODES
from tests import forks
from tests.conftest import ROOT, Run

FOREIGN = sorted(dtype for dtype in DTYPE_BYTES if dtype not in np.sctypeDict or hasattr(ml_dtypes, dtype))
SHAPES: dict[str, tuple[int, ...]] = {"matrix": (3, 5), "scalar": (), "empty": (0, 4), "long": (257,)}
SAVES = {"stored": np.savez, "compressed": np.savez_compressed}


def test_dtypes_that_numpy_lacks_are_those_of_ml_dtypes() -> None:
    assert len(FOREIGN) == 6
    assert "bfloat16" in FOREIGN


def bits(dtype: str, count: int) -> np.ndarray:
    """Values of a dtype with any bits, every NaN among them; one more or less is another value."""
    rng = np.random.default_rng(len(dtype))
    if dtype == "bool":
        return rng.integers(0, 2, count).astype(bool)
    raw = rng.integers(0, 256, count * DTYPE_BYTES[dtype], dtype=np.uint8)
    if DTYPE_BYTES[dtype] == 1:
        raw = np.arange(count, dtype=np.uint8)  # all 256 of them, where there is the room
    return raw.view(numpy_dtype(dtype))


def arrays_of(dtype: str) -> dict[str, np.ndarray]:
    made = {f"{dtype}/{name}": bits(dtype, int(np.prod(shape))).reshape(shape) for name, shape in SHAPES.items()}
    special = {"float32": [0x7F800001, 0xFFC12345], "float64": [0x7FF0000000000001], "float16": [0x7C01, 0xFE77]}
    if dtype in special:  # NaN that say something, signalling ones too, which arithmetic would make quiet
        made[f"{dtype}/nan"] = np.array(special[dtype], f"u{DTYPE_BYTES[dtype]}").view(dtype)
    if dtype == "bfloat16":
        made["bfloat16/nan"] = np.array([0x7F81, 0xFFC5, 0x8000], "u2").view(ml_dtypes.bfloat16)
    return made


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """By hand, for the library refuses some of these dtypes."""
    entries, data = {}, b""
    for name, each in arrays.items():
        end = len(data) + each.nbytes
        dtype = CODES[each.dtype.name]
        entries[name] = {"dtype": dtype, "shape": list(each.shape), "data_offsets": [len(data), end]}
        data += each.tobytes()
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def read_all(path: Path) -> dict[str, np.ndarray]:
    """Every array of a file, as paramctl reads it."""
    opened = open_path(str(path))
    assert opened.checkpoint is not None
    read = opened.checkpoint.reader.read
    return {name: read(name, 0, each.size).reshape(each.shape) for name, each in opened.model.parameters.items()}


def assert_same(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, each in wanted.items():
        assert (found[name].dtype, found[name].shape) == (each.dtype, each.shape), name
        assert found[name].tobytes() == each.tobytes(), name


@pytest.fixture(scope="module")
def every_dtype(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all.safetensors, of every dtype that it can have, and all.npz made of it by paramctl."""
    folder = tmp_path_factory.mktemp("dtypes")
    arrays = {name: each for dtype in DTYPE_BYTES if dtype in CODES for name, each in arrays_of(dtype).items()}
    write_safetensors(folder / "all.safetensors", arrays)
    _save(folder, "all.safetensors", "all.npz")
    return folder


def _save(folder: Path, source: str, target: str) -> None:
    Run(folder)("save", source, "-o", target, "--force", check=True)


def test_every_dtype_comes_back_with_its_bits(every_dtype: Path) -> None:
    wanted = {name: each for dtype in DTYPE_BYTES if dtype in CODES for name, each in arrays_of(dtype).items()}
    assert set(DTYPE_BYTES) - {name.split("/")[0] for name in wanted} == {"complex128"}
    assert_same(read_all(every_dtype / "all.npz"), wanted)


def test_safetensors_through_npz_is_the_same_file(every_dtype: Path) -> None:
    _save(every_dtype, "all.safetensors", "one.safetensors")
    _save(every_dtype, "all.npz", "two.safetensors")
    assert (every_dtype / "one.safetensors").read_bytes() == (every_dtype / "two.safetensors").read_bytes()


def test_hdf5_through_npz_is_the_same_file(every_dtype: Path) -> None:
    """complex128 too, which safetensors has not."""
    _save(every_dtype, "all.safetensors", "one.h5")
    np.savez(every_dtype / "complex.npz", **arrays_of("complex128"))
    _save(every_dtype, "complex.npz", "complex.h5")
    for name in ("one", "complex"):
        _save(every_dtype, f"{name}.h5", f"{name}-of-h5.npz")
        _save(every_dtype, f"{name}-of-h5.npz", f"{name}-again.h5")
        assert (every_dtype / f"{name}.h5").read_bytes() == (every_dtype / f"{name}-again.h5").read_bytes()
    assert_same(read_all(every_dtype / "complex-of-h5.npz"), arrays_of("complex128"))


def test_numpy_reads_the_same_values(every_dtype: Path) -> None:
    """NumPy reads a dtype that it lacks as bytes, and a view of them has the values."""
    loaded = np.load(every_dtype / "all.npz")
    for dtype in DTYPE_BYTES:
        for name, each in arrays_of(dtype).items() if dtype in CODES else ():
            found = loaded[name]
            if dtype in FOREIGN:
                assert found.dtype == f"V{DTYPE_BYTES[dtype]}"
                found = found.view(getattr(ml_dtypes, dtype))
            assert (found.dtype, found.shape) == (each.dtype, each.shape)
            assert found.tobytes() == each.tobytes()


def test_a_member_equals_numpys(every_dtype: Path) -> None:
    """To the byte; only for float8_e5m2 NumPy writes a header that it cannot read itself."""
    with zipfile.ZipFile(every_dtype / "all.npz") as archive:
        for name in map(str, np.load(every_dtype / "all.npz")):
            dtype = name.split("/")[0]
            buffer = io.BytesIO()
            np.save(buffer, arrays_of(dtype)[name])
            written = archive.read(f"{name}.npy")
            if dtype == "float8_e5m2":
                assert written == buffer.getvalue().replace(b"'<f1'", b"'<V1'")
            else:
                assert written == buffer.getvalue()
            assert np.lib.format.read_magic(io.BytesIO(written)) == (1, 0)


def test_dump_to_npz_is_for_numpy_alone(every_dtype: Path, paramctl: Run, tmp_path: Path) -> None:
    """bfloat16 becomes float32, with equal values."""
    raw = paramctl(
        *("dump", str(every_dtype / "all.npz"), "bfloat16/matrix", "float8_e4m3fn/long", "--format", "npz"), text=False
    ).stdout
    loaded = np.load(io.BytesIO(raw))  # type: ignore[arg-type]
    for name, dtype in (("bfloat16/matrix", "bfloat16"), ("float8_e4m3fn/long", "float8_e4m3fn")):
        wanted = arrays_of(dtype)[name].astype("float32")
        assert loaded[name].dtype == np.float32
        assert np.array_equal(loaded[name], wanted, equal_nan=True)


OTHERS: dict[str, tuple[np.ndarray, str]] = {
    "labels": (np.array(["a", "b"]), "text"),
    "ascii": (np.array([b"a"]), "text"),
    "objects": (np.array([{}], object), "pickled objects"),
    "days": (np.array(["2020-01-01"], "M8[D]"), "a date"),
    "seconds": (np.array([1], "m8[s]"), "a time difference"),
    "records": (np.zeros(2, [("a", "f4")]), "a structured type"),
    "named": (np.zeros(2, [("\u96ea", "f4")]), "a structured type"),
    "raw": (np.zeros(2, "V3"), "bytes without a type"),
}
"""Arrays that hold no numbers, and the words for them."""


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize("what", OTHERS)
def test_an_array_without_numbers_is_skipped(what: str, paramctl: Run, tmp_path: Path) -> None:
    """The weights beside it are read and saved; a line names the array, and in place nothing is lost."""
    array, kind = OTHERS[what]
    np.savez(tmp_path / "m.npz", **{"w": np.arange(3.0), what: array})
    before = (tmp_path / "m.npz").read_bytes()
    done = paramctl("dump", "m.npz", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"w": [0.0, 1.0, 2.0]})
    assert done.stderr == f"m.npz: skipped 1 non-numeric item: {what} ({kind})\n"
    done = paramctl("dump", "m.npz", what)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{what} is not an array of numbers, but {kind}" in done.stderr
    done = paramctl("save", "m.npz", "-o", "x.safetensors")
    assert done.returncode == 0
    assert f"x.safetensors does not include {what} ({kind}) of the source\n" in done.stderr
    done = paramctl("set", "m.npz", "w=1", "--in-place")
    assert done.returncode == 2
    assert f"changed in place, the file would lose {what} ({kind})" in done.stderr
    assert (tmp_path / "m.npz").read_bytes() == before


# What nothing tells


@pytest.mark.parametrize(
    ("dtype", "says"),
    {
        "bfloat16": "the dtype |V2 without a comment with the real one; NumPy writes bfloat16 so",
        "float8_e4m3fn": "the dtype |V1 without a comment with the real one; NumPy writes any float8 so",
        "float8_e8m0fnu": "the dtype |V1 without a comment with the real one; NumPy writes any float8 so",
        "float8_e5m2": "the dtype <f1, which NumPy writes for float8_e5m2 but cannot read",
    }.items(),
)
def test_bytes_of_an_unrecorded_dtype(dtype: str, says: str, paramctl: Run, tmp_path: Path) -> None:
    """A file of NumPy does not record the float8 dtype, and paramctl does not guess it: it skips the array."""
    np.savez(tmp_path / "m.npz", w=np.ones((2, 2), numpy_dtype(dtype)), v=np.ones(2))
    done = paramctl("dump", "m.npz")
    assert (done.returncode, done.stdout) == (0, "[1. 1.]\n")
    assert done.stderr == f"m.npz: skipped 1 non-numeric item: w ({says})\n"
    done = paramctl("dump", "m.npz", "w")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[1] == f"m: w is not an array of numbers, but {says} (got 'w')"


@pytest.mark.parametrize(
    ("array", "told", "says"),
    [
        (np.zeros(2, "V2"), "float8_e5m2", "|V2 in its header but 'float8_e5m2' in its comment"),
        (np.zeros(2, "V1"), "bfloat16", "|V1 in its header but 'bfloat16' in its comment"),
        (np.zeros(2, "f4"), "bfloat16", "<f4 in its header but 'bfloat16' in its comment"),
    ],
)
def test_a_comment_that_its_header_contradicts(array: np.ndarray, told: object, says: str, tmp_path: Path) -> None:
    write_members(tmp_path / "m.npz", {"w": array}, {"w": {"dtype": told}})
    with pytest.raises(InputError) as refused:
        open_path(str(tmp_path / "m.npz"))
    assert says in str(refused.value)


def write_members(
    path: Path, arrays: Mapping[str, np.ndarray], told: Mapping[str, object], comment: object = None
) -> None:
    """An npz whose members, and which itself, have comments."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, each in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, each)
            member = zipfile.ZipInfo(f"{name}.npy")
            member.comment = json.dumps(told[name]).encode() if name in told else b""
            archive.writestr(member, buffer.getvalue())
        archive.comment = json.dumps(comment).encode() if comment is not None else b""


# What is said beside the values


def test_facts_of_a_large_model_are_all_kept(paramctl: Run, tmp_path: Path) -> None:
    """The facts of 2,000 arrays do not fit the archive's comment, so each member's comment has its own."""
    layers = "".join(f"  - dense: {{name: d{number}, units: 2}}\n" for number in range(1_000))
    (tmp_path / "m.yaml").write_text(f"input: [2]\nlayers:\n{layers}")
    paramctl("init", "m.yaml", "--scheme", "he", "-o", "m.h5", "-q")
    for source, target in (("m.h5", "m.npz"), ("m.npz", "again.h5")):
        done = paramctl("save", source, "-o", target)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.h5").read_bytes() == (tmp_path / "again.h5").read_bytes()
    with zipfile.ZipFile(tmp_path / "m.npz") as archive:
        said = [json.loads(member.comment) for member in archive.infolist()]
        facts = {"axes": "in, out", "kind": "weight", "trainable": True, "scheme": "he_normal", "seed": 0}
        assert said[0] == {"sha256": said[0]["sha256"], **facts}
        assert sum(len(member.comment) for member in archive.infolist()) > 65_535
        assert "parameters" not in json.loads(archive.comment)


def opened_npz(path: Path) -> Opened:
    opened = open_path(str(path))
    assert opened.checkpoint is not None
    return opened


def test_more_ties_than_a_comment_has_room_for(paramctl: Run, tmp_path: Path) -> None:
    """Each tied member tells its own tie, and a piece of the document. None is lost."""
    names = [f"{'a_long_name_of_a_layer_' * 4}{number:03d}" for number in range(400)]
    layers = "".join(f"  - dense: {{name: {name}, units: 2}}\n" for name in names)
    ties = ", ".join(f"{{keep: {names[0]}/kernel, tie: {name}/kernel, transpose: true}}" for name in names[1:])
    (tmp_path / "m.yaml").write_text(f"name: m\ninput: [2]\nlayers:\n{layers}ties: [{ties}]\n")
    paramctl("save", "m.yaml", "-o", "m.npz")
    model = opened_npz(tmp_path / "m.npz").model
    assert model.ties == tuple(Tie(f"{names[0]}/kernel", f"{name}/kernel", True) for name in names[1:])
    with zipfile.ZipFile(tmp_path / "m.npz") as archive:
        assert set(json.loads(archive.comment)) == {"version", "recipe", "written_by", "sums", "rest"}
    paramctl("save", "m.npz", "-o", "again.npz")
    assert (tmp_path / "m.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


LONG = (
    """\
input: [3]
layers:
  - dense: {name: a, units: 3}
  - dense: {name: b, units: 3}
ties: [{keep: a/kernel, tie: b/kernel}]
"""
    + '# "a comment" of many words\n' * 3_000
)


def test_a_document_that_a_comment_has_no_room_for(paramctl: Run, tmp_path: Path) -> None:
    """It is cut over the members' comments, and all else is there: ties and what is known of each array."""
    (tmp_path / "m.yaml").write_text(LONG)
    paramctl("init", "m.yaml", "--scheme", "he", "-o", "m.npz", "-q")
    opened = opened_npz(tmp_path / "m.npz")
    assert opened.model.document is not None
    assert opened.model.document.text == LONG
    assert sorted(np.load(tmp_path / "m.npz")) == ["a/bias", "a/kernel", "b/bias", "b/kernel"]
    assert opened.model.ties == (Tie("a/kernel", "b/kernel"),)
    assert [axis.role for axis in opened.model.parameters["a/kernel"].axes] == ["in", "out"]
    assert opened.checkpoint is not None
    assert opened.checkpoint.origin.provenance["a/kernel"] == Provenance("he_normal", 0)


def test_a_document_with_a_missing_piece_is_ignored(paramctl: Run, tmp_path: Path) -> None:
    """As if none were told; the facts of each array are."""
    (tmp_path / "m.yaml").write_text(LONG)
    paramctl("init", "m.yaml", "--scheme", "he", "-o", "m.npz", "-q")
    with zipfile.ZipFile(tmp_path / "m.npz", "a") as archive:
        archive.infolist()[1].comment = b""
        archive.comment = archive.comment + b" "  # so that the directory is written again
    opened = opened_npz(tmp_path / "m.npz")
    assert opened.model.document is None
    assert opened.model.ties == (Tie("a/kernel", "b/kernel"),)
    assert [axis.role for axis in opened.model.parameters["a/kernel"].axes] == ["in", "out"]


def test_a_document_that_all_comments_have_no_room_for(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(LONG + "# a comment of many words\n" * 10_000)
    done = paramctl("init", "m.yaml", "--scheme", "he", "-o", "m.npz", "-q")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "must fit the comments of a zip of 4 arrays (got " in done.stderr
    assert os.listdir(tmp_path) == ["m.yaml"]


def test_a_configuration_of_keras_that_a_comment_has_no_room_for(paramctl: Run, tmp_path: Path) -> None:
    """Through npz and back, and Keras' file has the same members."""
    layers = "".join(f"  - dense: {{name: d{number}, units: 2}}\n" for number in range(200))
    (tmp_path / "m.yaml").write_text(f"input: [2]\nlayers:\n{layers}")
    paramctl("save", "m.yaml", "-o", "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as old, zipfile.ZipFile(tmp_path / "b.keras", "w") as new:
        for name in old.namelist():
            text = b'{"keras_version": "3.0.5"}' if name == "metadata.json" else old.read(name)
            new.writestr(name, text)
        assert len(old.read("config.json")) > 65_535
    for source, target in (("b.keras", "c.keras"), ("b.keras", "m.npz"), ("m.npz", "d.keras")):
        assert paramctl("save", source, "-o", target).returncode == 0
    members = {}
    for name in "bcd":
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as archive:
            members[name] = {each: archive.read(each) for each in archive.namelist()}
    assert members["b"]["config.json"] == members["c"]["config.json"] == members["d"]["config.json"]
    assert members["b"]["metadata.json"] == members["c"]["metadata.json"], "which version of Keras wrote it is kept"
    assert members["b"].keys() == members["c"].keys() == members["d"].keys()
    with zipfile.ZipFile(tmp_path / "m.npz") as archive:
        facts = json.loads(archive.infolist()[-1].comment)
        assert facts == {"sha256": facts["sha256"], "kind": "bias", "trainable": True, "axes": "out"}
    assert len(np.load(tmp_path / "m.npz").files) == 400


def test_older_files_with_all_facts_in_the_archives_comment(tmp_path: Path) -> None:
    arrays = {"a/kernel": np.ones((2, 3), "f4"), "a/bias": np.ones(3, "f4"), "b/kernel": np.ones((3, 2), "f4")}
    facts = {"axes": "in, out", "kind": "weight", "trainable": False, "scheme": "he_normal", "seed": 5}
    own = {"version": 1, "recipe": 1, "ties": [["a/kernel", "b/kernel", True]], "parameters": {"a/kernel": facts}}
    write_members(tmp_path / "m.npz", arrays, {}, own)
    opened = opened_npz(tmp_path / "m.npz")
    kernel = opened.model.parameters["a/kernel"]
    assert ([axis.role for axis in kernel.axes], kernel.kind, kernel.trainable) == (["in", "out"], "weight", False)
    assert opened.checkpoint is not None
    assert dict(opened.checkpoint.origin.provenance) == {"a/kernel": Provenance("he_normal", 5)}
    assert opened.model.ties == (Tie("a/kernel", "b/kernel", True),)


@pytest.mark.parametrize(
    "comment",
    [
        {"ties": [["a", "b", False], ["b", "a", False]]},
        {"ties": [["a", "a", False]]},
        {"ties": [["a", "c", False]]},
        {"ties": [["a", "d", False]]},
        {"ties": [["a", "gone", False], 3, {}]},
        {"parameters": {"a": 3, "b": [], "gone": 7}, "ties": 3, "document": {}, "model": [], "keras": 5},
        {"parameters": {"a": {"axes": 7, "kind": [], "trainable": "x", "scheme": [1], "seed": -5}}},
        3,
    ],
)
def test_impossible_comments_are_ignored(comment: object, paramctl: Run, tmp_path: Path) -> None:
    """Ties in a circle, to itself, to another shape or dtype; facts that are none: as if nothing were said."""
    arrays = {"a": np.ones(2, "f4"), "b": np.zeros(2, "f4"), "c": np.zeros(3, "f4"), "d": np.zeros(2, "i4")}
    told = {"a": {"tie": [{}, []], "seed": 2**70}, "b": {"tie": ["b", False]}, "c": [1], "d": {"tie": 3}}
    write_members(tmp_path / "m.npz", arrays, told if comment == 3 else {}, comment)
    opened = opened_npz(tmp_path / "m.npz")
    assert opened.model.ties == ()
    assert opened.checkpoint is not None
    assert not opened.checkpoint.origin.provenance
    assert_same(read_all(tmp_path / "m.npz"), arrays)


def test_nesting_in_comments_is_limited(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", w=np.ones(2))
    with zipfile.ZipFile(tmp_path / "m.npz", "a") as archive:
        archive.comment = b"[" * 60_000
        archive.infolist()[0].comment = b'{"dtype":' * 6_000
    assert_same(read_all(tmp_path / "m.npz"), {"w": np.ones(2)})
    write_members(tmp_path / "n.npz", {"w": np.ones(2)}, {"w": {"rest": "[" * 60_000}}, {"rest": 60_000})
    assert_same(read_all(tmp_path / "n.npz"), {"w": np.ones(2)})


NAMES = [
    "file",
    "allow_pickle",
    "w.npy",
    "../../evil",
    "/etc/evil",
    "args",
    "kwds",
    "a b",
    "\u00e9\u4e2d",
    "e\u0301",
    "a\\b",
]


def test_names_are_only_names(paramctl: Run, tmp_path: Path) -> None:
    """Those that np.savez takes for its own arguments too; none is a path."""
    arrays = {name: np.full(2, number, "f4") for number, name in enumerate(NAMES)}
    write_safetensors(tmp_path / "a.safetensors", arrays)
    for source, target in (("a.safetensors", "a.npz"), ("a.npz", "b.safetensors"), ("b.safetensors", "b.npz")):
        assert paramctl("save", source, "-o", target).returncode == 0
    assert_same(read_all(tmp_path / "b.npz"), arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.namelist() == [f"{name}.npy" for name in NAMES]
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "a.safetensors", "b.npz", "b.safetensors"]


@pytest.mark.parametrize("name", ["a\0b", "n" * 65_536])
def test_names_that_a_zip_cannot_hold(name: str, paramctl: Run, tmp_path: Path) -> None:
    """zipfile would cut the first without a word."""
    write_safetensors(tmp_path / "a.safetensors", {"first": np.ones(2, "f4"), name: np.ones(2, "f4")})
    done = paramctl("save", "a.safetensors", "-o", "a.npz")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "npz names must have at most 65,531 bytes and no NUL (got " in done.stderr
    assert os.listdir(tmp_path) == ["a.safetensors"]


# Fortran's order

ORDERED = [
    ((5,), "<f4"),
    ((7, 5), "<f4"),
    ((7, 5), ">f8"),
    ((64, 3), "<i2"),
    ((3, 64), "|u1"),
    ((1, 6, 1), ">f4"),
    ((4, 3, 5), "<c16"),
    ((4, 3, 5), ">c8"),
    ((3, 4, 2, 5), ">u2"),
    ((2, 1, 3, 40), "<f4"),
    ((40, 3, 1, 2), "|b1"),
    ((0, 4), ">f4"),
    ((), ">f4"),
]
SIZES = {"whole": (1 << 20, 1 << 20, 1 << 20), "runs": (48, 32, 0), "through": (64, 64, 1 << 20), "values": (16, 1, 0)}


@pytest.fixture(params=SIZES)
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Limits so small that small arrays go all the ways that large ones do."""
    slab, piece, near = SIZES[request.param]
    monkeypatch.setattr(slab_reader, "SLAB", slab)
    monkeypatch.setattr(fortran_order, "PIECE", piece)
    monkeypatch.setattr(fortran_order, "NEAR", near)
    monkeypatch.setattr("paramctl.store.npz.reading.SLAB", slab)
    return str(request.param)


def in_fortran(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values that are all different, or as different as they can be, in Fortran's order."""
    values = np.arange(1, int(np.prod(shape)) + 1)
    kind = np.dtype(dtype)
    made = (values % 3 == 0 if kind.kind == "b" else values).astype(kind)
    if kind.kind == "c":
        made += 1j * made[::-1]
    return np.asfortranarray(made.reshape(shape))


@pytest.mark.parametrize("how", SAVES)
@pytest.mark.parametrize(("shape", "dtype"), ORDERED)
def test_any_part_of_an_array_in_fortrans_order(
    shape: tuple[int, ...], dtype: str, how: str, sizes: str, tmp_path: Path
) -> None:
    """Any range of an array that NumPy wrote is read in C order, in the machine's byte order."""
    array = in_fortran(shape, dtype)
    SAVES[how](tmp_path / "m.npz", w=array, other=array + array)
    with zipfile.ZipFile(tmp_path / "m.npz") as archive:
        is_in_fortran = b"'fortran_order': True" in archive.read("w.npy")
        assert is_in_fortran is (sum(size != 1 for size in shape) > 1 and array.size > 0)
    checkpoint = opened_npz(tmp_path / "m.npz").checkpoint
    assert checkpoint is not None
    assert not checkpoint.origin.extents, "nothing of it may be changed in place"
    flat, rng = array.reshape(-1, order="C"), random.Random(dtype)  # noqa: S311
    places = [sorted((rng.randrange(flat.size + 1), rng.randrange(flat.size + 1))) for _ in range(30)]
    for start, stop in [(0, flat.size), *places, *((k, k + 1) for k in range(min(flat.size, 9)))]:
        found = checkpoint.reader.read("w", start, stop)
        assert found.dtype == flat.dtype.newbyteorder("=")
        assert found.dtype.isnative
        assert np.array_equal(found, flat[start:stop])
        assert np.array_equal(checkpoint.reader.read("other", start, stop), (flat + flat)[start:stop])


@pytest.mark.parametrize("how", SAVES)
def test_fortran_order_on_the_command_line(how: str, paramctl: Run, tmp_path: Path) -> None:
    array = in_fortran((300, 401), ">f4")
    SAVES[how](tmp_path / "m.npz", w=array, c=np.ascontiguousarray(array))
    raw = paramctl("dump", "m.npz", "w", "--format", "npy", text=False).stdout
    assert np.array_equal(np.load(io.BytesIO(raw)), array)  # type: ignore[arg-type]
    part = json.loads(paramctl("dump", "m.npz", "w[5:300:7, -3:]", "--format", "json").stdout)
    assert part == {"w[5:300:7, -3:]": array[5:300:7, -3:].tolist()} or part == {"w": array[5:300:7, -3:].tolist()}
    assert paramctl("dump", "m.npz", "w").stdout == f"{np.array2string(array.astype('f4'))}\n"
    assert paramctl("save", "m.npz", "-o", "m.safetensors").returncode == 0
    assert np.array_equal(read_all(tmp_path / "m.safetensors")["w"], array)
    assert paramctl("diff", "m.npz", "m.safetensors").returncode == 0
    assert paramctl("set", "m.npz", "w[0, 0] = 5", "--in-place").returncode == 0
    assert np.load(tmp_path / "m.npz")["w"][0, :2].tolist() == [5.0, 2.0]
    assert paramctl("set", "m.npz", "w[0, 0] = 7", "-o", "n.npz").returncode == 0
    assert np.load(tmp_path / "n.npz")["w"][0, :2].tolist() == [7.0, 2.0]


def test_bfloat16_in_fortrans_order(tmp_path: Path) -> None:
    """The dtype by the comment and the order by the header, together."""
    array = np.asfortranarray(bits("bfloat16", 35).reshape(7, 5))
    write_members(tmp_path / "m.npz", {"w": array}, {"w": {"dtype": "bfloat16"}})
    assert b"'fortran_order': True" in (tmp_path / "m.npz").read_bytes()
    assert_same(read_all(tmp_path / "m.npz"), {"w": array})


@pytest.mark.parametrize("how", SAVES)
def test_many_threads_take_each_slab_about_once(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order of blocks, the file is neither read for each value nor as a whole for each block."""
    monkeypatch.setattr(slab_reader, "SLAB", 1 << 14)
    array = np.asfortranarray(np.arange(1 << 17, dtype="u4").reshape(512, 256))
    SAVES[how](tmp_path / "m.npz", w=array)
    slabs, fills = [], []
    load = slab_reader.load_slab

    def counted(stored: fortran_order.ArrayBytes, *rest: object) -> None:
        class Counting:
            def fill(self, place: int, buffer: memoryview) -> None:
                fills.append(len(buffer))
                stored.fill(place, buffer)

            def close(self) -> None: ...

        slabs.append(rest)
        load(Counting(), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(slab_reader, "load_slab", counted)
    read = opened_npz(tmp_path / "m.npz").checkpoint.reader.read  # type: ignore[union-attr]
    blocks = [("w", start, start + 512) for start in range(0, 1 << 17, 512)]
    found = np.concatenate(list(in_parallel(lambda block: read(*block), blocks, 32)))
    assert np.array_equal(found, np.arange(1 << 17))
    assert len(slabs) <= 2 * (array.nbytes >> 14), "of 32 slabs"
    assert len(fills) <= len(slabs) * 256, "one read of a column each at most"


def test_two_arrays_are_read_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when they are compared: a slab of each is kept, and each stream goes on."""
    monkeypatch.setattr(slab_reader, "SLAB", 1 << 12)
    loads = []
    load = slab_reader.load_slab
    monkeypatch.setattr(slab_reader, "load_slab", lambda *rest: (loads.append(rest), load(*rest)))
    one = np.arange(1 << 13, dtype="u4")
    np.savez_compressed(tmp_path / "m.npz", a=one, b=one + 1)
    read = opened_npz(tmp_path / "m.npz").checkpoint.reader.read  # type: ignore[union-attr]
    for start in range(0, one.size, 64):
        assert np.array_equal(read("a", start, start + 64) + 1, read("b", start, start + 64))
    assert len(loads) == 2 * one.nbytes >> 12


def test_a_stream_is_not_unfolded_for_every_step_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some it is kept in a file without a name, which goes with the reader."""
    monkeypatch.setattr(slab_reader, "SLAB", 1 << 10)
    monkeypatch.setattr("paramctl.store.npz.reading.SLAB", 1 << 10)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    begun = []
    begin = inflate.InflatedStream._start
    monkeypatch.setattr(inflate.InflatedStream, "_start", lambda self: (begun.append(self.name), begin(self)))
    array = np.asfortranarray(np.arange(10_000, dtype="f8").reshape(100, 100))
    np.savez_compressed(tmp_path / "m.npz", w=array)
    read = opened_npz(tmp_path / "m.npz").checkpoint.reader.read  # type: ignore[union-attr]
    for start in range(9_900, -1, -100):
        assert np.array_equal(read("w", start, start + 100), np.arange(start, start + 100))
    assert len(begun) == inflate.MAX_STARTS + 1
    assert os.listdir(tmp_path / "temporary") == []


def test_no_room_to_inflate_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slab_reader, "SLAB", 1 << 10)
    monkeypatch.setattr("paramctl.store.npz.reading.SLAB", 1 << 10)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    np.savez_compressed(tmp_path / "m.npz", w=np.asfortranarray(np.zeros((100, 100))))
    read = opened_npz(tmp_path / "m.npz").checkpoint.reader.read  # type: ignore[union-attr]
    for start in (9_900, 5_000):
        read("w", start, start + 100)
    with pytest.raises(InputError, match="w: No space left on device"):
        read("w", 0, 100)


MEASURED = """
import sys
from paramctl.source.open import open_path
from paramctl.source.stored import Stored
from paramctl.parallel import in_parallel
import numpy as np, resource

def peak():
    try:
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

found = open_path(sys.argv[1])
source, before = Stored(found.checkpoint), peak()
jobs = source.pieces(found.model.parameters["w"])
for number, values in enumerate(in_parallel(lambda job: (job[1], source.read(*job)), jobs, int(sys.argv[2]))):
    start, values = values
    assert values[0] == start and np.array_equal(values, np.arange(start, start + values.size, dtype="u4")), start
print(number + 1, (peak() - before) >> 20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.parametrize(
    ("method", "threads"), [(zipfile.ZIP_STORED, "1"), (zipfile.ZIP_STORED, "2"), (zipfile.ZIP_DEFLATED, "2")]
)
def test_memory_stays_bounded(method: int, threads: str, tmp_path: Path) -> None:
    """128 MB in Fortran's order, read right to the last value, within 64 MB and the few blocks that are asked for."""
    array = np.asfortranarray(np.arange(1 << 25, dtype="u4").reshape(1 << 13, 1 << 12))
    with (
        zipfile.ZipFile(tmp_path / "m.npz", "w", method, compresslevel=1) as archive,
        archive.open("w.npy", "w") as member,
    ):
        np.save(member, array)
        assert array.flags.f_contiguous
        assert not array.flags.c_contiguous, "and so NumPy writes it"
    del array
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "m.npz"), threads]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=forks.patience())
    assert done.returncode == 0, done.stderr
    blocks, grown, _ = map(int, done.stdout.split())
    assert blocks == 128
    assert grown < 64 + 16


# Damage and malice


def zip_of(entries: list[dict[str, object]]) -> bytes:
    """A zip by hand, each of whose entries may lie: name, data, method, size, packed (by the directory), at (an offset)."""
    body, directory = bytearray(), bytearray()
    for each in entries:
        name, data = bytes(each["name"]), bytes(each.get("data", b""))  # type: ignore[call-overload]
        packed, size = each.get("packed", len(data)), each.get("size", len(data))
        at, method = each.get("at", len(body)), each.get("method", 0)
        facts = struct.pack("<HHHLLL", method, 0, 33, zlib.crc32(data), packed, size)
        if "at" not in each:
            body += b"PK\3\4" + struct.pack("<HH", 20, 0) + facts + struct.pack("<HH", len(name), 0) + name + data
        tail = struct.pack("<HHHHHLL", len(name), 0, 0, 0, 0, 0, at)
        directory += b"PK\1\2" + struct.pack("<HHH", 20, 20, 0) + facts + tail + name
    count = len(entries) & 0xFFFF
    return body + directory + b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, count, count, len(directory), len(body), 0)


def npy(shape: str = "(2,)", data: bytes = bytes(8), order: str = "True", descr: str = "<f4") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


def test_a_zip_by_hand_is_one(tmp_path: Path) -> None:
    (tmp_path / "m.npz").write_bytes(
        zip_of([{"name": b"w.npy", "data": npy("(2, 1)")}, {"name": b"v.npy", "data": npy()}])
    )
    assert_same(read_all(tmp_path / "m.npz"), {"w": np.zeros((2, 1), "f4"), "v": np.zeros(2, "f4")})


def test_other_members_are_skipped(paramctl: Run, tmp_path: Path) -> None:
    """A zip that was packed again may have folders, which hold nothing, and files, which are named."""
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("a/", b"")
        archive.writestr("a/w.npy", npy(order="False"))
        archive.writestr("README.txt", b"words")
        archive.writestr("v", npy("(1,)", bytes(4)))
    loaded = np.load(tmp_path / "m.npz")
    assert (loaded["a/w"].tolist(), loaded["v"].tolist()) == ([0, 0], [0])
    done = paramctl("dump", "m.npz")
    assert (done.returncode, done.stdout) == (0, "a/w (2,) float32\n[0. 0.]\n\nv (1,) float32\n[0.]\n"), done.stderr
    assert done.stderr == "m.npz: skipped 1 non-numeric item: README.txt (a file that is not npy)\n"
    done = paramctl("save", "m.npz", "-o", "n.npz")
    assert "n.npz does not include README.txt (a file that is not npy) of the source\n" in done.stderr
    before = (tmp_path / "m.npz").read_bytes()
    done = paramctl("set", "m.npz", "a/w=1", "--in-place")
    assert (done.returncode, "the file would lose README.txt" in done.stderr) == (2, True)
    assert (tmp_path / "m.npz").read_bytes() == before


def test_every_version_of_npy(paramctl: Run, tmp_path: Path) -> None:
    """Version 3 is for names outside Latin-1, but any array can have it."""
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        for version in (1, 2, 3):
            with archive.open(f"v{version}.npy", "w") as member:
                np.lib.format.write_array(member, np.arange(6.0).reshape(2, 3), (version, 0))
        with archive.open("names.npy", "w") as member:
            np.lib.format.write_array(member, np.zeros(2, [("\u65e5", "f4")]), (3, 0))
    done = paramctl("dump", "m.npz", "--format", "jsonl")
    assert [json.loads(line)["values"] for line in done.stdout.splitlines()] == [[[0, 1, 2], [3, 4, 5]]] * 3
    assert done.stderr == "m.npz: skipped 1 non-numeric item: names (a structured type)\n"


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1 has at most 32 axes")
def test_more_axes_than_32(paramctl: Run, tmp_path: Path) -> None:
    """NumPy has arrays of 64 axes, but some of its functions take 32, as HDF5 does."""
    np.savez(tmp_path / "m.npz", w=np.zeros((1,) * 40 + (2, 3), "f4"))
    np.save(tmp_path / "v.npy", np.arange(3.0))
    done = paramctl("set", "m.npz", "w=@v.npy", "w[..., 0, 1]=7", "w[..., 1, 2] *= 2", "--in-place")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "m.npz")["w"].ravel().tolist() == [0, 7, 2, 0, 1, 4]
    assert paramctl("set", "m.npz", "w=uniform", "-o", "n.npz").returncode == 0
    drawn = np.load(tmp_path / "n.npz")["w"]
    assert drawn.shape == (1,) * 40 + (2, 3)
    assert len(set(drawn.ravel())) == 6
    done = paramctl("set", "m.npz", "w=[1,2]", "-o", "x.npz")
    assert (done.returncode, "must broadcast to the shape" in done.stderr) == (2, True)
    done = paramctl("save", "m.npz", "-o", "m.h5")
    assert (done.returncode, done.stderr) == (2, "m.h5: w: an HDF5 array has at most 32 axes (got 42)\n")


ONE = {"name": b"w.npy", "data": npy()}
HOSTILE = {
    "bzip2": ([ONE | {"method": 12}], "'w.npy' has an unsupported compression method (NumPy uses deflate)"),
    "lzma": ([ONE | {"method": 14}], "'w.npy' has an unsupported compression method (NumPy uses deflate)"),
    "no method": ([ONE | {"method": 99}], "'w.npy' has an unsupported compression method (NumPy uses deflate)"),
    "two sizes": ([ONE | {"packed": 60}], "'w.npy' is not compressed but has two different sizes"),
    "members in one place": (
        [ONE, {"name": b"v.npy", "at": 0, "packed": 70, "size": 70}],
        "'w.npy' and 'v.npy' overlap",
    ),
    "twins": ([ONE, ONE], "duplicate array 'w'"),
    "no npy": ([{"name": b"w.pkl", "data": b"x"}], "a zip archive without arrays (its first member is 'w.pkl')"),
    "no magic": ([{"name": b"w.npy", "data": b"x" * 80}], "'w' is not an npy file"),
    "a negative shape": ([{"name": b"w.npy", "data": npy("(-2, -1)")}], "of non-negative integer sizes (got (-2, -1))"),
    "one negative size": ([{"name": b"w.npy", "data": npy("(-1, 2)")}], "of non-negative integer sizes (got (-1, 2))"),
    "a shape of truths": (
        [{"name": b"w.npy", "data": npy("(True, 2)")}],
        "of non-negative integer sizes (got (True, 2))",
    ),
    "a fraction": ([{"name": b"w.npy", "data": npy("(2.0, 1)")}], "the header of 'w' is damaged"),
    "an absurd shape": (
        [{"name": b"w.npy", "data": npy(f"({2**40}, {2**40})")}],
        "'w': an array has at most 2^63 bytes",
    ),
    "an absurd empty one": (
        [{"name": b"w.npy", "data": npy(f"(0, {2**62})", b"")}],
        "'w': an array has at most 2^63 bytes",
    ),
    "more than is there": ([{"name": b"w.npy", "data": npy("(1000, 1000)")}], "bytes by its header (got "),
    "too little": ([{"name": b"w.npy", "data": npy("(2, 2)", bytes(15))}], "bytes by its header (got "),
    "too much": ([{"name": b"w.npy", "data": npy("(2, 2)", bytes(17))}], "bytes by its header (got "),
    "no truth": ([{"name": b"w.npy", "data": npy(order="1")}], "the header of 'w' is damaged"),
    "a place beyond all": ([ONE, {"name": b"v.npy", "at": 2**32 - 2}], "damaged zip file"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_npz(what: str, paramctl: Run, tmp_path: Path) -> None:
    entries, says = HOSTILE[what]
    (tmp_path / "m.npz").write_bytes(zip_of(entries))  # type: ignore[arg-type]
    done = paramctl("dump", "m.npz")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("m.npz: ")
    assert says in done.stderr
    assert "allow_pickle" not in done.stderr
    assert os.listdir(tmp_path) == ["m.npz"]


REFUSED = """
import sys
from paramctl.errors import ParamctlError
from paramctl.source.open import open_path
try:
    found = open_path(sys.argv[1])
    found.checkpoint.reader.read("w", 0, 10)
    print("read")
except ParamctlError as error:
    print(error)
lines = open("/proc/self/status").read().splitlines()
print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024)
"""


def bombs(folder: Path) -> dict[str, str]:
    """Files that would take gigabytes of whoever believes them: what each is refused for, a pattern, or that it is read."""
    for name, method in {"bzip2": zipfile.ZIP_BZIP2, "deflate": zipfile.ZIP_DEFLATED}.items():
        with (
            zipfile.ZipFile(folder / f"{name}.npz", "w", method, compresslevel=1) as archive,
            archive.open("w.npy", "w") as member,
        ):
            member.write(npy("(100000, 1000)", b""))
            for _ in range(400):
                member.write(bytes(1_000_000))
    header = b"\x93NUMPY\2\0" + struct.pack("<L", 400_000_000) + b" " * 200_000_000
    with zipfile.ZipFile(folder / "header.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("w.npy", header)
    (folder / "members.npz").write_bytes(
        zip_of([ONE] + [{"name": b"%07d.npy" % number, "at": 0} for number in range(400_000)])
    )
    claimed = 4_000_000_000 + len(npy("(1000, 1000000)", b""))
    entry = {"name": b"w.npy", "data": npy("(1000, 1000000)", bytes(20_000)), "packed": claimed, "size": claimed}
    (folder / "claims.npz").write_bytes(zip_of([entry]))
    return {
        "bzip2": "has an unsupported compression method",
        "deflate": "read",
        "header": "the header of 'w' is damaged",
        "members": "more than 100,000 members",
        "claims": "truncated within w|Overlapped entries",  # the second where Python itself looks, as newer ones do
    }


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is measured as Linux tells it")
def test_bombs_take_no_memory(tmp_path: Path) -> None:
    for name, says in bombs(tmp_path).items():
        command = [sys.executable, "-c", REFUSED, str(tmp_path / f"{name}.npz")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=forks.patience())
        assert done.returncode == 0, done.stderr
        said, peak = done.stdout.splitlines()
        assert re.search(says, said), name
        assert int(peak) < 300, name


def test_damage_that_only_shows_as_it_unfolds(tmp_path: Path) -> None:
    """Damage in a compressed member, far after its header, is reported with the member's name when it is read."""
    array = np.asfortranarray(np.random.default_rng(0).random((200, 150)))
    np.savez_compressed(tmp_path / "m.npz", w=array)
    whole = bytearray((tmp_path / "m.npz").read_bytes())
    place = len(whole) * 3 // 4
    told = set()
    for bit in range(8):
        damaged = whole.copy()
        damaged[place] ^= 1 << bit
        (tmp_path / "d.npz").write_bytes(damaged)
        with pytest.raises(InputError) as refused:
            read_all(tmp_path / "d.npz")
        assert str(refused.value).startswith(f"{tmp_path / 'd.npz'}: w: ")
        told.add(str(refused.value))
    assert any("CRC" in each or "decompress" in each for each in told)


def test_random_damage_is_reported_or_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes changed in files in Fortran's order, compressed, with comments: an error of paramctl's own or none."""
    monkeypatch.setattr(slab_reader, "SLAB", 512)
    monkeypatch.setattr("paramctl.store.npz.reading.SLAB", 512)
    arrays = {"a": in_fortran((20, 15), "<f8"), "b": in_fortran((3, 4, 5), ">f4")}
    for how, save in SAVES.items():
        save(tmp_path / f"{how}.npz", **arrays)
    write_members(
        tmp_path / "told.npz",
        {"w": np.asfortranarray(bits("bfloat16", 300).reshape(20, 15))},
        {"w": {"dtype": "bfloat16"}},
    )
    samples = [(tmp_path / f"{name}.npz").read_bytes() for name in (*SAVES, "told")]
    rng, refused = random.Random(0), 0  # noqa: S311
    for _ in range(300 * forks.ROUNDS):
        data = bytearray(rng.choice(samples))
        for _ in range(rng.choice((1, 1, 4))):
            place = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(len(data) - 300, len(data))
            data[place] = rng.choice((0, 1, 0x7F, 0xFF, data[place] ^ (1 << rng.randrange(8))))
        (tmp_path / "m.npz").write_bytes(data)
        try:
            opened = opened_npz(tmp_path / "m.npz")
            source = Stored(opened.checkpoint)
            for path, each in itertools.islice(opened.model.parameters.items(), 5):
                source.read(path, 0, min(each.size, 1_000))
        except ParamctlError:  # a document's, where it is taken for one
            refused += 1
    assert refused > 50
