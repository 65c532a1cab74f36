"""paramctl set: assignments as NumPy makes them, and files in which nothing else changes, whatever happens."""

import hashlib
import io
import json
import operator as operator_
import os
import resource
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import paramctl
from paramctl.core.dtypes import numpy_dtype
from paramctl.edit.assign import Assignment, _describe_value, assign, parse_assignment, split_assignment
from paramctl.edit.reopen import _value
from paramctl.errors import AddressError, OutputError
from paramctl.library.edits import _assignment
from paramctl.model import Model, Tie
from paramctl.source.base import Source, select_values
from paramctl.source.edited import Edited, Tally
from paramctl.source.stored import Stored
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter, tied_parameter
from paramctl.store.contents import BLOCK_SIZE, Origin
from tests import forks
from tests.conftest import ROOT, Call, Run
from tests.formats import ANY

MLP = str(ROOT / "sample_models/mlp.yaml")
FIXTURES = ROOT / "tests/fixtures"
OPERATE: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda old, new: new,
    "+=": np.add,
    "-=": np.subtract,
    "*=": np.multiply,
    "/=": np.true_divide,
}
Array = np.ndarray[Any, Any]


class InMemory:
    """Arrays, read as a file's are."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.arrays[path].reshape(-1)[start:stop].copy()


def source(arrays: Mapping[str, Array], *ties: Tie) -> Source:
    parameters = {name: stored_parameter(name, array.shape, array.dtype.name) for name, array in arrays.items()}
    for tie in ties:
        parameters[tie.tied] = tied_parameter(tie, parameters[tie.kept])
    of, _ = build_model("m", parameters, ties)
    return Stored(Checkpoint(of, InMemory(arrays), Origin()))


def whole(of: Source, path: str) -> Array:
    """All values of an array, piece by piece, put together."""
    parameter = of.model.parameters[path]
    pieces = [of.read(*piece) for piece in of.pieces(parameter)]
    return np.concatenate(pieces).reshape(parameter.shape) if pieces else np.empty(parameter.shape)


def edited(of: Source, *assignments: tuple[str, str, Any]) -> Edited:
    made = [
        Assignment(f"{to} {how} ...", to, how, value if type(value) in (bool, int, float) else np.asarray(value))
        for to, how, value in assignments
    ]
    return assign(of, made)


def dtype(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def slice_text(indices: tuple[Any, ...]) -> str:
    def text(index: Any) -> str:
        if isinstance(index, int):
            return str(index)
        return ":".join("" if end is None else str(end) for end in (index.start, index.stop, index.step))

    return f"[{', '.join(map(text, indices))}]" if indices else ""


# What NumPy makes of the same assignments

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
ENDS = st.none() | st.integers(-6, 6)
STEPS = st.sampled_from([None, 1, 2, -1, -2, 3])


@st.composite
def indices_of(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    made: list[Any] = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        one = draw(st.integers(-size, size - 1)) if size and draw(st.booleans()) else None
        made.append(one if one is not None else slice(draw(ENDS), draw(ENDS), draw(STEPS)))
    return tuple(made)


@st.composite
def operand_of(draw: st.DrawFn, shape: tuple[int, ...], elements: st.SearchStrategy[Any]) -> Array:
    """A number, or an array that broadcasts to a shape."""
    kept = [size if draw(st.booleans()) else 1 for size in shape[draw(st.integers(0, len(shape))) :]]
    size = int(np.prod(kept, dtype=int))
    return np.array(draw(st.lists(elements, min_size=size, max_size=size))).reshape(kept)


EIGHTHS = st.integers(-64, 64).filter(bool).map(lambda each: each / 8)


@given(
    st.data(), SHAPES, st.sampled_from(["float16", "bfloat16", "float32", "float64"]), st.booleans(), st.integers(1, 40)
)
@settings(max_examples=300)
def test_any_assignments_are_numpys(
    data: st.DataObject, shape: tuple[int, ...], name: str, turned: bool, block: int
) -> None:
    """To the bit, each rounded in the array's own dtype, whatever the slices, the blocks, and the name of the array.

    What is reported as changed is what NumPy finds changed, and the pieces that are said to be touched are enough.
    """
    size = int(np.prod(shape, dtype=int))
    before = np.array(data.draw(st.lists(EIGHTHS, min_size=size, max_size=size))).astype(dtype(name)).reshape(shape)
    expected = before.copy()
    view = expected.T if turned else expected
    assignments = []
    for _ in range(data.draw(st.integers(1, 4))):
        indices = data.draw(indices_of(view.shape))
        operator = data.draw(st.sampled_from(list(OPERATE)))
        operand = data.draw(operand_of(view[indices].shape, EIGHTHS)).astype(dtype(name))
        assignments.append((f"{'v' if turned else 'w'}{slice_text(indices)}", operator, operand.astype(np.float64)))
        view[(*indices, ...)] = OPERATE[operator](view[indices], operand).astype(dtype(name))
    with patch("paramctl.store.contents.BLOCK_SIZE", block):
        found = edited(source({"w": before}, Tie("w", "v", True)), *assignments)
        after = before.reshape(-1).copy()
        for _, start, stop in found.touched():
            after[start:stop] = found.read("w", start, stop)
        assert after.tobytes() == expected.tobytes()
        tally = found.count_changes().get("w", Tally())
        different = np.abs(expected.astype(np.float64) - before.astype(np.float64))
        assert (tally.count, tally.max_abs) == (np.count_nonzero(different), different.max(initial=0.0))
        assert whole(found, "w").tobytes() == expected.tobytes()


@given(st.data(), SHAPES, st.sampled_from(["float16", "bfloat16", "float32"]))
def test_values_of_more_digits_are_rounded_once(data: st.DataObject, shape: tuple[int, ...], name: str) -> None:
    """An array in float64, also one without axes, acts as in NumPy: computed in float64, and then rounded."""
    size = int(np.prod(shape, dtype=int))
    before = np.array(data.draw(st.lists(EIGHTHS, min_size=size, max_size=size))).astype(dtype(name)).reshape(shape)
    operator = data.draw(st.sampled_from(list(OPERATE)))
    operand = data.draw(operand_of(shape, st.floats(0.01, 100)))
    expected = np.broadcast_to(OPERATE[operator](before.astype(np.float64), operand), shape).astype(dtype(name))
    assert whole(edited(source({"w": before}), ("w", operator, operand)), "w").tobytes() == expected.tobytes()


IN_PLACE = {"+=": operator_.iadd, "-=": operator_.isub, "*=": operator_.imul, "/=": operator_.itruediv}
FLOATS = ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float32", "float64", "complex64", "complex128"]
OPERANDS = [*FLOATS, "bool", "int8", "uint8", "int16", "int32", "int64", "uint64"]


@pytest.mark.parametrize("operator", ["=", *IN_PLACE])
@pytest.mark.parametrize("target", FLOATS)
def test_operands_of_every_dtype_act_as_in_numpy(target: str, operator: str) -> None:
    """``w *= v`` is NumPy's to the bit for arrays with and without axes, and for Python's own numbers.

    Only the latter take the dtype of w. Complex values in a real array, and infinite results of finite numbers, are
    refused.
    """
    random = np.random.default_rng(0)
    before = random.uniform(0.2, 4, 60).astype(numpy_dtype(target))
    arrays = [random.uniform(0.1, 3, shape).astype(numpy_dtype(name)) for name in OPERANDS for shape in [(), (60,)]]
    for operand in [*arrays, *(float(number) for number in random.uniform(0.1, 3, 20)), 3, True]:
        expected = before.copy()
        found = edited(source({"w": before}), ("w", operator, operand))
        refused = np.asarray(operand).dtype.kind == "c" and before.dtype.kind != "c"
        with np.errstate(all="ignore"):
            if operator == "=" and not refused:
                expected[...] = operand
            elif not refused:
                expected = IN_PLACE[operator](expected, operand)
        if refused or not np.isfinite(expected).all():
            with pytest.raises(OutputError):
                whole(found, "w")
        else:
            assert whole(found, "w").tobytes() == expected.tobytes(), (operator, np.asarray(operand).dtype)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.36855, "weak"), (np.float64(0.36855), "strong"), (np.array(0.36855), "strong"), (np.float16(0.36855), "weak")],
)
def test_only_numbers_of_python_take_the_dtype_of_an_array(value: Any, expected: str) -> None:
    """In the library, from a file, and in a source that is described and opened again."""
    before = np.array([0.302978515625], np.float16)
    number = np.float16(0.36855) if expected == "weak" else np.float64(0.36855)
    for made in (
        assign(source({"w": before}), [_assignment("w", value)._replace(operator="*=")]),
        assign(
            source({"w": before}), [Assignment("", "w", "*=", _value(_describe_value(_assignment("w", value).value)))]
        ),
    ):
        assert whole(made, "w") == (before * number).astype(np.float16)


def test_an_array_of_a_file_is_no_number(call: Call) -> None:
    np.save("v.npy", np.float64(0.36855))
    np.savez("z.npz", x=np.array([0.302978515625], np.float16))
    assert call("set", "z.npz", "x *= @v.npy", "-o", "array.npz", "-q")[0] == 0
    assert call("set", "z.npz", "x *= 0.36855", "-o", "number.npz", "-q")[0] == 0
    x = np.load("z.npz")["x"]
    assert np.load("array.npz")["x"] == (x * np.load("v.npy")).astype(np.float16)
    assert np.load("number.npz")["x"] == x * 0.36855
    assert np.load("array.npz")["x"] != np.load("number.npz")["x"]


@pytest.mark.parametrize("number", [0.1, 16_777_217], ids=["a fraction", "more digits than float32 has"])
@pytest.mark.parametrize("operator", ["+=", "-=", "*=", "/="])
def test_a_number_is_as_weak_as_in_numpy(operator: str, number: float) -> None:
    """``w *= 0.1`` in float32 is a product of two float32 in NumPy, in torch and in TensorFlow."""
    before = np.random.default_rng(0).normal(size=1_000).astype("float32")
    expected = OPERATE[operator](before, number)
    assert expected.dtype == np.float32
    assert np.array_equal(whole(edited(source({"w": before}), ("w", operator, number)), "w"), expected)


@given(
    st.data(),
    SHAPES,
    st.sampled_from(["bool", "int8", "uint8", "int16", "uint16", "int32", "int64", "uint64"]),
    st.booleans(),
)
@settings(max_examples=200)
def test_whole_numbers_are_exact_or_refused(
    data: st.DataObject, shape: tuple[int, ...], name: str, turned: bool
) -> None:
    """As Python's own whole numbers have it; what the dtype cannot hold is an error, never another number."""
    least, most = (0, 1) if name == "bool" else (np.iinfo(name).min, np.iinfo(name).max)
    size = int(np.prod(shape, dtype=int))
    numbers = st.integers(max(least, -100), min(most, 100))
    before = np.array(data.draw(st.lists(numbers, min_size=size, max_size=size)), dtype=name).reshape(shape)
    exact = before.astype(object)
    view = exact.T if turned else exact
    assignments, fits = [], True
    for _ in range(data.draw(st.integers(1, 3))):
        indices = data.draw(indices_of(view.shape))
        operator = data.draw(st.sampled_from(["=", "+=", "-=", "*="]))
        operand = data.draw(operand_of(view[(*indices, ...)].shape, st.integers(-3, 300))).astype(np.int64)
        assignments.append((f"{'v' if turned else 'w'}{slice_text(indices)}", operator, operand))
        view[(*indices, ...)] = OPERATE[operator](view[(*indices, ...)], operand.astype(object))
        fits = fits and all(least <= each <= most for each in exact.reshape(-1))
    found = edited(source({"w": before}, Tie("w", "v", True)), *assignments)
    if fits:
        assert whole(found, "w").astype(object).tolist() == exact.tolist()
    else:
        with pytest.raises(OutputError, match="cannot hold the value"):
            whole(found, "w")


