"""Files that the real torch wrote, in every form and shape, against the arrays that torch itself loads from them."""

from __future__ import annotations

import argparse
import collections
import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, load_model, save_file
from torch import nn

import paramctl

warnings.filterwarnings("ignore", category=UserWarning)
Arrays = dict[str, torch.Tensor]


def as_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return the bits of a tensor, for dtypes that NumPy lacks too."""
    tensor = tensor.detach().contiguous()
    raw = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else tensor.reshape(-1).to(torch.uint8)
    return raw.numpy()


def is_in_safetensors(tensor: torch.Tensor) -> bool:
    return str(tensor.dtype) not in ("torch.complex128", "torch.float8_e4m3fnuz", "torch.float8_e5m2fnuz")


def check_equal(path: Path, expected: Mapping[str, torch.Tensor]) -> Any:
    """Check that a file has exactly these parameters, bit for bit, directly and through safetensors."""
    model = paramctl.open(str(path))
    assert list(model) == list(expected)
    for name, tensor in expected.items():
        values = np.asarray(model[name])
        assert values.shape == tuple(tensor.shape), name
        assert str(values.dtype) == str(tensor.dtype).removeprefix("torch."), name
        assert np.array_equal(np.ascontiguousarray(values).reshape(-1).view(np.uint8), as_numpy(tensor)), name
    if not all(is_in_safetensors(tensor) for tensor in expected.values()):
        return model
    copy = path.with_suffix(".safetensors")
    paramctl.save(model, str(copy), force=True)
    loaded = load_file(copy)
    tied = {tie.tied: tie.kept for tie in model.source.model.ties}
    assert set(loaded) == set(expected) - set(tied)
    for name, tensor in loaded.items():
        assert np.array_equal(as_numpy(tensor), as_numpy(expected[name])), name
    return model


class Net(nn.Module):
    """A module with everything that a state_dict has, and a buffer that it leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 5, bias=False))
        self.head = nn.Linear(6, 5, bias=False)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("kept", torch.arange(4))
        self.register_buffer("transient", torch.arange(4), persistent=False)
        self.embedding = nn.Embedding(7, 5)
        self.output = nn.Linear(5, 7, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def dtypes() -> Arrays:
    names = "float64 float32 float16 bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu "
    names += "int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool complex64 complex128"
    values = torch.tensor([[0.0, 1.0, 2.0], [4.0, 0.5, 8.0]])
    return {name: values.to(getattr(torch, name)) for name in names.split()}


def views() -> Arrays:
    base = torch.arange(5000.0)
    cube = torch.arange(24.0).reshape(2, 3, 4)
    return {
        "plain": base,
        "slice": base[10:20],
        "steps": base[::7],
        "matrix": base[:600].view(20, 30),
        "transposed": base[:600].view(20, 30).t(),
        "expanded": base[3:4].expand(5, 4),
        "rows": base[:3].unsqueeze(1).expand(3, 4),
        "diagonal": base[:100].view(10, 10).diagonal(),
        "overlapping": base.unfold(0, 5, 2)[:50],
        "permuted": cube.permute(2, 0, 1),
        "channels_last": torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last),
        "scalar": base[7],
        "empty": base[:0].view(0, 3),
        "same": base,
        "ones": cube[:, :1, :],
        "wide": torch.randn(300, 4000).t(),
    }


def optimizer_of(net: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.01)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer.state_dict()


