"""Output shape, parameters and fans of every layer, compared with values derived by hand."""

import ast

import pytest

from paramctl.errors import AddressError, DocumentError
from paramctl.inspect.layers import option_rows
from paramctl.model.layers import LAYERS, Layer
from tests.conftest import ROOT, model

IMAGE = "input: [8, 9, 6]\n"
TEXT = "input: [5, 6]\n"

# document, output shape, {parameter: shape}
CASES = {
    "conv2d": (
        IMAGE + "layers: [{conv2d: {filters: 4, kernel_size: [3, 2], strides: 2, groups: 2}}]",
        (None, 3, 4, 4),
        {"kernel": (3, 2, 3, 4), "bias": (4,)},
    ),
    "conv2d same": (
        IMAGE + "layers: [{conv2d: {filters: 4, kernel_size: 3, strides: 2, padding: same, use_bias: false}}]",
        (None, 4, 5, 4),
        {"kernel": (3, 3, 6, 4)},
    ),
    "conv2d dilated": (
        IMAGE + "layers: [{conv2d: {filters: 1, kernel_size: 3, dilation_rate: 3, use_bias: false}}]",
        (None, 2, 3, 1),
        {"kernel": (3, 3, 6, 1)},
    ),
    "conv2d channels first": (
        IMAGE + "layers: [{conv2d: {filters: 2, kernel_size: 3, data_format: channels_first, use_bias: false}}]",
        (None, 2, 7, 4),
        {"kernel": (3, 3, 8, 2)},
    ),
    "conv1d causal": (
        TEXT + "layers: [{conv1d: {filters: 2, kernel_size: 3, padding: causal}}]",
        (None, 5, 2),
        {"kernel": (3, 6, 2), "bias": (2,)},
    ),
    "depthwise": (
        IMAGE + "layers: [{depthwise_conv2d: {kernel_size: 3, depth_multiplier: 2}}]",
        (None, 6, 7, 12),
        {"kernel": (3, 3, 6, 2), "bias": (12,)},
    ),
    "max pooling": (IMAGE + "layers: [max_pooling2d]", (None, 4, 4, 6), {}),
    "average pooling": (
        IMAGE + "layers: [{average_pooling2d: {pool_size: 3, strides: 1, padding: same}}]",
        (None, 8, 9, 6),
        {},
    ),
    "global pooling": (IMAGE + "layers: [global_average_pooling2d]", (None, 6), {}),
    "global pooling, axes kept": (IMAGE + "layers: [{global_max_pooling2d: {keepdims: true}}]", (None, 1, 1, 6), {}),
    "zero padding": (IMAGE + "layers: [{zero_padding2d: [[1, 2], [0, 3]]}]", (None, 11, 12, 6), {}),
    "flatten": (IMAGE + "layers: [flatten]", (None, 8 * 9 * 6), {}),
    "reshape": (IMAGE + "layers: [{reshape: [-1, 12]}]", (None, 36, 12), {}),
    "permute": (IMAGE + "layers: [{permute: [3, 1, 2]}]", (None, 6, 8, 9), {}),
    "take": (TEXT + "layers: [{take: {index: -1, axis: 1}}]", (None, 6), {}),
    "glu": (TEXT + "layers: [glu]", (None, 5, 3), {}),
    "reduce_sum": (TEXT + "layers: [reduce_sum]", (), {}),
    "batch_normalization": (
        IMAGE + "layers: [{batch_normalization: {axis: 1, scale: false}}]",
        (None, 8, 9, 6),
        {"beta": (8,), "moving_mean": (8,), "moving_variance": (8,)},
    ),
    "layer_normalization": (
        TEXT + "layers: [{layer_normalization: {axis: [1, 2]}}]",
        (None, 5, 6),
        {"gamma": (5, 6), "beta": (5, 6)},
    ),
    "position_embedding": (TEXT + "layers: [{position_embedding: 7}]", (None, 5, 6), {"embeddings": (7, 6)}),
    "lstm": (
        TEXT + "layers: [{lstm: {units: 3, return_sequences: true}}]",
        (None, 5, 3),
        {"lstm_cell/kernel": (6, 12), "lstm_cell/recurrent_kernel": (3, 12), "lstm_cell/bias": (12,)},
    ),
    "attention": (
        TEXT + "layers: [{multi_head_attention: {num_heads: 2, key_dim: 3, value_dim: 5, output_shape: 7}}]",
        (None, 5, 7),
        {
            "query/kernel": (6, 2, 3),
            "query/bias": (2, 3),
            "key/kernel": (6, 2, 3),
            "key/bias": (2, 3),
            "value/kernel": (6, 2, 5),
            "value/bias": (2, 5),
            "attention_output/kernel": (2, 5, 7),
            "attention_output/bias": (7,),
        },
    ),
    "cross-attention": (
        "inputs: {text: [5, 6], image: [9, 4]}\n"
        "layers: [{multi_head_attention: {num_heads: 2, key_dim: 3, from: text, value: image, use_bias: false}}]",
        (None, 5, 6),
        {
            "query/kernel": (6, 2, 3),
            "key/kernel": (4, 2, 3),
            "value/kernel": (4, 2, 3),
            "attention_output/kernel": (2, 3, 6),
        },
    ),
    "attention with biases of some projections": (
        TEXT + "layers: [{multi_head_attention: {num_heads: 2, key_dim: 3, use_bias: [attention_output, query]}}]",
        (None, 5, 6),
        {
            "query/kernel": (6, 2, 3),
            "query/bias": (2, 3),
            "key/kernel": (6, 2, 3),
            "value/kernel": (6, 2, 3),
            "attention_output/kernel": (2, 3, 6),
            "attention_output/bias": (6,),
        },
    ),
    "grouped attention with a bias of the key": (
        TEXT + "layers: [{grouped_query_attention: [3, 4, 2, 0, [key]]}]",
        (None, 5, 6),
        {
            "query/kernel": (6, 4, 3),
            "key/kernel": (6, 2, 3),
            "key/bias": (2, 3),
            "value/kernel": (6, 2, 3),
            "attention_output/kernel": (4, 3, 6),
        },
    ),
    "dense": (TEXT + "layers: [{dense: 3}]", (None, 5, 3), {"kernel": (6, 3), "bias": (3,)}),
    "embedding": ("input: [5]\nlayers: [{embedding: [10, 3]}]", (None, 5, 3), {"embeddings": (10, 3)}),
    "class_token": (TEXT + "layers: [class_token]", (None, 6, 6), {"embeddings": (1, 6)}),
    "conv3d": (
        "input: [4, 5, 6, 2]\nlayers: [{conv3d: {filters: 3, kernel_size: 2}}]",
        (None, 3, 4, 5, 3),
        {"kernel": (2, 2, 2, 2, 3), "bias": (3,)},
    ),
    "depthwise_conv1d": (
        TEXT + "layers: [{depthwise_conv1d: {kernel_size: 2, strides: 2}}]",
        (None, 2, 6),
        {"kernel": (2, 6, 1), "bias": (6,)},
    ),
    "separable_conv1d": (
        TEXT + "layers: [{separable_conv1d: {filters: 4, kernel_size: 2, use_bias: false}}]",
        (None, 4, 4),
        {"depthwise_kernel": (2, 6, 1), "pointwise_kernel": (1, 6, 4)},
    ),
    "separable_conv2d": (
        IMAGE + "layers: [{separable_conv2d: {filters: 4, kernel_size: 3, depth_multiplier: 2}}]",
        (None, 6, 7, 4),
        {"depthwise_kernel": (3, 3, 6, 2), "pointwise_kernel": (1, 1, 12, 4), "bias": (4,)},
    ),
    "conv1d_transpose": (
        TEXT + "layers: [{conv1d_transpose: {filters: 4, kernel_size: 3, strides: 2}}]",
        (None, 11, 4),
        {"kernel": (3, 4, 6), "bias": (4,)},
    ),
    "conv2d_transpose": (
        IMAGE + "layers: [{conv2d_transpose: {filters: 4, kernel_size: 3, strides: 2, padding: same}}]",
        (None, 16, 18, 4),
        {"kernel": (3, 3, 4, 6), "bias": (4,)},
    ),
    "conv3d_transpose": (
        "input: [4, 5, 6, 2]\nlayers: [{conv3d_transpose: {filters: 3, kernel_size: 1, strides: 3, output_padding: 1}}]",
        (None, 11, 14, 17, 3),
        {"kernel": (1, 1, 1, 3, 2), "bias": (3,)},
    ),
    "max_pooling1d": (TEXT + "layers: [max_pooling1d]", (None, 2, 6), {}),
    "max_pooling3d": ("input: [4, 5, 6, 2]\nlayers: [max_pooling3d]", (None, 2, 2, 3, 2), {}),
    "average_pooling1d": (TEXT + "layers: [{average_pooling1d: 3}]", (None, 1, 6), {}),
    "average_pooling3d": ("input: [4, 5, 6, 2]\nlayers: [{average_pooling3d: 2}]", (None, 2, 2, 3, 2), {}),
    "global_max_pooling1d": (TEXT + "layers: [global_max_pooling1d]", (None, 6), {}),
    "global_max_pooling3d": ("input: [4, 5, 6, 2]\nlayers: [global_max_pooling3d]", (None, 2), {}),
    "global_average_pooling1d": (TEXT + "layers: [global_average_pooling1d]", (None, 6), {}),
    "global_average_pooling3d": ("input: [4, 5, 6, 2]\nlayers: [global_average_pooling3d]", (None, 2), {}),
    "adaptive_max_pooling1d": (TEXT + "layers: [{adaptive_max_pooling1d: 3}]", (None, 3, 6), {}),
    "adaptive_max_pooling2d": (IMAGE + "layers: [{adaptive_max_pooling2d: [3, 4]}]", (None, 3, 4, 6), {}),
    "adaptive_max_pooling3d": ("input: [4, 5, 6, 2]\nlayers: [{adaptive_max_pooling3d: 1}]", (None, 1, 1, 1, 2), {}),
    "adaptive_average_pooling1d": (TEXT + "layers: [{adaptive_average_pooling1d: 3}]", (None, 3, 6), {}),
    "adaptive_average_pooling2d": (IMAGE + "layers: [{adaptive_average_pooling2d: 2}]", (None, 2, 2, 6), {}),
    "adaptive_average_pooling3d": (
        "input: [4, 5, 6, 2]\nlayers: [{adaptive_average_pooling3d: 2}]",
        (None, 2, 2, 2, 2),
        {},
    ),
    "zero_padding1d": (TEXT + "layers: [{zero_padding1d: [1, 2]}]", (None, 8, 6), {}),
    "zero_padding3d": ("input: [4, 5, 6, 2]\nlayers: [{zero_padding3d: [1, 2, 3]}]", (None, 6, 9, 12, 2), {}),
    "cropping1d": (TEXT + "layers: [{cropping1d: [1, 2]}]", (None, 2, 6), {}),
    "cropping2d": (IMAGE + "layers: [{cropping2d: [[1, 2], [0, 3]]}]", (None, 5, 6, 6), {}),
    "cropping3d": ("input: [4, 5, 6, 2]\nlayers: [cropping3d]", (None, 2, 3, 4, 2), {}),
    "up_sampling1d": (TEXT + "layers: [{up_sampling1d: 3}]", (None, 15, 6), {}),
    "up_sampling2d": (IMAGE + "layers: [{up_sampling2d: [1, 3]}]", (None, 8, 27, 6), {}),
    "up_sampling3d": ("input: [4, 5, 6, 2]\nlayers: [up_sampling3d]", (None, 8, 10, 12, 2), {}),
    "repeat_vector": ("input: [6]\nlayers: [{repeat_vector: 3}]", (None, 3, 6), {}),
    "group_normalization": (
        IMAGE + "layers: [{group_normalization: {groups: 3, center: false}}]",
        (None, 8, 9, 6),
        {"gamma": (6,)},
    ),
    "rms_normalization": (TEXT + "layers: [rms_normalization]", (None, 5, 6), {"scale": (6,)}),
    "unit_normalization": (TEXT + "layers: [unit_normalization]", (None, 5, 6), {}),
    "simple_rnn": (
        TEXT + "layers: [{simple_rnn: 3}]",
        (None, 3),
        {"simple_rnn_cell/kernel": (6, 3), "simple_rnn_cell/recurrent_kernel": (3, 3), "simple_rnn_cell/bias": (3,)},
    ),
    "gru": (
        TEXT + "layers: [{gru: 3}]",
        (None, 3),
        {"gru_cell/kernel": (6, 9), "gru_cell/recurrent_kernel": (3, 9), "gru_cell/bias": (2, 9)},
    ),
    "bidirectional": (
        TEXT + "layers: [{bidirectional: {gru: {units: 3, reset_after: false, use_bias: false}}}]",
        (None, 6),
        {
            "forward_gru/gru_cell/kernel": (6, 9),
            "forward_gru/gru_cell/recurrent_kernel": (3, 9),
            "backward_gru/gru_cell/kernel": (6, 9),
            "backward_gru/gru_cell/recurrent_kernel": (3, 9),
        },
    ),
    "time_distributed": (
        TEXT + "layers: [{time_distributed: {dense: 3}}]",
        (None, 5, 3),
        {"dense/kernel": (6, 3), "dense/bias": (3,)},
    ),
    "grouped_query_attention": (
        TEXT + "layers: [{grouped_query_attention: {head_dim: 3, num_query_heads: 4, num_key_value_heads: 2, use_bias: false}}]",
        (None, 5, 6),
        {
            "query/kernel": (6, 4, 3),
            "key/kernel": (6, 2, 3),
            "value/kernel": (6, 2, 3),
            "attention_output/kernel": (4, 3, 6),
        },
    ),
    "scale": (TEXT + "layers: [{scale: {use_bias: true}}]", (None, 5, 6), {"gamma": (6,), "bias": (6,)}),
    "normalization": (
        IMAGE + "layers: [normalization]",
        (None, 8, 9, 6),
        {"mean": (6,), "variance": (6,), "count": ()},
    ),
    "normalization by options": (
        IMAGE + "layers: [{normalization: {axis: [3, 1], mean: [[2]], variance: [[4]], invert: true}}]",
        (None, 8, 9, 6),
        {},
    ),
    "normalization of everything": (
        TEXT + "layers: [{normalization: {axis: null}}]",
        (None, 5, 6),
        {"mean": (), "variance": (), "count": ()},
    ),
    "expression": (
        TEXT + "layers: [{expression: {formula: relu(x @ weight + bias), params: {weight: [6, 3], bias: [3]}}}]",
        (None, 5, 3),
        {"weight": (6, 3), "bias": (3,)},
    ),
    "p_re_lu": (TEXT + "layers: [{p_re_lu: {shared_axes: 1}}]", (None, 5, 6), {"alpha": (1, 6)}),
    **{name: (TEXT + f"layers: [{{{name}: {{from: [input, input]}}}}]", (None, 5, 6), {}) for name in
       ("add", "average", "maximum", "minimum", "multiply", "subtract")},
    "concatenate": (TEXT + "layers: [{concatenate: {from: [input, input, input]}}]", (None, 5, 18), {}),
    "dot": (TEXT + "layers: [{dot: {axes: 1, from: [input, input]}}]", (None, 6, 6), {}),
    **{name: (TEXT + f"layers: [{entry}]", (None, 5, 6), {}) for name, entry in {
        "activation": "tanh", "re_lu": "re_lu", "leaky_re_lu": "leaky_re_lu", "elu": "elu", "softmax": "softmax",
        "dropout": "{dropout: 0.5}", "spatial_dropout1d": "{spatial_dropout1d: 0.5}",
        "alpha_dropout": "{alpha_dropout: 0.5}", "gaussian_dropout": "{gaussian_dropout: 0.5}",
        "gaussian_noise": "{gaussian_noise: 0.5}", "rescaling": "{rescaling: 2}", "identity": "identity",
        "masking": "masking", "halve_while": "halve_while",
        "centered_layer": "centered_layer",
    }.items()},
    "spatial_dropout2d": (IMAGE + "layers: [{spatial_dropout2d: 0.5}]", (None, 8, 9, 6), {}),
    "spatial_dropout3d": ("input: [4, 5, 6, 2]\nlayers: [{spatial_dropout3d: 0.5}]", (None, 4, 5, 6, 2), {}),
}  # fmt: skip


