"""--layout torch: torch computes from the converted weights what Keras computes from the original, and back.

Each case is a layer of a document and its module of torch.nn. All arrays have random values, so a gate, an axis or a
channel at the wrong place changes the output.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.conftest import ROOT, Run, paramctl  # noqa: F401

RANDOM = (
    "--rule=**/moving_variance=random_uniform:minval=0.5,maxval=1.5",
    "--rule=**=random_uniform:minval=-0.3,maxval=0.3",
)
"""Small values, so that gates do not saturate; variances are positive."""


def random(layers: str) -> tuple[str, ...]:
    return RANDOM if "batch_normalization" in layers else RANDOM[1:]


class Swap(nn.Module):
    """Channels moved from axis 1 to the end, for a recurrent layer after a convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class Columns(nn.Module):
    """(height, channels, width) of an image with channels first, for a dense layer over its width."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class Mean(nn.Module):
    """The mean over the first two axes of an image with channels last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2))


class Steps(nn.Module):
    """A convolution of the image at each step, and the mean of each of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(2, 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images = self.conv2d(x.movedim(-1, 2).flatten(0, 1))
        return images.mean((2, 3)).unflatten(0, x.shape[:2])


class WhisperAttention(nn.Module):
    """Attention of two heads, whose keys have no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value, self.attention_output = (nn.Linear(6, 6) for _ in range(3))
        self.key = nn.Linear(6, 6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = [part(x).unflatten(-1, (2, 3)).transpose(1, 2) for part in (self.query, self.key, self.value)]
        mixed = nn.functional.scaled_dot_product_attention(*heads)
        return self.attention_output(mixed.transpose(1, 2).flatten(2))


class Case(NamedTuple):
    """A document and the torch modules that compute the same.

    module: returns the modules by their names in the document.
    space: the number of spatial axes if input and output have channels; negative if only the input has.
    """

    layers: str
    input: str
    module: Callable[[], Mapping[str, nn.Module]]
    space: int = 0


CASES = {
    "dense": Case("- dense: 5", "[4]", lambda: {"dense": nn.Linear(4, 5)}),
    "dense without bias": Case(
        "- dense: {units: 5, use_bias: false}", "[3, 4]", lambda: {"dense": nn.Linear(4, 5, bias=False)}
    ),
    "conv1d": Case("- conv1d: [6, 3]", "[9, 4]", lambda: {"conv1d": nn.Conv1d(4, 6, 3)}, 1),
    "conv2d": Case(
        "- conv2d: {filters: 6, kernel_size: [3, 2], strides: 2}",
        "[9, 8, 4]",
        lambda: {"conv2d": nn.Conv2d(4, 6, (3, 2), 2)},
        2,
    ),
    "conv2d in groups": Case(
        "- conv2d: {filters: 6, kernel_size: 3, groups: 2}",
        "[7, 7, 4]",
        lambda: {"conv2d": nn.Conv2d(4, 6, 3, groups=2)},
        2,
    ),
    "conv3d": Case("- conv3d: [3, [2, 3, 1]]", "[4, 5, 6, 2]", lambda: {"conv3d": nn.Conv3d(2, 3, (2, 3, 1))}, 3),
    "depthwise_conv2d": Case(
        "- depthwise_conv2d: {kernel_size: [3, 2], depth_multiplier: 2}",
        "[7, 6, 3]",
        lambda: {"depthwise_conv2d": nn.Conv2d(3, 6, (3, 2), groups=3)},
        2,
    ),
    "depthwise_conv1d": Case(
        "- depthwise_conv1d: {kernel_size: 3, depth_multiplier: 2}",
        "[7, 3]",
        lambda: {"depthwise_conv1d": nn.Conv1d(3, 6, 3, groups=3)},
        1,
    ),
    "separable_conv2d": Case(
        "- separable_conv2d: {filters: 5, kernel_size: 3, depth_multiplier: 2}",
        "[7, 6, 3]",
        lambda: {
            "separable_conv2d": nn.Sequential(
                *[nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.Conv2d(6, 5, 1)],
            )
        },
        2,
    ),
    "conv1d_transpose": Case(
        "- conv1d_transpose: {filters: 5, kernel_size: 3, strides: 2}",
        "[6, 4]",
        lambda: {"conv1d_transpose": nn.ConvTranspose1d(4, 5, 3, 2)},
        1,
    ),
    "conv2d_transpose": Case(
        "- conv2d_transpose: {filters: 5, kernel_size: [3, 2]}",
        "[6, 5, 4]",
        lambda: {"conv2d_transpose": nn.ConvTranspose2d(4, 5, (3, 2))},
        2,
    ),
    "conv3d_transpose": Case(
        "- conv3d_transpose: {filters: 2, kernel_size: [3, 2, 2]}",
        "[3, 4, 5, 3]",
        lambda: {"conv3d_transpose": nn.ConvTranspose3d(3, 2, (3, 2, 2))},
        3,
    ),
    "batch_normalization": Case(
        "- batch_normalization", "[6]", lambda: {"batch_normalization": nn.BatchNorm1d(6, eps=1e-3)}
    ),
    "batch_normalization without scale": Case(
        "- batch_normalization: {scale: false}", "[6]", lambda: {"batch_normalization": nn.BatchNorm1d(6, eps=1e-3)}
    ),
    "batch_normalization of images": Case(
        "- batch_normalization: {center: false}",
        "[4, 5, 6]",
        lambda: {"batch_normalization": nn.BatchNorm2d(6, eps=1e-3)},
        2,
    ),
    "batch_normalization bare": Case(
        "- batch_normalization: {center: false, scale: false}",
        "[6]",
        lambda: {"batch_normalization": nn.BatchNorm1d(6, eps=1e-3, affine=False)},
    ),
    "layer_normalization": Case(
        "- layer_normalization", "[3, 6]", lambda: {"layer_normalization": nn.LayerNorm(6, eps=1e-3)}
    ),
    "layer_normalization without center": Case(
        "- layer_normalization: {center: false}",
        "[3, 6]",
        lambda: {"layer_normalization": nn.LayerNorm(6, eps=1e-3)},
    ),
    "group_normalization": Case(
        "- group_normalization: {groups: 3}",
        "[4, 5, 6]",
        lambda: {"group_normalization": nn.GroupNorm(3, 6, eps=1e-3)},
        2,
    ),
    "rms_normalization": Case("- rms_normalization", "[3, 6]", lambda: {"rms_normalization": nn.RMSNorm(6, eps=1e-6)}),
    "p_re_lu": Case("- p_re_lu: {shared_axes: [1, 2]}", "[4, 5, 6]", lambda: {"p_re_lu": nn.PReLU(6)}, 2),
    "lstm": Case(
        "- lstm: {units: 5, return_sequences: true}", "[7, 4]", lambda: {"lstm": nn.LSTM(4, 5, batch_first=True)}
    ),
    "lstm without bias": Case(
        "- lstm: {units: 5, return_sequences: true, use_bias: false}",
        "[7, 4]",
        lambda: {"lstm": nn.LSTM(4, 5, batch_first=True, bias=False)},
    ),
    "gru": Case("- gru: {units: 5, return_sequences: true}", "[7, 4]", lambda: {"gru": nn.GRU(4, 5, batch_first=True)}),
    "simple_rnn": Case(
        "- simple_rnn: {units: 5, return_sequences: true}",
        "[7, 4]",
        lambda: {"simple_rnn": nn.RNN(4, 5, batch_first=True)},
    ),
    "bidirectional lstm": Case(
        "- bidirectional: {layer: {lstm: {units: 3, return_sequences: true}}}",
        "[7, 4]",
        lambda: {"bidirectional": nn.LSTM(4, 3, batch_first=True, bidirectional=True)},
    ),
    "bidirectional gru": Case(
        "- bidirectional: {layer: {gru: {units: 3, return_sequences: true}}}",
        "[7, 4]",
        lambda: {"bidirectional": nn.GRU(4, 3, batch_first=True, bidirectional=True)},
    ),
    "time_distributed": Case(
        "- time_distributed: {layer: {dense: 5}}",
        "[7, 4]",
        lambda: {"time_distributed": nn.ModuleDict({"dense": nn.Linear(4, 5)})},
    ),
    "multi_head_attention": Case(
        "- multi_head_attention: {num_heads: 2, key_dim: 3}",
        "[7, 6]",
        lambda: {"multi_head_attention": nn.MultiheadAttention(6, 2, batch_first=True)},
    ),
    "multi_head_attention without bias": Case(
        "- multi_head_attention: {num_heads: 3, key_dim: 2, use_bias: false}",
        "[7, 6]",
        lambda: {"multi_head_attention": nn.MultiheadAttention(6, 3, batch_first=True, bias=False)},
    ),
    "a flattened image": Case(
        "- conv2d: [6, 3]\n- re_lu\n- flatten\n- batch_normalization\n- dense: 5",
        "[5, 6, 3]",
        lambda: {
            "conv2d": nn.Conv2d(3, 6, 3),
            "re_lu": nn.ReLU(),
            "flatten": nn.Flatten(),
            "batch_normalization": nn.BatchNorm1d(72, eps=1e-3),
            "dense": nn.Linear(72, 5),
        },
        -2,
    ),
    "a flattened image with a slope for each value": Case(
        "- conv2d: [2, 3]\n- flatten\n- p_re_lu\n- dense: 3",
        "[4, 5, 3]",
        lambda: {
            "conv2d": nn.Conv2d(3, 2, 3),
            "flatten": nn.Flatten(),
            "p_re_lu": nn.PReLU(12),
            "dense": nn.Linear(12, 3),
        },
        -2,
    ),
    "a normalization of whole images": Case(
        "- conv2d: [3, 2]\n- layer_normalization: {axis: [1, 2, 3]}",
        "[4, 5, 3]",
        lambda: {"conv2d": nn.Conv2d(3, 3, 2), "layer_normalization": nn.LayerNorm([3, 3, 4], eps=1e-3)},
        2,
    ),
    "channels moved to the front": Case(
        "- conv2d: [3, 1]\n- permute: [3, 1, 2]\n- flatten\n- dense: 3",
        "[3, 3, 3]",
        lambda: {"conv2d": nn.Conv2d(3, 3, 1), "flatten": nn.Flatten(), "dense": nn.Linear(27, 3)},
        -2,
    ),
    "channels first, flattened by Keras to channels last": Case(
        "- conv2d: {filters: 2, kernel_size: 3, data_format: channels_first}\n"
        "- flatten: {data_format: channels_first}\n- dense: 3",
        "[3, 4, 5]",
        lambda: {"conv2d": nn.Conv2d(3, 2, 3), "flatten": nn.Flatten(), "dense": nn.Linear(12, 3)},
    ),
    "channels first": Case(
        "- conv2d: {filters: 2, kernel_size: 3, data_format: channels_first}\n- flatten\n- dense: 3",
        "[3, 4, 5]",
        lambda: {"conv2d": nn.Conv2d(3, 2, 3), "flatten": nn.Flatten(), "dense": nn.Linear(12, 3)},
    ),
    "a recurrent layer after a convolution": Case(
        "- conv1d: [5, 2]\n- lstm: {units: 3, return_sequences: true}",
        "[6, 4]",
        lambda: {"conv1d": nn.Conv1d(4, 5, 2), "swap": Swap(), "lstm": nn.LSTM(5, 3, batch_first=True)},
        -1,
    ),
    "steps of images": Case(
        "- time_distributed: {layer: {conv2d: [3, 2]}}\n"
        "- time_distributed: {name: pool, layer: global_average_pooling2d}\n- gru: {units: 3, return_sequences: true}",
        "[4, 5, 5, 2]",
        lambda: {"time_distributed": Steps(), "gru": nn.GRU(3, 3, batch_first=True)},
    ),
    "a normalized sequence": Case(
        "- batch_normalization\n- flatten\n- dense: 3",
        "[5, 4]",
        lambda: {
            "batch_normalization": nn.BatchNorm1d(4, eps=1e-3),
            "flatten": nn.Flatten(),
            "dense": nn.Linear(20, 3),
        },
        -1,
    ),
    "a flattened image reshaped to the image": Case(
        "- conv2d: [2, 1]\n- flatten\n- reshape: [4, 5, 2]\n- conv2d: {name: out, filters: 3, kernel_size: 3}",
        "[4, 5, 3]",
        lambda: {
            "conv2d": nn.Conv2d(3, 2, 1),
            "flatten": nn.Flatten(),
            "reshape": nn.Unflatten(1, (2, 4, 5)),
            "out": nn.Conv2d(2, 3, 3),
        },
        2,
    ),
    "an image without channels": Case(
        "- reshape: [4, 5, 1]\n- conv2d: [2, 3]\n- flatten\n- dense: 3",
        "[4, 5]",
        lambda: {
            "reshape": nn.Unflatten(1, (1, 4)),
            "conv2d": nn.Conv2d(1, 2, 3),
            "flatten": nn.Flatten(),
            "dense": nn.Linear(12, 3),
        },
    ),
    "rows of the axes of a transposed image": Case(
        "- conv2d: [2, 1]\n- permute: [1, 3, 2]\n- dense: 3\n- global_average_pooling2d",
        "[4, 5, 3]",
        lambda: {
            "conv2d": nn.Conv2d(3, 2, 1),
            "permute": Columns(),
            "dense": nn.Linear(5, 3),
            "global_average_pooling2d": Mean(),
        },
        -2,
    ),
    "a flattened sequence": Case(
        "- dense: 6\n- flatten\n- dense: {name: out, units: 5}",
        "[7, 4]",
        lambda: {"dense": nn.Linear(4, 6), "flatten": nn.Flatten(), "out": nn.Linear(42, 5)},
    ),
}


class Network(nn.Module):
    """Modules with the names of a document, applied in order."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, module in modules.items():
            if name == "separable_conv2d":
                assert isinstance(module, nn.Sequential)
                module = nn.ModuleDict({"depthwise": module[0], "pointwise": module[1]})
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in self.children():
            if isinstance(module, nn.ModuleDict):
                for inner in module.values():
                    x = inner(x)
            elif isinstance(module, nn.MultiheadAttention):
                x = module(x, x, x)[0]
            else:
                x = module(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


def document(case: Case) -> str:
    return f"input: {case.input}\nlayers:\n" + "".join(f"  {line}\n" for line in case.layers.splitlines())


def torch_output(case: Case, network: nn.Module, x: np.ndarray) -> np.ndarray:
    """Return the output of a torch network for an input with channels last.

    The channels of the input are moved first, and those of the output last, as the case's space says.
    """
    tensor = torch.from_numpy(np.moveaxis(x, -1, 1) if case.space else x)
    with torch.no_grad():
        output = network.eval()(tensor.contiguous()).numpy()
    return np.moveaxis(output, 1, -1) if case.space > 0 else output


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_torch_computes_the_same(name: str, paramctl: Run, tmp_path: Path) -> None:  # noqa: F811
    """Keras and torch compute the same from generated values; and so from torch's own file, converted to Keras."""
    case = CASES[name]
    (tmp_path / "m.yaml").write_text(document(case))
    for arguments in (
        ("init", "m.yaml", *random(case.layers), "-o", "m.h5", "-q"),
        ("save", "m.h5", "-o", "m.keras"),
        ("save", "m.h5", "--layout", "torch", "-o", "m.safetensors"),
    ):
        result = paramctl(*arguments)
        assert result.returncode == 0, result.stderr
    in_keras = keras.models.load_model(tmp_path / "m.keras")
    shape = tuple(in_keras.input_shape[1:])
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    network = Network(case.module())
    network.load_state_dict(load_file(tmp_path / "m.safetensors"), strict=True)
    assert same(torch_output(case, network, x), np.asarray(in_keras.predict(x, verbose=0)))

    torch.manual_seed(1)
    other = Network(case.module())
    for array in [*other.parameters(), *other.buffers()]:
        if array.dtype == torch.float32 and array.ndim:
            torch.nn.init.uniform_(array.data, 0.2, 0.8)
    without = {"weight": "scale: false", "bias": "center: false"}
    for module in other.modules():  # torch's values for parameters that the Keras layer lacks
        for part, words in without.items():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)) and words in case.layers:
                getattr(module, part) is not None and getattr(module, part).data.fill_(float(part == "weight"))
    save_file({key: value.contiguous() for key, value in other.state_dict().items()}, tmp_path / "t.safetensors")
    result = paramctl("save", "t.safetensors", "--like", "m.yaml", "--layout", "keras", "-o", "t.keras")
    assert result.returncode == 0, result.stderr
    again = keras.models.load_model(tmp_path / "t.keras")
    assert same(torch_output(case, other, x), np.asarray(again.predict(x, verbose=0)))


