"""ONNX models that the onnx package and torch wrote: every array is equal to the package's own."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from paramctl.core.parameter import PACKED_BITS
from paramctl.source.open import open_path

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

SKIPPED = {TensorProto.UNDEFINED, TensorProto.STRING}
CODES = sorted(set(TensorProto.DataType.values()) - SKIPPED)


def tensors(graph: "onnx.GraphProto") -> Iterator[tuple[str, "onnx.TensorProto"]]:
    for each in graph.initializer:
        yield each.name, each
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                yield node.output[0], attribute.t
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from tensors(attribute.g)


def check_equal(path: Path) -> int:
    """Check that every array has the dtype, shape and values that onnx finds; return how many there are."""
    checkpoint = open_path(str(path)).checkpoint
    assert checkpoint is not None
    pairs = list(tensors(onnx.load(str(path)).graph))
    names = Counter(name for name, _ in pairs)
    assert len(checkpoint.model.parameters) + len(checkpoint.skipped) == len(pairs)
    for name, tensor in pairs:
        if names[name] > 1 or name in checkpoint.origin.skipped:
            continue
        want, parameter = numpy_helper.to_array(tensor), checkpoint.model.parameters[name]
        got = checkpoint.reader.read(checkpoint.model.owner(name).path, 0, parameter.size)
        assert parameter.shape == want.shape
        if parameter.dtype in PACKED_BITS:  # bytes that are copied
            bits = np.unpackbits(got.view(np.uint8), bitorder="little").reshape(-1, PACKED_BITS[parameter.dtype])
            assert np.packbits(bits, 1, bitorder="little").tobytes() == want.tobytes()
            continue
        if want.dtype.name in ("int2", "uint2", "int4", "uint4"):
            want = want.astype(parameter.dtype)
        assert got.dtype == want.dtype
        assert got.tobytes() == want.tobytes(), name
    return len(checkpoint.model.parameters)


def graph_model(initializers: list["onnx.TensorProto"]) -> "onnx.ModelProto":
    graph = helper.make_graph([], "g", [], [], initializers)
    return helper.make_model(graph, producer_name="tests")


def every_dtype() -> list["onnx.TensorProto"]:
    """Return a tensor of each dtype, in raw bytes and in numbers, also with an odd number of values."""
    made = []
    for code in CODES:
        name = TensorProto.DataType.Name(code)
        dtype = helper.tensor_dtype_to_np_dtype(code)
        for size in (8, 5):
            values = np.array([1, 0, 1, 1, 0, 1, 0, 1][:size]).astype(dtype)
            if not ("UINT" in name or name in ("BOOL", "FLOAT8E8M0")):
                values = (-values.astype(np.float32 if "COMPLEX" not in name else dtype)).astype(dtype)
            raw = numpy_helper.from_array(values, f"raw {name} {size}")
            assert raw.raw_data
            made += [raw, helper.make_tensor(f"numbers {name} {size}", code, [size], values)]
    return made


def test_every_dtype(tmp_path: Path) -> None:
    made = every_dtype()
    onnx.save(graph_model(made), tmp_path / "m.onnx")
    assert check_equal(tmp_path / "m.onnx") == len(made) - 8 > 80  # packed values in half a byte, and float6 in numbers


@pytest.mark.parametrize("together", [True, False])
def test_external_data(together: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [numpy_helper.from_array(rng.random((40, n), np.float32), f"w{n}") for n in (1, 7, 64)]
    location = "data.bin" if together else None
    options = {"all_tensors_to_one_file": together, "location": location, "size_threshold": 200}
    onnx.save_model(graph_model(arrays), tmp_path / "m.onnx", save_as_external_data=True, **options)
    assert len(list(tmp_path.iterdir())) == (2 if together else 3)
    assert check_equal(tmp_path / "m.onnx") == 3


def test_a_model_of_torch(tmp_path: Path) -> None:
    """The names of torch's parameters are those of the initializers."""
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 2))
    torch.onnx.export(module, (torch.zeros(1, 3, 4, 4),), tmp_path / "m.onnx", dynamo=False, verbose=False)
    assert check_equal(tmp_path / "m.onnx") >= 4
    checkpoint = open_path(str(tmp_path / "m.onnx")).checkpoint
    assert checkpoint is not None
    for name, value in module.state_dict().items():
        parameter = checkpoint.model.parameters[name]
        assert np.array_equal(checkpoint.reader.read(name, 0, parameter.size), value.numpy().reshape(-1))
