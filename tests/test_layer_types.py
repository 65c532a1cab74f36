"""The types of the layers of checkpoints without a model: stated if they are certain. tests/interop has real modules."""

from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from tests.conftest import ROOT, Call

FIXTURES = ROOT / "tests" / "fixtures"


def types(folder: Path, arrays: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """Return the types of the layers of a file of arrays of these shapes."""
    np.savez(folder / "m.npz", **{name: np.zeros(shape, "float32") for name, shape in arrays.items()})
    return {row.path: row.type for row in pc.summary(folder / "m.npz").layers}


@pytest.mark.parametrize(
    ("name", "arrays", "expected"),
    [
        ("a", {"weight": (3, 5), "bias": (3,)}, "dense"),
        ("a", {"kernel": (5, 3), "bias": (3,)}, "dense"),
        ("a", {"weight": (3, 5), "bias": (5,)}, "group"),
        ("c_attn", {"weight": (3, 5), "bias": (5,)}, "dense"),
        ("a", {"weight": (3, 5)}, "group"),
        ("q_proj", {"weight": (3, 5)}, "dense"),
        ("embed", {"weight": (3, 5)}, "group"),
        ("embed_tokens", {"weight": (3, 5)}, "embedding"),
        ("a", {"embeddings": (3, 5)}, "embedding"),
        ("a", {"weight": (3, 5), "bias": (3,), "scale": (1,)}, "group"),
        ("a", {"weight": (4,), "bias": (4,)}, "group"),
        ("LayerNorm", {"weight": (4,), "bias": (4,)}, "layer_normalization"),
        ("ln_1", {"weight": (4,), "bias": (4,)}, "layer_normalization"),
        ("ln_1", {"weight": (4,), "bias": (5,)}, "group"),
        ("ln_1", {"weight": (4,)}, "group"),
        ("layer_normalization_3", {"gamma": (4,), "beta": (4,)}, "layer_normalization"),
        ("group_normalization", {"gamma": (4,), "beta": (4,)}, "group"),
        ("norm", {"weight": (4,)}, "group"),
        ("rms_norm", {"weight": (4,)}, "rms_normalization"),
        ("a", {"running_mean": (4,), "running_var": (4,)}, "batch_normalization"),
        ("a", {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (5,)}, "group"),
        ("a", {"gamma": (4,), "moving_mean": (4,), "moving_variance": (4,)}, "batch_normalization"),
        ("a", {"weight": (4, 2, 3, 3), "bias": (4,)}, "conv2d"),
        ("a", {"weight": (4, 2, 3, 3), "bias": (2,)}, "conv2d_transpose"),
        ("a", {"weight": (4, 4, 3, 3), "bias": (4,)}, "group"),
        ("a", {"weight": (4, 1, 3, 3), "bias": (4,)}, "group"),  # or transposed, for each channel apart
        ("conv1", {"weight": (4, 1, 3, 3), "bias": (4,)}, "conv2d"),
        ("conv_t", {"weight": (4, 4, 3, 3), "bias": (4,)}, "group"),
        ("dconv1", {"weight": (4, 4, 3, 3), "bias": (4,)}, "group"),
        ("expand_conv", {"weight": (4, 4, 3, 3), "bias": (4,)}, "conv2d"),
        ("in1", {"running_mean": (4,), "running_var": (4,)}, "group"),
        ("inorm", {"running_mean": (4,), "running_var": (4,)}, "group"),
        ("router", {"weight": (3, 5), "bias": (3,)}, "group"),
        ("a", {"weight": (4, 2, 3, 3)}, "group"),
        ("conv1", {"weight": (4, 2, 3, 3)}, "conv2d"),
        ("deconv1", {"weight": (4, 4, 3, 3), "bias": (4,)}, "group"),
        ("conv2d", {"kernel": (3, 3, 4, 2), "bias": (2,)}, "conv2d"),
        ("depthwise_conv2d", {"kernel": (3, 3, 4, 1), "bias": (4,)}, "group"),
        ("a", {"weight": (4, 2, 3, 3, 3), "bias": (4,)}, "conv3d"),
        ("a", {"weight": (4, 2, 3), "bias": (4,)}, "group"),
        ("conv1d", {"weight": (4, 2, 3), "bias": (4,)}, "conv1d"),
        ("a", {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2)}, "lstm"),
        ("a", {"weight_ih_l0": (6, 3), "weight_hh_l0": (6, 2)}, "gru"),
        ("a", {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 1), "weight_hr_l0": (1, 2)}, "lstm"),
        ("a", {"weight_ih_l0": (7, 3), "weight_hh_l0": (7, 2)}, "group"),
        ("a", {"weight_ih": (8, 3), "weight_hh": (8, 2)}, "group"),
        ("lstm", {"kernel": (3, 8), "recurrent_kernel": (2, 8), "bias": (8,)}, "lstm"),
        ("gru", {"kernel": (3, 8), "recurrent_kernel": (2, 8), "bias": (8,)}, "group"),
        ("a", {"in_proj_weight": (6, 2), "out_proj.weight": (2, 2)}, "multi_head_attention"),
        ("a", {"in_proj_weight": (6, 2), "other.weight": (2, 2)}, "group"),
        ("a", {"weight": (), "bias": ()}, "group"),
        ("a", {"kernel": (), "recurrent_kernel": (0, 0)}, "group"),
    ],
)
def test_a_type_is_stated_only_if_it_is_certain(
    name: str, arrays: dict[str, tuple[int, ...]], expected: str, tmp_path: Path
) -> None:
    around = {"model.z": (1,)}
    assert (
        types(tmp_path, around | {f"model.{name}.{key}": shape for key, shape in arrays.items()})[f"model.{name}"]
        == expected
    )