def contents() -> dict[str, tuple[Any, Arrays]]:
    """Return what people save, and the arrays under the names that load_state_dict wants."""
    net = Net()
    state = net.state_dict()
    optimizer = optimizer_of(net)
    other = {name: value + 1 if value.is_floating_point() else value.clone() for name, value in state.items()}
    prefixed = {f"state_dict.{k}": v for k, v in state.items()} | {f"ema_state_dict.{k}": v for k, v in other.items()}
    return {
        "state_dict": (state, state),
        "model": ({"model": state, "optimizer": optimizer, "epoch": 3, "best": torch.tensor(0.5)}, state),
        "lightning": (
            {
                "epoch": 1,
                "global_step": 10,
                "pytorch-lightning_version": "2.0",
                "state_dict": state,
                "loops": {"fit_loop": {"state_dict": {}, "n": [1, 2]}},
                "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.1), "dirpath": "x"}},
                "optimizer_states": [optimizer],
                "lr_schedulers": [{"base_lrs": [0.1], "last_epoch": 1}],
                "hyper_parameters": {"lr": 0.1, "sizes": [1, 2], "args": argparse.Namespace(width=3)},
            },
            state,
        ),
        "ema": ({"state_dict": state, "ema_state_dict": other}, prefixed),
        "list": ([state, other], {f"0.{k}": v for k, v in state.items()} | {f"1.{k}": v for k, v in other.items()}),
        "module": (net, state),
        "module in a dict": ({"epoch": 1, "model": net, "ema": None}, state),
        "sequential of one": (nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3)).state_dict()),
        "tensor": (torch.arange(6.0).view(2, 3), {"tensor": torch.arange(6.0).view(2, 3)}),
        "parameters": (dict(net.named_parameters()), dict(net.named_parameters())),
        "rng": ({"net": state, "rng_state": torch.get_rng_state(), "cuda_rng_state": [torch.get_rng_state()]}, state),
        "dtypes": (dtypes(), dtypes()),
        "dtypes of safetensors": (common := {k: v for k, v in dtypes().items() if is_in_safetensors(v)}, common),
        "views": (strided := views(), strided),
        "numpy": ({"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.ones((300, 2), "f4"))}, {}),
    }


def write_new(value: Any, path: Path) -> None:
    torch.save(value, path)


def write_old(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def write_protocol_4(value: Any, path: Path) -> None:
    torch.save(value, path, pickle_protocol=4)


def write_deflated(value: Any, path: Path) -> None:
    """Pack the archive again as any zip program does."""
    torch.save(value, path.with_suffix(".tmp"))
    with zipfile.ZipFile(path.with_suffix(".tmp")) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist()):
            new.writestr(name, old.read(name))


def write_without_checksums(value: Any, path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(value, path)
    finally:
        torch.serialization.set_crc32_options(True)


WRITERS: list[Callable[[Any, Path], None]] = [
    write_new,
    write_old,
    write_protocol_4,
    write_deflated,
    write_without_checksums,
]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_content_in_every_form(write: Callable[[Any, Path], None], tmp_path: Path) -> None:
    """Names, order, shapes, dtypes, and bits are those of torch, and safetensors' own library loads the copy."""
    torch.manual_seed(0)
    for name, (value, expected) in contents().items():
        path = tmp_path / f"{name}.pt"
        write(value, path)
        wanted = expected or {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in value.items()}
        if name == "sequential of one":
            wanted = value.state_dict()
        check_equal(path, wanted)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_pickles(protocol: int, tmp_path: Path) -> None:
    """pickle.dump of arrays and of tensors."""
    values = {
        "a": np.random.default_rng(0).standard_normal((400, 30)),
        "b": np.arange(3, dtype=">i4"),
        "c": np.float32(2),
    }
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps({"params": values, "step": 4}, protocol))
    model = paramctl.open(str(path))
    assert list(model) == ["a", "b", "c"]
    for name, value in values.items():
        assert np.array_equal(np.asarray(model[name]), value)
    state = Net().state_dict()
    path.write_bytes(pickle.dumps(state, protocol))
    if protocol > 2:
        check_equal(path, state)
    else:
        small = {"w": torch.arange(6.0)}
        path.write_bytes(pickle.dumps(small, protocol))
        check_equal(path, small)


def test_torchscript(tmp_path: Path) -> None:
    """The code of the archive names the parameters and buffers; attributes are not among them."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.LSTM(4, 5, bidirectional=True)))
    for name, script in {
        "s": torch.jit.script(net[:2]),
        "t": torch.jit.trace(net[:2].eval(), torch.ones(1, 3, 8, 8)),
    }.items():
        path = tmp_path / f"{name}.pt"
        torch.jit.save(script, path)
        check_equal(path, torch.jit.load(path).state_dict())
    path = tmp_path / "lstm.pt"
    torch.jit.save(torch.jit.script(net[2]), path)
    check_equal(path, torch.jit.load(path).state_dict())


def test_everything_else_is_named(tmp_path: Path) -> None:
    """Arrays of optimizers, plain values, and content that cannot be read each have their place."""
    net = Net()
    value = {
        "model": net.state_dict(),
        "optimizer": optimizer_of(net),
        "epoch": 3,
        "best": torch.tensor(0.5),
        "args": argparse.Namespace(width=3, name="x"),
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.ones(2, device="meta"),
        "half_complex": torch.ones(2, dtype=torch.complex32),
        "conjugated": torch.ones(2, dtype=torch.complex64).conj(),
        "counter": collections.Counter("aab"),
        "function": torch.relu,
    }
    torch.save(value, tmp_path / "all.pt")
    model = check_equal(tmp_path / "all.pt", value["model"])
    origin = model.source.origin
    assert [origin.metadata[key] for key in ("epoch", "best", "args.width", "counter.a")] == [3, 0.5, 3, 2]
    assert origin.metadata["optimizer.param_groups.0.lr"] == 0.01
    first = value["optimizer"]["state"][0]["exp_avg"]
    assert np.array_equal(origin.optimizer.reader.read("optimizer.state.0.exp_avg", 0, first.numel()), first.flatten())
    assert origin.skipped.keys() == {"sparse", "meta", "half_complex", "conjugated", "function"}


def quantized() -> Arrays:
    """Return tensors of each quantized dtype and scheme, in each order of axes."""
    arrays: Arrays = {}
    for dtype in (torch.qint8, torch.quint8, torch.qint32):
        whole = torch.quantize_per_tensor(torch.randn(300, 1000), 0.013, 3, dtype)
        arrays |= {f"{dtype} whole": whole, f"{dtype} turned": whole.t(), f"{dtype} steps": whole[5:9, ::3]}
        for axis, shape in ((0, (3, 300, 400)), (1, (2, 300_000)), (3, (6, 5, 4, 3)), (0, (1,))):
            scales = torch.rand(shape[axis], dtype=torch.float64) / 7 + 0.01
            zeros = torch.arange(shape[axis]) % 90
            arrays[f"{dtype} {axis} of {shape[0]}"] = torch.quantize_per_channel(
                torch.randn(shape), scales, zeros, axis, dtype
            )
    image = torch.randn(40, 3, 5, 5).to(memory_format=torch.channels_last)
    scales = torch.rand(40, dtype=torch.float64) + 0.1
    arrays["last"] = torch.quantize_per_channel(image, scales, torch.zeros(40, dtype=torch.long), 0, torch.qint8)
    for dtype in (torch.quint8, torch.quint4x2, torch.quint2x4):
        for rows in (3, 8):
            facts = (torch.rand(rows) + 0.1, torch.rand(rows), 0, dtype)
            arrays[f"{dtype} {rows}"] = torch.quantize_per_channel(torch.randn(rows, 701), *facts)
    arrays = {name.removeprefix("torch."): tensor for name, tensor in arrays.items()}
    return arrays | {"scalar": torch.quantize_per_tensor(torch.tensor(1.5), 0.1, 0, torch.qint8)}


@pytest.mark.parametrize("write", [write_new, write_old, write_deflated], ids=lambda write: write.__name__)
def test_quantized_tensors(write: Callable[[Any, Path], None], tmp_path: Path) -> None:
    """Each value is that of dequantize(), bit for bit, directly and through safetensors."""
    torch.manual_seed(0)
    arrays = quantized()
    write(arrays, tmp_path / "q.pt")
    check_equal(tmp_path / "q.pt", {name: tensor.dequantize() for name, tensor in arrays.items()})


def test_a_quantized_network(tmp_path: Path) -> None:
    """The tensors of a state_dict, packed ones too, are read. The packed weights of a pickled module are named."""
    net = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5)), {nn.Linear})
    state = net.state_dict()
    torch.save(state, tmp_path / "state.pt")
    model = paramctl.open(str(tmp_path / "state.pt"))
    weight, bias = state["0._packed_params._packed_params"]
    packed = [f"0._packed_params._packed_params.{k}" for k in (0, 1)]
    assert list(model) == ["0.scale", "0.zero_point", *packed, "1.weight", "1.bias"]
    assert np.array_equal(np.asarray(model["0._packed_params._packed_params.0"]), weight.dequantize().numpy())
    assert np.array_equal(np.asarray(model["0._packed_params._packed_params.1"]), bias.detach().numpy())
    assert model.source.origin.metadata == {"0._packed_params.dtype": "torch.qint8"}
    torch.save({"net": net, "scale": torch.ones(2)}, tmp_path / "net.pt")
    skipped = paramctl.open(str(tmp_path / "net.pt")).source.origin.skipped
    assert "net.0._packed_params._packed_params" in skipped


def test_ties_and_load_state_dict(tmp_path: Path) -> None:
    """A shared storage is a tie, and the copy loads into the module that was saved."""
    net = Net()
    net.register_buffer("turned", net.body[2].weight.detach().t())
    torch.save(net.state_dict(), tmp_path / "net.pth")
    model = check_equal(tmp_path / "net.pth", net.state_dict())
    ties = {(tie.kept, tie.tied, tie.transpose) for tie in model.source.model.ties}
    assert ties == {("embedding.weight", "output.weight", False), ("body.2.weight", "turned", True)} or len(ties) == 2
    other = Net()
    torch.save(Net().state_dict(), tmp_path / "again.pth")
    paramctl.save(paramctl.open(str(tmp_path / "again.pth")), str(tmp_path / "again.safetensors"))
    assert load_model(other, tmp_path / "again.safetensors") == (set(), [])


def test_a_set_with_an_index(tmp_path: Path) -> None:
    """The shards of transformers, by their index and by their folder."""
    first, second = {"a.w": torch.ones(2, 3), "a.b": torch.zeros(3)}, {"b.w": torch.arange(4.0)}
    torch.save(first, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save(second, tmp_path / "pytorch_model-00002-of-00002.bin")
    names = dict.fromkeys(first, "pytorch_model-00001-of-00002.bin") | dict.fromkeys(
        second, "pytorch_model-00002-of-00002.bin"
    )

    (tmp_path / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {"total_size": 52}, "weight_map": names})
    )
    model = paramctl.open(str(tmp_path))
    assert {name: np.asarray(model[name]).tolist() for name in model} == {
        k: v.tolist() for k, v in (first | second).items()
    }


WHEELS = ["lpips==0.1.4", "facenet-pytorch==2.6.0", "DISTS-pytorch==0.1", "silero-vad", "Resemblyzer==0.1.4"]
"""Small packages that have checkpoints of torch inside."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Download the packages, without installing them, and unpack their checkpoints."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *WHEELS]
    result = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    if result.returncode:
        pytest.skip(f"the packages cannot be downloaded: {result.stderr[-300:]}")
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith((".pt", ".pth", ".jit"))]
            archive.extractall(folder / wheel.stem, names)
    return sorted(path for path in folder.rglob("*") if path.suffix in (".pt", ".pth", ".jit"))


