"""Quantized tensors of torch. The fixture has, beside each, the values that torch's dequantize() gives it."""

from typing import Any

import numpy as np
import pytest

import paramctl
from paramctl.store.location import in_memory
from paramctl.store.pickles.objects import Global, Record
from paramctl.store.pickles.state import BadPickle
from paramctl.store.torch.content import items_of
from paramctl.store.torch.modules import members_of
from paramctl.store.torch.placing import reader_of
from paramctl.store.torch.storages import Storage
from paramctl.store.torch.tensors import Tensor, Unreadable, tensor_of
from tests.conftest import ROOT, Run

FIXTURE = str(ROOT / "tests/fixtures/torch_quantized.pth")
KINDS = ["whole", "channels", "wide", "fractions", "halves", "quarters"]


@pytest.mark.parametrize("name", KINDS)
def test_values_are_those_of_torch(name: str) -> None:
    """Every bit is equal, of the whole and of every range of values."""
    source = paramctl.open(FIXTURE).source
    stored = np.asarray(paramctl.open(FIXTURE)[f"stored.{name}"])
    expected = np.asarray(paramctl.open(FIXTURE)[f"expected.{name}"])
    assert (stored.dtype, stored.shape) == (np.float32, expected.shape)
    assert stored.tobytes() == expected.tobytes()
    for start in range(expected.size + 1):
        for stop in range(start, expected.size + 1):
            part = source.read(f"stored.{name}", start, stop)
            assert part.tobytes() == expected.reshape(-1)[start:stop].tobytes(), (start, stop)


def test_ties_keep_the_quantization() -> None:
    """The same tensor under two names is one array, and so is the transpose of one with a single scale."""
    model = paramctl.open(FIXTURE)
    ties = [(tie.kept, tie.tied, tie.transpose) for tie in model.source.model.ties]
    assert ties == [("stored.wide", "stored.turned", True), ("stored.channels", "stored.again", False)]
    assert np.array_equal(np.asarray(model["stored.turned"]), np.asarray(model["expected.wide"]).T)
    assert model.source.model.parameters["stored.again"].stored_dtype == "quint8"


def test_a_summary_has_the_stored_type(paramctl: Run) -> None:
    """Bytes are those in the file, with the last ones of packed values, and a copy says what it decoded."""
    result = paramctl("summary", FIXTURE, check=True)
    for line in ("Bytes in qint8: 30; 8 bits a value", "Bytes in quint4x2: 8; 4 bits", "Bytes in quint2x4: 4; 2 bits"):
        assert line in result.stdout
    saved = paramctl("save", FIXTURE, "-o", "copy.safetensors", check=True)
    assert "copy.safetensors has dequantized arrays: 1 of qint8 in float32" in saved.stderr


def vector(values: list[float], dtype: str, data_dtype: str) -> Record:
    data = np.array(values, data_dtype).tobytes()
    args = (Storage("", dtype, len(data), data=data), 0, (len(values),), (1,), False, None)
    return Record(Global("torch._utils._rebuild_tensor_v2"), args)


def quantized(*quantizer: Any, shape: tuple[int, ...] = (2, 3), dtype: str = "qint8") -> Record:
    strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    storage = Storage("", dtype, 6, data=bytes([1, 2, 3, 4, 5, 6]))
    scheme, *rest = quantizer
    args = (storage, 0, shape, strides, (Global(f"torch.{scheme}"), *rest), False, None)
    return Record(Global("torch._utils._rebuild_qtensor"), args)


def test_lists_of_older_versions() -> None:
    """Scales and zero points as lists, as torch 1.4 wrote them."""
    tensor = tensor_of(quantized("per_channel_affine", [0.5, 2.0], [1, 0], 0))
    assert isinstance(tensor, Tensor)
    assert reader_of({"q": tensor}, in_memory(b"", "x")).read("q", 1, 5).tolist() == [0.5, 1.0, 8.0, 10.0]