def test_cases_cover_every_layer_except_those_that_hold_layers() -> None:
    covered = {block.type for document, _, _ in CASES.values() for block in model(document).walk()}
    missing = sorted(LAYERS.keys() - covered - {"residual", "parallel", "experts", "reuse"})
    assert not missing, "\n".join(
        f'add to CASES: "{name}": (DOCUMENT, OUTPUT_SHAPE, {{PARAMETER: SHAPE}}),' for name in missing
    )


@pytest.mark.parametrize(("document", "output", "parameters"), CASES.values(), ids=CASES)
def test_output_and_parameters(document: str, output: object, parameters: dict[str, tuple[int, ...]]) -> None:
    built = model(document)
    (block,) = built.walk()
    assert block.output == output
    assert {path.partition("/")[2]: parameter.shape for path, parameter in built.parameters.items()} == parameters
    assert list(built.parameters) == [f"{block.path}/{name}" for name in parameters]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[query, valve]", "attention_output \\(got 'valve'\\). Did you mean 'value'\\?"),
        ("[query, query]", "use_bias names a projection twice \\(got 'query'\\)"),
        ("{key: false}", "use_bias must be true, false, or a list of query, key, gate, value, attention_output"),
        ("[1]", "use_bias must be true, false, or a list"),
        ("[gate]", "a bias of the gate requires use_gate: true"),
    ],
)
def test_biases_of_projections_that_do_not_exist(value: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        model(TEXT + f"layers: [{{multi_head_attention: {{num_heads: 2, key_dim: 3, use_bias: {value}}}}}]")


# Layers with 64 input channels or features: the inputs of one output, and the outputs of one input.
FANS = {
    "dense": ("input: [64]\nlayers: [{dense: 16}]", (64, 16)),
    "conv": ("input: [8, 8, 64]\nlayers: [{conv2d: {filters: 16, kernel_size: 3}}]", (576, 144)),
    "grouped": ("input: [8, 8, 64]\nlayers: [{conv2d: {filters: 64, kernel_size: 3, groups: 4}}]", (144, 144)),
    "depthwise": ("input: [8, 8, 64]\nlayers: [{depthwise_conv2d: 3}]", (9, 9)),
    "attention": ("input: [8, 64]\nlayers: [{multi_head_attention: {num_heads: 8, key_dim: 8}}]", (64, 64)),
    "lstm": ("input: [8, 64]\nlayers: [{lstm: 16}]", (64, 64)),
    "embedding": ("input: [8]\nlayers: [{embedding: [100, 64]}]", None),
    "transposed": ("input: [8, 8, 64]\nlayers: [{conv2d_transpose: {filters: 16, kernel_size: 3}}]", (576, 144)),
    "transposed, strides 2": (
        "input: [8, 8, 64]\nlayers: [{conv2d_transpose: {filters: 16, kernel_size: 3, strides: 2}}]",
        (144, 144),
    ),
    "separable": ("input: [8, 8, 64]\nlayers: [{separable_conv2d: {filters: 16, kernel_size: 3}}]", (9, 9)),
    "grouped queries": (
        "input: [8, 64]\nlayers: [{grouped_query_attention: {head_dim: 8, num_query_heads: 8, num_key_value_heads: 2}}]",
        (64, 64),
    ),
    "gru": ("input: [8, 64]\nlayers: [{gru: 16}]", (64, 48)),
}


@pytest.mark.parametrize(("document", "fans"), FANS.values(), ids=FANS)
def test_fans_follow_from_the_roles_of_axes(document: str, fans: tuple[int, int] | None) -> None:
    assert next(iter(model(document).parameters.values())).fans == fans


def test_biases_and_norms_have_no_fans() -> None:
    built = model("input: [8]\nlayers: [{dense: 3}, batch_normalization, layer_normalization]")
    others = [parameter for parameter in built.parameters.values() if parameter.kind != "weight"]
    assert len(others) == 7
    assert all(parameter.fans is None for parameter in others)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_has_a_one_line_description(name: str) -> None:
    first_line = (LAYERS[name].__doc__ or "").strip().partition("\n")[0]
    assert first_line.endswith((".", ","))
    assert len(first_line) < 120


def test_the_registry_is_not_empty() -> None:
    assert len(LAYERS) > 30


def subclasses(cls: type) -> set[type]:
    """Return all subclasses of a class, indirect ones too."""
    return {inner for direct in cls.__subclasses__() for inner in {direct, *subclasses(direct)}}


def test_only_the_model_tests_the_class_of_a_layer() -> None:
    """Every fact about a layer is an attribute or a method of its class."""
    names = {cls.__name__ for cls in subclasses(Layer)}
    assert {"Dense", "Recurrent"} <= names
    for path in (ROOT / "paramctl").rglob("*.py"):
        if "model" in path.relative_to(ROOT).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
                tested = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
                assert tested.isdisjoint(names), f"{path}:{node.lineno}"


ELSEWHERE = {
    "Linear": "dense",
    "linear": "dense",
    "nn.Linear": "dense",
    "Conv1d": "conv1d",
    "Conv2d": "conv2d",
    "Conv": "conv2d",
    "ConvTranspose3d": "conv3d_transpose",
    "BatchNorm1d": "batch_normalization",
    "BatchNorm2d": "batch_normalization",
    "batch_norm": "batch_normalization",
    "LayerNorm": "layer_normalization",
    "GroupNorm": "group_normalization",
    "RMSNorm": "rms_normalization",
    "Embed": "embedding",
    "MultiheadAttention": "multi_head_attention",
    "LSTM": "lstm",
    "LSTMCell": "lstm",
    "GRUCell": "gru",
    "RNN": "simple_rnn",
    "MaxPool2d": "max_pooling2d",
    "AvgPool1d": "average_pooling1d",
    "AdaptiveAvgPool2d": "adaptive_average_pooling2d",
    "Dropout": "dropout",
    "Dropout2d": "spatial_dropout2d",
    "ZeroPad2d": "zero_padding2d",
    "Upsample": "up_sampling2d",
    "PReLU": "p_re_lu",
    "LeakyReLU": "leaky_re_lu",
    "ReLU": "re_lu",
    "SiLU": "silu",
    "Hardswish": "hard_swish",
    "LogSoftmax": "log_softmax",
    "keras.layers.Dense": "dense",
    "tf.keras.layers.Conv2D": "conv2d",
}
KERAS = {cls.keras_class or cls.__name__: name for name, cls in LAYERS.items()}


@pytest.mark.parametrize(("name", "meant"), [*ELSEWHERE.items(), *KERAS.items()])
def test_the_name_of_a_layer_elsewhere_is_an_error_with_ours(name: str, meant: str) -> None:
    """Names of torch, Keras, and Flax, in ``layers`` and in a document."""
    if name == meant:
        return
    with pytest.raises(AddressError, match=f"Did you mean '{meant}'\\?$"):
        option_rows([name])
    with pytest.raises(DocumentError, match=f"no layer or block has this type .* Did you mean '{meant}'\\?$"):
        model(f"input: [4]\nlayers:\n  - {name}: {{x: 4}}\n")


def test_linear_alone_is_the_activation_function() -> None:
    """It changes nothing, as an option and as an entry without options."""
    built = model("input: [4]\nlayers:\n  - dense: {units: 3, activation: linear}\n  - linear\n  - linear: {name: x}\n")
    assert [block.type for block in built.blocks] == ["dense", "activation", "activation"]


@pytest.mark.parametrize(
    ("name", "meant"),
    {"ReLU": "relu", "LeakyReLU": "leaky_relu", "HardSigmoid": "hard_sigmoid", "GeLU": "gelu"}.items(),
)
def test_the_name_of_a_function_elsewhere_is_an_error_with_ours(name: str, meant: str) -> None:
    with pytest.raises(DocumentError, match=f"unknown activation function .* Did you mean '{meant}'\\?$"):
        model(f"input: [4]\nlayers:\n  - dense: {{units: 3, activation: {name}}}\n")