LARGE = {
    "a sum that int64 cannot hold": ("int64", 2**63 - 1, "+=", 1),
    "a difference that int64 cannot hold": ("int64", -(2**63), "-=", 1),
    "a product that int64 cannot hold": ("int64", 2**62, "*=", 4),
    "a product with a fraction, which float64 would round": ("int64", 2**53 + 1, "*=", 1.0),
    "uint64 beyond int64": ("uint64", 2**63 + 5, "+=", 1),
    "uint64 to uint64's end": ("uint64", 2**64 - 2, "+=", 1),
}


@pytest.mark.parametrize(("name", "old", "operator", "operand"), LARGE.values(), ids=list(LARGE))
def test_large_whole_numbers_are_exact_or_refused(name: str, old: int, operator: str, operand: float) -> None:
    expected = {"+=": old + int(operand), "-=": old - int(operand), "*=": old * int(operand)}[operator]
    found = edited(source({"w": np.array([old], name)}), ("w", operator, operand))
    if np.iinfo(name).min <= expected <= np.iinfo(name).max and isinstance(operand, int):
        assert whole(found, "w").tolist() == [expected]
        return
    with suppress(OutputError):
        assert whole(found, "w").tolist() == [expected]


WRITTEN = {
    "the largest of uint64": ("uint64", "18446744073709551615", [2**64 - 1] * 2),
    "the smallest of int64": ("int64", "-9223372036854775808", [-(2**63)] * 2),
    "a list with the largest of uint64": ("uint64", "[18446744073709551615, 1]", [2**64 - 1, 1]),
    "integers of which NumPy makes float64": ("uint64", "[9223372036854775809, 1]", [2**63 + 1, 1]),
    "an integer beside a whole fraction": ("int64", "[9007199254740993, 1.0]", [2**53 + 1, 1]),
    "both": ("uint64", "[9223372036854775809, 1.0]", [2**63 + 1, 1]),
    "a fraction, which rounds the other as in NumPy": ("float64", "[9007199254740993, 0.5]", [2.0**53, 0.5]),
    "either sign, which no integer dtype holds": ("float32", "[9223372036854775809, -1]", [2.0**63, -1]),
}