S, Z = vector([0.5, 2.0], "float64", "f8"), vector([1, 0], "int64", "i8")
MALFORMED: dict[str, Any] = {
    "no scheme": lambda: Record(Global("torch._utils._rebuild_qtensor"), (Storage("", "qint8", 6), 0, (2,), (1,), ())),
    "no zero point": lambda: quantized("per_tensor_affine", 0.1),
    "a zero point of 40 bits": lambda: quantized("per_tensor_affine", 0.1, 1 << 40),
    "a text as scale": lambda: quantized("per_tensor_affine", "0.1", 0),
    "another number of scales": lambda: quantized("per_channel_affine", S, Z, 1),
    "an axis that is not there": lambda: quantized("per_channel_affine", S, Z, 2),
    "a negative axis": lambda: quantized("per_channel_affine", S, Z, -2),
    "texts as scales": lambda: quantized("per_channel_affine", ["a", "b"], [1, 0], 0),
    "behind the storage": lambda: quantized("per_tensor_affine", 0.1, 0, shape=(2, 4)),
    "packed behind the storage": lambda: quantized(
        "per_channel_affine", S, vector([0, 0], "float32", "f4"), 0, shape=(2, 7), dtype="quint4x2"
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_quantization_is_refused(name: str) -> None:
    with pytest.raises(BadPickle):
        tensor_of(MALFORMED[name]())


def test_unknown_quantization_is_named() -> None:
    """Nothing is guessed that torch itself does not rebuild."""
    for record in (
        quantized("per_tensor_symmetric", 0.1, 0),
        quantized("per_tensor_affine", 0.1, 0, dtype="quint4x2"),
        quantized("per_tensor_affine", 0.1, 0, dtype="float32"),
        quantized("per_channel_affine", quantized("per_tensor_affine", 0.1, 0), Unreadable("x"), 0),
    ):
        assert isinstance(tensor_of(record), Unreadable)


def test_the_packed_weights_of_a_pickled_module_are_named() -> None:
    """A quantized layer keeps its weights outside its parameters, which must not vanish without a line."""

    def module(name: str, **state: Any) -> Record:
        return Record(Global(name), state={"_parameters": {}, "_buffers": {}, "_modules": {}} | state)

    weights = quantized("per_tensor_affine", 0.1, 0)
    packed = Record(Global("torch.ScriptObject"), state=(weights, None))
    conv = Record(Global("torch.ao.nn.quantized.Conv2d"), state=(3, 4, weights))
    inner = module("Inner", packed=packed, width=3, owner=None)
    net = module("Net", _modules={"conv": conv, "inner": inner}, sizes=[1, 2])
    inner.state["owner"] = net
    members, left_out = members_of(net, lambda name: "")
    assert (members, list(left_out)) == ([], ["conv", "inner.packed"])
    kinds = [item.value.kind for item in items_of({"net": net}, lambda name: "")]
    assert kinds[:2] == ["tensors that are neither parameters nor buffers of a module"] * 2


def test_nested_quantization_takes_no_time() -> None:
    """A tensor whose scales and zero points are quantized tensors themselves, 200 levels deep."""
    tensor = quantized("per_tensor_affine", 0.1, 0)
    for _ in range(200):
        tensor = quantized(
            "per_channel_affine", tensor, Record(Global("torch._utils._rebuild_parameter"), (tensor, True)), 0
        )
    assert isinstance(tensor_of(tensor), Unreadable)


def test_attributes_of_many_modules_take_no_time() -> None:
    """Modules that have the same attributes are refused, before they are searched again and again."""
    state: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    children = {str(k): Record(Global("M"), state=state) for k in range(50_000)}
    state["shared"] = [list(range(900))] * 900
    with pytest.raises(BadPickle, match="attributes"):
        members_of(Record(Global("N"), state={**state, "_modules": children}), lambda name: "")
