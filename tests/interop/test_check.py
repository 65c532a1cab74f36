"""check on files that Keras, torch and safetensors wrote: trained models are healthy, and each fault is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import paramctl as pc


@pytest.fixture(scope="module")
def network() -> Any:
    """A Keras model, trained for a few steps."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    tokens = keras.Input((12,), dtype="int32")
    x = layers.Embedding(50, 16)(tokens)
    x = layers.MultiHeadAttention(2, 8)(x, x)
    x = layers.LayerNormalization()(x)
    x = layers.LSTM(8)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(8, activation="relu")(x)
    network = keras.Model(tokens, layers.Dense(3)(x))
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    network.fit(rng.integers(0, 50, (64, 12)), rng.integers(0, 3, 64), epochs=2, verbose=0)
    return network


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_trained_keras_model_is_healthy(name: str, network: Any, tmp_path: Path) -> None:
    path = tmp_path / name
    (network.save if name == "m.keras" else network.save_weights)(path)
    assert pc.check(path, state=True).findings == []


def test_a_unit_that_keras_cannot_use_is_found(network: Any, tmp_path: Path) -> None:
    dense = network.layers[-2]
    kernel, bias = before = dense.get_weights()
    kernel, bias = kernel.copy(), bias.copy()
    kernel[:, 3] = bias[3] = 0
    dense.set_weights([kernel, bias])
    network.save(tmp_path / "m.keras")
    dense.set_weights(before)
    assert [finding.name for finding in pc.check(tmp_path / "m.keras").findings] == ["dead-units"]


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(50, 16, padding_idx=0)
        self.encoder = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.conv = torch.nn.Conv1d(16, 16, 3)
        self.norm = torch.nn.BatchNorm1d(16)
        self.head = torch.nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.encoder(self.embed(tokens)).transpose(1, 2)
        return self.head(self.norm(self.conv(x)).mean(2))


@pytest.fixture(scope="module")
def trained() -> tuple[Network, torch.optim.Optimizer]:
    torch.manual_seed(0)
    module = Network()
    optimizer = torch.optim.AdamW(module.parameters())
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(torch.randint(0, 50, (8, 12))), torch.randint(0, 50, (8,)))
        loss.backward()
        optimizer.step()
    return module, optimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_a_trained_torch_model_is_healthy(dtype: torch.dtype, trained: Any, tmp_path: Path) -> None:
    """With its optimizer in torch's file; and in safetensors, as a tie that has been copied, which is a note."""
    module, optimizer = trained
    torch.save({"model": module.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "m.pt")
    assert pc.check(tmp_path / "m.pt", state=True).findings == []
    tensors = {
        name: tensor.to(dtype).clone() if tensor.is_floating_point() else tensor.clone()
        for name, tensor in module.state_dict().items()
    }
    save_file(tensors, tmp_path / "m.safetensors")
    result = pc.check(tmp_path / "m.safetensors")
    assert [(each.name, each.severity, each.paths) for each in result.findings] == [
        ("equal-arrays", "note", ("embed.weight", "head.weight"))
    ]
    tensors["conv.weight"][2, 1, 0] = float("nan")
    save_file(tensors, tmp_path / "m.safetensors")
    (finding,) = pc.check(tmp_path / "m.safetensors").at_least("warning")
    assert (finding.name, finding.place) == ("nan", "conv.weight[2, 1, 0]")


@pytest.mark.parametrize("count", [1, 2])
def test_the_total_size_of_a_set_counts_shared_arrays_once_or_twice(count: int, tmp_path: Path) -> None:
    """huggingface_hub counts them once, and other tools by each of their names."""
    table = torch.randn(50, 16)
    torch.save({"embed.weight": table, "head.weight": table}, tmp_path / "m-1.bin")
    index = {
        "metadata": {"total_size": count * 3200},
        "weight_map": dict.fromkeys(["embed.weight", "head.weight"], "m-1.bin"),
    }
    (tmp_path / "m.bin.index.json").write_text(json.dumps(index))
    assert pc.check(tmp_path / "m.bin.index.json").findings == []