def test_published_files(published: list[Path]) -> None:
    """Files that people published have the arrays that torch loads, under the names that load_state_dict wants."""
    assert len(published) > 10
    for path in published:
        value = torch.load(path, weights_only=False, map_location="cpu")
        state = value.state_dict() if hasattr(value, "state_dict") else value.get("model_state", value)
        check_equal(path, {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)})


def test_a_checkpoint_of_torch_becomes_one_of_keras(tmp_path: Path) -> None:
    """--layout keras works from torch's file as from safetensors, with equal values."""
    net = nn.ModuleDict({"conv2d": nn.Conv2d(3, 4, 3), "conv2d_1": nn.Conv2d(4, 2, 3)})
    (tmp_path / "m.yaml").write_text(
        "input: [9, 9, 3]\nlayers: [{conv2d: {filters: 4, kernel_size: 3, activation: relu}}, {conv2d: {filters: 2, kernel_size: 3}}]\n"
    )
    torch.save({"epoch": 1, "state_dict": net.state_dict()}, tmp_path / "m.pth")
    save_file(net.state_dict(), tmp_path / "m.safetensors")
    for name in ("m.pth", "m.safetensors"):
        source = paramctl.open(str(tmp_path / name))
        converted = paramctl.convert(source, layout="keras", like=str(tmp_path / "m.yaml"))
        arrays = [np.asarray(converted[path]) for path in converted]
        assert np.array_equal(arrays[0], net["conv2d"].weight.detach().permute(2, 3, 1, 0).numpy())
        assert np.array_equal(arrays[-1], net["conv2d_1"].bias.detach().numpy())
