"""A checkpoint is hostile input: it is refused in one line, within 2 seconds and 300 MB, whatever it holds.

Each case makes a file and has ``paramctl summary`` and ``paramctl dump`` read it as processes, and asks the operating
system what these and the workers that parse for them cost. Nothing but the file itself is ever opened or written.
"""

import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import safetensors
from h5py import h5d, h5p, h5s, h5t

import paramctl
from paramctl.core.indexing import boxes
from paramctl.errors import ParamctlError
from paramctl.store.hdf5 import client as hdf5_client
from paramctl.store.hdf5.client import Client, WorkerExited
from paramctl.store.location import open_location
from paramctl.store.safetensors.files import read_arrays
from tests import forks
from tests.conftest import ROOT, Run
from tests.test_hostile import MEGABYTES, SECONDS, USUAL, usual

COMMANDS = ("summary", "dump")
FIXTURES = ROOT / "tests/fixtures"


def both_within_limits(path: Path) -> list[forks.Ran]:
    """Return the messages of the two commands about a file, run within the limits of test_hostile."""
    for attempt in range(3):
        every = [forks.measured(command, str(path)) for command in COMMANDS]
        seconds = max(ran.seconds for ran in every)
        slowness = max(1.0, usual() / USUAL) if seconds > SECONDS else 1.0
        if seconds < SECONDS * slowness:
            break
        assert attempt < 2, f"{seconds} s, on a machine {slowness} times slower than usual"
    for ran in every:
        assert ran.megabytes < MEGABYTES
    return every


class Case(NamedTuple):
    """A file to be made: under a name, by a function of its path; and what is said of it."""

    name: str
    make: Callable[[Path], None]
    says: str


REFUSED: dict[str, Case] = {}
ACCEPTED: dict[str, Case] = {}


