"""The pickle machine: it reads what Python's pickler writes, and never imports or calls anything."""

import collections
import os
import pickle
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from paramctl.store.pickles import machine, state
from paramctl.store.pickles.machine import unpickle, unpickle_from
from paramctl.store.pickles.objects import Global, Record, Span
from paramctl.store.pickles.state import BadPickle, BytesSource
from tests.conftest import ROOT

VALUES: dict[str, Any] = {
    "numbers": [0, 1, -3, 255, 256, 70_000, -70_000, 2**31, 10**30, -(10**30), True, False, None, 2.5, -1e300],
    "texts": ["", "a", "tëxt", "x" * 3000, "line\nbreak \\u1234", "\U0001f600", "'quoted'"],
    "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    "nested": {"a": [{"b": ({"c": []},)}]},
    "keys": {1: "a", 2.5: "b", None: "c", (1, "x"): "d", b"k": "e"},
    "ordered": collections.OrderedDict(b=1, a=2),
    "complex": 1 + 2j,
    "bytes": b"\x00\xff\n'",
    "set": {1, 2},
    "many": [[f"k{number}"] * 2 for number in range(2000)],
}


def plain(value: Any) -> Any:
    """Return a value with the Records of these types as what they record."""
    if isinstance(value, Record):
        args = plain(value.args)
        if value.name == "collections.OrderedDict":
            return collections.OrderedDict(plain(value.entries) or {})
        if value.name == "builtins.set":
            return set(args[0] if args else plain(value.elements))
        if value.name == "builtins.complex":
            return complex(*args)
        assert value.name == "_codecs.encode", value
        return args[0].encode(args[1])
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_are_those_of_the_pickler(protocol: int) -> None:
    """Every protocol gives the values, and their types, that Python reads from the same bytes."""
    for name, value in VALUES.items():
        result = plain(unpickle(pickle.dumps(value, protocol)))
        assert result == value, name
        assert repr(result) == repr(value), name


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_window_that_moves_changes_no_value(protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in small pieces, from an offset, the same pickle gives the same value, and the offset behind it."""
    monkeypatch.setattr(state, "CHUNK", 1500)
    data = pickle.dumps(VALUES, protocol)
    source = BytesSource(b"before" + data + b"behind")
    value, end = unpickle_from(source, 6, len(source.data))
    assert plain(value) == VALUES
    assert end == 6 + len(data)


@dataclass
class Point:
    x: int
    y: int


def test_objects_become_records() -> None:
    """An object of a class is its name, its arguments, and its state; one object with two names stays one object."""
    point = Point(1, 2)
    first, second = unpickle(pickle.dumps([point, point], 4))
    assert first is second
    assert (first.name, first.state) == ("tests.test_pickles.Point", {"x": 1, "y": 2})
    assert unpickle(pickle.dumps(os.system)) == Global("posix.system")


def test_cycles_are_built() -> None:
    loop: list[Any] = []
    loop.append(loop)
    value = unpickle(pickle.dumps(loop))
    assert value[0] is value


def test_long_bytes_stay_in_the_file() -> None:
    """A long string of bytes is its place, so that an array of gigabytes takes no memory."""
    data = pickle.dumps({"a": bytes(5000), "b": 1}, 4)
    value = unpickle(data)
    assert isinstance(value["a"], Span)
    assert data[value["a"].offset :][:5000] == bytes(5000)
    assert (value["a"].size, value["b"]) == (5000, 1)


def test_persistent_ids_are_resolved() -> None:
    data = b"\x80\x02(X\x01\x00\x00\x00aK\x01tQ."
    assert unpickle(data, lambda pid: ["loaded", pid]) == ["loaded", ("a", 1)]
    with pytest.raises(BadPickle, match="data outside it"):
        unpickle(data)


class Hostile:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def repeated(opcodes: bytes, count: int, end: bytes = b".") -> bytes:
    return b"\x80\x02" + opcodes * count + end


HARMLESS = {
    "system": pickle.dumps(Hostile(os.system, "touch hacked")),
    "eval": pickle.dumps(Hostile(eval, "open('hacked', 'w')")),
    "import": pickle.dumps(Hostile(__import__, "this")),
    "popen": pickle.dumps(Hostile(subprocess.Popen, "true")),
    "getattr": b"cbuiltins\ngetattr\n(cos\nsystem\nS'x'\ntRS'y'\n\x85R.",
    "module": b"cthis\ns\n.",
    "nested build": b"cos\nsystem\n)R}b.",
    "setstate": b"cos\nsystem\n)\x81}(S'__setstate__'\ncos\nsystem\nub.",
    "deep tuples": repeated(b"\x85", 100_000).replace(b"\x80\x02", b"\x80\x02N"),
    "deep lists": b"\x80\x02" + b"(" * 100_000 + b"l" * 100_000 + b".",
    "laughs by the memo": b"\x80\x02N" + b"".join(b"\x85r" + struct.pack("<I", n) + b"j" + struct.pack("<I", n) + b"\x86" for n in range(2000)) + b".",
    "laughs by DUP": repeated(b"2\x86", 100_000).replace(b"\x80\x02", b"\x80\x02N"),
    "trailing data": b"N.cos\nsystem\n)R.",
}  # fmt: skip
REFUSED = {
    "empty": b"",
    "early stop": b".",
    "no stop": b"\x80\x02N",
    "unknown opcode": b"\x80\x02\xff.",
    "missing memo": b"\x80\x02h\x05.",
    "missing memo, text": b"g7\n.",
    "no mark": b"\x80\x02t.",
    "empty stack": b"\x80\x02R.",
    "call of a number": b"\x80\x02K\x01)R.",
    "call without a tuple": b"cos\nsystem\n]R.",
    "second state": b"cos\nsystem\n)R}b}b.",
    "state of a list": b"]}b.",
    "huge integer": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "negative size": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "many digits": b"I" + b"9" * 100_000 + b"\n.",
    "huge text": b"\x80\x04\x8d" + b"\xff" * 8 + b".",
    "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b".",
    "negative string": b"\x80\x02T\xff\xff\xff\xffN.",
    "bad text": b"\x80\x04\x8c\x02\xff\xff.",
    "list as a key": b"\x80\x02}]Ns.",
    "deep key": repeated(b"\x85", 100_000, b"Ns.").replace(b"\x80\x02", b"\x80\x02}N"),
    "laughs as a key": repeated(b"2\x86", 100, b"Ns.").replace(b"\x80\x02", b"\x80\x02}N"),
    "huge integer as a key": b"\x80\x02}\x8a\x0a" + bytes(9) + b"\x01Ns.",
    "half a pair": b"\x80\x02}(Nu.",
    "many opcodes": repeated(b"N0", machine.MAX_OPCODES),
    "many dicts": repeated(b"}", state.MAX_CONTAINERS + 1),
    "registered class": b"\x80\x02\x82\x01.",
    "buffer outside": b"\x80\x05\x97.",
    "name of a class that is no text": b"\x80\x04K\x01K\x02\x93.",
    "line without an end": b"cos",
    "unquoted": b"Sabc\n.",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_pickle_is_refused(name: str) -> None:
    with pytest.raises(BadPickle) as error:
        unpickle(REFUSED[name])
    assert len(str(error.value)) < 200


GUARDED = """
import sys
from paramctl.store.pickles.machine import BadPickle, unpickle
from tests.test_pickles import HARMLESS, REFUSED
events = []
sys.addaudithook(lambda event, args: events.append((event, args)) if armed else None)
armed = True
for data in [*HARMLESS.values(), *REFUSED.values()]:
    try:
        unpickle(data)
    except BadPickle:
        pass
armed = False
unexpected = [event for event in events if event[0] != "object.__getattr__"]
assert not unexpected, unexpected
assert "this" not in sys.modules
"""


def test_nothing_is_imported_executed_or_opened() -> None:
    """Python reports each import, call of the system, and opened file to an audit hook: none happens."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    code = GUARDED.replace("events = []", "events, armed = [], False", 1)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT, timeout=120)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_hostile_pickle_is_inert(name: str) -> None:
    """A pickle that would run code gives objects that record it."""
    value = unpickle(HARMLESS[name])
    assert value is None or isinstance(value, (Record, Global, tuple, list))
