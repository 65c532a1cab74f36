"""What an HDF5 file holds: every array's place, and the values of those that do not lie in one piece.

Run in a child process under limits, see h5_child: the library may crash or hang before any check here. What leaves the
file is refused and never opened: external links, external storage, virtual datasets. So is what claims more
than its bytes can hold. Groups are counted by every path to them, for hard links may lead to one again and again.

HDF5: https://support.hdfgroup.org/documentation/hdf5/latest/
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5a, h5d, h5l, h5o, h5t

from paramctl.core.indexing import boxes
from paramctl.store.hdf5.window import Window

OWN = "__paramctl__"
OPAQUE = "opaque"
MOST_OBJECTS = 300_000
MOST_DEPTH = 64
MOST_PATH = 4_096
MOST_LETTERS = 4_000_000
"""Of all paths together, and as many more as there are bytes in the file."""
MOST_CHUNK = 64 << 20
MOST_RATIO = 1_100
"""How many bytes one stored byte may stand for: deflate makes 1,032 of it at most."""
ATTRIBUTES = {"axes": str, "kind": str, "scheme": str, "seed": int, "trainable": bool}
"""What a native file says of an array, and of what type."""
KERAS_TEXTS = ("name", "model_config", "keras_version")
KERAS_LISTS = ("layer_names", "weight_names")
KINDS = {
    h5t.STRING: "text",
    h5t.COMPOUND: "records",
    h5t.REFERENCE: "references",
    h5t.ENUM: "an enumeration",
    h5t.VLEN: "lists",
    h5t.ARRAY: "arrays",
    h5t.OPAQUE: "opaque",
}
VARIABLE = re.compile(r"(?:.*/)?vars/\d+", re.DOTALL)


class Refused(Exception):
    """What a file holds that is not read, in words."""


def words_of(error: Exception) -> str:
    """What the library makes of a damaged file, or of a limit, in one line."""
    said = " ".join(str(error.args[0] if error.args else "").split())[:300] or type(error).__name__
    return f"the HDF5 library says: {said}"


class Parser:
    """One open file. there: how many of its bytes are in no hole, by which what it may list is limited."""

    def __init__(self, path: str, named: bool, begin: int, size: int | None, there: int) -> None:
        # the library insists on a file's name, which what came through a pipe, or lies in another file, has not
        whole = named and not begin and size is None
        file = path if whole else Window(path, begin, size)
        self.file = h5py.File(file, "r", locking=False if whole else None, rdcc_nbytes=MOST_CHUNK)
        self.size = os.stat(path).st_size if size is None else size
        self.there = there
        self.at = ""
        """Where in the file the library is at work, for errors."""
        self.reached = 0
        self.letters = 0
        self.kinds: list[tuple[Any, ElementType]] = []
        self.arrays: list[dict[str, Any]] = []
        self.others: dict[str, str] = {}  # by its path, what is no array: what it is instead
        self.soft: list[str] = []
        self.first: dict[int, str] = {}  # by its address, the name under which an array first stands
        self.places: dict[int, int | None] = {}  # by its address, where an array's values lie
        self.claims: list[tuple[int, int, str]] = []  # of bytes in the file: from where, how many, for which array
        self.ties: list[tuple[str, str]] = []
        self.told: dict[str, dict[str, Any]] = {}  # by its path, what Keras says of a group
        self.open: tuple[str, Any] | None = None

    def list(self) -> dict[str, Any]:
        own = self.own()
        root = h5o.open(self.file.id, b"/")
        self.note("", root)
        self.walk(root, "", {_address(root)}, own is not None)
        self.at = ""
        self.check_claims()
        if own is None:
            self.check_keras()
        skipped = [f"{path} ({what})" for path, what in self.others.items()]
        return {"arrays": self.arrays, "ties": self.ties, "skipped": skipped, "own": own, "keras": self.told}

    def note(self, path: str, group: Any) -> None:
        """Keep what Keras tells in a group's attributes; a long list is cut into several, numbered."""
        told: dict[str, Any] = {}
        attributes = h5py.AttributeManager(h5py.Group(group)) if h5a.get_num_attrs(group) else {}
        for name in attributes:
            key = name.rstrip("0123456789") if isinstance(name, str) else ""
            if name in KERAS_TEXTS and isinstance(text := _plain(attributes[name]), str):
                told[name] = text
            elif key in KERAS_LISTS:
                told.setdefault(key, []).append((name, [_plain(each) for each in np.atleast_1d(attributes[name])]))
        if told or path.rpartition("/")[2] == "vars":
            self.told[path] = {
                key: [each for _, part in sorted(value, key=_number) for each in part] if key in KERAS_LISTS else value
                for key, value in told.items()
            }

    def own(self) -> dict[str, Any] | None:
        """What lies in paramctl's own group, if there is one."""
        if not isinstance(self.file.get(OWN, getlink=True, default=None), h5py.HardLink):
            return None
        group = self.file[OWN]
        told: dict[str, Any] = {}
        for name in ("document", "model", "ties", "keras"):
            if isinstance(group.get(name, getlink=True, default=None), h5py.HardLink):
                item = group[name]
                if isinstance(item, h5py.Dataset) and item.shape == () and item.dtype.kind == "S":
                    made = item.id.get_create_plist()
                    check_inside(made, f"{OWN}/{name}")
                    self.place(item.id, made, (), self.kind(item.id.get_type()), f"{OWN}/{name}")
                    told[name] = bytes(item[()]).decode("utf-8", "replace")
        for name in ("version", "recipe"):
            if name in group.attrs and isinstance(number := _plain(group.attrs[name]), int):
                told[name] = number
        return told

    def walk(self, group: Any, prefix: str, above: set[int], native: bool) -> None:
        """Everything in a group. above: the addresses of the groups that it lies in, and its own."""
        for name in group:
            path = self.name(name, prefix)
            if path == OWN:
                continue
            link = group.links.get_info(name).type
            if link == h5l.TYPE_SOFT:
                self.others[path] = "a soft link"
                self.soft.append(path)
                continue
            if link != h5l.TYPE_HARD:
                raise Refused(f"{path} is a link that leaves the file, which is never followed")
            item = h5o.open(group, name)
            if isinstance(item, h5d.DatasetID):
                self.array(item, path, native)
            elif isinstance(item, h5py.h5g.GroupID):
                address = _address(item)
                if len(above) >= MOST_DEPTH:
                    raise Refused(f"its groups nest deeper than {MOST_DEPTH}")
                if address in above:
                    raise Refused(f"{path} is a group within itself")
                self.first.setdefault(address, path)
                self.note(path, item)
                self.walk(item, f"{path}/", above | {address}, native)

    def name(self, name: bytes, prefix: str) -> str:
        """The path of what a group lists under a name, which counts towards what a file of this size can list."""
        try:
            path = self.at = f"{prefix}{name.decode('utf-8')}"
        except UnicodeDecodeError as error:
            raise Refused(f"a name in {prefix or '/'} is not text in UTF-8") from error
        if b"/" in name or name in (b"", b"."):  # by which the library would go elsewhere
            raise Refused(f"{prefix or '/'} holds the name {name.decode('utf-8')!r}, which HDF5 does not allow")
        self.reached += 1
        self.letters += len(path)
        most = min(MOST_OBJECTS, 1_000 + self.there // 16)
        if self.reached > most:
            raise Refused(f"its links lead to more than {most:,} objects, counted by every path")
        letters = MOST_LETTERS + self.there
        if len(path) > MOST_PATH or self.letters > letters:
            raise Refused(f"a path in it may have at most {MOST_PATH:,} characters, and all together {letters:,}")
        return path

    def array(self, item: Any, path: str, native: bool) -> None:
        made = item.get_create_plist()
        check_inside(made, path)
        kind, shape = self.kind(item.get_type()), item.shape
        dtype = opaque_name(item, kind.size) if kind.name == OPAQUE else kind.name
        if dtype is None or shape is None:
            self.others[path] = kind.words if shape is not None else "nothing"
            return
        if kind.name != OPAQUE and is_opaque(told := _told_dtype(item)):
            raise Refused(f"{path} holds {dtype}, and its attribute dtype says {told}")
        address = _address(item)
        if address in self.first:
            self.ties.append((self.first[address], path))
        else:
            self.first[address] = path
            self.places[address] = self.place(item, made, shape, kind, path)
        said = h5py.Dataset(item).attrs if native else {}
        says = {name: value for name, of in ATTRIBUTES.items() if isinstance(value := _plain(said.get(name)), of)}
        offset = self.places[address]
        self.arrays.append(
            {"path": path, "shape": shape, "dtype": dtype, "order": kind.order, "offset": offset, "says": says}
        )

    def kind(self, type_: Any) -> ElementType:
        """What a type is; files have few, which are told apart more quickly than made out."""
        for known, kind in self.kinds:
            if known.equal(type_):
                return kind
        self.kinds = [(type_, element_type(type_)), *self.kinds[:7]]
        return self.kinds[0][1]

    def place(self, item: Any, made: Any, shape: Sequence[int], kind: ElementType, path: str) -> int | None:
        """Where the values lie, None if not in one piece as they are. Refuses a size that the file cannot hold."""
        layout, size, kept = made.get_layout(), prod(shape) * kind.size, item.get_storage_size()
        offset = item.get_offset() if layout == h5d.CONTIGUOUS else None
        most = (MOST_RATIO if layout == h5d.CHUNKED else 1) * self.size
        if size > most or (offset is not None and offset + size > self.size):
            raise Refused(f"{path} claims {size:,} bytes in a file of {self.size:,}")
        if size and not kept:
            raise Refused(f"{path} was never written")
        if not size and prod(each for each in shape if each) * kind.size >= 2**63:
            raise Refused(f"{path} is empty, and its shape {shape} is more than NumPy can have all the same")
        if layout == h5d.CHUNKED:
            chunk = made.get_chunk()
            if len(chunk) != len(shape) or prod(chunk) * kind.size > MOST_CHUNK:
                raise Refused(f"{path} is cut into chunks of {chunk}; one may have at most {MOST_CHUNK:,} bytes")
            if size > MOST_RATIO * kept:
                raise Refused(f"{path} claims {size:,} bytes, and the {kept:,} stored cannot hold so many")
        self.claims.append((-1 if offset is None else offset, kept, path))
        return offset if kind.plain else None

    def check_claims(self) -> None:
        """No byte of the file may be two arrays' own, and all together cannot have more than there are."""
        end, before = 0, ""
        for offset, size, path in sorted(self.claims):
            if 0 <= offset < end and size:
                raise Refused(f"{before} and {path} claim the same bytes")
            if offset >= 0 and size:
                end, before = offset + size, path
        total = sum(size for _, size, _ in self.claims)
        if total > self.size:
            raise Refused(f"its arrays claim {total:,} bytes together in a file of {self.size:,}")

    def check_keras(self) -> None:
        """Keras keeps each variable as an array of numbers, and links none: refuse a file that only looks like its."""
        keras2 = any("layer_names" in self.told.get(group, {}) for group in ("", "model_weights"))
        if not keras2 and not any(path.rpartition("/")[2] == "vars" for path in self.told):
            return
        if self.soft:
            raise Refused(f"{self.soft[0]} is a soft link, which a file of Keras may not have")
        listed = {
            f"{group}/{weight}" if group else f"{weight}"
            for group, told in self.told.items()
            for weight in told.get("weight_names", ())
        }
        there = {each["path"] for each in self.arrays}
        groups = {path: "a group" for path in self.first.values() if path not in there}
        for path, what in (*self.others.items(), *groups.items()):
            if path in listed or VARIABLE.fullmatch(path):
                raise Refused(f"{path} must be an array of numbers, as a variable of Keras is (got {what})")
        for path in (*there, *self.others):
            if path.rpartition("/")[2] == "vars":
                raise Refused(f"{path} must be a group, for Keras keeps a layer's variables in it. Received: an array")
        for path in sorted(listed - there):
            if not path.startswith(("optimizer_weights/", "model_weights/optimizer_weights/")):
                raise Refused(f"{path} is listed in weight_names, and is not there")

    def close(self) -> None:
        self.file.close()

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """The values from one place to another in C order, a box after the other."""
        item = self.dataset(path)
        for box in boxes(item.shape, start, stop):
            yield item[tuple(slice(of.start, of.stop) for of in box)].tobytes()

    def dataset(self, path: str) -> Any:
        """The array at a path, kept open, and with it the chunks that were read last."""
        if self.open is None or self.open[0] != path:
            self.open = path, self.file[path]
        return self.open[1]

    def touched(self, path: str, start: int, stop: int) -> int:
        """How many bytes the library handles to read these values: whole chunks."""
        item = self.dataset(path)
        chunk = item.chunks or (1,) * item.ndim
        each = prod(chunk) * item.dtype.itemsize
        return sum(
            each * prod((one.stop - 1) // size - one.start // size + 1 for one, size in zip(box, chunk, strict=True))
            for box in boxes(item.shape, start, stop)
        )


def _number(part: tuple[str, list[Any]]) -> int:
    """The number at the end of an attribute's name; 0 if it has none."""
    digits = part[0][len(part[0].rstrip("0123456789")) :]
    return int(digits or 0)


def _address(item: Any) -> int:
    return int(h5o.get_info(item).addr)


def is_opaque(dtype: object) -> bool:
    """Whether HDF5 has no such numbers: they are bytes to it, and an attribute dtype tells what they mean."""
    return isinstance(dtype, str) and (dtype == "bfloat16" or dtype.startswith("float8_"))


class ElementType(NamedTuple):
    """A type of HDF5. name: of the dtype, OPAQUE for bytes that an attribute gives a meaning, None for no number."""

    name: str | None
    words: str
    size: int
    order: str
    plain: bool
    """Whether the bytes in the file are as NumPy has them; of any other, the library makes what NumPy has."""


def element_type(type_: Any) -> ElementType:
    """What NumPy calls a type that a parameter may have."""
    size = type_.get_size()
    words = KINDS.get(type_.get_class(), f"a type of {size} bytes")
    try:
        dtype = type_.dtype
    except TypeError:  # NumPy has none like it
        return ElementType(None, words, size, "<", False)
    if dtype.kind == "V" and dtype.fields is None and dtype.subdtype is None and dtype.itemsize <= 2:
        return ElementType(OPAQUE, words, size, "<", True)
    number = dtype.kind in "fiubc" and dtype.itemsize <= 16 and dtype.name != "float128"
    if not number or (h5py.check_dtype(enum=dtype) and dtype.kind != "b"):
        return ElementType(None, words, size, "<", False)
    plain = type_.equal(h5t.py_create(dtype, logical=True))
    return ElementType(str(dtype.name), words, size, ">" if dtype.byteorder == ">" else "<", plain)


def opaque_name(item: Any, size: int) -> str | None:
    """The dtype that an attribute gives such bytes, if it is of their size."""
    told = _told_dtype(item)
    return str(told) if is_opaque(told) and size == (2 if told == "bfloat16" else 1) else None


def is_number(item: Any) -> bool:
    """Whether a dataset is an array of numbers."""
    kind = element_type(item.get_type())
    return item.shape is not None and (opaque_name(item, kind.size) if kind.name == OPAQUE else kind.name) is not None


def check_inside(made: Any, path: str) -> None:
    """Refuse a dataset whose values are not in this file. made: the properties it was made with."""
    if made.get_external_count():
        raise Refused(f"{path} keeps its values in another file, which is never read")
    if made.get_layout() == h5d.VIRTUAL:
        raise Refused(f"{path} is a virtual dataset, which is never read")


def _told_dtype(item: Any) -> Any:
    return _plain(h5py.Dataset(item).attrs["dtype"]) if h5a.exists(item, b"dtype") else None


def _plain(value: Any) -> Any:
    """An attribute as JSON has it; None if it is none of ours."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (str, np.bool_, np.integer)):
        return value if isinstance(value, str) else value.item()
    return None
