"""The networks of tests/exact_torch_networks.py as torch code: modules in the order in which a program makes them.

As a program, it prints the hashes of their initial values, so that a process of its own can compute them with other
kernels: ``ATEN_CPU_CAPABILITY=default python -m tests.interop.exact_torch``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import init

from tests.exact_torch_networks import NETWORKS, SEEDS

Parts: TypeAlias = Mapping[str, nn.Module | Tensor]
"""The modules and the bare parameters of a network, by the name of the layer."""


def mlp() -> Parts:
    return {"dense": nn.Linear(4, 8), "dense_1": nn.Linear(8, 1)}


def lazy_mlp() -> Parts:
    net = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(1))
    net(torch.rand(2, 4))  # a lazy module draws when it is first applied
    return {"dense": net[0], "dense_1": net[2]}


def lenet() -> Parts:
    return {
        "conv2d": nn.Conv2d(3, 6, 5, padding=2),
        "conv2d_1": nn.Conv2d(6, 16, 5),
        "dense": nn.Linear(16, 20),
        "dense_1": nn.Linear(20, 10),
    }


def resnet() -> Parts:
    parts: dict[str, nn.Module] = {"conv2d": nn.Conv2d(3, 8, 3, padding=1)}
    for unit in ("unit0.add", "unit1.add"):
        parts |= {
            f"{unit}.conv2d": nn.Conv2d(8, 8, 3, padding=1, bias=False),
            f"{unit}.batch_normalization": nn.BatchNorm2d(8),
            f"{unit}.conv2d_1": nn.Conv2d(8, 8, 3, padding=1, bias=False),
            f"{unit}.batch_normalization_1": nn.BatchNorm2d(8),
            f"{unit}.shortcut.conv2d": nn.Conv2d(8, 8, 1, bias=False),
            f"{unit}.shortcut.batch_normalization": nn.BatchNorm2d(8),
        }
    return parts | {"dense": nn.Linear(8, 10)}


def mobilenet() -> Parts:
    return {
        "conv2d": nn.Conv2d(3, 12, 1, bias=False),
        "batch_normalization": nn.BatchNorm2d(12),
        "depthwise_conv2d": nn.Conv2d(12, 24, 3, groups=12, bias=False),
        "separable_conv2d.depthwise": nn.Conv2d(24, 24, 3, groups=24, bias=False),
        "separable_conv2d.pointwise": nn.Conv2d(24, 5, 1),
        "conv2d_1": nn.Conv2d(5, 10, 3, groups=5, dilation=2),
    }


def unet() -> Parts:
    return {
        "down": nn.Conv2d(3, 4, 3, padding=1),
        "conv2d": nn.Conv2d(4, 8, 3, padding=1),
        "conv2d_transpose": nn.ConvTranspose2d(8, 4, 2, stride=2),
        "group_normalization": nn.GroupNorm(2, 8),
        "p_re_lu": nn.PReLU(8),
        "conv2d_1": nn.Conv2d(8, 2, 1),
    }


def unet_decoder_first() -> Parts:
    parts: dict[str, nn.Module] = {"conv2d_transpose": nn.ConvTranspose2d(8, 4, 2, stride=2)}
    parts["conv2d"] = nn.Conv2d(4, 8, 3, padding=1)
    parts["conv2d_1"] = nn.Conv2d(8, 2, 1)
    torch.randn(20)
    parts["down"] = nn.Conv2d(3, 4, 3, padding=1)
    return parts | {"group_normalization": nn.GroupNorm(2, 8), "p_re_lu": nn.PReLU(8)}


def volume() -> Parts:
    return {
        "conv3d": nn.Conv3d(2, 3, (1, 2, 3)),
        "conv3d_transpose": nn.ConvTranspose3d(3, 2, 2, bias=False),
        "dense": nn.Linear(420, 3),
    }


def signal() -> Parts:
    return {
        "conv1d": nn.Conv1d(10, 8, 3),
        "separable_conv1d.depthwise": nn.Conv1d(8, 8, 2, groups=8, bias=False),
        "separable_conv1d.pointwise": nn.Conv1d(8, 6, 1, bias=False),
        "depthwise_conv1d": nn.Conv1d(6, 6, 2, groups=6),
        "conv1d_transpose": nn.ConvTranspose1d(6, 3, 3, stride=2),
    }


def classifier() -> Parts:
    return {
        "embedding": nn.Embedding(30, 7, padding_idx=0),
        "lstm": nn.LSTM(7, 5),
        "lstm_1": nn.LSTM(5, 3, bias=False),
        "dense": nn.Linear(3, 1),
    }


def classifier_matrices_again() -> Parts:
    """A function that skips vectors leaves both biases of a recurrent layer as they were."""
    parts = classifier()
    for tensor in (*parts["lstm"].parameters(), *parts["lstm_1"].parameters()):
        if tensor.dim() > 1:
            init.xavier_uniform_(tensor)
    return parts


def recurrent() -> Parts:
    return {
        "bidirectional": nn.GRU(10, 4, bidirectional=True),
        "bidirectional_1": nn.LSTM(8, 3, bidirectional=True),
        "simple_rnn": nn.RNN(6, 6),
        "time_distributed.dense": nn.Linear(6, 2),
    }


def statistics() -> Parts:
    return {
        "normalization.mean": torch.zeros(10),
        "normalization.variance": torch.ones(10),
        "normalization.count": torch.zeros((), dtype=torch.int32),
        "gru": nn.GRU(10, 5),
        "gru_1": nn.GRU(5, 4, bias=False),
    }


def encoder() -> Parts:
    return {
        "residual.multi_head_attention": nn.MultiheadAttention(8, 2),
        "layer_normalization": nn.LayerNorm(8),
        "residual_1.dense": nn.Linear(8, 16),
        "residual_1.dense_1": nn.Linear(16, 8),
        "layer_normalization_1": nn.LayerNorm(8),
    }


def encoder_layer() -> Parts:
    """The same as one module, whose constructor makes its parts in another order than the document has them."""
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)
    return {
        "residual.multi_head_attention": layer.self_attn,
        "residual_1.dense": layer.linear1,
        "residual_1.dense_1": layer.linear2,
        "layer_normalization": layer.norm1,
        "layer_normalization_1": layer.norm2,
    }


def decoder() -> Parts:
    return {
        "cross": nn.MultiheadAttention(8, 2, kdim=12, vdim=12),
        "own": nn.MultiheadAttention(8, 4, bias=False),
        "gated.query": nn.Linear(8, 6),
        "gated.key": nn.Linear(8, 6),
        "gated.gate": nn.Linear(8, 6),
        "gated.value": nn.Linear(8, 6),
        "gated.attention_output": nn.Linear(6, 8),
        "dense": nn.Linear(8, 3),
    }


def gpt() -> Parts:
    parts: dict[str, nn.Module] = {
        "wte": nn.Embedding(40, 8),
        "wpe": nn.Embedding(6, 8),
        "attend.layer_normalization": nn.LayerNorm(8),
        "attend.multi_head_attention": nn.MultiheadAttention(8, 2),
        "layer_normalization": nn.LayerNorm(8),
        "head": nn.Linear(8, 40, bias=False),
    }
    parts["head"].weight = parts["wte"].weight
    return parts


def gpt_initialized_again() -> Parts:
    parts = gpt()
    attention, head, wte = parts["attend.multi_head_attention"], parts["head"], parts["wte"]
    for tensor in (attention.in_proj_weight, attention.out_proj.weight, head.weight, wte.weight):
        init.normal_(tensor, std=0.02)
    return parts


def llama() -> Parts:
    return {
        "tokens": nn.Embedding(20, 8),
        "rms_normalization": nn.RMSNorm(8),
        "grouped_query_attention.query": nn.Linear(8, 8, bias=False),
        "grouped_query_attention.key": nn.Linear(8, 4, bias=False),
        "grouped_query_attention.value": nn.Linear(8, 4, bias=False),
        "grouped_query_attention.attention_output": nn.Linear(8, 8, bias=False),
        "up": nn.Linear(8, 12, bias=False),
        "down": nn.Linear(12, 8, bias=False),
    }


def t5() -> Parts:
    name = "multi_head_attention"
    parts = {f"{name}.{part}": nn.Linear(8, 8, bias=False) for part in ("query", "key", "value", "attention_output")}
    return parts | {f"{name}.relative_position": nn.Embedding(8, 2), "rms_normalization": nn.RMSNorm(8)}


def vit() -> Parts:
    return {
        "patches": nn.Conv2d(3, 8, 4, stride=4),
        "class_token.embeddings": torch.zeros(1, 8),
        "position_embedding": nn.Embedding(10, 8),
        "multi_head_attention": nn.MultiheadAttention(8, 4),
        "scale.gamma": torch.full((8,), 1e-6),
        "dense": nn.Linear(8, 10),
    }


def formula() -> Parts:
    return {"fixed.R": torch.rand(20, 20), "dense": nn.Linear(4, 20), "dense_1": nn.Linear(20, 3)}


def schemes() -> Parts:
    parts = {
        "conv2d": nn.Conv2d(3, 8, 3),
        "conv2d_1": nn.Conv2d(8, 4, 3),
        "conv2d_2": nn.Conv2d(4, 4, 1),
        "dense": nn.Linear(256, 6),
        "dense_1": nn.Linear(6, 6),
        "dense_2": nn.Linear(6, 5),
        "dense_3": nn.Linear(5, 5),
        "dense_4": nn.Linear(5, 9),
    }
    init.kaiming_normal_(parts["conv2d"].weight, mode="fan_out", nonlinearity="relu")
    init.dirac_(parts["conv2d_1"].weight)
    init.kaiming_uniform_(parts["conv2d_2"].weight, nonlinearity="relu")
    init.xavier_normal_(parts["dense"].weight)
    init.normal_(parts["dense"].bias, std=0.01)
    init.trunc_normal_(parts["dense_1"].weight, std=0.02, a=-0.04, b=0.04)
    init.trunc_normal_(parts["dense_2"].weight, std=0.5, a=-1, b=0.75)
    init.eye_(parts["dense_3"].weight)
    init.kaiming_uniform_(parts["dense_4"].weight, nonlinearity="linear")
    for name, part in parts.items():
        if name != "dense":
            init.constant_(part.bias, 0.5 if name == "conv2d_1" else 0)
    return parts


def rare_schemes() -> Parts:
    parts = {
        "embedding": nn.Embedding(9, 10),
        "dense": nn.Linear(10, 40),
        "dense_1": nn.Linear(40, 7),
        "dense_2": nn.Linear(7, 4),
        "dense_3": nn.Linear(4, 3),
    }
    init.uniform_(parts["embedding"].weight, -1, 1)
    parts["embedding"].weight.data[0] = 0
    init.sparse_(parts["dense"].weight, 0.3)
    init.xavier_uniform_(parts["dense_1"].weight, init.calculate_gain("relu"))
    init.ones_(parts["dense_1"].bias)
    init.uniform_(parts["dense_2"].weight, -5, 5)
    parts["dense_2"].weight.data *= parts["dense_2"].weight.data.abs() >= 2
    return parts


PROGRAMS: dict[str, Callable[[], Parts]] = {
    "mlp": mlp,
    "mlp in float64": mlp,
    "mlp in bfloat16": mlp,
    "lazy mlp": lazy_mlp,
    "lazy mlp in float64": lazy_mlp,
    "lenet": lenet,
    "lenet in float16": lenet,
    "resnet": resnet,
    "mobilenet": mobilenet,
    "unet": unet,
    "unet, decoder first": unet_decoder_first,
    "unet, decoder first, in bfloat16": unet_decoder_first,
    "volume": volume,
    "signal": signal,
    "classifier": classifier,
    "classifier in float64": classifier,
    "classifier, matrices again": classifier_matrices_again,
    "recurrent": recurrent,
    "statistics": statistics,
    "encoder": encoder,
    "encoder in bfloat16": encoder,
    "encoder layer": encoder_layer,
    "decoder": decoder,
    "gpt": gpt,
    "gpt initialized again": gpt_initialized_again,
    "llama": llama,
    "t5": t5,
    "vit": vit,
    "formula": formula,
    "schemes": schemes,
    "rare schemes": rare_schemes,
}


def tensors(name: str, seed: int) -> dict[str, Tensor]:
    """Return the initial values of a network in torch's layout, by the name of the tensor."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, NETWORKS[name].dtype))
    try:
        torch.manual_seed(seed)
        parts = PROGRAMS[name]()
    finally:
        torch.set_default_dtype(before)
    values, seen = {}, set()
    for layer, part in parts.items():
        inner = {"": part} if isinstance(part, Tensor) else part.state_dict(keep_vars=True)
        for key, tensor in inner.items():
            # a tensor with two names is stored once
            if key != "num_batches_tracked" and id(tensor) not in seen:
                values[f"{layer}.{key}".rstrip(".")] = tensor.detach()
            seen.add(id(tensor))
    return values


def hash_of(values: Mapping[str, Tensor]) -> str:
    """Return the hash of tensors, sorted by name: of each name and of its bytes."""
    digest = sha256()
    for name in sorted(values):
        digest.update(name.encode() + values[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hashes() -> dict[str, dict[str, str]]:
    """Return the hashes of all networks by seed."""
    return {name: {str(seed): hash_of(tensors(name, seed)) for seed in SEEDS} for name in NETWORKS}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(hashes()))
