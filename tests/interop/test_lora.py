"""merge and extract-lora against PEFT, and average against torch.optim.swa_utils, on real modules."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

import paramctl as pc

pytestmark = pytest.mark.filterwarnings("ignore")


class Net(nn.Module):
    """One layer of each kind that PEFT adapts. No forward pass is needed."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(11, 6)
        self.q_proj, self.k_proj = nn.Linear(6, 8), nn.Linear(8, 8)
        self.c_fc, self.c_proj = Conv1D(12, 8), Conv1D(8, 8)
        self.mlp = nn.ModuleDict({"c_proj": Conv1D(8, 12)})
        self.conv, self.point, self.line = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 1), nn.Conv1d(4, 6, 3)
        self.norm, self.score, self.bn = nn.LayerNorm(8), nn.Linear(8, 2, bias=False), nn.BatchNorm1d(3)


def randomized(model: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for array in model.state_dict().values():
        if array.is_floating_point():
            array.copy_(0.3 * torch.randn(array.shape, generator=generator))
    return model


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: array.detach().clone().contiguous() for name, array in model.state_dict().items()}


def write_adapter(model: nn.Module, folder: Path, **config: Any) -> None:
    """Write an adapter whose factors are all random, as after training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, LoraConfig(**config))
    generator = torch.Generator().manual_seed(5)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data = (0.3 * torch.randn(parameter.shape, generator=generator)).to(parameter.dtype)
    adapted.save_pretrained(folder)


def merged_by_peft(model: nn.Module, folder: Path) -> dict[str, torch.Tensor]:
    return state(PeftModel.from_pretrained(model, str(folder)).merge_and_unload())


CASES: dict[str, dict[str, Any]] = {
    "linear": {"target_modules": ["q_proj", "k_proj"]},
    "rslora": {"use_rslora": True, "lora_alpha": 3, "target_modules": ["q_proj", "k_proj"]},
    "patterns": {
        "lora_alpha": 3,
        "rank_pattern": {"k_proj": 3, ".*conv": 2},
        "alpha_pattern": {"^q_proj": 7, "conv": 5},
        "target_modules": ["q_proj", "k_proj", "conv"],
    },
    "embedding": {"target_modules": ["emb"]},
    "convolutions": {"target_modules": ["conv", "point", "line"]},
    "conv1d": {"fan_in_fan_out": True, "target_modules": ["c_fc", "c_proj"]},
    "conv1d and linear": {"target_modules": ["c_proj", "c_fc", "q_proj"]},
    "square conv1d and linear": {"target_modules": r"(c_proj|q_proj)"},
    "bias all": {"bias": "all", "target_modules": ["q_proj"]},
    "bias of adapted layers": {"bias": "lora_only", "target_modules": ["q_proj"]},
    "lora_bias": {"lora_bias": True, "target_modules": ["q_proj"]},
    "modules_to_save": {"modules_to_save": ["score", "norm", "bn"], "target_modules": ["q_proj"]},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_a_merge_equals_merge_and_unload(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """To the rounding of the dtype; in bfloat16, PEFT rounds the product before it adds it."""
    base = state(randomized(Net(), 1).to(dtype))
    save_file(base, tmp_path / "base.safetensors")
    net = Net().to(dtype)
    net.load_state_dict(base)
    write_adapter(net, tmp_path / "adapter", r=4, **CASES[name])
    net = Net().to(dtype)
    net.load_state_dict(base)
    expected = merged_by_peft(net, tmp_path / "adapter")
    pc.save(pc.merge(tmp_path / "base.safetensors", tmp_path / "adapter"), tmp_path / "merged.safetensors")
    merged = load_file(tmp_path / "merged.safetensors")
    assert set(merged) == set(expected)
    assert any(not torch.equal(expected[key], base[key]) for key in base)
    tolerance = 1e-6 if dtype == torch.float32 else 2**-6
    for key, array in expected.items():
        assert merged[key].dtype == array.dtype
        assert torch.allclose(merged[key].double(), array.double(), rtol=tolerance, atol=tolerance), key


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"use_dora": True, "target_modules": ["q_proj"]}, "DoRA"),
        ({"init_lora_weights": "pissa", "target_modules": ["q_proj"]}, "pissa"),
        ({"target_parameters": ["q_proj.weight"]}, "target_parameters"),
    ],
)
def test_adapters_that_are_more_than_a_product_are_refused(config: dict[str, Any], says: str, tmp_path: Path) -> None:
    save_file(state(randomized(Net(), 1)), tmp_path / "base.safetensors")
    write_adapter(Net(), tmp_path / "adapter", r=4, **config)
    with pytest.raises(pc.InputError, match=says):
        pc.merge(tmp_path / "base.safetensors", tmp_path / "adapter")


def models() -> dict[str, Any]:
    """Return small models of transformers: one with a Conv1D and tied embeddings, one with neither."""
    gpt2 = GPT2Config(vocab_size=30, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    llama = LlamaConfig(vocab_size=30, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2)
    return {"gpt2": (GPT2LMHeadModel, gpt2), "llama": (LlamaForCausalLM, llama)}


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("gpt2", ["c_attn", "c_proj"]),
        ("gpt2", ["c_attn", "c_fc"]),
        ("llama", "all-linear"),
        ("llama", ["embed_tokens"]),
    ],
)
def test_a_merged_model_of_transformers_gives_the_logits_of_the_adapted_one(
    name: str, targets: Any, tmp_path: Path
) -> None:
    cls, config = models()[name]
    randomized(cls(config), 2).save_pretrained(tmp_path / "base")
    write_adapter(cls.from_pretrained(tmp_path / "base"), tmp_path / "adapter", r=3, target_modules=targets)
    tokens = torch.arange(10).reshape(1, 10)
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(cls.from_pretrained(tmp_path / "base"), str(tmp_path / "adapter"))
        expected = adapted.eval()(tokens).logits
        target = tmp_path / "merged"
        target.mkdir()
        pc.save(pc.merge(tmp_path / "base", tmp_path / "adapter"), target / "model.safetensors")
        config.save_pretrained(target)
        logits = cls.from_pretrained(target).eval()(tokens).logits
        before = cls.from_pretrained(tmp_path / "base").eval()(tokens).logits
    assert torch.allclose(logits, expected, atol=1e-5)
    torch.save(load_file(tmp_path / "adapter/adapter_model.safetensors"), tmp_path / "adapter/adapter_model.bin")
    (tmp_path / "adapter/adapter_model.safetensors").unlink()  # the format of older versions of PEFT
    assert pc.diff(pc.merge(tmp_path / "base", tmp_path / "adapter"), target / "model.safetensors").equal
    assert not torch.allclose(logits, before, atol=1e-2)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_peft_loads_an_extracted_adapter(name: str, tmp_path: Path) -> None:
    """At the full rank, the adapted model is the tuned one: norms, biases and embeddings too."""
    cls, config = models()[name]
    for stem, seed in (("base", 2), ("tuned", 3)):
        randomized(cls(config), seed).save_pretrained(tmp_path / stem)
    rows = pc.extract_lora(tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", rank=8)
    assert max(row.error for row in rows) < 1e-6
    tokens = torch.arange(10).reshape(1, 10)
    with torch.no_grad():
        base = cls.from_pretrained(tmp_path / "base")
        adapted = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
        expected = cls.from_pretrained(tmp_path / "tuned").eval()(tokens).logits
        assert torch.allclose(adapted(tokens).logits, expected, atol=1e-5)
        assert torch.allclose(adapted.merge_and_unload()(tokens).logits, expected, atol=1e-5)


@pytest.mark.parametrize("rank", [2, 8])
def test_peft_merges_an_extracted_adapter_as_paramctl_does(rank: int, tmp_path: Path) -> None:
    """All kinds of layers, and names of which one is the end of another."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.net, self.cls = nn.Linear(8, 8), Net(), nn.Parameter(torch.zeros(4))
            self.norm = nn.LayerNorm(4)

    for stem, seed in (("base", 2), ("tuned", 3)):
        save_file(state(randomized(Both(), seed)), tmp_path / f"{stem}.safetensors")
    pc.extract_lora(tmp_path / "base.safetensors", tmp_path / "tuned.safetensors", tmp_path / "adapter", rank=rank)
    model = Both()
    model.load_state_dict(load_file(tmp_path / "base.safetensors"))
    expected = merged_by_peft(model, tmp_path / "adapter")
    merged = pc.merge(tmp_path / "base.safetensors", tmp_path / "adapter")
    assert set(merged) == set(expected)
    for key, array in expected.items():
        assert np.allclose(np.asarray(merged[key]), array.numpy(), atol=1e-5), key
    if rank == 8:
        assert pc.diff(merged, tmp_path / "tuned.safetensors", atol=1e-5).equal


def test_an_average_equals_that_of_swa_utils(tmp_path: Path) -> None:
    """Equal weights and EMA, from torch's files, with the buffers of batch normalization."""
    nets = [randomized(Net(), seed) for seed in range(4)]
    paths = [tmp_path / f"{number}.pt" for number in range(4)]
    for net, path in zip(nets, paths, strict=True):
        torch.save(net.state_dict(), path)
    swa = AveragedModel(nets[0], use_buffers=True)
    ema = AveragedModel(nets[0], multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for net in nets:
        swa.update_parameters(net)
        ema.update_parameters(net)
    mean, running = pc.average(paths), pc.open(paths[0])
    for path in paths[1:]:
        running = pc.average([running, path], weights=[0.9, 0.1])
    for averaged, ours in ((swa, mean), (ema, running)):
        for name, array in averaged.module.state_dict().items():
            if array.is_floating_point():
                assert np.allclose(np.asarray(ours[name]), array.numpy(), rtol=1e-6, atol=1e-7), name
