"""Files that are damaged or hostile: one line, exit 2, within limits; nothing but an error of paramctl's own ever escapes.

With PARAMCTL_TORTURE set, ten times as many damaged files are tried, and 10,000 of each format that is only read.
"""

import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from paramctl.errors import ParamctlError
from paramctl.source.base import select_values
from paramctl.source.open import open_path
from paramctl.source.stored import Stored
from tests import forks, samples
from tests.conftest import ROOT, Run

FIXTURES = ROOT / "tests/fixtures"
ROUNDS = 30 * forks.ROUNDS
MANY = 10_000 if forks.TORTURE else ROUNDS
"""Damaged files of a format that is only read. The others have readers that were tried longer, or are slow."""
MOST_SECONDS = 2.0
"""Of a processor, for one damaged file."""
MOST_KILOBYTES = 300_000
"""By which all damaged files of one format may raise the peak of memory."""

READ_ONLY = {f"sample of {name}": build for name, build in samples.SAMPLES.items()}

FIXTURE_FILES = ("keras3_nested.weights.h5", "keras2_full_model.h5", "keras3_nested.keras", "dtypes.safetensors")


def small_npz(path: Path) -> Path:
    np.savez_compressed(path, a=np.arange(50.0), b=np.ones((3, 4), "float32"))
    return path


def small_hdf5(path: Path) -> Path:
    Run(path.parent)("save", str(ROOT / "sample_models/mlp.yaml"), "-o", path.name, check=True)
    return path


WRITTEN = {"x.npz": small_npz, "m.h5": small_hdf5}


def sample(name: str, folder: Path) -> Path:
    """Write one sample in a folder, with the other files that it needs, and return the file to damage."""
    if name in READ_ONLY:
        return READ_ONLY[name](folder)
    if name in WRITTEN:
        return WRITTEN[name](folder / name)
    return Path(shutil.copy(FIXTURES / name, folder / name))


@pytest.mark.parametrize("name", [*READ_ONLY, *FIXTURE_FILES, *WRITTEN])
def test_a_damaged_file_is_refused_or_read(name: str, tmp_path: Path) -> None:
    """Bytes changed, cut and repeated at random places, mostly in the headers. Each takes little time and memory."""
    rng = random.Random(name)  # noqa: S311
    path = sample(name, tmp_path)
    whole = path.read_bytes()
    refused, rounds = 0, MANY if name in READ_ONLY else ROUNDS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(rounds):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3))):
            place = rng.randrange(len(data)) if rng.random() < 0.4 else rng.randrange(min(len(data), 3000))
            data[place] = rng.choice((0, 1, 0x7F, 0xFF, data[place] ^ (1 << rng.randrange(8))))
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        begin = time.process_time()
        try:
            found = open_path(str(path))
            for each in select_values(Stored(found.checkpoint), []) if found.checkpoint else ():
                if each.selection.size < 10_000:
                    list(each.pieces())
        except ParamctlError as error:
            refused += 1
            # a set names its damaged file, or its folder
            assert str(path.parent if name in READ_ONLY else path) in str(error)
        assert time.process_time() - begin < MOST_SECONDS, data
    assert refused > rounds // 10, "damage is noticed"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < MOST_KILOBYTES


