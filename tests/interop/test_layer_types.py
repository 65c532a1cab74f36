"""The types of the layers of checkpoints against the classes of the modules that wrote them: no type is wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import paramctl as pc

TYPES = {
    "dense": (
        "Linear",
        "NonDynamicallyQuantizableLinear",
        "Conv1D",
        "Dense",
    ),  # Conv1D of transformers is a linear layer
    "embedding": ("Embedding",),
    "layer_normalization": ("LayerNorm", "LayerNormalization"),
    "rms_normalization": ("LlamaRMSNorm", "T5LayerNorm", "RMSNorm", "Qwen3RMSNorm"),
    "batch_normalization": ("BatchNorm1d", "BatchNorm2d", "BatchNormalization"),
    "multi_head_attention": ("MultiheadAttention", "MultiHeadAttention"),
    "lstm": ("LSTM",),
    "gru": ("GRU",),
    "simple_rnn": ("RNN", "SimpleRNN"),
    "conv1d": ("Conv1d", "Conv1D"),
    "conv2d": ("Conv2d", "Conv2D"),
    "conv3d": ("Conv3d", "Conv3D"),
    "conv2d_transpose": ("ConvTranspose2d", "Conv2DTranspose"),
}
"""The classes of torch, transformers and Keras for each type."""


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.downsample = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16))


class Zoo(nn.Module):
    """Modules whose arrays have the names and shapes of those of others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Conv3d(3, 5, 3))
        self.decoder = nn.Sequential(
            *(nn.ConvTranspose2d(8, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ConvTranspose2d(8, 8, 3)),
            *(nn.ConvTranspose2d(8, 6, 3), nn.ConvTranspose1d(8, 8, 3), nn.ConvTranspose3d(2, 4, 3, bias=False)),
        )
        self.apart = nn.Sequential(nn.ConvTranspose2d(8, 8, 2, groups=8, bias=False), nn.BatchNorm2d(8))
        self.conv_t, self.dconv1 = nn.ConvTranspose2d(4, 4, 3), nn.ConvTranspose1d(4, 4, 3)
        self.in1 = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
        self.deconv, self.upsample = nn.ConvTranspose2d(8, 8, 3), nn.ConvTranspose2d(4, 4, 2, bias=False)
        self.norms = nn.Sequential(
            *(
                nn.GroupNorm(2, 8),
                nn.LayerNorm(8),
                nn.LayerNorm(8, bias=False),
                nn.RMSNorm(8),
                nn.InstanceNorm1d(8, affine=True),
            ),
            *(
                nn.BatchNorm1d(8, track_running_stats=False),
                nn.PReLU(8),
                nn.LayerNorm((4, 4)),
                nn.BatchNorm1d(8, affine=False),
            ),
        )
        self.norm, self.norm1, self.group_norm = nn.LayerNorm(8, bias=False), nn.GroupNorm(2, 8), nn.GroupNorm(2, 8)
        self.layer_norm = nn.GroupNorm(2, 8)
        self.plain = nn.ModuleDict({"layer_norm": nn.LayerNorm(8), "rms_norm": nn.RMSNorm(8), "ln_f": nn.LayerNorm(8)})
        self.matrices = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 8), nn.Linear(1, 1))
        self.bilinear, self.bilinear_conv = nn.Bilinear(4, 5, 6), nn.Bilinear(4, 4, 4)
        self.lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2)
        self.recurrent = nn.ModuleList([nn.LSTM(3, 3), nn.GRU(3, 5), nn.RNN(4, 4), nn.LSTMCell(3, 4), nn.GRUCell(3, 4)])
        self.attention = nn.MultiheadAttention(8, 2)
        self.cross = nn.MultiheadAttention(8, 2, kdim=4, vdim=6, bias=False, add_bias_kv=False)
        self.transformer = nn.Transformer(8, 2, 1, 1, 16)
        self.resnet = nn.Sequential(Block(), Block())


def transformers_models() -> Iterator[tuple[str, nn.Module]]:
    import transformers as hf

    small = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 40,
    }
    yield "bert", hf.BertModel(hf.BertConfig(**small))
    yield "llama", hf.LlamaForCausalLM(hf.LlamaConfig(**small, num_key_value_heads=1))
    yield "gpt2", hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=40))
    yield "t5", hf.T5Model(hf.T5Config(d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=2, vocab_size=40))
    yield "cohere", hf.CohereModel(hf.CohereConfig(**small))
    yield (
        "bart",
        hf.BartModel(
            hf.BartConfig(
                vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16
            )
        ),
    )
    yield "resnet", hf.ResNetModel(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2]))
    yield (
        "wav2vec2",
        hf.Wav2Vec2Model(
            hf.Wav2Vec2Config(
                **small, conv_dim=(8, 8), conv_stride=(2, 2), conv_kernel=(3, 3), num_conv_pos_embeddings=4
            )
        ),
    )