def case(
    what: str, says: str, name: str = "x.h5", among: dict[str, Case] = REFUSED
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def add(make: Callable[[Path], None]) -> Callable[[Path], None]:
        assert what not in among
        among[what] = Case(name, make, says)
        return make

    return add


def h5(
    what: str, says: str, among: dict[str, Case] = REFUSED
) -> Callable[[Callable[[h5py.File], object]], Callable[[h5py.File], object]]:
    """The same for what is done to an HDF5 file that holds an array already."""

    def add(fill: Callable[[h5py.File], object]) -> Callable[[h5py.File], object]:
        def make(path: Path) -> None:
            with h5py.File(path, "w") as file:
                file["good"] = np.ones(3, "float32")
                fill(file)

        case(what, says, among=among)(make)
        return fill

    return add


def trap(path: Path) -> str:
    """A pipe that nobody writes to: whoever opened it would wait for ever."""
    os.mkfifo(path.parent / "trap.h5")
    return str(path.parent / "trap.h5")


# Links


@case("an external link", "out is a link to another file, which paramctl never follows")
def _(path: Path) -> None:
    trap(path)
    with h5py.File(path, "w") as file:
        file["out"] = h5py.ExternalLink("trap.h5", "/w")


@case("an external link by an absolute path, deep within", "a/b/out is a link to another file")
def _(path: Path) -> None:
    target = trap(path)
    with h5py.File(path, "w") as file:
        file.create_group("a/b")["out"] = h5py.ExternalLink(target, "/w")


h5("an external link to nothing", "out is a link to another file")(
    lambda file: file.__setitem__("out", h5py.ExternalLink("missing.h5", "/w"))
)


@case("an external link in a native file", "dense/out is a link to another file")
def _(path: Path) -> None:
    native(path)
    trap(path)
    with h5py.File(path, "a") as file:
        file["dense/out"] = h5py.ExternalLink("trap.h5", "/w")


@case("an external link by a name within its file", "g/z is a link to another file, which paramctl never follows")
def _(path: Path) -> None:
    trap(path)
    with h5py.File(path, "w") as file:
        file.create_group("g/aut")  # the library lists it before, and would look for w in out
        file["g/outXw"] = np.ones(3, "float32")
        file["g/z"] = h5py.ExternalLink("trap.h5", "/")
    patch(path, b"outXw\0", b"out/w\0")


def native(path: Path) -> None:
    model = str(ROOT / "sample_models/mlp.yaml")
    Run(path.parent)("save", model, "-o", str(path), check=True)


def keras3(file: h5py.File, layer: str = "dense") -> h5py.Group:
    """The group of a layer's variables, one of which is there."""
    group = file.create_group(f"layers/{layer}/vars")
    group.attrs["name"] = layer
    group["0"] = np.ones((3, 2), "float32")
    return group


def keras2(file: h5py.File, weights: list[str]) -> h5py.Group:
    """The group of a layer that is to have these weights."""
    file.attrs["layer_names"] = ["dense"]
    file.attrs["backend"] = "tensorflow"
    group = file.create_group("dense")
    group.attrs["weight_names"] = weights
    return group


h5("a soft link in a file of Keras 3", "layers/dense/vars/1 is a soft link, which Keras does not allow")(
    lambda file: keras3(file).__setitem__("1", h5py.SoftLink("/good"))
)
h5("a soft link beside the layers of Keras 3", "soft is a soft link, which Keras does not allow")(
    lambda file: (keras3(file), file.__setitem__("soft", h5py.SoftLink("/good")))
)
h5("a soft link in a file of Keras 2", "dense/k is a soft link, which Keras does not allow")(
    lambda file: keras2(file, ["k"]).__setitem__("k", h5py.SoftLink("/good"))
)
h5("a soft link elsewhere", "skipped 1 non-numeric item: soft (a soft link)", ACCEPTED)(
    lambda file: file.__setitem__("soft", h5py.SoftLink("/good"))
)
h5("soft links in a circle", "(a soft link)", ACCEPTED)(
    lambda file: (file.__setitem__("a", h5py.SoftLink("/b")), file.__setitem__("b", h5py.SoftLink("/a")))
)
h5("a soft link to what is in no file", "skipped 1 non-numeric item: soft (a soft link)", ACCEPTED)(
    lambda file: file.__setitem__("soft", h5py.SoftLink("/nowhere"))
)
h5("one array under two names", "", ACCEPTED)(lambda file: file.__setitem__("again", file["good"]))
LOOP = "a hard link to a group that contains it"
h5("a group within itself", f"skipped 1 non-numeric item: a/b/c ({LOOP})", ACCEPTED)(
    lambda file: file.create_group("a/b").__setitem__("c", file["a"])
)
h5("the root within a group", f"skipped 1 non-numeric item: a/root ({LOOP})", ACCEPTED)(
    lambda file: file.create_group("a").__setitem__("root", file["/"])
)


@h5("2^40 paths to one group", "links lead to more than")
def _(file: h5py.File) -> None:
    below = file.create_group("g0")
    for number in range(1, 40):
        here = file.create_group(f"g{number}")
        here["l"] = here["r"] = below
        below = here


h5("70 groups, each in the one before", "groups are nested deeper than 64 levels")(
    lambda file: file.create_group("/".join("g" * 70))
)
h5("3,000 groups, each in the one before", "groups are nested deeper than 64 levels")(
    lambda file: file.create_group("/".join("g" * 3000))
)
h5("5,000 groups side by side", "", ACCEPTED)(lambda file: [file.create_group(f"g{k}") for k in range(5000)])
h5("a name of 60,000 characters", "a path may have at most 4,096 characters")(
    lambda file: file.__setitem__("n" * 60_000, np.ones(1, "float32"))
)


@case("as many paths as a large file may have, and holes", "links lead to more than 1,")
def _(path: Path) -> None:
    with h5py.File(path, "w") as file:
        below = file.create_group("g0")
        for number in range(1, 10):
            here = file.create_group(f"g{number}")
            for name in "abcd":
                here[name] = below
            below = here
    os.truncate(path, 3 << 30)


@h5("paths that are much longer than their file", "a path may have at most 4,096 characters, and all paths together")
def _(file: h5py.File) -> None:
    group = file.create_group("n" * 4000)
    for number in range(2500):
        group.create_group(str(number))


h5("a name that is not text", "a name in / is not text in UTF-8")(lambda file: file.__setitem__(b"caf\xe9", 1.0))


# Where values lie


@h5("external storage", "e has external storage, which paramctl never reads")
def _(file: h5py.File) -> None:
    file.create_dataset("e", (3,), "float32", external=[("/etc/passwd", 0, 12)])


@h5("external storage of a text", "t has external storage, which paramctl never reads")
def _(file: h5py.File) -> None:
    file.create_dataset("t", (3,), "S4", external=[("/etc/passwd", 0, 12)])


@h5("external storage of the document", "__paramctl__/document was never written")
def _(file: h5py.File) -> None:
    file.create_dataset("__paramctl__/document", (), "S100", external=[("/etc/passwd", 0, 100)])


def virtual(file: h5py.File, source: str, name: str = "v", dtype: str = "float32") -> None:
    layout = h5py.VirtualLayout((3,), dtype)
    layout[:] = h5py.VirtualSource(source, "good", (3,), dtype)
    file.create_virtual_dataset(name, layout)


h5("a virtual dataset of a file that is missing", "v is a virtual dataset, which paramctl never reads")(
    lambda file: virtual(file, "missing.h5")
)
h5("a virtual dataset of its own file", "v is a virtual dataset, which paramctl never reads")(
    lambda file: virtual(file, ".")
)
h5("a virtual dataset of text", "v is a virtual dataset, which paramctl never reads")(
    lambda file: virtual(file, "missing.h5", dtype="S4")
)


@case("a virtual dataset of another file", "v is a virtual dataset, which paramctl never reads")
def _(path: Path) -> None:
    trap(path)
    with h5py.File(path, "w") as file:
        virtual(file, "trap.h5")


# Sizes


@h5("8 PiB in chunks", "w claims 9,007,199,254,740,992 bytes in a file of")
def _(file: h5py.File) -> None:
    file.create_dataset("w", (1 << 51,), "float32", chunks=(1024,))[0] = 1


@h5("2^62 values in chunks", "bytes in a file of")
def _(file: h5py.File) -> None:
    file.create_dataset("w", (1 << 31, 1 << 31), "float32", chunks=(32, 32))


@case("8 PiB in one piece", "w: the HDF5 library says: ")
def _(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["w"] = np.ones(0x1234, "float32")
    patch(path, struct.pack("<Q", 0x1234), struct.pack("<Q", 1 << 51), every=True)
    patch(path, struct.pack("<Q", 0x1234 * 4), struct.pack("<Q", 1 << 53))


@h5("64 arrays, each just under 4 GiB", "w0 claims 4,294,967,200 bytes in a file of")
def _(file: h5py.File) -> None:
    for number in range(64):
        file.create_dataset(f"w{number}", (1_073_741_800,), "float32", chunks=(1024,), compression="gzip")[0] = 1


@h5("chunks of 2 GiB", "a chunk must have rank 1 and at most 67,108,864 bytes (got (536870912,))")
def _(file: h5py.File) -> None:
    file.create_dataset("pad", data=np.random.default_rng(0).random(600_000))
    made = file.create_dataset("w", (1 << 29,), "float32", chunks=(1 << 29,), compression="gzip")
    made.id.write_direct_chunk((0,), bytes(3_000_000))


@h5("chunks over the limit, of many axes", "a chunk must have rank 3 and at most 67,108,864 bytes")
def _(file: h5py.File) -> None:
    made = file.create_dataset("w", (300, 300, 300), "float32", chunks=(300, 300, 300), compression="gzip")
    made.id.write_direct_chunk((0, 0, 0), bytes(200_000))


@h5("deflate of deflate", "bytes, too many for the 2,000 bytes stored")
def _(file: h5py.File) -> None:
    """A gigabyte's worth of what one more deflate makes of zeros."""
    file.create_dataset("pad", data=np.zeros(1 << 18))
    made = h5p.create(h5p.DATASET_CREATE)
    made.set_chunk((1 << 20,))
    made.set_deflate(9)
    made.set_deflate(9)
    dataset = h5d.create(file.id, b"w", h5t.IEEE_F32LE, h5s.create_simple((1 << 26,)), dcpl=made)
    dataset.write_direct_chunk((0,), bytes(2000))


@case("chunks of more axes than the array", "x.h5: ")
def _(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("w", data=np.ones((6, 6), "float32"), chunks=(3, 3))
    patch(path, b"\x03\x02\x03", b"\x03\x02\x04")


@case("chunks of fewer axes than the array", "x.h5: ")
def _(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("w", data=np.ones((6, 6), "float32"), chunks=(3, 3))
    patch(path, b"\x03\x02\x03", b"\x03\x02\x02")


def placed(path: Path, shift: int) -> None:
    """Two arrays, the second of which is made to lie where the first does, or so much further on."""
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = np.arange(64, dtype="float64"), np.arange(64, dtype="float64")
        first, second = file["a"].id.get_offset(), file["b"].id.get_offset()
    patch(path, struct.pack("<QQ", second, 512), struct.pack("<QQ", first + shift, 512))


case("two arrays of the same bytes", "a and b claim the same bytes")(lambda path: placed(path, 0))
case("two arrays that overlap", "a and b claim the same bytes")(lambda path: placed(path, 8))


@case("chunks that claim more than the file", "arrays claim 1,200,000,000 bytes together in a file of")
def _(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for number in range(40):
            made = file.create_dataset(f"w{number}", (1 << 16,), "uint8", chunks=(1 << 16,), compression="gzip")
            made.id.write_direct_chunk((0,), bytes(3001))
    patch(path, struct.pack("<II", 3001, 0), struct.pack("<II", 30_000_000, 0), every=True)


@h5("an array that was never written", "", ACCEPTED)
def _(file: h5py.File) -> None:
    file.create_dataset("n", (3,), "float32")


@h5("an array in chunks that was never written", "", ACCEPTED)
def _(file: h5py.File) -> None:
    file.create_dataset("n", (30,), "float32", chunks=(3,))


h5("a variable of Keras that was never written", "", ACCEPTED)(
    lambda file: keras3(file).create_dataset("1", (3,), "float32")
)


@h5("100 arrays of a megabyte, never written", "bytes, too many for the 0 bytes stored")
def _(file: h5py.File) -> None:
    for number in range(100):
        file.create_dataset(f"w{number}", (1 << 18,), "float32")


@h5("a chunk of an array of 100 MB", "bytes, too many for the 4,000 bytes stored")
def _(file: h5py.File) -> None:
    file.create_dataset("pad", data=np.zeros(1 << 17))
    file.create_dataset("w", (25_000_000,), "float32", chunks=(1000,))[0] = 1


h5("an array without values", "", ACCEPTED)(lambda file: file.create_dataset("e", (0, 4), "float32"))


@case("an empty array too large for NumPy", "is too large for NumPy")
def _(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("e", (0, 1 << 61, 1 << 61), "float32", chunks=(1, 1, 1), maxshape=(None, None, None))


@h5("deflate as far as it goes", "", ACCEPTED)
def _(file: h5py.File) -> None:
    file.create_dataset("w", data=np.zeros(1 << 24, "float32"), chunks=(1 << 20,), compression="gzip")


@h5("one chunk of 64 MiB", "", ACCEPTED)
def _(file: h5py.File) -> None:
    file.create_dataset("w", data=np.zeros(1 << 24, "float32"), chunks=(1 << 24,), compression="gzip", shuffle=True)


# What is no array of numbers


def committed(group: h5py.Group, name: str) -> None:
    group.file["type"] = np.dtype([("a", "f4")])
    group.create_dataset(name, (3,), group.file["type"])[...] = np.ones(3, [("a", "f4")])


def of_type(kind: h5t.TypeID, memory: np.ndarray | None = None) -> Callable[[h5py.Group, str], None]:
    def add(group: h5py.Group, name: str) -> None:
        made = h5d.create(group.id, name.encode(), kind, h5s.create_simple((2,)))
        if memory is not None:
            made.write(h5s.ALL, h5s.ALL, memory)

    return add


def time_type() -> h5t.TypeID:
    kind = h5t.STD_I32LE.copy()
    kind.set_precision(24)
    kind.set_size(3)
    return kind


NO_NUMBERS: dict[str, tuple[Callable[[h5py.Group, str], object], str]] = {
    "text": (lambda group, name: group.__setitem__(name, "words"), "text"),
    "texts of a length": (lambda group, name: group.__setitem__(name, np.array([b"ab", b"c"])), "text"),
    "lists": (lambda group, name: group.create_dataset(name, (2,), h5py.vlen_dtype("i4")), "a variable-length type"),
    "a reference": (lambda group, name: group.__setitem__(name, group.ref), "a reference type"),
    "records": (lambda group, name: group.__setitem__(name, np.zeros(2, [("a", "f4"), ("b", "i4")])), "a compound type"),
    "records of a named type": (committed, "a compound type"),
    "an enumeration": (
        lambda group, name: group.create_dataset(name, data=[1, 2], dtype=h5py.enum_dtype({"A": 1, "B": 2})),
        "an enumeration type",
    ),
    "arrays": (lambda group, name: group.create_dataset(name, (2,), np.dtype(("f4", (3,)))), "an array type"),
    "opaque": (lambda group, name: group.__setitem__(name, np.zeros(2, "V7")), "an opaque type"),
    "two bytes that nothing gives a meaning": (lambda group, name: group.__setitem__(name, np.zeros(2, "V2")), "an opaque type"),
    "a long double": (lambda group, name: group.__setitem__(name, np.ones(2, "longdouble")), "a type of 16 bytes"),
    "three bytes": (of_type(time_type(), np.ones(2, "int32")), "a type of 3 bytes"),
    "nothing": (lambda group, name: group.__setitem__(name, h5py.Empty("float32")), "a null dataspace"),
}  # fmt: skip

for what, (add, word) in NO_NUMBERS.items():
    if word == "a type of 16 bytes" and np.dtype("longdouble").itemsize != 16:
        continue
    rule = f"must be a numeric dataset, as every variable of Keras is (got {word}"
    h5(f"{what} as a variable of Keras 3", f"layers/dense/vars/1 {rule}")(
        lambda file, add=add: add(keras3(file), "1")  # type: ignore[misc]
    )
    h5(f"{what} as a weight of Keras 2", f"dense/k {rule}")(
        lambda file, add=add: add(keras2(file, ["k"]), "k")  # type: ignore[misc]
    )
    # a named type is an item of its own
    others = "1 non-numeric item: other" if add is not committed else "2 non-numeric items: other"
    h5(f"{what} elsewhere", f"skipped {others} ({word})", ACCEPTED)(
        lambda file, add=add: add(file, "other")  # type: ignore[misc]
    )

h5("text in a file of Keras, but no variable", "skipped 1 non-numeric item: note (text)", ACCEPTED)(
    lambda file: (keras3(file), file.__setitem__("note", "words"))
)
h5("a group in the place of a variable", "layers/dense/vars/1 must be a numeric dataset")(
    lambda file: keras3(file).create_group("1")
)
h5("a variable in the place of a group", "layers/relu/vars must be a group")(
    lambda file: (keras3(file), file.__setitem__("layers/relu/vars", np.ones(3)))
)
h5("a weight that is not there", "dense/b is listed in weight_names but missing")(
    lambda file: keras2(file, ["k", "b"]).__setitem__("k", np.ones(3))
)


def told(group: h5py.Group, name: str, data: np.ndarray, dtype: str) -> None:
    group[name] = data
    group[name].attrs["dtype"] = dtype


h5("float32 that is said to be bfloat16", "w holds float32, but its attribute dtype says bfloat16")(
    lambda file: told(file, "w", np.ones(3, "float32"), "bfloat16")
)
h5("the same in a file of Keras", "layers/dense/vars/1 holds float32, but its attribute dtype says bfloat16")(
    lambda file: told(keras3(file), "1", np.ones(3, "float32"), "bfloat16")
)
h5("one byte that is said to be two", "layers/dense/vars/1 must be a numeric dataset")(
    lambda file: told(keras3(file), "1", np.zeros(3, "V1"), "bfloat16")
)
h5("bfloat16 as Keras has it", "", ACCEPTED)(lambda file: told(keras3(file), "1", np.zeros(3, "V2"), "bfloat16"))
h5("what is not known said of float32", "", ACCEPTED)(lambda file: told(file, "w", np.ones(3, "float32"), "torch"))
h5("an attribute of 200,000 bytes", "", ACCEPTED)(
    lambda file: file.create_dataset("w", data=np.ones(3), track_order=True).attrs.create("note", np.ones(7_000))
)


# What it says


h5("brackets as Keras' configuration", "", ACCEPTED)(
    lambda file: (keras2(file, ["k"]).__setitem__("k", np.ones(3)), file.attrs.__setitem__("model_config", "[" * 5000))
)
for text in ("ties", "keras", "model"):
    h5(f"brackets as {text} of paramctl", "", ACCEPTED)(
        lambda file, text=text: file.__setitem__(f"__paramctl__/{text}", np.bytes_("[" * 30_000))  # type: ignore[misc]
    )
    h5(f"8 MB of lists as {text} of paramctl", "", ACCEPTED)(
        lambda file, text=text: file.__setitem__(f"__paramctl__/{text}", np.bytes_(LISTS))  # type: ignore[misc]
    )

LISTS = f"[{'[],' * 2_666_666}[]]"


def archive(
    what: str, says: str, config: str, method: int = zipfile.ZIP_STORED, among: dict[str, Case] = REFUSED
) -> None:
    """A file of Keras with this configuration."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("metadata.json", "{}")
            made.writestr("config.json", config, method)
            made.write(FIXTURES / "keras3_nested.weights.h5", "model.weights.h5")

    case(f"configuration: {what}", says, "x.keras", among)(make)


DAMAGED = "damaged .keras file"
archive("8 MB of lists", "more than 1,000,000 names, values and commas", LISTS)
archive("8 MB of lists, compressed", "bytes (got 8,000,002)", LISTS, zipfile.ZIP_DEFLATED)
archive("90 MB of spaces, compressed", "bytes (got 90,000,000)", " " * 90_000_000, zipfile.ZIP_DEFLATED)
archive("13 MB of spaces", "config.json must have at most 12,000,000 bytes (got 13,000,000)", " " * 13_000_000)
archive("brackets", "nested deeper than 300 levels", "[" * 100_000)
archive("names without an end", DAMAGED, '{"a":' * 299 + '"' + "a" * 1_000_000)
archive("lists in 250 others", "", "[" * 250 + "]" * 250, among=ACCEPTED)


# Damage


def patch(path: Path, old: bytes, new: bytes, every: bool = False) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1 or (every and old in data), "the library lays files out in another way"
    path.write_bytes(data.replace(old, new))


def with_trees(path: Path, which: int) -> None:
    """The tree by which something is found, made a branch of itself: the library follows it until its stack is full."""
    with h5py.File(path, "w") as file:
        file["a/w"] = np.ones(3, "float32")
        file.create_dataset("c", data=np.zeros((8, 8), "float32"), chunks=(2, 2))
    data = bytearray(path.read_bytes())
    place = -1
    for _ in range(which + 1):
        place = data.index(b"TREE", place + 1)
    key = 8 if data[place + 4] == 0 else 8 + 3 * 8
    data[place + 5] = 1
    data[place + 24 + key : place + 32 + key] = struct.pack("<Q", place)
    path.write_bytes(data)


case("a tree of groups that is its own branch", "the HDF5 library")(lambda path: with_trees(path, 1))
case("a tree of chunks that is its own branch", "the HDF5 library")(lambda path: with_trees(path, 2))


@case("free space that follows itself without end", "x.h5: ")  # of memory or of time, the limit that is first
def _(path: Path) -> None:
    """The library would take memory until there is no more."""
    with h5py.File(path, "w") as file:
        file["a/w"] = np.ones(3, "float32")
    data = bytearray(path.read_bytes())
    heap = data.index(b"HEAP")
    _, free, place = struct.unpack("<QQQ", data[heap + 8 : heap + 32])
    data[place + free : place + free + 8] = struct.pack("<Q", free)
    path.write_bytes(data)


def keras_fixture(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    whole = (FIXTURES / "keras3_nested.weights.h5").read_bytes()
    return lambda path: (path.write_bytes(change(whole)), None)[1]


case("nothing but a signature", "the HDF5 library says: ")(
    lambda path: (path.write_bytes(b"\x89HDF\r\n\x1a\n"), None)[1]
)
case("nothing at all", "x.h5:")(lambda path: (path.write_bytes(b""), None)[1])
case("words", "x.h5:")(lambda path: (path.write_bytes(b"hello"), None)[1])
case("half a file", "the HDF5 library says: ")(keras_fixture(lambda data: data[: len(data) // 2]))
case("all but a byte", "the HDF5 library says: ")(keras_fixture(lambda data: data[:-1]))
case("a file and more", "", among=ACCEPTED)(keras_fixture(lambda data: data + b"more"))


# safetensors


def st(
    what: str, says: str, header: object, data: bytes = b"", length: int | None = None, among: dict[str, Case] = REFUSED
) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    whole = (len(text) if length is None else length).to_bytes(8, "little") + text + data
    case(f"safetensors: {what}", says, "x.safetensors", among)(lambda path: (path.write_bytes(whole), None)[1])


def entry(begin: int = 0, end: int = 8, **other: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end], **other}


def raw(*entries: str, metadata: str = "") -> bytes:
    return ("{" + ", ".join([f'"__metadata__": {metadata}'] * bool(metadata) + list(entries)) + "}").encode()


W = '"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
EIGHT = bytes(8)

st("no header", "x.safetensors:", b"", length=0)
st("a header of 2^63 bytes", "x.safetensors:", {}, length=1 << 63)
st("a header over the limit", "x.safetensors:", {}, length=100_000_001)
st("a header longer than its file", "truncated within the header", {"w": entry()}, EIGHT, length=1000)
st("no JSON", "the header is not JSON", b"{what}")
st("a list", "the header is not JSON", b"{[]}")
st("an entry that is null", "'w' must have", b'{"w": null}')
st("a space first", "the header must begin with '{'", b" " + raw(W), EIGHT)
st("a byte order mark", "x.safetensors:", b"\xef\xbb\xbf" + raw(W), EIGHT)
st("a name that is not UTF-8", "the header must be text in UTF-8", raw(W).replace(b'"w"', b'"\xe9"'), EIGHT)
st("half a character", "which is not Unicode text", raw(W).replace(b'"w"', b'"\\ud800"'), EIGHT)
st("a control character", "the header is not JSON", raw(W).replace(b'"w"', b'"\x01"'), EIGHT)
st("an escape that is none", "the header is not JSON", raw(W).replace(b'"w"', b'"\\x"'), EIGHT)
st("a comma too many", "the header is not JSON", raw(W + ","), EIGHT)
st("more after the header", "the header is not JSON: it ends at byte", raw(W) + b"{}", EIGHT)
st("a NUL after the header", "the header is not JSON: it ends at byte", raw(W) + b"\0", EIGHT)
st("a name twice", "the key 'w' twice", raw(W, W), EIGHT)
st("a name twice, once in escapes", "the key 'w' twice", raw(W, W.replace("w", "\\u0077", 1)), EIGHT)
st("a field twice", "the key 'dtype' twice", raw(W.replace("{", '{"dtype": "F32", ')), EIGHT)
st("minus zero", "-0 is neither a size nor an offset", raw(W).replace(b"[0, 8]", b"[-0, 8]"), EIGHT)
st("metadata twice", "the key '__metadata__' twice", raw('"__metadata__": {}', W, metadata="{}"), EIGHT)
st("a key of metadata twice", "the key 'a' twice", raw(W, metadata='{"a": "1", "a": "2"}'), EIGHT)
st("metadata that is a number", "must map strings to strings", raw(W, metadata="5"), EIGHT)
st("metadata that is null", "must map strings to strings", raw(W, metadata="null"), EIGHT)
st("metadata of numbers", "must map strings to strings", raw(W, metadata='{"a": 1}'), EIGHT)
st("metadata within metadata", "must map strings to strings", raw(W, metadata='{"a": {"b": "c"}}'), EIGHT)
st("a hole", "'w' must begin at byte 8", {"v": entry(), "w": entry(12, 20)}, bytes(20))
st("a hole at the start", "'w' must begin at byte 0", {"w": entry(8, 16)}, bytes(16))
st("a hole at the end", "bytes, but its header describes", {"w": entry()}, bytes(9))
st("an overlap", "'w' must begin at byte 8", {"v": entry(), "w": entry(4, 12)}, bytes(12))
st("the same bytes twice", "'w' must begin at byte 8", {"v": entry(), "w": entry()}, EIGHT)
st("too short", "bytes, but its header describes", {"w": entry()}, bytes(7))
st("nothing in the middle of something", "must begin at byte", {"e": entry(4, 4, shape=[0]), "w": entry()}, EIGHT)
st("offsets in reverse", "a start and an end that is not before it", {"w": entry(data_offsets=[8, 0])}, EIGHT)
st("a negative offset", "must be a list of integers", {"w": entry(data_offsets=[-8, 0])}, EIGHT)
st("three offsets", "a start and an end that is not before it", {"w": entry(data_offsets=[0, 8, 8])}, EIGHT)
st("offsets of 2^64", "must be a list of integers", {"w": entry(data_offsets=[0, 1 << 64])}, EIGHT)
st("offsets near 2^63", "in float32 needs 8", {"w": entry(data_offsets=[0, (1 << 63) - 1])}, EIGHT)
st("a negative size", "must be a list of integers", {"w": entry(shape=[-2])}, EIGHT)
st("a size that is no whole number", "must be a list of integers", {"w": entry(shape=[2.0])}, EIGHT)
st("a size that is a text", "must be a list of integers", {"w": entry(shape=["2"])}, EIGHT)
st("a size that is true", "must be a list of integers", {"w": entry(shape=[True])}, EIGHT)
st("a size of 1e0", "must be a list of integers", raw(W.replace("[2]", "[1e0, 2]")), EIGHT)
st("a size of 5,000 digits", "x.safetensors: ", raw(W.replace("[2]", f"[{'9' * 5000}]")), EIGHT)
st("a shape that is a number", "must be a list of integers", {"w": entry(shape=2)}, EIGHT)
st("sizes whose product overflows", "in float32 needs", {"w": entry(shape=[1 << 32, 1 << 32, 2])}, EIGHT)
st("an empty shape too large", "exceeds NumPy's limit", {"w": entry(0, 0, shape=[0, 1 << 62, 1 << 62])})
st("an empty shape of 2^63", "must be a list of integers", {"w": entry(0, 0, shape=[0, 1 << 63])})
st("65 axes", "at most 64 are allowed", {"w": entry(shape=[2] + [1] * 64)}, EIGHT)
st("30,000 axes", "'w' must have", {"w": entry(shape=[1] * 30_000)}, bytes(4))
st("a field too few", "'w' must have", {"w": {"dtype": "F32", "shape": [2]}}, EIGHT)
st("a field too many", "'w' must have", {"w": entry(more=1)}, EIGHT)
st("a dtype that is not known", "unsupported dtype 'F31'", {"w": entry(dtype="F31")}, EIGHT)
st("a dtype in lower case", "unsupported dtype 'f32'", {"w": entry(dtype="f32")}, EIGHT)
st("half bytes", "'w' must end with a byte", {"w": entry(dtype="F4", shape=[15])}, EIGHT)
st("a dtype that is a list", "unsupported dtype", {"w": entry(dtype=[])}, EIGHT)
st("200,000 brackets", "'w' must have", b'{"w":' + b"[" * 200_000)
st("20 MB of empty lists", "'w' must have", b'{"w": [' + b"[]," * 6_666_666 + b"[]]}")
st(
    "20 MB of empty lists as metadata",
    "must map strings to strings",
    raw(W, metadata='{"a": [' + "[]," * 6_666_666 + "[]]}"),
)
st(
    "20 MB of numbers as a shape",
    "'w' must have",
    raw(W.replace("[2]", f"[{'1,' * 10_000_000}2]")),
    EIGHT,
)
st(
    "a million entries of nothing",
    "'0' must have",
    b"{" + b",".join(b'"%d":{}' % k for k in range(1_000_000)) + b"}",
)
st("40 MB of metadata", "__metadata__ may have at most", raw(W, metadata=f'{{"a": "{"x" * 40_000_000}"}}'), EIGHT)
st("a name of 700 parts", "has more than 640 parts", {"/".join("a" * 700): entry()}, EIGHT)
st("the name of nothing", "", {"": entry()}, EIGHT, among=ACCEPTED)
st("names that are paths", "", {"../../etc/passwd": entry(), "/abs": entry(8, 16)}, bytes(16), among=ACCEPTED)
st("spaces after the header", "", raw(W) + b"  ", EIGHT, among=ACCEPTED)
st("line ends after the header", "", raw(W) + b"\n\t", EIGHT, among=ACCEPTED)
st("nothing beside something", "", {"e": entry(0, 0), "w": entry()}, EIGHT, among=ACCEPTED)
st("a truth of 2", "", {"w": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}, b"\2", among=ACCEPTED)
st("no arrays", "", {}, among=ACCEPTED)
st("metadata alone", "", {"__metadata__": {"format": "pt"}}, among=ACCEPTED)
st("a tie to what is missing", "", {"__metadata__": {"v": "gone"}, "w": entry()}, EIGHT, among=ACCEPTED)
st("ties in a circle", "", {"__metadata__": {"a": "b", "b": "a"}, "w": entry()}, EIGHT, among=ACCEPTED)
st(
    "brackets in paramctl's place",
    "",
    {"__metadata__": {"paramctl": "[" * 100_000}, "w": entry()},
    EIGHT,
    among=ACCEPTED,
)
st(
    "8 MB of lists in paramctl's place",
    "",
    {"__metadata__": {"paramctl": f"[{'[],' * 2_666_666}[]]"}, "w": entry()},
    EIGHT,
    among=ACCEPTED,
)
st("an axis of 10^5000 groups", "",
   {"__metadata__": {"paramctl": json.dumps({"parameters": {"w": {"axes": f"out/1{'0' * 5_000}"}}})}, "w": entry()},
   EIGHT, among=ACCEPTED)  # fmt: skip
st("nonsense in paramctl's place", "",
   {"__metadata__": {"paramctl": json.dumps({"parameters": {"w": {"scheme": [1], "seed": "x", "axes": 5, "kind": []}}, "ties": [[1, 2, True], 5]})}, "w": entry()},
   EIGHT, among=ACCEPTED)  # fmt: skip


# Indexes


def index(what: str, says: str, map_: object, among: dict[str, Case] = REFUSED, **more: object) -> None:
    def make(path: Path) -> None:
        good = json.dumps({"w": entry()}).encode()
        for name in ("a.safetensors", "b.safetensors", "sub/c.safetensors", "../outside.safetensors"):
            (path.parent / name).parent.mkdir(exist_ok=True)
            (path.parent / name).write_bytes(len(good).to_bytes(8, "little") + good + EIGHT)
        (path.parent / "text.safetensors").write_bytes(b"hello")
        text = map_ if isinstance(map_, bytes) else json.dumps({"metadata": {}, "weight_map": map_, **more}).encode()
        path.write_bytes(text)

    case(f"index: {what}", says, "set/x.safetensors.index.json", among)(make)


BESIDE = "must be in the folder of the index"
index("a good one", "", {"w": "a.safetensors"}, ACCEPTED)
index("a total that is wrong", "", {"w": "a.safetensors"}, ACCEPTED, metadata={"total_size": 5})
index("the folder above", BESIDE, {"w": "../outside.safetensors"})
index("an absolute path", BESIDE, {"w": "/etc/passwd"})
index("a folder within", BESIDE, {"w": "sub/c.safetensors"})
index("a backslash", BESIDE, {"w": "sub\\c.safetensors"})
index("the folder itself", BESIDE, {"w": "."})
index("a name of nothing", BESIDE, {"w": ""})
index("a NUL", BESIDE, {"w": "a\0"})
index("a number for a name", BESIDE, {"w": 5})
index("a file that is missing", "the index names missing.safetensors, ", {"w": "missing.safetensors"})
index("a file that is none", "text.safetensors: ", {"w": "text.safetensors"})
index("an array that no file has", "a.safetensors must hold 'v'", {"w": "a.safetensors", "v": "a.safetensors"})
index("an array in another file", "'w' is in b.safetensors", {"w": "a.safetensors", "v": "b.safetensors"})
index("an array that is not listed", "'w' is in a.safetensors, but the index says None", {"v": "a.safetensors"})
index("no map", "damaged index", b'{"weight_map": []}')
index("an empty map", "damaged index", {})
index("no JSON", "damaged index", b'{"weight_map": {')
index("brackets", "damaged index", b'{"weight_map": ' + b"[" * 100_000)
index("20 MB of empty lists", "more than 1,000,000 names, values", b'{"weight_map": [' + b"[]," * 6_666_666 + b"[]]}")
index("65 MB", "more than 64,000,000 bytes", b'{"weight_map": {"w": "' + b"a" * 65_000_000 + b'"}}')
index("half a character", "the index names \\ud800", b'{"weight_map": {"w": "\\ud800"}}')


@case("index: a pipe", "pipe: must be a regular file, as every file that an index names", "x.safetensors.index.json")
def _(path: Path) -> None:
    os.mkfifo(path.parent / "pipe")
    path.write_text(json.dumps({"weight_map": {"w": "pipe"}}))


@case("index: a device", "zero: must be a regular file, as every file that an index names", "x.weights.json")
def _(path: Path) -> None:
    (path.parent / "zero").symlink_to("/dev/zero")
    path.write_text(json.dumps({"weight_map": {"/vars": "zero"}}))


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_one_line_in_time_and_memory(what: str, tmp_path: Path) -> None:
    made = REFUSED[what]
    path = tmp_path / made.name
    path.parent.mkdir(exist_ok=True)
    made.make(path)
    there = sorted(tmp_path.rglob("*"))
    for ran in both_within_limits(path):
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.count("\n") == 1
        assert str(tmp_path) in ran.err.split(": ")[0]
        assert made.says in ran.err
        assert "Traceback" not in ran.err
        assert "internal error" not in ran.err
        assert len(ran.err) < 1_000
    assert sorted(tmp_path.rglob("*")) == there, "nothing is written"


@pytest.mark.parametrize("what", ACCEPTED)
def test_accepted_in_time_and_memory(what: str, tmp_path: Path) -> None:
    """Odd but harmless content is read, and skipped content is reported in one line."""
    made = ACCEPTED[what]
    path = tmp_path / made.name
    path.parent.mkdir(exist_ok=True)
    made.make(path)
    summary, dump = both_within_limits(path)
    assert (summary.code, dump.code) == (0, 0), summary.err + dump.err
    assert "Total parameters" in summary.out
    assert made.says in summary.err
    assert summary.err.count("\n") == bool(made.says)


# What goes along when it is written anew


def one_place_for_all(path: Path, count: int, add: Callable[[h5py.File, np.ndarray], object]) -> None:
    """Lists each of which is the same million bytes."""
    lists = np.empty(count, object)
    lists[:] = [np.ones(1_000_000 if k == 0 else 1, "u1") for k in range(count)]
    with h5py.File(path, "w") as file:
        file["w"] = np.ones(3, "float32")
        add(file, lists)
    data = bytearray(path.read_bytes())
    size = struct.pack("<I", 1_000_000)
    place = data.find(size)
    while data[place + 16 : place + 20] != struct.pack("<I", 1):
        place = data.index(size, place + 1)
    data[place : place + 16 * count] = data[place : place + 16] * count
    path.write_bytes(data)


BYTES = h5py.vlen_dtype("u1")


def with_note(path: Path, count: int) -> None:
    one_place_for_all(path, count, lambda file, lists: file["w"].attrs.create("note", lists, dtype=BYTES))


def with_lists(path: Path, count: int) -> None:
    one_place_for_all(path, count, lambda file, lists: file.create_dataset("note", data=lists, dtype=BYTES))


def with_texts(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["w"] = np.ones(3, "float32")
        file["text"] = np.array([b"a" * 1_000_000])
        for number in range(500):
            file[f"text{number}"] = file["text"]


def with_assets(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made,
        zipfile.ZipFile(FIXTURES / "keras3_nested.keras") as old,
    ):
        for name in old.namelist():
            made.writestr(name, old.read(name), zipfile.ZIP_STORED)
        made.writestr("assets/vocabulary.txt", bytes(50_000_000))


ALONG: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "4 GB in an attribute": ("x.h5", lambda path: with_note(path, 3900), "w: its attribute note cannot be carried over"),
    "60 MB in an attribute": ("x.h5", lambda path: with_note(path, 60), "w: its attribute note cannot be carried over"),
    "4 GB of lists": ("x.h5", lambda path: with_lists(path, 3900), "note cannot be carried over"),
    "60 MB of lists": ("x.h5", lambda path: with_lists(path, 60), "note cannot be carried over"),
    "a text under 500 names": ("x.h5", with_texts, "cannot be carried over: the total exceeds the size of the whole file"),
    "50 MB that are compressed": ("x.keras", with_assets, "members other than the model must have at most"),
}  # fmt: skip


@pytest.mark.parametrize("what", ALONG)
def test_too_much_content_is_not_carried_over(what: str, tmp_path: Path) -> None:
    """Refused in one line with its name, before it is written, and as cheaply as what is read."""
    name, make, says = ALONG[what]
    make(tmp_path / name)
    command = ("save", str(tmp_path / name), "-o", str(tmp_path / f"y{name[1:]}"))
    ran = forks.measured(*command)
    *notes, said = ran.err.splitlines()
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert says in said
    assert all(": skipped " in note for note in notes)
    assert ran.megabytes < MEGABYTES
    slowness = max(1.0, usual() / USUAL) if ran.seconds > 2 * SECONDS else 1.0
    assert ran.seconds < 2 * SECONDS * slowness
    assert os.listdir(tmp_path) == [name]


def test_honest_content_is_carried_over(paramctl: Run, tmp_path: Path) -> None:
    """Every type of attribute, and texts and lists of any length, with the values that they had."""
    made: dict[str, object] = {
        "text": "words" * 1000,
        "texts": np.array(["a", "bcd"] * 50, h5py.string_dtype()),
        "bytes": np.array([b"ab", b"c"]),
        "numbers": np.arange(12.0).reshape(3, 4),
        "records": np.array([(1.5, b"text"), (2.5, b"")], [("a", "f4"), ("b", h5py.string_dtype())]),
        "empty": h5py.Empty("f4"),
        "truth": True,
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/w"] = np.ones(3, "float32")
        for name, value in made.items():
            file["g/w"].attrs[name] = value
        file["g/notes"] = ["one", "two"] * 2000
        file.create_dataset("g/lists", data=np.array([np.arange(3), np.arange(5)], object), dtype=h5py.vlen_dtype("i4"))
        file.create_group("g/nothing").attrs["said"] = "here"
        file["soft"] = h5py.SoftLink("/g/w")
    assert paramctl("save", "a.h5", "-o", "b.h5").returncode == 0
    with h5py.File(tmp_path / "a.h5") as old, h5py.File(tmp_path / "b.h5") as new:
        for name in made:
            one, other = old["g/w"].attrs[name], new["g/w"].attrs[name]
            assert np.array_equal(one, other) or one == other, name
        assert list(old["g/notes"]) == list(new["g/notes"])
        assert [each.tolist() for each in new["g/lists"]] == [[0, 1, 2], [0, 1, 2, 3, 4]]
        assert new["g/nothing"].attrs["said"] == "here"
        assert new.get("soft", getlink=True).path == "/g/w"


def test_every_room_has_its_cases() -> None:
    assert len(REFUSED) > 120
    assert len(ACCEPTED) > 30


@pytest.mark.parametrize(
    "path", [FIXTURES / name for name in ("keras3_nested.weights.h5", "keras2_full_model.h5", "dtypes.safetensors")]
)
def test_a_good_file_is_accepted(path: Path) -> None:
    for ran in both_within_limits(path):
        assert (ran.code, ran.err) == (0, "")


def test_the_cost_of_workers_is_measured_too() -> None:
    """The limits would be missed by a worker that takes too much, were it left behind or not."""
    hungry = "import time; x = bytearray(400 << 20); t = time.process_time()\nwhile time.process_time() < t + 2.5: pass"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {hungry!r}], stdout=-3, stderr=-3)"
    ran = forks.launched(sys.executable, "-c", code)
    assert ran.processes == 2
    assert ran.seconds > SECONDS
    assert ran.megabytes > MEGABYTES


def test_a_crash_of_the_library_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error says what ended the worker, whatever that was."""
    says = {
        f"os.kill(os.getpid(), {int(signal.SIGSEGV)})": "crashes the HDF5 library (SIGSEGV)",
        "os.abort()": "crashes the HDF5 library (SIGABRT)",
        f"os.kill(os.getpid(), {int(signal.SIGPROF)})": "takes too long in the HDF5 library",
        f"print('{{', end='', flush=True); os.kill(os.getpid(), {int(signal.SIGKILL)})": "was interrupted: the HDF5 worker process was killed "
        "(SIGKILL), as by a system that is out of memory",
        "os._exit(3)": "ends the HDF5 worker process (exit code 3)",
    }
    for code, words in says.items():
        client = Client()
        client.process = subprocess.Popen(
            [sys.executable, "-c", f"import os, sys; sys.stdin.readline(); {code}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
        )
        with pytest.raises(WorkerExited) as died:
            client.ask("read", path="w", start=0, stop=1)
        assert str(died.value) == words


def test_a_set_of_shards_takes_one_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a process for each file, a set of thousands would take all memory. The library lists each shard."""
    entries = {}
    for number in range(30):
        with h5py.File(tmp_path / f"m_{number:05d}.weights.h5", "w") as file:
            keras3(file, f"dense_{number}")
            file.attrs["compound"] = np.zeros(1, [("x", "i4")])  # of a type that the own reader does not know
        entries[f"/layers/dense_{number}/vars"] = f"m_{number:05d}.weights.h5"
    (tmp_path / "m.weights.json").write_text(json.dumps({"metadata": {"total_size": 720}, "weight_map": entries}))
    for ran in both_within_limits(tmp_path / "m.weights.json"):
        assert (ran.code, ran.err) == (0, "")
    started: list[subprocess.Popen[bytes]] = []
    start = hdf5_client._start

    def counted() -> subprocess.Popen[bytes]:
        started.append(start())
        return started[-1]

    monkeypatch.setattr(hdf5_client, "_start", counted)
    monkeypatch.setattr(hdf5_client, "_spare", [])
    monkeypatch.setattr(hdf5_client, "_listers", [])
    with paramctl.open(tmp_path / "m.weights.json") as checkpoint:
        assert len(checkpoint) == 30
    assert len(started) == 1


def test_types_that_numpy_lacks_are_read_by_the_library(paramctl: Run, tmp_path: Path) -> None:
    """The bytes of such numbers are not those of NumPy's numbers: taken as they lie, they would be others."""
    kinds = {"other_bias": h5t.IEEE_F32LE.copy(), "brain": h5t.IEEE_F16LE.copy(), "few_bits": h5t.STD_I16LE.copy()}
    kinds["other_bias"].set_ebias(100)
    kinds["brain"].set_fields(15, 7, 8, 0, 7)
    kinds["brain"].set_ebias(127)
    kinds["few_bits"].set_precision(12)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        for name, kind in kinds.items():
            made = h5d.create(file.id, name.encode(), kind, h5s.create_simple((3,)))
            made.write(h5s.ALL, h5s.ALL, np.array([1, -2, 3], "int16" if name == "few_bits" else "float32"))
    told = json.loads(paramctl("dump", "t.h5", "--format", "json").stdout)
    assert told == {"brain": [1.0, -2.0, 3.0], "few_bits": [1, -2, 3], "other_bias": [1.0, -2.0, 3.0]}


def test_arrays_in_chunks_are_read_piece_by_piece(tmp_path: Path) -> None:
    """One row of 400 MB takes no more than a piece and a chunk; and every value is as h5py has it."""
    with h5py.File(tmp_path / "c.h5", "w") as file:
        made = file.create_dataset("w", (1, 100_000_000), "float32", chunks=(1, 1 << 20), compression="gzip")
        for begin in range(0, 100_000_000, 10_000_000):
            made[0, begin : begin + 10_000_000] = 0
        made[0, 99_999_990:] = np.arange(10)
        made[0, :500_000] = 7
        made[0, 50_000_000:60_000_000] = 8
    done = forks.launched(*forks.REAL, "dump", str(tmp_path / "c.h5"), "w[0, -3:]")
    assert (done.code, done.out, done.err) == (0, "[7. 8. 9.]\n", "")
    assert done.megabytes < 150


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (4, 1, 3, 2), (1, 1, 9)])
def test_boxes_cover_the_range_between_two_places(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    for start_ in range(array.size):
        for stop in range(start_ + 1, array.size + 1):
            found = [value for box in boxes(shape, start_, stop) for value in array[np.ix_(*box)].reshape(-1)]
            assert found == list(range(start_, stop))
    assert list(boxes((), 0, 1)) == [()]


def test_fill_values_are_never_asked_for() -> None:
    """The library may die of a damaged one."""
    sources = [path.read_text() for path in (ROOT / "paramctl/store/hdf5").glob("*.py")]
    assert len(sources) > 5
    assert not [source for source in sources if "fillvalue" in source]


# What the library of safetensors refuses, we do

STRICTER = (
    "must begin with '{'",
    "twice",
    "must map strings to strings",
    "must have dtype, shape and data_offsets, and nothing else",
    "unsupported dtype",
    "exceeds NumPy's limit",
    "at most 64 are allowed",
    "must be a list of integers",
    "is not Unicode text",
    "parts",
    "__metadata__ may have",
)
"""Errors of paramctl for files that the library accepts: see ../paramctl/store/safetensors."""

CHANGED = 1_000 * forks.ROUNDS
"""The number of slightly changed copies of a good file to try."""


def verdicts(data: bytes, path: Path) -> tuple[str | None, str | None]:
    """Return the library's error for a file, and paramctl's; None if the file is read."""
    theirs = ours = None
    try:
        safetensors.deserialize(data)
    except Exception as error:  # noqa: BLE001  one of its own, or of Rust's
        theirs = str(error) or type(error).__name__
    path.write_bytes(data)
    try:
        read_arrays(open_location(str(path)))
    except ParamctlError as error:
        ours = str(error)
    return theirs, ours


def crafted() -> Iterator[bytes]:
    """Every file of the cases above that is safetensors, and many that differ a little from a good one."""
    for made in (*REFUSED.values(), *ACCEPTED.values()):
        if made.name == "x.safetensors":
            place = io.BytesIO()
            place.write_bytes = place.write  # type: ignore[attr-defined]
            made.make(place)  # type: ignore[arg-type]
            yield place.getvalue()
    rng = random.Random(0)  # noqa: S311
    good = json.dumps({"__metadata__": {"a": "b"}, "v": entry(), "e": entry(8, 8, shape=[0, 3]), "w": entry(8, 16)})
    words = ["{", "}", "[", "]", '"', ",", ":", "0", "8", "16", "-", "1e0", ".5", "null", "true", " ", "\\u0077", "F16"]
    for _ in range(CHANGED):
        text = good
        for _ in range(rng.choice((1, 1, 2))):
            place_, length = rng.randrange(len(text)), rng.choice((0, 1, 1, 2))
            text = text[:place_] + rng.choice(words) * (rng.random() < 0.7) + text[place_ + length :]
        header = text.encode()
        yield len(header).to_bytes(8, "little") + header + bytes(rng.choice((16, 16, 16, 15, 17, 8)))


def test_files_that_the_library_refuses_are_refused(tmp_path: Path) -> None:
    read = refused = 0
    for data in crafted():
        theirs, ours = verdicts(data, tmp_path / "x.safetensors")
        if theirs is not None:
            assert ours is not None, (theirs, data[:300])
            refused += 1
        elif ours is not None:
            assert any(rule in ours for rule in STRICTER), (ours, data[:300])
        else:
            read += 1
    assert refused > CHANGED // 4
    assert read > CHANGED // 40