@pytest.mark.parametrize(("name", "text", "expected"), WRITTEN.values(), ids=list(WRITTEN))
def test_integers_are_assigned_as_they_are_written(name: str, text: str, expected: list[float], call: Call) -> None:
    """By the command line and by the library. NumPy rounds a list that mixes integers beyond 2^53 with others."""
    np.savez("m.npz", w=np.zeros(2, name))
    assert call("set", "m.npz", f"w = {text}", "-o", "n.npz", "-q") == (0, "", "")
    assert np.load("n.npz")["w"].tolist() == expected
    assigned = paramctl.assign("m.npz", {"w": json.loads(text)})
    assert assigned["w"][:].tolist() == expected


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", [(1_500, 700), (3, 300_001), (300_001, 3)])
def test_arrays_of_several_blocks(shape: tuple[int, int], turned: bool) -> None:
    """As it is, and through a transposed tie, in which a row crosses all of the stored array."""
    before = np.random.default_rng(0).normal(size=shape).astype("float32")
    assert before.size > 3 * BLOCK_SIZE
    expected = before.copy()
    view = expected.T if turned else expected
    row = np.linspace(1, 2, view.shape[1], dtype="float32")
    steps: list[tuple[tuple[Any, ...], str, Any]] = [
        ((), "+=", 1.0),
        ((0, 0), "=", 42.0),
        ((slice(None, None, -2), slice(1, None, 3)), "*=", 0.5),
        ((-1,), "/=", row),
        ((slice(None), slice(0, 2)), "-=", np.arange(view.shape[0], dtype="float32")[:, None]),
        ((slice(1, None), slice(None, None, 2)), "=", row[None, ::2]),
    ]
    for indices, operator, operand in steps:
        view[indices] = OPERATE[operator](view[indices], np.asarray(operand, "float32"))
    name = "v" if turned else "w"
    made = edited(
        source({"w": before}, Tie("w", "v", True)),
        *((f"{name}{slice_text(indices)}", operator, operand) for indices, operator, operand in steps),
    )
    assert whole(made, "w").tobytes() == expected.tobytes()
    (part,) = select_values(made, [f"{name}[::-3, 1]"])
    assert np.array_equal(np.concatenate(list(part.pieces())), view[::-3, 1])


@given(st.data(), SHAPES, st.booleans(), st.integers(1, 40))
@settings(max_examples=200)
def test_any_range_of_an_edited_array_equals_numpys(
    data: st.DataObject, shape: tuple[int, ...], turned: bool, block: int
) -> None:
    """A slice of an array that has changed, under either of its names, in blocks of any size."""
    array = np.arange(np.prod(shape, dtype=int), dtype="float32").reshape(shape)
    indices = data.draw(indices_of(shape))
    read = (array.T if turned and len(shape) != 1 else array) * np.float32(2)
    with patch("paramctl.store.contents.BLOCK_SIZE", block):
        made = edited(source({"w": array}, Tie("w", "v", True)), ("w", "*=", 2))
        if not turned:
            (part,) = select_values(made, [f"w{slice_text(indices)}"])
            pieces = list(part.pieces())
            expected = read[indices]
        elif shape:
            (part,) = select_values(made, ["v"])
            pieces = list(part.pieces())
            expected = read
        else:
            return
    found = np.concatenate(pieces) if pieces else np.empty(0, "float32")
    assert part.selection.shape == expected.shape
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


def test_an_array_under_two_names_changes_once_by_a_pattern_and_twice_if_it_is_named_twice() -> None:
    array = np.zeros((2, 3), "float32")
    base = source({"g/w": array, "g/u": array}, Tie("g/w", "g/v", True))
    assert np.array_equal(whole(edited(base, ("g/*", "+=", 1)), "g/w"), array + 1)
    assert np.array_equal(whole(edited(base, ("re:g/.*", "+=", 1)), "g/w"), array + 1)
    assert np.array_equal(whole(edited(base, ("g/w", "+=", 1), ("g/v", "+=", 1)), "g/w"), array + 2)


@pytest.mark.parametrize("text", ["g", "layers[0]", "0", "'g'"])
def test_an_array_under_two_names_changes_once_by_its_blocks_name(text: str) -> None:
    array = np.zeros((2, 2), "float32")
    base = source({"g/w": array}, Tie("g/w", "g/v", False))
    assert np.array_equal(whole(edited(base, (text, "+=", 1)), "g/w"), array + 1)


# Assignments as they are written


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("w=1", ("w", "=", "1")),
        ("w = 1", ("w", "=", "1")),
        ("w+=1", ("w", "+=", "1")),
        ("w /= [1, 2]", ("w", "/=", "[1, 2]")),
        ("w=-1", ("w", "=", "-1")),
        ("w-=-1", ("w", "-=", "-1")),
        ("w = normal:stddev=0.1", ("w", "=", "normal:stddev=0.1")),
        ("**/bias*=2", ("**/bias", "*=", "2")),
        ("**/bias* = 2", ("**/bias*", "=", "2")),
        ("'a=b'=1", ("'a=b'", "=", "1")),
        ("x/'a=b'[0]+=1", ("x/'a=b'[0]", "+=", "1")),
        ("it's=1", ("it's", "=", "1")),
        ("re:[a=]b=1", ("re:[a=]b", "=", "1")),
        ("w[0, 1:2]=[[1]]", ("w[0, 1:2]", "=", "[[1]]")),
    ],
)
def test_an_assignment_is_taken_apart(text: str, parts: tuple[str, str, str]) -> None:
    assert split_assignment(text) == parts


@pytest.mark.parametrize("text", ["", "=", "w", "w=", "=1", "w+=", " = 1", "w[0", "'w=1", "+=1"])
def test_a_malformed_assignment_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match="an assignment must be written ADDRESS=VALUE"):
        split_assignment(text)


VALUES = {
    "a number": ("w = 0.5", np.float32(0.5)),
    "a whole number": ("w = -3", -3),
    "a truth": ("w = true", 1),
    "lists": ("w = [[1, 2, 3], [4, 5, 6]]", [[1, 2, 3], [4, 5, 6]]),
    "a list to each row": ("w = [1, 2, 3]", [1, 2, 3]),
    "a list down the columns": ("w = [[1], [2]]", [[1], [2]]),
    "npy": ("w = @c.npy", np.arange(6.0).reshape(2, 3)),
    "npy in Fortran's order": ("w = @f.npy", np.arange(6.0).reshape(2, 3)),
    "npy in big-endian float64": ("w = @b.npy", np.arange(6.0).reshape(2, 3)),
    "npy of one number": ("w = @one.npy", 7),
    "npy that is not a number": ("w = @nan.npy", np.nan),
}


@pytest.mark.parametrize(("assignment", "expected"), VALUES.values(), ids=list(VALUES))
def test_values(assignment: str, expected: Any, call: Call, tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3)
    for name, each in (("c", array.astype("float32")), ("f", np.asfortranarray(array)), ("b", array.astype(">f8"))):
        np.save(f"{name}.npy", each)
    np.save("one.npy", np.float16(7))
    np.save("nan.npy", np.float32(np.nan))
    save_file({"w": np.full((2, 3), 9, "float32")}, tmp_path / "m.safetensors")
    assert call("set", "m.safetensors", assignment, "--in-place", "-q") == (0, "", "")
    found = load_file(tmp_path / "m.safetensors")["w"]
    assert np.array_equal(found, np.broadcast_to(expected, (2, 3)).astype("float32"), equal_nan=True)