def checked(module: nn.Module, path: Path) -> dict[str, str]:
    """Return the types of a file of a module's arrays by path, each compared with the class of its module."""
    state = {name: value.clone().contiguous() for name, value in module.state_dict().items()}
    save_file(state, path)
    modules = {name: [cls.__name__ for cls in type(each).__mro__] for name, each in module.named_modules()}
    types = {row.path: row.type for row in pc.summary(path).layers if row.type not in ("group", "array")}
    for name, type_ in types.items():
        assert set(modules[name]) & set(TYPES[type_]), f"{name} is {modules[name][0]}, and not {type_}"
    return types


@pytest.mark.parametrize("grouped", [False, True])
def test_no_type_of_a_module_of_torch_is_wrong(tmp_path: Path, grouped: bool) -> None:
    torch.manual_seed(0)
    types = checked(Zoo(), tmp_path / "zoo.safetensors")
    expected = {
        "conv_block.0": "conv2d",
        "conv_block.3": "conv3d",
        "decoder.0": "conv2d_transpose",
        "decoder.3": "conv2d_transpose",
        "decoder.1": "batch_normalization",
        "norms.8": "batch_normalization",
        "plain.layer_norm": "layer_normalization",
        "plain.ln_f": "layer_normalization",
        "plain.rms_norm": "rms_normalization",
        "matrices.2": "dense",
        "lstm": "lstm",
        "recurrent.0": "lstm",
        "recurrent.1": "gru",
        "recurrent.2": "simple_rnn",
        "attention": "multi_head_attention",
        "cross": "multi_head_attention",
        "cross.out_proj": "dense",
        "transformer.decoder.layers.0.norm3": "layer_normalization",
        "transformer.encoder.layers.0.linear1": "dense",
        "resnet.1.conv1": "conv2d",
        "resnet.1.downsample.0": "conv2d",
    }
    assert {path: types.get(path) for path in expected} == expected
    if grouped:
        rows = pc.summary(tmp_path / "zoo.safetensors", group=True).layers
        assert "resnet.[0..1].conv1" in {row.path for row in rows if row.type == "conv2d"}


def test_no_type_of_a_model_of_transformers_is_wrong(tmp_path: Path) -> None:
    """Nearly all layers of these have one; Cohere's norms have the arrays of Llama's and are none of these."""
    found = {}
    for name, module in transformers_models():
        found[name] = checked(module, tmp_path / f"{name}.safetensors")
    assert found["bert"]["encoder.layer.0.attention.self.query"] == "dense"
    assert found["bert"]["encoder.layer.1.output.LayerNorm"] == "layer_normalization"
    assert found["bert"]["embeddings.word_embeddings"] == "embedding"
    assert found["llama"]["model.norm"] == "rms_normalization"
    assert found["llama"]["model.layers.0.mlp.down_proj"] == "dense"
    assert found["gpt2"]["transformer.h.0.attn.c_attn"] == "dense"
    assert found["gpt2"]["transformer.ln_f"] == "layer_normalization"
    assert found["gpt2"]["transformer.wpe"] == "embedding"
    assert found["t5"]["encoder.block.0.layer.0.layer_norm"] == "rms_normalization"
    assert "layers.0.input_layernorm" not in found["cohere"]
    assert found["resnet"]["embedder.embedder.convolution"] == "conv2d"
    assert "feature_extractor.conv_layers.0.layer_norm" not in found["wav2vec2"]


def test_no_type_of_a_layer_of_keras_is_wrong(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    image, words = keras.Input((12, 12, 3)), keras.Input((5,))
    x = layers.Conv2D(4, 3)(image)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.Conv2DTranspose(4, 3)(x)
    x = layers.GroupNormalization(2)(x)
    x = layers.SeparableConv2D(4, 3)(x)
    x = layers.Dense(4)(layers.GlobalAveragePooling2D()(x))
    y = layers.Embedding(10, 8)(words)
    y = layers.MultiHeadAttention(2, 4)(y, y)
    y = layers.LayerNormalization()(y)
    y = layers.Conv1D(8, 2)(y)
    y = layers.GRU(4)(layers.LSTM(8, return_sequences=True)(y))
    model = keras.Model([image, words], [x, layers.Dense(3, use_bias=False)(y)])
    model.save_weights(tmp_path / "m.weights.h5")
    classes = {layer.name: type(layer).__name__ for layer in model.layers}
    types = {row.path: row.type for row in pc.summary(tmp_path / "m.weights.h5").layers if row.type != "group"}
    for name, type_ in types.items():
        base = type_ if type_ not in ("lstm", "gru") else type_.upper()
        assert classes[name] in (*TYPES.get(type_, ()), base), f"{name} is {classes[name]}, and not {type_}"
    assert {
        "conv2d",
        "batch_normalization",
        "dense",
        "embedding",
        "multi_head_attention",
        "layer_normalization",
    } <= set(types.values())
    assert {"lstm", "gru"} <= set(types.values())
