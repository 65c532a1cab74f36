"""HDF5 that is unusual and valid: user blocks, fill values, loops, and content that is no array of numbers."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from paramctl.source.open import open_checkpoint
from paramctl.store.hdf5 import MAX_USER_BLOCK, user_block
from paramctl.store.location import open_location
from tests.conftest import Run

TEXT = b"MATLAB 7.3 MAT-file, Platform: GLNXA64"


def with_user_block(path: Path, size: int, text: bytes = TEXT) -> None:
    with h5py.File(path, "w", userblock_size=size) as file:
        file["w"] = np.arange(6.0).reshape(2, 3)
        file["zipped"] = np.arange(100.0)
        file.create_dataset("chunked", data=np.arange(100.0), chunks=(10,), compression="gzip")
        file["w"].attrs["unit"] = "m"
        file["note"] = "words"
    with path.open("r+b") as file:
        file.write(text)


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096, 1 << 16, 1 << 20])
def test_a_user_block(size: int, paramctl: Run, tmp_path: Path) -> None:
    """It is skipped in reading, kept in place, and named where another file does not include it."""
    path = tmp_path / "m.mat"
    with_user_block(path, size)
    assert user_block(open_location(str(path))) == size
    source = open_checkpoint(str(path))
    assert source.read("w", 1, 4).tolist() == [1, 2, 3]
    assert source.read("chunked", 50, 60).tolist() == list(range(50, 60))
    before = path.read_bytes()
    assert paramctl("set", "m.mat", "w[0]=9", "zipped=1", "--in-place").returncode == 0
    after = path.read_bytes()
    assert after[:size] == before[:size]
    assert sum(one != other for one, other in zip(before, after, strict=True)) < 8 * 103
    with h5py.File(path) as file:
        assert file.userblock_size == size
        assert file["w"][...].tolist() == [[9, 9, 9], [3, 4, 5]]
        assert (file["zipped"][...] == 1).all()
        assert (file["chunked"][...] == np.arange(100)).all()
    path = path.rename(tmp_path / "m.h5")
    done = paramctl("set", "m.h5", "chunked=1", "--in-place")
    assert done.returncode == 2
    assert f"changed in place, the file would lose a user block of {size:,} bytes (use -o" in done.stderr
    assert path.read_bytes() == after
    done = paramctl("save", "m.h5", "-o", "x.h5")
    assert (done.returncode, done.stderr.splitlines()[2:]) == (
        0,
        [f"x.h5 does not include a user block of {size:,} bytes of the source"],
    )
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["w"].attrs["unit"] == "m"
        assert file["note"][()] == b"words"


def test_a_user_block_may_begin_as_anything(paramctl: Run, tmp_path: Path) -> None:
    """A format that the first bytes show comes first; text before HDF5, such as of a script, is skipped."""
    with_user_block(tmp_path / "m.h5", 512, b"#!/bin/sh\nexit\n")
    assert paramctl("dump", "m.h5", "w[0]").stdout == "[0. 1. 2.]\n"
    with (tmp_path / "m.h5").open("rb") as file:
        assert paramctl("dump", "-", "w[0]", stdin=file).stdout == "[0. 1. 2.]\n"
    for text, says in {b"PK\3\4": "damaged zip file", b"\1" + bytes(7) + b"{": "not JSON"}.items():
        with_user_block(tmp_path / "m.h5", 512, text)
        done = paramctl("dump", "m.h5")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert says in done.stderr
    assert MAX_USER_BLOCK >= 1 << 20


def unfilled(file: h5py.File, name: str, shape: tuple[int, ...], chunk: tuple[int, ...] | None = None) -> h5d.DatasetID:
    """Add a dataset without a fill value: the library would leave memory unset where nothing was written."""
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_fill_time(h5d.FILL_TIME_NEVER)
    if chunk:
        properties.set_chunk(chunk)
    return h5d.create(file.id, name.encode(), h5t.IEEE_F32LE, h5s.create_simple(shape), dcpl=properties)


def test_values_that_were_never_written_are_the_fill_value(paramctl: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("plain", (2, 3), "float32")
        file.create_dataset("seven", (3,), "int16", fillvalue=7)
        file.create_dataset("nan", (2,), "float64", fillvalue=np.nan)
        file.create_dataset("big", (2,), ">i4", fillvalue=5)
        file.create_dataset("chunks", (2, 300), "float32", chunks=(1, 100), fillvalue=-1)[1, 250] = 4
        file.create_dataset("none", (40,), "float32", chunks=(10,), compression="gzip", fillvalue=2)
        file["w"] = np.arange(3.0)
        unfilled(file, "unknown", (4,))
        unfilled(file, "partly", (30,), (10,)).write(h5s.ALL, h5s.ALL, np.zeros(30, "float32"))
    with h5py.File(tmp_path / "m.h5", "r+") as file:  # all chunks of one are written, and none of the other
        unfilled(file, "unknown2", (30,), (10,))
        expected = {name: file[name][...] for name in ("plain", "seven", "big", "chunks", "none", "w", "partly")}
    source = open_checkpoint(str(tmp_path / "m.h5"))
    assert source.model.parameters.keys() == expected.keys() | {"nan"}
    for name, values in expected.items():
        assert source.read(name, 0, values.size).tolist() == values.reshape(-1).tolist(), name
    assert source.read("chunks", 548, 553).tolist() == [-1, -1, 4, -1, -1]
    done = paramctl("dump", "m.h5", "unknown")
    assert done.returncode == 2
    assert "unknown is not an array of numbers, but an array that was never written" in done.stderr
    done = paramctl("save", "m.h5", "-o", "x.h5")
    assert done.returncode == 0
    for name in ("unknown", "unknown2"):
        assert f"x.h5 does not include {name} (an array that was never written and has no fill value)" in done.stderr
    with h5py.File(tmp_path / "x.h5") as file:
        assert all(file[name][...].tolist() == values.tolist() for name, values in expected.items())
        assert file["seven"].id.get_storage_size()
    assert paramctl("set", "m.h5", "w=1", "--in-place").returncode == 0
    with h5py.File(tmp_path / "m.h5") as file:
        assert file["w"][...].tolist() == [1, 1, 1]
        assert "unknown" in file


def test_each_array_of_a_loop_is_read_once(paramctl: Run, tmp_path: Path) -> None:
    """A second path that leads elsewhere is a tie; one that leads back is skipped with a line."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["g/w"] = np.arange(3.0)
        file["g/inner/loop"] = file["g"]
        file["g/inner/root"] = file["/"]
        file["again"] = file["g/inner"]
        file["w2"] = file["g/w"]
    done = paramctl("summary", "m.h5", "--format", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["totals"]["parameters"] == 3
    assert "g/inner/root (a hard link to a group that contains it)" in done.stderr
    source = open_checkpoint(str(tmp_path / "m.h5"))
    assert {"g/w", "w2"} <= source.model.parameters.keys()
    done = paramctl("save", "m.h5", "-o", "x.h5")
    assert done.returncode == 0
    assert "x.h5 does not include g/inner/root (a hard link to a group that contains it)" in done.stderr
    assert paramctl("set", "m.h5", "w2=1", "--in-place").returncode == 0
    with h5py.File(tmp_path / "m.h5") as file:
        assert file["again/loop/inner/root/g/w"][...].tolist() == [1, 1, 1]


OTHERS: dict[str, Callable[[h5py.File], object]] = {
    "text": lambda file: file.__setitem__("meta/x", "words"),
    "text in a group of its own": lambda file: file.__setitem__("a/b/c", ["a", "b"]),
    "a compound type": lambda file: file.__setitem__("meta/x", np.zeros(2, [("a", "f4")])),
    "an opaque type": lambda file: file.__setitem__("meta/x", np.zeros(2, "V7")),
    "a variable-length type": lambda file: file.create_dataset("meta/x", (2,), h5py.vlen_dtype("i4")),
    "an enumeration type": lambda file: file.create_dataset("x", data=[1], dtype=h5py.enum_dtype({"A": 1})),
    "a null dataspace": lambda file: file.__setitem__("x", h5py.Empty("f4")),
    "a soft link": lambda file: file.__setitem__("meta/x", h5py.SoftLink("/w")),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_content_is_skipped_and_carried_over(what: str, paramctl: Run, tmp_path: Path) -> None:
    """From HDF5 to HDF5 it is kept, in groups without arrays too; elsewhere a line names it."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("w", data=np.arange(3.0), chunks=(3,))
        OTHERS[what](file)
    done = paramctl("save", "m.h5", "-o", "x.npz")
    assert (done.returncode, done.stderr.count("does not include")) == (0, 1)
    assert what.partition(" in ")[0] in done.stderr
    for arguments in (["save", "m.h5", "-o", "x.h5"], ["set", "m.h5", "w=1", "--in-place"]):
        done = paramctl(*arguments)
        assert (done.returncode, done.stderr.count("does not include")) == (0, 0), done.stderr
        with h5py.File(tmp_path / ("x.h5" if "x.h5" in arguments else "m.h5")) as file:
            names: list[str] = []
            file.visit_links(names.append)
            (name,) = {"x", "meta/x", "a/b/c"} & set(names)
            assert str(file.get(name, getlink=True)) or name
            if "soft" not in what and "null" not in what:
                assert file[name].shape is not None
    name = "a/b/c" if "own" in what else "x" if what in ("an enumeration type", "a null dataspace") else "meta/x"
    done = paramctl("dump", "m.h5", name)
    assert done.returncode == 2
    assert f"{name} is not an array of numbers, but {what.partition(' in ')[0]}" in done.stderr


def test_references_are_not_carried_over(paramctl: Run, tmp_path: Path) -> None:
    """An address in one file means nothing in another, so a copy would be a reference to anything."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["w"] = np.arange(3.0)
        file["cells"] = file["w"].ref
        file.create_dataset("lists", (1,), h5py.vlen_dtype(h5py.ref_dtype))
        file.create_dataset("records", (1,), np.dtype([("a", "f4"), ("r", h5py.ref_dtype)]))
        file["w"].attrs["DIMENSION_LIST"] = file["w"].ref
        file["w"].attrs["unit"] = "m"
        file["w"].attrs["seed"] = 3
    done = paramctl("save", "m.h5", "-o", "x.h5")
    assert done.returncode == 0
    lost = {line.partition("does not include ")[2] for line in done.stderr.splitlines()[2:]}
    assert {text.removesuffix(" of the source") for text in lost} == {
        "cells (a reference type)",
        "lists (a variable-length type)",
        "records (a compound type)",
        "the attribute DIMENSION_LIST of w",
        "the attribute seed of w",
    }
    with h5py.File(tmp_path / "x.h5") as file:
        assert set(file) == {"w", "__paramctl__"}
        assert dict(file["w"].attrs) == {"unit": "m"}


def test_a_cast_leaves_no_false_dtype(paramctl: Run, tmp_path: Path) -> None:
    """The attribute that says bfloat16 belongs to the old values."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["w"] = np.array([0, 0x3F80], "uint16").view("V2")
        file["w"].attrs["dtype"] = "bfloat16"
        file["w"].attrs["unit"] = "m"
    assert paramctl("save", "m.h5", "-o", "x.h5", "--dtype", "float32").returncode == 0
    assert paramctl("dump", "x.h5").stdout == "[0. 1.]\n"
    with h5py.File(tmp_path / "x.h5") as file:
        assert dict(file["w"].attrs) == {"unit": "m"}


def test_a_filter_that_is_missing_is_named(paramctl: Run, tmp_path: Path) -> None:
    """Only values in chunks that a filter packed are refused; the file is listed, and its other arrays are read."""
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["w"] = np.ones(2)
        properties = h5p.create(h5p.DATASET_CREATE)
        properties.set_chunk((4,))
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        for name in (b"packed", b"plain", b"unwritten"):
            h5d.create(file.id, name, h5t.IEEE_F32LE, h5s.create_simple((4,)), properties)
        file["packed"].id.write_direct_chunk((0,), b"packed")
        file["plain"].id.write_direct_chunk((0,), np.arange(4, dtype="<f4").tobytes(), 1)  # the filter left it out
    assert paramctl("summary", "f.h5").returncode == 0
    assert paramctl("dump", "f.h5", "w").stdout == "[1. 1.]\n"
    assert (
        paramctl("dump", "f.h5", "plain", "--format", "raw", text=False).stdout == np.arange(4, dtype="<f4").tobytes()
    )
    assert paramctl("dump", "f.h5", "unwritten", "--format", "raw", text=False).stdout == bytes(16)
    done = paramctl("save", "f.h5", "-o", "x.safetensors")
    line = "f.h5: packed: packed by the HDF5 filter 32015, which is not supported. Write it again with gzip\n"
    assert (done.returncode, done.stderr) == (2, line)
    assert not (tmp_path / "x.safetensors").exists()


def test_a_named_datatype_is_skipped(paramctl: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["w"] = np.ones(2)
        file["t"] = np.dtype("f4")
    assert paramctl("summary", "t.h5").stderr == "t.h5: skipped 1 non-numeric item: t (a named datatype)\n"
    assert "x.h5 does not include t (a named datatype) of the source\n" in paramctl("save", "t.h5", "-o", "x.h5").stderr