def test_a_value_on_standard_input(paramctl: Run, tmp_path: Path) -> None:
    save_file({"w": np.zeros((2, 3), "float32")}, tmp_path / "m.safetensors")
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3.0))
    done = paramctl("set", "m.safetensors", "w[1] = @-", "--in-place", input=buffer.getvalue(), text=False)
    assert done.returncode == 0, done.stderr
    assert load_file(tmp_path / "m.safetensors")["w"].tolist() == [[0, 0, 0], [0, 1, 2]]
    both = paramctl("set", "-", "w = @-", "-o", "x.safetensors", input=Path(MLP).read_text())
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
    assert "Standard input cannot be both the source and a value." in both.stderr


@pytest.mark.parametrize(
    ("scheme", "where", "index"),
    [
        ("he_normal", "", np.s_[...]),
        ("normal:stddev=0.5", "[1:, ::-2]", np.s_[1:, ::-2]),
        ("orthogonal", "[0]", np.s_[0]),
        ("orthogonal", "", np.s_[...]),
        ("uniform:minval=-1,maxval=1", "[..., 2]", np.s_[..., 2]),
    ],
)
def test_a_scheme_draws_the_values_of_init(scheme: str, where: str, index: Any, call: Call) -> None:
    """At the places assigned to, the values that the whole parameter would have with the same seed; no others."""
    call("init", MLP, "-o", "old.safetensors", "-q", "--scheme", "constant:7")
    call("init", MLP, "-o", "all.safetensors", "-q", "--scheme", "constant:7", "--rule", f"dense/kernel={scheme}")
    code, _, err = call("set", "old.safetensors", f"dense/kernel{where} = {scheme}", "-o", "new.safetensors")
    assert code == 0, err
    old, every, new = (load_file(f"{name}.safetensors") for name in ("old", "all", "new"))
    expected = old["dense/kernel"].copy()
    expected[index] = every["dense/kernel"][index]
    assert np.array_equal(new["dense/kernel"], expected)
    assert all(np.array_equal(new[name], old[name]) for name in old if name != "dense/kernel")
    call("set", "old.safetensors", f"dense/kernel = {scheme}", "-o", "other.safetensors", "--seed", "5")
    assert not np.array_equal(load_file("other.safetensors")["dense/kernel"], every["dense/kernel"])


def test_a_scheme_through_a_transposed_tie(call: Call, tmp_path: Path) -> None:
    """The values drawn are those of the parameter that is named, whichever of the two the file keeps."""
    (tmp_path / "t.yaml").write_text(
        "input: [6]\nlayers:\n  - dense: {name: a, units: 5}\n  - dense: {name: b, units: 6}\n"
        "ties: [{keep: a/kernel, tie: b/kernel, transpose: true}]\n"
    )
    (tmp_path / "u.yaml").write_text((tmp_path / "t.yaml").read_text().partition("ties")[0])
    call("init", "u.yaml", "-q", "-o", "u.safetensors", "--scheme", "normal")
    call("set", "t.yaml", "b/kernel[1:3] = normal", "a/bias = 1", "-o", "t.safetensors")
    expected = load_file("u.safetensors")["b/kernel"]
    found = load_file("t.safetensors")["a/kernel"]
    assert np.array_equal(found[:, 1:3], expected.T[:, 1:3])
    assert not np.array_equal(found[:, 3:], expected.T[:, 3:])


def test_a_matrix_is_drawn_once() -> None:
    from paramctl.init.engines.native import draw_whole

    base = source({"w": np.zeros((2_000, 140), "float32")})
    made = assign(base, [parse_assignment("w = orthogonal")])
    with patch("paramctl.init.engines.native.draw_whole", wraps=draw_whole) as drawn:
        whole(made, "w")
    assert drawn.call_count == 1


def test_a_scheme_for_many_arrays_takes_time_in_proportion() -> None:
    base = source({f"w{k}": np.ones(2, "float32") for k in range(200)})
    made = assign(base, [parse_assignment("** = zeros")])
    with patch.object(Model, "map_parameters", autospec=True, side_effect=Model.map_parameters) as built:
        assert not any(whole(made, f"w{k}").any() for k in range(200))
    assert built.call_count <= 2


# Files


def test_the_chapters_assignments(call: Call) -> None:
    """D2L adds 1 to all weights of the first layer and sets the first of them to 42."""
    call("init", MLP, "-q")
    with h5py.File("mlp.h5") as file:
        expected = file["dense/kernel"][()] + 1
    expected[0, 0] = 42
    code, out, err = call("set", "mlp.h5", "dense/kernel += 1", "dense/kernel[0, 0] = 42", "--in-place")
    assert (code, out, err) == (0, "", "wrote mlp.h5: 4 arrays, 25 values, 16 changed\n")
    with h5py.File("mlp.h5") as file:
        assert np.array_equal(file["dense/kernel"][()], expected)
        assert "scheme" not in file["dense/kernel"].attrs, "it is no longer what the scheme drew"
        assert "seed" not in file["dense/kernel"].attrs
        assert file["dense_1/kernel"].attrs["scheme"] == "glorot_uniform"
    assert call("dump", "mlp.h5", "dense/kernel[0, 0]")[1] == "42.\n"


def test_a_dry_run_reports_the_changes_and_writes_nothing(call: Call, tmp_path: Path) -> None:
    save_file({"w": np.arange(6, dtype="float32").reshape(2, 3)}, tmp_path / "m.safetensors")
    before = state(tmp_path)
    code, out, _ = call("set", "m.safetensors", "w[0] = 0", "w[:, 2] *= 3", "--dry-run", "--format", "json")
    assert code == 0
    assert json.loads(out) == [
        {"path": "w", "assignment": "w[0] = 0", "shape": [3], "values": 3, "changed": 3, "max_abs": 10.0},
        {"path": "w", "assignment": "w[:, 2] *= 3", "shape": [2], "values": 2, "changed": 3, "max_abs": 10.0},
    ]
    assert state(tmp_path) == before
    assert call("set", "m.safetensors", "w = 1", "--dry-run", "-o", "m.safetensors")[0] == 0
    assert state(tmp_path) == before


