"""NumPy's arrays and scalars in a pickle: what the records of NumPy's functions say about them."""

from __future__ import annotations

import re
from math import prod
from typing import Any

import numpy as np

from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.store.pickles.objects import Global, Record, Span
from paramctl.store.pickles.state import BadPickle
from paramctl.store.torch.storages import Storage
from paramctl.store.torch.tensors import Rebuilt, Tensor, Unreadable, checked, sizes_of

NUMBERS = re.compile(r"[<>|=]?([fiuc])([0-9]{1,2})|[<>|=]?(b)(1)")
MODULES = ("numpy.core.", "numpy._core.")
"""The module of NumPy's functions, before version 2 and since."""
NOT_NUMBERS = Unreadable("an array that holds no numbers")


def array_of(record: Record) -> Rebuilt | None:
    """Return the array, or the scalar, that a record describes; None for another record. Raises BadPickle."""
    name = record.name
    for module in MODULES:
        name = name.replace(module, "numpy:", 1)
    if name == "numpy:multiarray._reconstruct" or name == "numpy.ndarray":
        return _reconstructed(record)
    if name == "numpy:multiarray.scalar":
        return _array(record.args[-1] if len(record.args) == 2 else None, record.args[0] if record.args else None, ())
    if name == "numpy:numeric._frombuffer" and len(record.args) == 4:
        data, dtype, shape, order = record.args
        return _array(data, dtype, sizes_of(shape), fortran=order == "F")
    return None


def _reconstructed(record: Record) -> Rebuilt:
    """Read the state of an array: (version, shape, dtype, Fortran order, data), before NumPy 1.0 without a version."""
    if not isinstance(record.state, tuple) or len(record.state) not in (4, 5):
        raise BadPickle("an array of NumPy lacks its shape, dtype, and data")
    shape, dtype, fortran, data = record.state[-4:]
    return _array(data, dtype, sizes_of(shape), fortran=fortran is True)


def _array(data: Any, dtype: Any, shape: tuple[int, ...], fortran: bool = False) -> Rebuilt:
    known = _dtype_of(dtype)
    if known is None or isinstance(data, list):
        return NOT_NUMBERS
    name, order, itemsize = known
    steps = shape[::-1] if not fortran else shape
    strides = [prod(steps[:axis]) for axis in range(len(steps))]
    needed = prod(shape) * itemsize
    storage = storage_of_bytes(data, needed)
    if storage.size != needed:
        raise BadPickle(f"an array of NumPy has {storage.size:,} bytes of data, but {shape} in {name} needs others")
    return checked(
        Tensor(storage, name, 0, shape, tuple(strides if fortran else strides[::-1]), is_big_endian=order == ">")
    )


def _dtype_of(value: Any) -> tuple[str, str, int] | None:
    """Return the name of a dtype, the order of its bytes, and its size; None if it is not of numbers."""
    if not isinstance(value, Record) or value.name != "numpy.dtype" or not value.args:
        return None
    kind = value.args[0]
    state = value.state if isinstance(value.state, tuple) else ()
    order = state[1] if len(state) > 1 and state[1] in ("<", ">") else "<"
    if isinstance(kind, Global):  # bfloat16 and the like
        name = kind.name.removeprefix("ml_dtypes.")
        return (name, "<", numpy_dtype(name).itemsize) if name in DTYPE_BYTES else None
    if not isinstance(kind, str) or not NUMBERS.fullmatch(kind):
        return None
    try:
        dtype = np.dtype(kind)
    except TypeError:
        return None
    return (dtype.name, order, dtype.itemsize) if dtype.name in DTYPE_BYTES else None


def storage_of_bytes(data: Any, needed: int) -> Storage:
    """Return bytes of a pickle as a storage. Raises BadPickle.

    needed: the size of a text that is not decoded yet.
    Python 2 wrote bytes as a string, and protocol 2 writes them as text, each character of which is a byte.
    """
    if isinstance(data, Record) and data.name == "_codecs.encode" and data.args:
        text = data.args[0]
        if isinstance(text, Span) and text.is_text:
            return Storage("", "", needed, text.offset, encoded=text.size)
        if isinstance(text, str):
            return Storage("", "", len(text), data=_latin(text))
    if isinstance(data, Record) and data.name in ("builtins.bytes", "builtins.bytearray"):
        return storage_of_bytes(data.args[0], needed) if data.args else Storage("", "", 0, data=b"")
    if isinstance(data, Span):
        return Storage("", "", data.size, data.offset)
    if isinstance(data, str):
        raw = data.encode("utf-8", "surrogateescape")
        return Storage("", "", len(raw), data=raw)
    if not isinstance(data, bytes):
        raise BadPickle("the data of an array must be bytes")
    return Storage("", "", len(data), data=data)


def _latin(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise BadPickle("the data of an array is text that is no bytes") from error
