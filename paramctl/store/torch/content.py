"""The content of a pickled checkpoint as a flat list: arrays, plain values, and the kinds of everything else.

A checkpoint is any nest of dicts, lists, and modules. Each item of the list has the keys that lead to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from paramctl.store.optimizer_keys import OPTIMIZER_KEYS
from paramctl.store.pickles.objects import Global, Record, Span
from paramctl.store.pickles.state import BadPickle
from paramctl.store.torch.modules import Sources, mapping_of, members_of, module_state
from paramctl.store.torch.numpy_arrays import array_of
from paramctl.store.torch.storages import Storage
from paramctl.store.torch.tensors import Tensor, Unreadable, tensor_of

MAX_ITEMS = 500_000
MAX_DEPTH = 32
MAX_REPEATS = 1_000
"""Further places of containers. A file that saves the same state_dict as model and as EMA has one."""
MAX_PLAIN = 1_000
"""Plain values of one dict, such as a vocabulary, beyond which they are not listed."""
MAX_LIST = 10_000
RANDOM = re.compile(r"(?<![a-z])p?rngs?(?![a-z])", re.IGNORECASE)
"""The keys of the state of random numbers, which is a tensor itself: rng_state, but not charngram.weight."""
STATE = re.compile(
    rf"{OPTIMIZER_KEYS}|(^|_)(lr_)?sched(uler)?s?($|_)|scheduler|(^|_)(grad_)?scalers?($|_)"
    rf"|(^|_)amp($|_)|{RANDOM.pattern}|random_state|(^|_)callbacks($|_)|(^|_)loops($|_)",
    re.IGNORECASE,
)
"""The keys of what training keeps besides the parameters."""


class Item(NamedTuple):
    """Something in a checkpoint.

    keys: those that lead to it. value: a Tensor, an Unreadable, or a plain value.
    is_state: True if it belongs to an optimizer, or to other state of training.
    """

    keys: tuple[str, ...]
    value: Any
    is_state: bool


class _Visits:
    """The containers that a walk has visited. Those around the current one are in ``around``."""

    def __init__(self, code_of: Sources) -> None:
        self.code_of = code_of
        self.visited: set[int] = set()
        self.around: set[int] = set()
        self.repeats = 0

    def enter(self, container: Any) -> None:
        """Count a container. Raises BadPickle if containers occur in many places, and so their content many times."""
        self.repeats += id(container) in self.visited
        if self.repeats > MAX_REPEATS:
            raise BadPickle(f"containers occur in more than {MAX_REPEATS:,} further places")
        self.visited.add(id(container))
        self.around.add(id(container))


def items_of(root: Any, code_of: Sources) -> list[Item]:
    """Return everything in a checkpoint, in order. A container that contains itself is listed as such."""
    items: list[Item] = []
    for item in _walk(root, (), False, _Visits(code_of)):
        items.append(item if isinstance(item.value, (Tensor, Unreadable)) else _as_unicode(item))
        if len(items) > MAX_ITEMS:
            raise BadPickle(f"more than {MAX_ITEMS:,} arrays and values")
    return items


def _as_unicode(item: Item) -> Item:
    """Return a plain value with escapes for halves of surrogate pairs, which a pickle can have and no UTF-8."""

    def escaped(value: Any) -> Any:
        return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value

    value = [escaped(inner) for inner in item.value] if isinstance(item.value, list) else escaped(item.value)
    return item._replace(keys=tuple(map(escaped, item.keys)), value=value)


def _walk(value: Any, keys: tuple[str, ...], is_state: bool, visits: _Visits) -> Iterator[Item]:
    leaf = _leaf(value)
    entries = None if leaf is not None else _entries(value)
    if leaf is not None:
        yield Item(keys, leaf, is_state)
    elif module_state(value) is not None:
        yield from _module(value, keys, is_state, visits.code_of)
    elif entries is None:
        if value is not None:
            yield Item(keys, Unreadable(_kind(value)), is_state)
    elif id(value) in visits.around or len(keys) >= MAX_DEPTH:
        yield Item(keys, Unreadable("a container in itself, or nested too deep"), is_state)
    else:
        visits.enter(value)
        yield from _container(value, entries, keys, is_state, visits)
        visits.around.remove(id(value))


def _container(
    value: Any, entries: Sequence[tuple[str, Any]], keys: tuple[str, ...], is_state: bool, visits: _Visits
) -> Iterator[Item]:
    """Yield the content of a dict or a list. Of very many plain values, only their number is listed."""
    is_state = is_state or {"state", "param_groups"} <= {key for key, _ in entries}
    plain = sum(isinstance(inner, (str, int, float)) for _, inner in entries)
    if plain > MAX_PLAIN:
        yield Item(keys, Unreadable(f"a {_noun(value)} of {plain:,} plain values"), is_state)
    for key, inner in entries:
        if plain <= MAX_PLAIN or not isinstance(inner, (str, int, float)):
            is_inner_state = is_state or (not keys and _names_state(key, inner))
            yield from _walk(inner, (*keys, key), is_inner_state, visits)


def _names_state(key: str, value: Any) -> bool:
    """Return whether a key of the file itself is that of state. A state_dict can have a parameter scheduler.betas."""
    return STATE.search(key) is not None and (RANDOM.search(key) is not None or not isinstance(_leaf(value), Tensor))


def _noun(value: Any) -> str:
    return "list" if isinstance(value, (list, tuple)) else "dict"


def _module(module: Record, keys: tuple[str, ...], is_state: bool, code_of: Sources) -> Iterator[Item]:
    """Yield the arrays of a module, each under one key: the name in its state_dict."""
    members, left_out = members_of(module, code_of)
    for name, record, is_buffer in members:
        value = _leaf(record)
        if isinstance(value, Tensor) and is_buffer:
            value = replace(value, trainable=False, state=True)
        yield Item((*keys, name), Unreadable("not a tensor") if value is None else value, is_state)
    for name, kind in left_out.items():
        yield Item((*keys, name), Unreadable(kind), is_state)
    kind = f"the attributes and code of a module of {module.name.rpartition('.')[2]}"
    yield Item((*keys, "module"), Unreadable(kind), is_state)


def _entries(value: Any) -> Sequence[tuple[str, Any]] | None:
    """Return the entries of a dict or a list, by key or by number; None for anything else."""
    if isinstance(value, (list, tuple)):
        return [(str(number), inner) for number, inner in enumerate(value)]
    mapping = mapping_of(value)
    if mapping is not None:
        return [(key if isinstance(key, str) else _key(key), inner) for key, inner in mapping.items()]
    if isinstance(value, Record) and value.elements is not None:
        return [(str(number), inner) for number, inner in enumerate(value.elements)]
    return None


def _key(key: Any) -> str:
    """Return a key that is no text as one: 3, or "a, 1" for a tuple."""
    if isinstance(key, (Global, Record)):
        return key.name
    return ", ".join(map(_key, key)) if isinstance(key, tuple) else str(key)


def _leaf(value: Any) -> Any:
    """Return an array, a plain value, or an Unreadable; None for a container, and for what gets a kind."""
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Record):
        tensor = tensor_of(value) or array_of(value)
        return tensor if tensor is not None else _plain_record(value)
    if isinstance(value, (list, tuple)):
        is_plain = 0 < len(value) <= MAX_LIST and all(isinstance(inner, (str, int, float)) for inner in value)
        return list(value) if is_plain else None
    if isinstance(value, Global) and value.name.startswith("torch."):  # a dtype
        return value.name
    return None


def _plain_record(record: Record) -> Any:
    """Return a record that means a plain value, such as a path, as that value; None for another."""
    args = record.args
    if record.name == "torch.Size" and len(args) == 1 and isinstance(args[0], (list, tuple)):
        return [size for size in args[0] if isinstance(size, int)]
    if record.name == "torch.device" and all(isinstance(part, (str, int)) for part in args):
        return ":".join(map(str, args))
    if record.name.startswith("pathlib.") and all(isinstance(part, str) for part in args):
        return "/".join(args).replace("//", "/")
    return None


def _kind(value: Any) -> str:
    """Return the kind of a value that is neither an array nor plain nor a container."""
    # protocol 2 has no bytes, and writes a call that encodes a text
    if isinstance(value, Record) and value.name == "_codecs.encode":
        return "bytes"
    if isinstance(value, Record):
        return f"an object of {value.name}" if value.name else "an object"
    if isinstance(value, Global):
        return f"the class or function {value.name}"
    if isinstance(value, Storage):
        return "a storage without a tensor"
    if isinstance(value, (bytes, Span)):
        return "bytes"
    return f"a {type(value).__name__}"


def root_kind(root: Any) -> str:
    """Return the kind of the object of a file that has no arrays."""
    entries = _entries(root)
    if entries is None:
        return _kind(root)
    return f"a {_noun(root)} of {len(entries):,} other values" if entries else f"an empty {_noun(root)}"