def state(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Every file in a folder: its content, its mode, and which file it is."""
    return {
        each.name: (hashlib.sha256(each.read_bytes()).hexdigest(), each.stat().st_mode, each.stat().st_ino)
        for each in folder.iterdir()
        if each.is_file()
    }


def foreign(path: Path) -> dict[str, tuple[int, int]]:
    """An HDF5 file as somebody else writes it; where in it the values of each contiguous array lie."""
    with h5py.File(path, "w") as file:
        file.attrs["note"] = "somebody's"
        file["w"] = np.arange(12, dtype="float32").reshape(3, 4)
        file["w"].attrs["unit"] = np.array([1.5, 2.5])
        file["big"] = np.arange(6, dtype=">f4").reshape(2, 3)
        file["inner/half"] = np.ones(5, "float16")
        file["inner"].attrs["tags"] = ["x", "y"]
        file["inner/same"] = file["inner/half"]
        file["text"] = "not a number"
        file["link"] = h5py.SoftLink("/w")
        file.create_group("nothing").attrs["why"] = b"kept"
        file["empty"] = np.zeros((0, 3), "float32")
        file["one"] = np.float64(3)
        file.create_dataset("cut", data=np.arange(100, dtype="int32").reshape(10, 10), chunks=(3, 4), compression=1)
        return {
            name: (file[name].id.get_offset(), file[name].id.get_storage_size())
            for name in ("w", "big", "inner/half", "one")
        }


def outside(data: bytes, *places: tuple[int, int]) -> bytes:
    """Return the values outside some places."""
    kept = bytearray(data)
    for offset, size in sorted(places, reverse=True):
        del kept[offset : offset + size]
    return bytes(kept)


def test_in_place_no_other_byte_of_hdf5_changes(call: Call, tmp_path: Path) -> None:
    """Attributes, ties, text, links, what is chunked, and the byte order stay, and the mode, and the symbolic link."""
    places = foreign(tmp_path / "real.h5")
    (tmp_path / "real.h5").chmod(0o640)
    (tmp_path / "link.h5").symlink_to("real.h5")
    before = (tmp_path / "real.h5").read_bytes()
    assignments = ["w += 1", "w[0, 0] = 42", "big[:, ::-1] *= [1, 2, 3]", "inner/same[1] = 0.1", "one /= 4"]
    code, _, err = call("set", "link.h5", *assignments, "--in-place")
    assert code == 0, err
    after = (tmp_path / "real.h5").read_bytes()
    assert len(after) == len(before)
    assert outside(after, *places.values()) == outside(before, *places.values())
    assert (tmp_path / "link.h5").is_symlink()
    assert stat.S_IMODE((tmp_path / "real.h5").stat().st_mode) == 0o640
    with h5py.File(tmp_path / "real.h5") as file:
        expected = np.arange(12, dtype="float32").reshape(3, 4) + 1
        expected[0, 0] = 42
        assert np.array_equal(file["w"][()], expected)
        assert file["big"].dtype == ">f4"
        assert file["big"][()].tolist() == [[0, 2, 2], [9, 8, 5]]
        assert np.array_equal(file["inner/half"][()], np.array([1, 0.1, 1, 1, 1], "float16"))
        assert file["inner/same"] == file["inner/half"]
        assert file["one"][()] == 0.75
        assert file["cut"][()].sum() == 4_950
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.h5", "real.h5"]


def test_in_place_foreign_attributes_seed_and_scheme_stay(call: Call, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["w"] = np.zeros(3, "float32")
        file["w"].attrs.update({"seed": "of another kind", "scheme": np.arange(3)})
    assert call("set", "m.h5", "w = 1", "--in-place", "-q") == (0, "", "")
    with h5py.File(tmp_path / "m.h5") as file:
        assert file["w"].attrs["seed"] == "of another kind"
        assert file["w"].attrs["scheme"].tolist() == [0, 1, 2]


def test_in_place_a_keras_file_stays_one(call: Call, tmp_path: Path) -> None:
    """An array is named as Keras names it, changed where the file keeps it, and no other byte is touched."""
    shutil.copy(FIXTURES / "keras3_nested.weights.h5", tmp_path / "k.weights.h5")
    assert call("set", "k.weights.h5", "foo/bias = 1", "--in-place", "-q") == (0, "", "")
    before, after = (
        (folder / name).read_bytes()
        for folder, name in ((FIXTURES, "keras3_nested.weights.h5"), (tmp_path, "k.weights.h5"))
    )
    with h5py.File(tmp_path / "k.weights.h5") as file:
        changed = [
            path
            for path in arrays_in(file)
            if (file[path][()] == 1).all() and "dense" in path and file[path].shape == (3,)
        ]
        assert len(changed) == 1
        place = (file[changed[0]].id.get_offset(), file[changed[0]].id.get_storage_size())
    assert outside(before, place) == outside(after, place)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("m.keras"),
        "m.npz",
        "compressed.npz",
    ],
)
def test_in_place_an_archive_is_whole_or_refused(name: str, call: Call, tmp_path: Path) -> None:
    """A zip has a checksum of each member, by which Keras and NumPy refuse one whose values were changed alone."""
    shutil.copy(FIXTURES / "keras3_nested.keras", tmp_path / "m.keras")
    np.savez(tmp_path / "m.npz", **{"foo/bias": np.zeros(3, "float32")})
    np.savez_compressed(tmp_path / "compressed.npz", **{"foo/bias": np.zeros(3, "float32")})
    before = state(tmp_path)
    code, _, err = call("set", name, "foo/bias = 1", "--in-place")
    if code == 2:
        assert (err.count("\n"), state(tmp_path)) == (1, before)
        return
    with zipfile.ZipFile(tmp_path / name) as archive:
        assert archive.testzip() is None
    assert call("dump", name, "foo/bias")[1] == "[1. 1. 1.]\n"


def arrays_in(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def test_in_place_no_other_byte_of_safetensors_changes(call: Call, tmp_path: Path) -> None:
    """Not in somebody else's; in paramctl's own the header says no longer how those were drawn, at the same length."""
    generator = np.random.default_rng(0)
    arrays = {name: generator.normal(size=(3, 4)).astype("float32") for name in ("a.w", "b.w", "c.w")}
    save_file(arrays, tmp_path / "m.safetensors", metadata={"format": "pt", "by": "somebody"})
    before = (tmp_path / "m.safetensors").read_bytes()
    assert call("set", "m.safetensors", "b.w -= 1", "--in-place", "-q") == (0, "", "")
    after = (tmp_path / "m.safetensors").read_bytes()
    place = before.index(arrays["b.w"].tobytes()), 48
    assert outside(after, place) == outside(before, place)
    assert np.array_equal(load_file(tmp_path / "m.safetensors")["b.w"], arrays["b.w"] - 1)

    call("init", MLP, "-o", "own.safetensors", "-q", "--seed", "3")
    before = (tmp_path / "own.safetensors").read_bytes()
    call("set", "own.safetensors", "dense/kernel = 1", "--in-place", "-q")
    after = (tmp_path / "own.safetensors").read_bytes()
    assert len(after) == len(before)
    told = json.loads(header(after)["__metadata__"]["paramctl"])["parameters"]
    assert {"scheme", "seed"} & told["dense/kernel"].keys() == set()
    assert told["dense_1/kernel"]["seed"] == 3
    assert {name: entry for name, entry in header(after).items() if name != "__metadata__"} == {
        name: entry for name, entry in header(before).items() if name != "__metadata__"
    }


def header(data: bytes) -> Any:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def test_in_place_an_empty_array_is_no_obstacle(call: Call, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["w"], file["empty"] = np.zeros(3, "float32"), np.zeros((0, 3), "float32")
    code, _, err = call("set", "m.h5", "* += 1", "--in-place")
    assert code == 0, err
    assert call("dump", "m.h5", "w")[1] == "[1. 1. 1.]\n"


def test_chunked_files_are_written_again(call: Call, tmp_path: Path) -> None:
    """A chunked array, and a compressed one of an npz: in place under the file's own name, or elsewhere."""
    foreign(tmp_path / "m.h5")
    np.savez_compressed(tmp_path / "m.npz", w=np.arange(3.0))
    for file, assignment in (("m.h5", "cut[3:5, ::-2] = 1"), ("m.npz", "w[1] = 7")):
        for where in (("-o", f"new-{file}"), ("--in-place",)):
            code, _, err = call("set", file, assignment, *where)
            assert code == 0, err
    expected = np.arange(100).reshape(10, 10)
    expected[3:5, ::-2] = 1
    for name in ("m.h5", "new-m.h5"):
        with h5py.File(tmp_path / name) as file:
            assert np.array_equal(file["cut"][()], expected)
            assert file["text"][()] == b"not a number"
            assert file["inner"].attrs["tags"].tolist() == ["x", "y"]
    for name in ("m.npz", "new-m.npz"):
        assert np.load(tmp_path / name)["w"].tolist() == [0, 7, 2]


def test_in_place_never_changes_the_format(call: Call, tmp_path: Path) -> None:
    """A file that is not called what it is stays what it is, or as it was."""
    foreign(tmp_path / "m.bin")
    with h5py.File(tmp_path / "m.bin", "r+") as file:
        del file["text"], file["link"]  # which a file that is written again would lose
    before = state(tmp_path)
    code, _, err = call("set", "m.bin", "cut = 1", "--in-place")
    assert code == 2
    assert err.splitlines()[-1].startswith("m.bin: the suffix must name a format")
    assert state(tmp_path) == before


def test_a_set_of_files_and_an_archive_are_changed_in_place(call: Call, tmp_path: Path) -> None:
    """Every other array is as it was, a set is still one of as many files, and no file is left over."""
    for arguments in ((MLP, "-o", "set/", "--max-shard-size", "80"), (MLP, "-o", "m.keras"), (MLP, "-o", "m.h5")):
        assert call("save", *arguments)[0] == 0
    shards = len(list((tmp_path / "set").iterdir()))
    assert shards > 2
    for source in ("set", "set/model.safetensors.index.json", "m.keras"):
        code, _, err = call("set", source, "dense/bias += 1", "--in-place")
        assert code == 0, err
    assert len(list((tmp_path / "set").iterdir())) == shards
    assert call("dump", "set", "dense/bias")[1] == "[2. 2. 2. 2.]\n"
    assert call("dump", "m.keras", "dense/bias")[1] == "[1. 1. 1. 1.]\n"
    for source in ("set", "m.keras"):
        differing = call("diff", "m.h5", source, "--format", "csv")[1].splitlines()[1:]
        assert [line.partition(",")[0] for line in differing] == ["dense/bias"]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", ".nan", "-.inf", "NaN"])
def test_nan_and_infinity_can_be_assigned(text: str, call: Call, tmp_path: Path) -> None:
    """As YAML and as Python write it; a whole number cannot be one."""
    np.savez(tmp_path / "m.npz", w=np.zeros(2), n=np.zeros(2, int))
    code, _, err = call("set", "m.npz", f"w[1] = {text}", "-o", "new.npz")
    assert code == 0, err
    expected = float(text.replace(".", ""))
    assert np.array_equal(np.load(tmp_path / "new.npz")["w"], [0, expected], equal_nan=True)
    assert call("set", "m.npz", f"n[1] = {text}", "-o", "other.npz")[0] == 2


def test_in_place_a_file_keeps_its_format_under_any_name(call: Call, tmp_path: Path) -> None:
    """HDF5 is not turned into safetensors because it is called so, and needs no suffix to be changed."""
    for name in ("m.safetensors", "m"):
        foreign(tmp_path / name)
        code, _, err = call("set", name, "w = 1", "--in-place")
        assert code == 0, err
        with h5py.File(tmp_path / name) as file:
            assert file["text"][()] == b"not a number"
            assert (file["w"][()] == 1).all()


@pytest.mark.parametrize(("given", "to"), list(product([MLP, *ANY], ANY)))
def test_from_any_format_to_any(given: str, to: str, call: Call) -> None:
    """The same values in all that is named, and all else as it was."""
    assert given == MLP or call("save", MLP, "-q", "-o", given)[0] == 0
    new_name = f"new-{to}"
    code, _, err = call("set", given, "dense/kernel[1] = [1, 2, 3, 4]", "-1/bias -= 1", "-o", new_name)
    assert code == 0, err
    old, new = (json.loads(call("dump", name, "--format", "json")[1]) for name in (given, new_name))
    old["dense/kernel"][1], old["dense_1/bias"] = [1, 2, 3, 4], [-1]
    assert new == old


def test_over_the_source_by_its_name(call: Call, tmp_path: Path) -> None:
    """-o with the source's own name is refused without --force, and with it reads the old file to the end."""
    array = np.arange(2 * BLOCK_SIZE, dtype="float32")
    save_file({"w": array}, tmp_path / "m.safetensors")
    before = state(tmp_path)
    code, _, err = call("set", "m.safetensors", "w += 1", "-o", "m.safetensors")
    assert (code, state(tmp_path)) == (2, before)
    assert "use --force to overwrite" in err
    assert call("set", "m.safetensors", "w += 1", "-o", "m.safetensors", "--force")[0] == 0
    assert np.array_equal(load_file(tmp_path / "m.safetensors")["w"], array + 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["w = 1"], "No destination: use -o FILE or --in-place."),
        (["w = 1", "--in-place", "-o", "x.h5"], "-o and --in-place exclude each other."),
        (["w = 1", "-o", "x.txt"], "the suffix must name a format"),
        (["w = 1", "-o", "none/x.h5"], "no such folder"),
        (["w = 1e39", "--in-place"], "w = 1e39: a value exceeds the range of float32"),
        (["w *= 1e39", "--in-place"], "w *= 1e39: a value exceeds the range of float32"),
        (["inner/half = 70000", "--in-place"], "a value exceeds the range of float16"),
        (["one *= 1e308", "one *= 1e308", "--in-place"], "the result of finite numbers must be finite"),
        (["w /= 0", "--in-place"], "w /= 0: the result of finite numbers must be finite"),
        (["w[0, 0] = 0", "w /= w", "--in-place"], "a scheme can only be assigned with '='"),
        (["w = [1, 2]", "--in-place"], "the value must broadcast to the shape (3, 4) of its target"),
        (["w[0] = [[1, 2, 3, 4], [1, 2, 3, 4]]", "--in-place"], "the value must broadcast to the shape (4,)"),
        (["w = [[1, 2], [3]]", "--in-place"], "a value must be a number, or evenly nested lists of numbers"),
        (["w = null", "--in-place"], "a value must be a number, or evenly nested lists of numbers"),
        (["w = []", "--in-place"], "the value must broadcast to the shape (3, 4)"),
        (["w = - 1", "--in-place"], "a minus sign may not have a space after it"),
        (["w -= -\t1", "--in-place"], "a minus sign may not have a space after it"),
        (["w = constant:- 1", "--in-place"], "a minus sign may not have a space after it"),
        (["w = 18446744073709551616", "--in-place"], "an integer must fit in 64 bits"),
        (["cut = 18446744073709551615", "-o", "x.h5"], "int32 cannot hold the value"),
        (["cut = @complex.npy", "-o", "x.h5"], "int32 cannot hold a complex value"),
        (["cut = 0.5", "-o", "x.h5"], "cut = 0.5: int32 cannot hold the value"),
        (["cut = 3000000000", "-o", "x.h5"], "cut = 3000000000: int32 cannot hold the value"),
        (["cut *= 0.5", "-o", "x.h5"], "cut *= 0.5: int32 cannot hold the value"),
        (["cut = @nan.npy", "-o", "x.h5"], "cut = @nan.npy: int32 cannot hold the value"),
        pytest.param(["cut += @nan.npy", "-o", "x.h5"], "cut += @nan.npy: "),
        pytest.param(["cut *= @complex.npy", "-o", "x.h5"], "cut *= @complex.npy: "),
        (["cut /= 2", "-o", "x.h5"], "/= requires a floating-point dtype (got int32"),
        (["nosuch = 1", "--in-place"], "m has no parameter with this name (got 'nosuch'"),
        (["text = 1", "--in-place"], "m: text is not an array of numbers, but text (got 'text'"),
        (["w[3] = 1", "--in-place"], "axis 0 of w has the size 3 (got the index 3"),
        (["w[0, 0, 0] = 1", "--in-place"], "w has only 2 axes (got 3 indices"),
        (["w = 1", "inner/haf = 1", "--in-place"], "Did you mean 'inner/half'?"),
        (["w = nosuch", "--in-place"], "no scheme has this name (got 'nosuch'"),
        (["w = glorot", "--in-place"], "requires fans, but the file does not record which axes are inputs"),
        (["w += zeros", "--in-place"], "a scheme can only be assigned with '='"),
        (["w = @missing.npy", "--in-place"], "missing.npy: No such file or directory"),
        (["w = @text.npy", "--in-place"], "text.npy: not an npy file"),
        (["w = @object.npy", "--in-place"], "object.npy: not an npy file"),
        (["w = @complex.npy", "--in-place"], "float32 cannot hold a complex value"),
        (["w = @wide.npy", "--in-place"], "(got the shape (4, 3)"),
        (["w", "--in-place"], "an assignment must be written ADDRESS=VALUE"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_refused_edit_is_one_line_and_changes_nothing(
    arguments: list[str], says: str, call: Call, tmp_path: Path
) -> None:
    foreign(tmp_path / "m.h5")
    (tmp_path / "text.npy").write_text("no npy\n")
    np.save(tmp_path / "object.npy", np.array([None]), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.array(1j))
    np.save(tmp_path / "wide.npy", np.zeros((4, 3)))
    np.save(tmp_path / "nan.npy", np.array(np.nan))
    before = state(tmp_path)
    code, out, err = call("set", "m.h5", *arguments)
    lines = [line for line in err.splitlines() if "skipped" not in line]
    assert (code, out, len(lines)) == (2, "", 1)
    assert says in lines[0]
    assert "defect" not in lines[0]
    assert state(tmp_path) == before, "nor is anything left behind"


NO_NUMBERS = {
    "an npz": lambda path: np.savez(path.open("wb"), w=np.ones(3)),
    "text": lambda path: np.save(path, np.array(["1", "2", "3"])),
    "dates": lambda path: np.save(path, np.array(["2020-01-01"] * 3, "M8[D]")),
    "records": lambda path: np.save(path, np.zeros(3, [("a", "f4")])),
    "bfloat16, which npy does not know": lambda path: np.save(path, np.ones(3, ml_dtypes.bfloat16)),
}


@pytest.mark.parametrize("make", NO_NUMBERS.values(), ids=list(NO_NUMBERS))
def test_a_file_without_numbers_is_not_a_value(make: Callable[[Path], None], call: Call, tmp_path: Path) -> None:
    make(tmp_path / "v.npy")
    save_file({"w": np.zeros(3, "float32")}, tmp_path / "m.safetensors")
    for operator in ("=", "+="):
        code, _, err = call("set", "m.safetensors", f"w {operator} @v.npy", "--in-place")
        assert (code, err.count("\n"), "defect" in err) == (2, 1, False), err


@pytest.mark.parametrize("told", [3, [], None, {"w": 3}], ids=str)
def test_foreign_metadata_under_paramctls_name_is_ignored(told: object, call: Call, tmp_path: Path) -> None:
    """The values can be changed with any metadata."""
    save_file({"w": np.zeros(3, "float32")}, tmp_path / "m.safetensors", {"paramctl": json.dumps({"parameters": told})})
    code, _, err = call("set", "m.safetensors", "w = 1", "--in-place")
    assert code == 0, err
    assert (load_file(tmp_path / "m.safetensors")["w"] == 1).all()


# Whatever happens


def test_killed_at_any_time_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """SIGKILL while 48 MB are copied and changed: every value is the old one, or every value is the new one."""
    target = tmp_path / "m.safetensors"
    save_file({"w": np.zeros((3_000, 4_000), "float32")}, target)
    target.chmod(0o600)
    command = [sys.executable, "-m", "paramctl", "set", str(target), "w += 1", "--in-place", "-q"]
    value, kept_old, writing = 0.0, 0, 0.1
    attempts = 10 if forks.TORTURE else 5
    for attempt in range(3 * attempts):
        if attempt >= attempts and kept_old:
            break
        process = subprocess.Popen(command, cwd=ROOT)
        while process.poll() is None and not list(tmp_path.glob(".paramctl-*")):
            time.sleep(0.001)
        begun = time.monotonic()
        if attempt == 0:  # how long it takes
            process.wait(forks.patience())
            writing = time.monotonic() - begun
        else:
            time.sleep(writing * (attempt % attempts - 1) / (attempts - 2) if attempt % attempts else 0)
            process.send_signal(signal.SIGKILL)
            process.wait(forks.patience())
        found = load_file(target)["w"]
        assert found[0, 0] in (value, value + 1)
        assert (found == found[0, 0]).all(), "never a mixture"
        assert found[0, 0] == value + 1 or process.returncode != 0, "what was reported done is done"
        kept_old += found[0, 0] == value
        value = found[0, 0]
        for left in tmp_path.glob(".paramctl-*"):
            left.unlink()  # so that the next one's is seen
    assert kept_old, "some were killed in the middle"
    process = subprocess.Popen(command, cwd=ROOT)
    while process.poll() is None and not list(tmp_path.glob(".paramctl-*")):
        time.sleep(0.001)
    process.kill()
    process.wait(forks.patience())
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    assert os.listdir(tmp_path) == [target.name], "the next one clears away what the killed one left"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_several_at_once_leave_one_of_their_files(tmp_path: Path) -> None:
    save_file({"w": np.zeros((500, 2_000), "float32")}, tmp_path / "m.safetensors")
    command = [sys.executable, "-m", "paramctl", "set", str(tmp_path / "m.safetensors"), "--in-place", "-q"]
    processes = [subprocess.Popen([*command, f"w = {k}"], cwd=ROOT) for k in range(1, 5)]
    assert [process.wait(forks.patience()) for process in processes] == [0] * 4
    found = load_file(tmp_path / "m.safetensors")["w"]
    assert found[0, 0] in (1, 2, 3, 4)
    assert (found == found[0, 0]).all()
    assert os.listdir(tmp_path) == ["m.safetensors"]


MEASURED = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "paramctl", *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(done.returncode)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told in kilobytes on Linux")
def test_one_value_of_a_large_array_takes_little_memory(tmp_path: Path) -> None:
    """To set it and to read it again: less than 200 MB, of a file of 512 MB; measured from a small process."""
    if shutil.disk_usage(tmp_path).free < 2 << 30:
        pytest.skip("there is no space for a file of 512 MB and its copy")
    target, rows, columns = tmp_path / "m.safetensors", 1 << 13, 1 << 14
    entry = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [0, 4 * rows * columns]}
    data = json.dumps({"w": entry}).encode()
    with target.open("wb") as file:
        file.write(len(data).to_bytes(8, "little") + data)
        file.truncate(8 + len(data) + 4 * rows * columns)

    def measured(*arguments: str) -> tuple[str, int]:
        command = [sys.executable, "-c", MEASURED, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=forks.patience())
        assert done.returncode == 0, done.stderr
        return done.stdout, int(done.stderr.splitlines()[-1]) * 1024

    _, memory = measured("set", str(target), "w[8000, 7] = 3", "--in-place", "-q")
    assert 10e6 < memory < 200e6
    shown, memory = measured("dump", str(target), "w[8000, 5:9]")
    assert shown == "[0. 0. 3. 0.]\n"
    assert memory < 200e6
    assert target.stat().st_size == 8 + len(data) + 4 * rows * columns
    target.unlink()


# Pipelines


def piped(line: str, folder: Path) -> str:
    """Return the output of a pipeline of shell commands, which leaves nothing on the disk."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert os.listdir(folder) == []
    return done.stdout


def pipe() -> str:
    command = forks.shell_command()
    drawn = f"{command} init {MLP} --scheme constant:2 -o -"
    return f"{drawn} | {command} set - 'dense/kernel[0, 0] = 42' '-1/bias -= 1' -o - | {command} dump - "


def test_pipelines_with_nothing_on_disk(tmp_path: Path) -> None:
    """Drawn, changed and printed, by three processes: as CSV, into NumPy, and into jq where that is installed."""
    rows = piped(f"{pipe()} 'dense/kernel[0]' dense_1/bias --format csv", tmp_path).splitlines()
    assert rows == [
        "path,i0,i1,value",
        "dense/kernel,0,0,42.0",
        *(f"dense/kernel,0,{k},2.0" for k in (1, 2, 3)),
        "dense_1/bias,0,,-1.0",
    ]
    reads = "import io, numpy, sys; print(numpy.load(io.BytesIO(sys.stdin.buffer.read())).sum())"
    assert piped(f"{pipe()} dense/kernel --format npy | {sys.executable} -c '{reads}'", tmp_path) == "72.0\n"
    if shutil.which("jq"):
        assert float(piped(f"{pipe()} --format json | jq '.[\"dense/kernel\"][0][0]'", tmp_path)) == 42


def test_the_pipe_into_numpy_of_the_help_works(tmp_path: Path) -> None:
    command = forks.shell_command()
    helped = Run(ROOT)("dump", "--help").stdout
    (example,) = [line.strip() for line in helped.splitlines() if "| python" in line]
    line = example.replace("paramctl dump mlp.h5", f"{command} dump {MLP}").replace("python -c", f"{sys.executable} -c")
    assert piped(line, tmp_path).startswith("[")


def test_values_go_from_one_model_into_another_through_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    save_file({"w": np.zeros((4, 4), "float32")}, tmp_path / "m.safetensors")
    target = tmp_path / "m.safetensors"
    command = forks.shell_command()
    line = f"{command} dump {MLP} dense/kernel --format npy | {command} set {target} 'w = @-' --in-place -q"
    piped(line, tmp_path / "in")
    expected = piped(f"{command} dump {MLP} dense/kernel", tmp_path / "in")
    assert f"{load_file(target)['w']}\n" == expected


def test_a_pipe_cannot_be_changed_in_place(paramctl: Run) -> None:
    done = paramctl("set", "-", "w = 1", "--in-place", input="")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--in-place requires the name of a file." in done.stderr


def test_a_document_has_no_values_to_change_in_place(call: Call) -> None:
    code, _, err = call("set", MLP, "dense/kernel = 1", "--in-place")
    assert (code, err.count("\n")) == (2, 1)
    assert "--in-place requires a checkpoint: a model document has no values" in err


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """No file may grow beyond a limit: the copy fails, in one line, and nothing is left of it."""
    save_file({"w": np.zeros(100_000, "float32")}, tmp_path / "m.safetensors")
    before = state(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "paramctl", "set", "m.safetensors", "w = 1", "--in-place"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (2, "m.safetensors: File too large\n")
    assert state(tmp_path) == before


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_change_to_a_value_that_is_not_finite_has_no_largest_difference(
    value: str, call: Call, tmp_path: Path
) -> None:
    """It is null or empty, and not hidden by an ordinary change beside it, in whatever order."""
    np.savez(tmp_path / "f.npz", w=np.ones(3), v=np.array([np.nan, 1]))
    for assignments in ([f"w[0] = {value}", "w[1] = 5"], ["w[1] = 5", f"w[0] = {value}"], ["v[0] = 1", "v[1] = 2"]):
        code, out, err = call("set", "f.npz", *assignments, "--dry-run", "--format", "json")
        assert (code, err) == (0, "")
        assert [(row["changed"], row["max_abs"]) for row in json.loads(out)] == [(2, None)] * 2
        assert call("set", "f.npz", *assignments, "-o", "out.npz", "--force")[0] == 0


def test_a_change_of_large_integers_is_exact(call: Call, tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", w=np.array([2**53, 0]), u=np.array([2**64 - 1], "uint64"))
    out = call("set", "f.npz", f"w[0] = {2**53 + 1}", "u = 0", "--dry-run", "--format", "json")[1]
    assert [row["max_abs"] for row in json.loads(out)] == [1.0, 2.0**64]


SPLIT = {
    "a = 1": "'a = 1'",
    "a += 1": "'a += 1'",
    "a =1": "'a =1'",
    "a= 1": "'a= 1'",
    "a *=2": "'a *=2'",
    "'b=1' a = 1 'c=2'": "'a = 1'",
}


@pytest.mark.parametrize("text", SPLIT)
def test_an_assignment_that_a_shell_has_split_has_a_hint(text: str, call: Call) -> None:
    np.savez("m.npz", a=np.zeros(2, "f4"), b=np.zeros(2, "f4"), c=np.zeros(2, "f4"))
    code, out, err = call("set", "m.npz", *shlex.split(text), "-o", "n.npz")
    assert (code, out) == (2, "")
    assert f"An assignment with spaces must be in quotes: {SPLIT[text]}." in err
    assert call("set", "m.npz", *shlex.split(SPLIT[text]), "-o", "n.npz", "-q") == (0, "", "")
