"""The opcodes of pickles that the machine's own loop leaves to functions: the less frequent ones.

Each function takes the machine and the index behind the opcode, and returns the index behind the opcode's argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from typing import Any

from paramctl.store.pickles.objects import Global, Record
from paramctl.store.pickles.scalars import SCALARS, Handler, integer, line
from paramctl.store.pickles.state import BadPickle, Machine

MAX_KEY_PARTS = 64
MAX_KEY = 1 << 60
"""Greater integers can be chosen so that a dict takes a time that is quadratic in their number."""
RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Modules of Python 2 that Python 3 has under another name."""
UINT32 = Struct("<I")


def container(create: Callable[[], Any]) -> Handler:
    """Return the function of an opcode that pushes an empty collection."""

    def push_container(machine: Machine, index: int) -> int:
        machine.count_container()
        machine.stack.append(create())
        return index

    return push_container


def check_key(key: Any) -> None:
    """Raise BadPickle for a key of a dict whose hash would take long, such as a tuple in a tuple, many times."""
    if type(key) in (str, bool, float, bytes, Record, Global, type(None)) or (
        type(key) is int and -MAX_KEY < key < MAX_KEY
    ):
        return
    parts, checked = [key], 0
    while parts:
        part = parts.pop()
        checked += 1
        if checked > MAX_KEY_PARTS or not isinstance(
            part, (str, bool, float, bytes, Record, Global, int, tuple, type(None))
        ):
            raise BadPickle(f"a key of a dict is a {type(part).__name__}, or has more than {MAX_KEY_PARTS} parts")
        if isinstance(part, int) and not -MAX_KEY < part < MAX_KEY:
            raise BadPickle("a key of a dict is too large an integer")
        if isinstance(part, tuple):
            parts += part[: MAX_KEY_PARTS + 1]


def store(target: Any, items: list[Any]) -> None:
    """Store keys and values, which alternate, in a dict or in a Record."""
    if isinstance(target, Record):
        target.entries = {} if target.entries is None else target.entries
        target = target.entries
    if not isinstance(target, dict) or len(items) % 2:
        raise BadPickle(f"a pair of a key and a value is stored in a {type(target).__name__}")
    for key in items[::2]:
        if type(key) is not str:
            check_key(key)
    target.update(zip(items[::2], items[1::2], strict=True))


def extend(target: Any, values: Iterable[Any]) -> None:
    """Append values to a list or a Record."""
    if isinstance(target, Record):
        target.elements = [] if target.elements is None else target.elements
        target = target.elements
    if not isinstance(target, list):
        raise BadPickle(f"a value is appended to a {type(target).__name__}")
    target.extend(values)


def call(machine: Machine, function: Any, args: Any, keywords: Any = None) -> None:
    """Push a Record of a call, or the result of our own function for it."""
    if not isinstance(function, (Global, Record)) or not isinstance(args, tuple):
        raise BadPickle(f"a {type(function).__name__} is called with a {type(args).__name__}")
    if keywords is not None and not isinstance(keywords, dict):
        raise BadPickle(f"a call has a {type(keywords).__name__} of keywords")
    known = machine.calls.get(function.name)
    machine.stack.append(Record(function, args, keywords) if known is None else known(*args))


def reduce_(machine: Machine, index: int) -> int:
    args = machine.stack.pop()
    call(machine, machine.stack.pop(), args)
    return index


def newobj_ex(machine: Machine, index: int) -> int:
    keywords, args = machine.stack.pop(), machine.stack.pop()
    call(machine, machine.stack.pop(), args, keywords)
    return index


def obj(machine: Machine, index: int) -> int:
    function, *args = machine.pop_mark()
    call(machine, function, tuple(args))
    return index


def inst(machine: Machine, index: int) -> int:
    index = global_(machine, index)
    function = machine.stack.pop()
    call(machine, function, tuple(machine.pop_mark()))
    return index


def build(machine: Machine, index: int) -> int:
    state, target = machine.stack.pop(), machine.stack[-1]
    # nothing is built in two steps: to join two states, a pickle could copy a large one many times
    if not isinstance(target, Record) or target.state is not None:
        raise BadPickle(f"a {type(target).__name__} gets a state, or gets a second one")
    target.state = state
    return index


def push_global(machine: Machine, module: str, name: str) -> None:
    machine.stack.append(machine.global_of(f"{RENAMED.get(module, module)}.{name}"))