def test_layers_around_decide(tmp_path: Path) -> None:
    """A convolution excludes a layer normalization by name, and Llama's names make norms certain."""
    norm = {"b.layer_norm.weight": (4,), "b.layer_norm.bias": (4,)}
    assert types(tmp_path, norm)["b.layer_norm"] == "layer_normalization"
    assert types(tmp_path, norm | {"b.conv.weight": (4, 2, 3)})["b.layer_norm"] == "group"
    llama = {f"layers.0.{name}.weight": (4,) for name in ("input_layernorm", "post_attention_layernorm")}
    assert set(types(tmp_path, llama | {"norm.weight": (4,)}).values()) == {"group", "rms_normalization"}
    assert types(tmp_path, llama | {"norm.weight": (4,)})["norm"] == "rms_normalization"
    assert set(types(tmp_path, llama | {"norm.weight": (4,), "norm.bias": (4,)}).values()) == {"group"}
    sequence = {
        "s.0.weight": (4, 2, 3, 3),
        "s.10.weight": (4, 2, 3, 3),
        "s.3.running_mean": (4,),
        "s.3.running_var": (4,),
    }
    found = types(tmp_path, sequence | {"s.11.running_mean": (2,), "s.11.running_var": (2,)})
    assert (found["s.0"], found["s.10"]) == ("conv2d", "conv2d_transpose")


def test_types_of_files(call: Call) -> None:
    _, text, _ = call(
        "summary", str(FIXTURES / "keras3_mha_lstm.weights.h5"), "--columns", "path,type", "--format", "csv"
    )
    assert {"lstm,lstm", "multi_head_attention,multi_head_attention", "lstm/lstm_cell,group"} <= {*text.splitlines()}
    _, text, _ = call("summary", str(FIXTURES / "torch_script.pt"), "--columns", "path,type", "--format", "csv")
    assert text.splitlines()[1:] == ["0,dense", "1,batch_normalization"]


def test_groups_have_one_type(tmp_path: Path) -> None:
    """Equal arrays of which only some have a certain type are not one row."""
    bn = {"s.1.running_mean": (4,), "s.1.running_var": (4,)}
    arrays = bn | {f"s.{number}.weight": (4, 2, 3, 3) for number in (0, 2, 3)}
    np.savez(tmp_path / "m.npz", **{name: np.zeros(shape, "float32") for name, shape in arrays.items()})
    rows = {row.path: row.type for row in pc.summary(tmp_path / "m.npz", group=True).layers}
    assert (rows["s.0"], rows["s.[2..3]"]) == ("conv2d", "group")