def _npz(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _npy(
    descr: str = "<f4",
    shape: str = "(2,)",
    data: bytes = bytes(8),
    fortran: str = "False",
    version: bytes = b"\x01\x00",
) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


NPZ = {
    "no npy": ({"a.pkl": b"x"}, "a zip archive without arrays (its first member is 'a.pkl')"),
    "twins": ({"w.npy": _npy(), "w": _npy()}, "the member 'w' is not an .npy file"),
    "a shape that is too large": (
        {"a.npy": _npy(shape="(1000000000000,)")},
        "bytes by its header (got ",
    ),
    "too little": ({"a.npy": _npy(data=bytes(7))}, "bytes by its header (got "),
    "too much": ({"a.npy": _npy(data=bytes(9))}, "bytes by its header (got "),
    "a negative shape": ({"a.npy": _npy(shape="(-2,)")}, "a.npz: "),
    "a shape that is code": (
        {"a.npy": _npy(shape="__import__('os').system('touch ran')")},
        "the header of 'a' is damaged",
    ),
    "records": ({"a.npy": _npy("<f4").replace(b"'<f4'", b"[('x','<f4')]")}, "a.npz: "),
    "another version": ({"a.npy": _npy(version=b"\x09\x00")}, "a.npz: "),
    "nothing in it": ({"a.npy": b""}, "a.npz: "),
    "65 axes": ({"a.npy": _npy(shape="(" + "1," * 65 + ")", data=bytes(4))}, "a.npz: "),
    "Fortran's order, and negative": (
        {"a.npy": _npy(shape="(-2, -1)", fortran="True")},
        "of non-negative integer sizes (got (-2, -1))",
    ),
    "Fortran's order, and more than there is": (
        {"a.npy": _npy(shape="(1099511627776, 1099511627776)", fortran="True")},
        "'a': an array has at most 2^63 bytes",
    ),
}


@pytest.mark.parametrize("what", NPZ)
def test_malformed_npz(what: str, paramctl: Run, tmp_path: Path) -> None:
    members, says = NPZ[what]
    _npz(tmp_path / "a.npz", members)
    done = paramctl("dump", "a.npz")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr
    assert "allow_pickle" not in done.stderr
    assert os.listdir(tmp_path) == ["a.npz"]


def limited(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run under limits of time and memory, which the HDF5 worker has for itself too."""
    command = " ".join(["ulimit -v 3000000; ulimit -t 20; exec", sys.executable, "-m paramctl", *arguments])
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=forks.patience())


def test_bombs_are_read_piece_by_piece(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte, in npz and in HDF5: one value of it costs no more than a piece."""
    with (
        zipfile.ZipFile(tmp_path / "z.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("w.npy", "w", force_zip64=True) as member,
    ):
        member.write(_npy(shape="(250000000,)", data=b""))
        for _ in range(1000):
            member.write(bytes(1_000_000))
    with h5py.File(tmp_path / "g.h5", "w") as file:
        made = file.create_dataset("w", (250_000_000,), "float32", chunks=(1 << 22,), compression="gzip")
        zeros = zlib.compress(bytes(4 << 22))
        for start in range(0, 250_000_000, 1 << 22):
            made.id.write_direct_chunk((start,), zeros)
    for name in ("z.npz", "g.h5"):
        done = limited(tmp_path, "dump", name, "'w[0:3]'", "--format", "csv")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 4


def test_hdf5_that_is_hostile(paramctl: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for number in range(64):  # each just small enough, all together no file
            file.create_dataset(f"w{number}", (1_000_000_000,), "float32", chunks=(1000,), compression="gzip")
    with h5py.File(tmp_path / "chunk.h5", "w") as file:
        file.create_dataset("w", (1 << 29,), "float32", chunks=(1 << 29,), compression="gzip")
    (tmp_path / "signature.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "zeros.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2000))
    for name in ("many.h5", "chunk.h5", "signature.h5", "zeros.h5"):
        done = limited(tmp_path, "dump", name)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), name
        assert done.stderr.startswith(f"{name}: ")


def test_names_that_would_fool_a_terminal(paramctl: Run, tmp_path: Path) -> None:
    name = "w\x1b[31m\u202e\n"
    header = json.dumps({name: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\7")
    shown = paramctl("summary", "x.safetensors").stdout + paramctl("dump", "x.safetensors", "w").stderr
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert json.loads(paramctl("dump", "x.safetensors", "--format", "json").stdout) == {name: [7]}
    saved = paramctl("save", "x.safetensors", "-o", "y.h5")
    assert saved.returncode in (0, 2)
    assert saved.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "names", [["a", "a/b"], ["..", "x"], ["a//b"], ["/a"], [""], ["a\0b"], ["./a"], ["a" * 70_000]]
)
def test_names_that_hdf5_cannot_hold(names: list[str], paramctl: Run, tmp_path: Path) -> None:
    entries = {name: {"dtype": "U8", "shape": [1], "data_offsets": [k, k + 1]} for k, name in enumerate(names)}
    header = json.dumps(entries).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(len(names)))
    done = paramctl("save", "x.safetensors", "-o", "y.h5")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert not (tmp_path / "y.h5").exists()
    assert sorted(os.listdir(tmp_path)) == ["x.safetensors"]