def global_(machine: Machine, index: int) -> int:
    module, index = line(machine, index)
    name, index = line(machine, index)
    push_global(machine, module.decode(), name.decode())
    return index


def stack_global(machine: Machine, index: int) -> int:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise BadPickle("the name of a class must be text")
    push_global(machine, module, name)
    return index


def persistent(machine: Machine, index: int) -> int:
    if machine.persistent_load is None:
        raise BadPickle("the pickle refers to data outside it")
    machine.stack.append(machine.persistent_load(machine.stack.pop()))
    return index


def persistent_line(machine: Machine, index: int) -> int:
    text, index = line(machine, index)
    machine.stack.append(text.decode())
    return persistent(machine, index)


def put(machine: Machine, index: int) -> int:
    text, index = line(machine, index)
    machine.memo[integer(text)] = machine.stack[-1]
    return index


def get(machine: Machine, index: int) -> int:
    text, index = line(machine, index)
    machine.stack.append(machine.memo[integer(text)])
    return index


def pop(machine: Machine, index: int) -> int:
    # the mark above the last value is dropped instead of it, as Python does
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()
    return index


def pop_mark(machine: Machine, index: int) -> int:
    machine.pop_mark()
    return index


def dup(machine: Machine, index: int) -> int:
    machine.stack.append(machine.stack[-1])
    return index


def tuple_of(count: int) -> Handler:
    """Return the function of an opcode that makes a tuple of so many values."""

    def push_tuple(machine: Machine, index: int) -> int:
        values = [machine.stack.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(values)))
        return index

    return push_tuple


def dict_(machine: Machine, index: int) -> int:
    machine.count_container()
    items = machine.pop_mark()
    machine.stack.append({})
    store(machine.stack[-1], items)
    return index


def list_(machine: Machine, index: int) -> int:
    machine.count_container()
    machine.stack.append(machine.pop_mark())
    return index


def setitem(machine: Machine, index: int) -> int:
    value, key = machine.stack.pop(), machine.stack.pop()
    store(machine.stack[-1], [key, value])
    return index


def setitems(machine: Machine, index: int) -> int:
    items = machine.pop_mark()
    store(machine.stack[-1], items)
    return index


def append(machine: Machine, index: int) -> int:
    value = machine.stack.pop()
    extend(machine.stack[-1], [value])
    return index


def appends(machine: Machine, index: int) -> int:
    values = machine.pop_mark()
    extend(machine.stack[-1], values)
    return index


def frozenset_(machine: Machine, index: int) -> int:
    machine.count_container()
    machine.stack.append(Record(machine.global_of("builtins.frozenset"), (machine.pop_mark(),)))
    return index


def skip_bytes(count: int) -> Handler:
    """Return the function of an opcode whose argument says nothing about the value."""
    return lambda machine, index: index + count


def refuse(reason: str) -> Handler:
    """Return the function of an opcode that a file cannot have."""

    def raise_bad_pickle(machine: Machine, index: int) -> int:
        raise BadPickle(reason)

    return raise_bad_pickle


REGISTERED = refuse("the pickle names classes by numbers that only its program knows")
OUT_OF_BAND = refuse("the pickle refers to buffers outside it")

COLD: dict[int, Handler] = SCALARS | {
    0x80: skip_bytes(1),  # PROTO
    0x95: skip_bytes(8),  # FRAME
    0x98: skip_bytes(0),  # READONLY_BUFFER
    0x97: OUT_OF_BAND,
    **dict.fromkeys((0x82, 0x83, 0x84), REGISTERED),
    ord("0"): pop,
    ord("1"): pop_mark,
    ord("2"): dup,
    ord("p"): put,
    ord("g"): get,
    ord("c"): global_,
    0x93: stack_global,
    ord("P"): persistent_line,
    ord("Q"): persistent,
    ord("R"): reduce_,
    0x81: reduce_,  # NEWOBJ
    0x92: newobj_ex,
    ord("o"): obj,
    ord("i"): inst,
    ord("b"): build,
    0x85: tuple_of(1),
    0x86: tuple_of(2),
    0x87: tuple_of(3),
    ord("}"): container(dict),
    ord("d"): dict_,
    ord("s"): setitem,
    ord("u"): setitems,
    ord("]"): container(list),
    ord("l"): list_,
    ord("a"): append,
    ord("e"): appends,
    0x8F: container(lambda: Record(Global("builtins.set"), elements=[])),
    0x90: appends,  # ADDITEMS
    0x91: frozenset_,
}
