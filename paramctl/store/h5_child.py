"""What is done with the HDF5 library, in a process of its own: the only user of h5py.

A small bad file can make the library crash, hang or eat memory before any check in Python runs. So a child under
limits parses, and tells its parent where the values lie; and a child lays out new files, which the
library may crash on too, when a disk is full. One request comes as a line of JSON on standard input, and one line
of JSON answers it on standard output; values that are not contiguous follow theirs as bytes.

HDF5: https://support.hdfgroup.org/documentation/hdf5/latest/
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5p, h5s, h5t

from paramctl.store.window import Window

OWN = "__paramctl__"
MOST_OBJECTS = 300_000
MOST_DEPTH = 64
MOST_MEMORY = 512 << 20
MOST_CHUNK = 128 << 20
PARSING_SECONDS = 20
ALIGNED_FROM, ALIGNMENT = 1 << 16, 1 << 12
TEXT = h5py.string_dtype()
ATTRIBUTES = ("axes", "kind", "scheme", "seed", "trainable")
KERAS_TEXTS = ("name", "model_config", "keras_version")
KERAS_LISTS = ("layer_names", "weight_names")


class Refused(Exception):
    """What a file holds that is not read, in words."""


class Parser:
    """One open file."""

    def __init__(self, path: str, named: bool, begin: int, size: int | None) -> None:
        # the library insists on a file's name, which what came through a pipe, or lies in another file, has not
        whole = named and not begin and size is None
        file = path if whole else Window(path, begin, size)
        self.file = h5py.File(file, "r", locking=False if whole else None, rdcc_nbytes=32 << 20)
        self.size = os.stat(path).st_size if size is None else size
        self.arrays: list[dict[str, Any]] = []
        self.skipped: list[str] = []
        self.first: dict[int, str] = {}  # by its address, the name under which an array first stands
        self.ties: list[tuple[str, str]] = []
        self.told: dict[str, dict[str, Any]] = {}  # by its path, what Keras says of a group

    def list(self) -> dict[str, Any]:
        own = self.own()
        self.note("", self.file)
        self.walk(self.file, "", {_address(self.file)}, 1, own is not None)
        return {"arrays": self.arrays, "ties": self.ties, "skipped": self.skipped, "own": own, "keras": self.told}

    def note(self, path: str, group: Any) -> None:
        """Keep what Keras tells in a group's attributes; a long list is cut into several, numbered."""
        told: dict[str, Any] = {}
        for name in group.attrs:
            key = name.rstrip("0123456789")
            if name in KERAS_TEXTS and isinstance(_plain(group.attrs[name]), str):
                told[name] = _plain(group.attrs[name])
            elif key in KERAS_LISTS:
                told.setdefault(key, []).append((name, [_plain(each) for each in np.atleast_1d(group.attrs[name])]))
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
        for name in ("document", "model", "ties"):
            if isinstance(group.get(name, getlink=True, default=None), h5py.HardLink):
                item = group[name]
                if isinstance(item, h5py.Dataset) and item.shape == () and item.dtype.kind == "S":
                    self.check_storage(item, f"{OWN}/{name}")
                    told[name] = bytes(item[()]).decode("utf-8")
        for name in ("version", "recipe"):
            if name in group.attrs:
                told[name] = int(group.attrs[name])
        return told

    def walk(self, group: Any, prefix: str, above: set[int], depth: int, native: bool) -> None:
        for name in group:
            if not isinstance(name, str):
                raise Refused(f"a name in {prefix or '/'} is not text in UTF-8")
            path = f"{prefix}{name}"
            if path == OWN:
                continue
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                self.skipped.append(f"{path} (a soft or external link)")
                continue
            item = group[name]
            if len(self.arrays) + len(self.first) + len(self.skipped) > 2 * MOST_OBJECTS:
                raise Refused(f"it holds more than {MOST_OBJECTS:,} objects")
            if isinstance(item, h5py.Dataset):
                self.array(item, path, native)
            elif isinstance(item, h5py.Group):
                address = _address(item)
                if depth >= MOST_DEPTH:
                    raise Refused(f"its groups nest deeper than {MOST_DEPTH}")
                if address in above:
                    raise Refused(f"{path} is a group within itself")
                self.first.setdefault(address, path)
                self.note(path, item)
                self.walk(item, f"{path}/", above | {address}, depth + 1, native)

    def array(self, item: Any, path: str, native: bool) -> None:
        dtype = _dtype_name(item)
        if dtype is None:
            self.skipped.append(f"{path} ({item.dtype})")
            return
        address = _address(item)
        if address in self.first:
            self.ties.append((self.first[address], path))
        self.first.setdefault(address, path)
        offset = self.check_storage(item, path)
        told = {name: _plain(item.attrs[name]) for name in ATTRIBUTES if name in item.attrs} if native else {}
        order = ">" if item.dtype.byteorder == ">" else "<"
        self.arrays.append(
            {"path": path, "shape": item.shape, "dtype": dtype, "order": order, "offset": offset, "says": told}
        )

    def check_storage(self, item: Any, path: str) -> int | None:
        """Where the values lie, None if not in one piece. Refuses what lies elsewhere, or has an impossible size."""
        made = item.id.get_create_plist()
        layout = made.get_layout()
        size = item.size * item.dtype.itemsize
        if made.get_external_count():
            raise Refused(f"{path} keeps its values in another file, which is never read")
        if layout == h5d.VIRTUAL:
            raise Refused(f"{path} is a virtual dataset, which is never read")
        if layout == h5d.CHUNKED:
            chunk = made.get_chunk()
            if len(chunk) != item.ndim or int(np.prod(chunk, dtype=object)) * item.dtype.itemsize > MOST_CHUNK:
                raise Refused(f"{path} is cut into chunks of {chunk}, which no honest file does")
            if size > 2000 * max(self.size, 1):
                raise Refused(f"{path} claims {size:,} bytes in a file of {self.size:,}")
            return None
        if size and item.id.get_storage_size() == 0:
            raise Refused(f"{path} was never written")
        offset: int | None = item.id.get_offset()
        if size > self.size or (offset is not None and offset + size > self.size):
            raise Refused(f"{path} claims {size:,} bytes in a file of {self.size:,}")
        return offset if layout == h5d.CONTIGUOUS else None

    def values(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """The values from one place to another in C order, row by row of the first axis."""
        item = self.file[path]
        if not item.ndim:
            yield item[()].tobytes()
            return
        row = item.size // item.shape[0]
        for first, last, skip, count in _rows(start, stop, row):
            yield item[first:last].reshape(-1)[skip : skip + count].tobytes()


def _rows(start: int, stop: int, row: int) -> Iterator[tuple[int, int, int, int]]:
    first, last = start // row, -(-stop // row)
    yield first, last, start - first * row, stop - start


def _number(part: tuple[str, list[Any]]) -> int:
    """The number at the end of an attribute's name; 0 if it has none."""
    digits = part[0][len(part[0].rstrip("0123456789")) :]
    return int(digits or 0)


def _address(item: Any) -> int:
    return int(h5py.h5o.get_info(item.id).addr)


def _dtype_name(item: Any) -> str | None:
    """The name of a dtype that a parameter may have; None for text, records and whatever else is no number."""
    dtype = item.dtype
    if dtype.kind == "V" and dtype.fields is None and dtype.subdtype is None and dtype.itemsize <= 2:
        told = _plain(item.attrs["dtype"]) if "dtype" in item.attrs else None
        known = told == "bfloat16" or (isinstance(told, str) and told.startswith("float8_"))
        return told if known and dtype.itemsize == (2 if told == "bfloat16" else 1) else None
    if h5py.check_dtype(enum=dtype) and dtype.kind != "b":
        return None
    return dtype.name if dtype.kind in "fiubc" and dtype.itemsize <= 16 and dtype.name != "float128" else None


def _plain(value: Any) -> Any:
    """An attribute as JSON has it; None if it is none of ours."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (str, np.bool_, np.integer)):
        return value if isinstance(value, str) else value.item()
    return None


class Layout:
    """A new file, with every array's place and no values."""

    def __init__(self, path: str) -> None:
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_sieve_buf_size(0)  # else the library crashes in close() on a full disk
        access.set_alignment(ALIGNED_FROM, ALIGNMENT)
        access.set_file_locking(False, True)
        created = h5p.create(h5p.FILE_CREATE)
        created.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        created.set_obj_track_times(False)  # else the same content gives other bytes a second later
        self.file = h5f.create(os.fsencode(path), h5f.ACC_TRUNC, fcpl=created, fapl=access)
        self.group_list = h5p.create(h5p.GROUP_CREATE)
        self.group_list.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        self.group_list.set_obj_track_times(False)
        self.array_list = h5p.create(h5p.DATASET_CREATE)
        self.array_list.set_layout(h5d.CONTIGUOUS)
        self.array_list.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        self.array_list.set_fill_time(h5d.FILL_TIME_NEVER)
        self.array_list.set_obj_track_times(False)

    def group(self, path: str, says: dict[str, Any]) -> None:
        self.tell(h5g.create(self.file, path.encode(), gcpl=self.group_list), says)

    def array(self, path: str, shape: list[int], dtype: str, says: dict[str, Any]) -> int | None:
        """Its place in the file; None if it has no values."""
        space = h5s.create_simple(tuple(shape)) if shape else h5s.create(h5s.SCALAR)
        opaque = dtype == "bfloat16" or dtype.startswith("float8_")
        made = h5d.create(self.file, path.encode(), _type(dtype), space, dcpl=self.array_list)
        self.tell(made, says | ({"dtype": dtype} if opaque else {}))
        offset: int | None = made.get_offset()
        return offset

    def text(self, path: str, text: str) -> None:
        data = np.array(text.encode("utf-8") or b"\0")
        made = h5d.create(
            self.file, path.encode(), _string(data.dtype.itemsize), h5s.create(h5s.SCALAR), dcpl=self.array_list
        )
        made.write(h5s.ALL, h5s.ALL, data, mtype=_string(data.dtype.itemsize))

    def tell(self, item: Any, says: dict[str, Any]) -> None:
        for name, value in says.items():
            data = np.array(value, TEXT) if isinstance(value, str) else np.array(value)
            kind = _text() if isinstance(value, str) else _type(data.dtype.name)
            attribute = h5a.create(item, name.encode(), kind, h5s.create(h5s.SCALAR))
            attribute.write(data)

    def take_along(self, path: str, named: bool) -> None:
        """Copy from another file what is said of groups and arrays that this one has too, and what is no number."""
        with h5py.File(path if named else open(path, "rb"), "r", locking=False if named else None) as old:
            new = h5py.File(self.file)
            self.copy_attributes(old, new)
            stack = [(old, new)]
            while stack:
                source, target = stack.pop()
                for name in source:
                    link = source.get(name, getlink=True)
                    if not isinstance(link, h5py.HardLink):
                        if name not in target:
                            target[name] = link
                        continue
                    if source[name].name == f"/{OWN}":
                        continue
                    item = source[name]
                    if name in target and isinstance(item, h5py.Group) == isinstance(target[name], h5py.Group):
                        self.copy_attributes(item, target[name])
                        if isinstance(item, h5py.Group):
                            stack.append((item, target[name]))
                    elif isinstance(item, h5py.Dataset) and _dtype_name(item) is None:
                        old.copy(item, target, name)
                    elif isinstance(item, h5py.Group) and not len(item):
                        self.copy_attributes(item, target.create_group(name))

    def copy_attributes(self, old: Any, new: Any) -> None:
        for name, value in old.attrs.items():
            if name not in new.attrs and name not in ATTRIBUTES:
                new.attrs[name] = value

    def close(self) -> None:
        self.file.close()


@cache
def _string(size: int) -> Any:
    kind = h5t.C_S1.copy()
    kind.set_size(size)
    kind.set_cset(h5t.CSET_UTF8)
    kind.set_strpad(h5t.STR_NULLPAD)
    return kind


@cache
def _text() -> Any:
    return h5t.py_create(TEXT, logical=True)


@cache
def _type(dtype: str) -> Any:
    if dtype == "bfloat16" or dtype.startswith("float8_"):
        return h5t.py_create(np.dtype(f"V{2 if dtype == 'bfloat16' else 1}"), logical=True)
    return h5t.py_create(np.dtype(dtype).newbyteorder("<"), logical=True)


def create(request: dict[str, Any]) -> dict[str, Any]:
    """Lay out a new file; where each array lies, in the order of the request."""
    layout = Layout(request["path"])
    for path, says in request["groups"]:
        layout.group(path, says)
    offsets = [layout.array(*each) for each in request["arrays"]]
    for kept, tied in request["links"]:
        layout.file.links.create_hard(tied.encode(), layout.file, kept.encode())
    if request["like"]:
        layout.take_along(*request["like"])
    layout.group(OWN, request["own"])
    for name, text in request["texts"].items():
        layout.text(f"{OWN}/{name}", text)
    layout.close()
    return {"offsets": offsets}


def unmark(request: dict[str, Any]) -> dict[str, Any]:
    """Take from arrays what is said of how they came by their values, for they have others now."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_sieve_buf_size(0)
    access.set_file_locking(False, True)
    file = h5f.open(os.fsencode(request["path"]), h5f.ACC_RDWR, fapl=access)
    for path in request["arrays"]:
        item = h5py.h5o.open(file, path.encode())
        for name in (b"scheme", b"seed"):
            if h5a.exists(item, name):
                h5a.delete(item, name)
    file.close()
    return {}


def _limit() -> None:
    """No more memory than a file's list may need, and no more time until the list is made."""
    with suppress(OSError, ValueError):
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_MEMORY,) * 2)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit_time(int(used.ru_utime + used.ru_stime) + PARSING_SECONDS)


def _limit_time(seconds: int) -> None:
    with suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, most))


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def serve() -> NoReturn:
    """Answer requests until there are no more."""
    parser: Parser | None = None
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            if request["do"] == "create":
                _say(create(request))
            elif request["do"] == "unmark":
                _say(unmark(request))
            elif request["do"] == "list":
                _limit()
                parser = Parser(request["path"], request["named"], request["begin"], request["size"])
                _say(parser.list())
                _limit_time(resource.RLIM_INFINITY)
            else:
                assert parser is not None
                data = b"".join(parser.values(request["path"], request["start"], request["stop"]))
                _say({"bytes": len(data)})
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
        except Refused as refused:
            _say({"error": str(refused)})
        except Exception as error:  # noqa: BLE001  whatever the library makes of a damaged file
            _say({"error": f"the HDF5 library says: {' '.join(str(error).split())[:300] or type(error).__name__}"})
    os._exit(0)  # closing what is open may crash on a damaged file


if __name__ == "__main__":
    serve()
