"""GGUF files, read: one, or the set into which llama.cpp's gguf-split divides a large one.

The files of a set are named by their numbers. The first, which has the keys of the model, opens all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter
from paramctl.store.contents import JoinedReader, Origin, Reader
from paramctl.store.gguf import NAME
from paramctl.store.gguf.header import Header, Tensor, parse_header
from paramctl.store.gguf.quantized import QuantizedReader
from paramctl.store.gguf.tensor_types import BLOCKS, DTYPES, encoding_of
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.location import Location

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
SET_KEYS = (NUMBER, COUNT, TENSORS)
"""The keys of a file of a set. They describe the files, not the model."""
MAX_FILES = 99_999
"""The largest number that the names of files have room for."""


def read(location: Location) -> Checkpoint:
    """Read the header of a file, and those of the other files of its set. Raises InputError."""
    header = _parse(location)
    stem = PurePath(location.name).name.removesuffix(".gguf")
    count, number = header.keys.get(COUNT, 0), header.keys.get(NUMBER, 0)
    files = [(location, header)]
    if type(count) is not int or type(number) is not int or not 0 <= count <= MAX_FILES:
        raise InputError(f"{location.name}: {NUMBER} and {COUNT} must be integers, at most {MAX_FILES:,}")
    if count > 1:
        pattern = _name_pattern(location, number, count)
        stem = pattern.removesuffix(f"-{{:05d}}-of-{count:05d}.gguf")
        files += [_sibling(location, pattern.format(k + 1), k, count) for k in range(1, count)]
    # only the first file has the keys of the model
    tensors: dict[str, Tensor] = {}
    readers: dict[str, Reader] = {}
    for file, its_header in files:
        for name in its_header.tensors:
            if name in tensors:
                raise InputError(f"{file.name}: {name!r} is in another file of the set too")
        tensors |= its_header.tensors
        readers |= _readers(file, its_header.tensors)
    if count > 1 and header.keys.get(TENSORS, len(tensors)) != len(tensors):
        expected = f"{TENSORS} must be the number of tensors in its {count:,} files"
        raise InputError(f"{location.name}: {expected}, {len(tensors):,} (got {header.keys[TENSORS]})")
    model, _ = build_model(stem, _parameters(tensors), ())
    return Checkpoint(model, JoinedReader(readers), Origin(location, NAME, metadata=_metadata(header.keys)))


def _parse(location: Location) -> Header:
    try:
        return parse_header(location)
    except ValueError as error:
        raise InputError(f"{location.name}: {error}") from error


def _name_pattern(location: Location, number: int, count: int) -> str:
    """Return the pattern of the names of a set's files, of which a location is the first. Raises InputError."""
    name = os.path.basename(location.name)
    match = re.fullmatch(rf"(.*)-(\d{{5}})-of-{count:05d}\.gguf", name, re.DOTALL)
    if match is None:
        rule = f"file {number + 1:,} of a set of {count:,} must be named NAME-{number + 1:05d}-of-{count:05d}.gguf"
        raise InputError(f"{location.name}: {rule}, so that the others can be found")
    if number or match[2] != "00001":
        rule = f"is not the first of a set of {count:,} files"
        raise InputError(f"{location.name}: {rule}. Open {match[1]}-00001-of-{count:05d}.gguf, which opens all")
    # braces in a name are not places of the pattern
    stem = match[1].replace("{", "{{").replace("}", "}}")
    return f"{stem}-{{:05d}}-of-{count:05d}.gguf"


def _sibling(location: Location, name: str, number: int, count: int) -> tuple[Location, Header]:
    """Open a later file of a set. Raises InputError unless it says that it is this one."""
    file = location.sibling(name)
    header = _parse(file)
    # a file of an older conversion may have stayed in the folder
    recorded = header.keys.get(NUMBER), header.keys.get(COUNT)
    if recorded != (number, count):
        rule = f"must have {NUMBER} {number} and {COUNT} {count} (got {recorded[0]} and {recorded[1]})"
        raise InputError(f"{file.name}: {rule}. It is of another set")
    return file, header


def _parameters(tensors: Mapping[str, Tensor]) -> dict[str, Parameter]:
    encodings = {code: encoding_of(code) for code in {tensor.code for tensor in tensors.values()} & BLOCKS.keys()}
    parameters = {}
    for name, tensor in tensors.items():
        encoding = encodings.get(tensor.code)
        dtype = encoding.dtype if encoding else DTYPES[tensor.code]
        parameters[name] = stored_parameter(name, tensor.shape, dtype, encoding=encoding)
    return parameters


def _readers(location: Location, tensors: Mapping[str, Tensor]) -> dict[str, Reader]:
    plain = {name: tensor for name, tensor in tensors.items() if tensor.code in DTYPES}
    extents = {name: Extent(tensor.begin, DTYPES[tensor.code]) for name, tensor in plain.items()}
    quantized = {name: tensor for name, tensor in tensors.items() if name not in plain}
    return {
        **dict.fromkeys(plain, ExtentReader(location, extents)),
        **dict.fromkeys(quantized, QuantizedReader(location, quantized)),
    }


def _metadata(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if key not in SET_KEYS}