def test_attention_without_a_bias_of_the_key_computes_as_in_torch(paramctl: Run, tmp_path: Path) -> None:  # noqa: F811
    """Keras has no such layer, so paramctl computes it. The weights return from torch unchanged."""
    projections = "[query, value, attention_output]"
    layer = f"multi_head_attention: {{name: m, num_heads: 2, key_dim: 3, use_bias: {projections}}}"
    (tmp_path / "m.yaml").write_text(f"input: [7, 6]\nlayers: [{{{layer}}}]\n")
    x = np.random.default_rng(0).normal(size=(2, 7, 6)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    for arguments in (
        ("init", "m.yaml", RANDOM[1], "-o", "m.h5", "-q"),
        ("save", "m.h5", "--layout", "torch", "-o", "m.safetensors"),
        ("run", "m.yaml", "--weights", "m.safetensors", "--input", "x.npy", "-o", "y.npy"),
        ("save", "m.safetensors", "--like", "m.yaml", "--layout", "keras", "-o", "again.h5"),
        ("diff", "m.h5", "again.h5"),
    ):
        result = paramctl(*arguments)
        assert result.returncode == 0, result.stderr
    network = Network({"m": WhisperAttention()})
    network.load_state_dict(load_file(tmp_path / "m.safetensors"), strict=True)
    assert same(torch_output(Case("", "", dict), network, x), np.load(tmp_path / "y.npy"))


class DistantAttention(nn.Module):
    """Attention of two heads to which a table of T5's buckets is added; written after the formula in mesh-tensorflow."""

    def __init__(self, buckets: int, distance: int, bidirectional: bool) -> None:
        super().__init__()
        self.query, self.key, self.value, self.attention_output = (nn.Linear(6, 6) for _ in range(4))
        self.relative_position = nn.Embedding(buckets, 2)
        self.buckets, self.distance, self.bidirectional = buckets, distance, bidirectional

    def bucket(self, relative: torch.Tensor) -> torch.Tensor:
        """The bucket of key - query."""
        count, n, first = self.buckets, -relative, torch.zeros_like(relative)
        if self.bidirectional:
            count //= 2
            first, n = (n < 0).long() * count, n.abs()
        else:
            n = n.clamp(min=0)
        exact = count // 2
        scale = (count - exact) / np.log(self.distance / exact)
        far = exact + (torch.log(n.float() / exact) * scale).long()
        return first + torch.where(n < exact, n, far.clamp(max=count - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = [part(x).unflatten(-1, (2, 3)).transpose(1, 2) for part in (self.query, self.key, self.value)]
        positions = torch.arange(x.shape[1])
        addend = self.relative_position(self.bucket(positions - positions[:, None])).permute(2, 0, 1)
        mixed = nn.functional.scaled_dot_product_attention(*heads, attn_mask=addend)
        return self.attention_output(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize(("buckets", "distance", "bidirectional"), [(32, 128, True), (32, 128, False), (12, 40, True)])
def test_relative_positions_compute_as_in_torch(
    buckets: int,
    distance: int,
    bidirectional: bool,
    paramctl: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Over 300 positions, so that every bucket is used, and with the same weights after the way back."""
    table = f"{{buckets: {buckets}, max_distance: {distance}, bidirectional: {str(bidirectional).lower()}}}"
    layer = f"multi_head_attention: {{name: m, num_heads: 2, key_dim: 3, relative_position: {table}}}"
    (tmp_path / "m.yaml").write_text(f"input: [300, 6]\nlayers: [{{{layer}}}]\n")
    x = np.random.default_rng(0).normal(size=(1, 300, 6)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    for arguments in (
        ("init", "m.yaml", "--rule=**=random_uniform:minval=-2,maxval=2", "-o", "m.h5", "-q"),
        ("save", "m.h5", "--layout", "torch", "-o", "m.safetensors"),
        ("run", "m.yaml", "--weights", "m.safetensors", "--input", "x.npy", "-o", "y.npy"),
        ("save", "m.safetensors", "--like", "m.yaml", "--layout", "keras", "-o", "again.h5"),
        ("diff", "m.h5", "again.h5"),
    ):
        result = paramctl(*arguments)
        assert result.returncode == 0, result.stderr
    network = Network({"m": DistantAttention(buckets, distance, bidirectional)})
    network.load_state_dict(load_file(tmp_path / "m.safetensors"), strict=True)
    output = np.load(tmp_path / "y.npy")
    assert same(torch_output(Case("", "", dict), network, x), output)


def test_swapped_gates_change_the_output(paramctl: Run, tmp_path: Path) -> None:  # noqa: F811
    """A control: the comparison detects swapped gates."""
    case = CASES["lstm"]
    (tmp_path / "m.yaml").write_text(document(case))
    paramctl("init", "m.yaml", *random(case.layers), "-o", "m.h5", "-q")
    paramctl("save", "m.h5", "--layout", "torch", "-o", "m.safetensors")
    network = Network(case.module())
    arrays = load_file(tmp_path / "m.safetensors")
    network.load_state_dict(arrays)
    x = np.random.default_rng(0).normal(size=(2, 7, 4)).astype("float32")
    right = torch_output(case, network, x)
    gates = arrays["lstm.weight_ih_l0"].reshape(4, 5, 4)
    arrays["lstm.weight_ih_l0"] = gates[[1, 0, 2, 3]].reshape(20, 4)
    network.load_state_dict(arrays)
    assert not same(torch_output(case, network, x), right)


def test_lenet(paramctl: Run, tmp_path: Path) -> None:  # noqa: F811
    sample = str(ROOT / "sample_models/lenet.yaml")
    assert paramctl("save", sample, "-o", "l.keras").returncode == 0
    assert paramctl("save", sample, "--layout", "torch", "-o", "l.safetensors").returncode == 0
    modules: dict[str, Any] = {
        "conv2d": nn.Conv2d(1, 6, 5, padding=2),
        "s1": nn.Sigmoid(),
        "p1": nn.AvgPool2d(2, 2),
        "conv2d_1": nn.Conv2d(6, 16, 5),
        "s2": nn.Sigmoid(),
        "p2": nn.AvgPool2d(2, 2),
        "flatten": nn.Flatten(),
        "dense": nn.Linear(400, 120),
        "s3": nn.Sigmoid(),
        "dense_1": nn.Linear(120, 84),
        "s4": nn.Sigmoid(),
        "dense_2": nn.Linear(84, 10),
    }
    network = Network(modules)
    network.load_state_dict(load_file(tmp_path / "l.safetensors"), strict=True)
    x = np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype("float32")
    theirs = keras.models.load_model(tmp_path / "l.keras").predict(x, verbose=0)
    assert same(torch_output(Case("", "", dict, -2), network, x), np.asarray(theirs))


UNKNOWN_LAYERS = {
    "an operation": lambda x: keras.ops.relu(keras.layers.Conv2D(4, 3, name="c")(x)) + 1.0,
    "a layer that documents do not support": lambda x: keras.layers.Conv2D(4, 3, name="c")(
        keras.layers.RandomFlip()(x)
    ),
    "a model": lambda x: keras.Sequential(
        [keras.layers.RandomFlip(), keras.layers.Conv2D(4, 3, name="c")], name="inner"
    )(x),
}
AFTER = {"an operation": lambda x: torch.relu(x) + 1}


@pytest.mark.parametrize("name", UNKNOWN_LAYERS)
def test_layers_after_an_unknown_one(name: str, paramctl: Run, tmp_path: Path) -> None:  # noqa: F811
    """Known layers are converted, including one after an unknown layer and a flatten."""
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(UNKNOWN_LAYERS[name](inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, name="d")(flat))
    model.save(tmp_path / "m.keras")
    result = paramctl("save", "m.keras", "--layout", "torch", "-o", "m.safetensors")
    assert result.returncode == 0, result.stderr
    network = nn.ModuleDict({"c": nn.Conv2d(3, 4, 3), "d": nn.Linear(144, 2)})
    arrays = load_file(tmp_path / "m.safetensors")
    network.load_state_dict({key.removeprefix("inner."): value for key, value in arrays.items()}, strict=True)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
    with torch.no_grad():
        image = network["c"](torch.from_numpy(np.moveaxis(x, -1, 1)))
        ours = network["d"](AFTER.get(name, nn.Identity())(image).flatten(1)).numpy()
    assert same(ours, keras.ops.convert_to_numpy(model(x, training=False)))


def test_cross_attention_and_a_tied_table(paramctl: Run, tmp_path: Path) -> None:  # noqa: F811
    """Keys and values of another size have separate weights; a table and its transpose are one array in torch."""
    (tmp_path / "m.yaml").write_text(
        "inputs: {x: [5, 6], y: [7, 4], words: {shape: [9], dtype: int32}}\n"
        "layers:\n"
        "  - multi_head_attention: {num_heads: 2, key_dim: 3, from: x, value: y}\n"
        "  - embedding: {input_dim: 11, output_dim: 6, from: words}\n"
        "  - dense: {name: head, units: 11, use_bias: false}\n"
        "outputs: [multi_head_attention, head]\n"
        "ties: [{keep: embedding/embeddings, tie: head/kernel, transpose: true}]\n"
    )
    assert paramctl("init", "m.yaml", RANDOM[1], "-o", "m.h5", "-q").returncode == 0
    assert paramctl("save", "m.h5", "-o", "m.keras").returncode == 0
    result = paramctl("save", "m.h5", "--layout", "torch", "-o", "m.safetensors")
    assert result.returncode == 0, result.stderr
    arrays = load_file(tmp_path / "m.safetensors")
    attention = nn.MultiheadAttention(6, 2, kdim=4, vdim=4, batch_first=True)
    attention.load_state_dict(
        {k.removeprefix("multi_head_attention."): v for k, v in arrays.items() if k.startswith("multi")}, strict=True
    )
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=shape).astype("float32") for shape in ((2, 5, 6), (2, 7, 4)))
    words = rng.integers(0, 11, (2, 9)).astype("int32")
    attended, logits = keras.models.load_model(tmp_path / "m.keras").predict([x, y, words], verbose=0)
    with torch.no_grad():
        ours = attention(torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(y))[0].numpy()
    assert same(ours, attended)
    assert "head.weight" not in arrays, "tied tensors are stored once, as in safetensors"
    table = arrays["embedding.weight"].numpy()
    assert same(table[words] @ table.T, logits)
    assert paramctl("save", "m.safetensors", "--layout", "keras", "-o", "back.h5", "-q").returncode == 0
    assert paramctl("diff", "m.h5", "back.h5").returncode == 0
