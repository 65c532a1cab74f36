"""Relative positions in attention: buckets, addends of scores, counts of T5, and what they refuse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import paramctl as pc
from paramctl.compute.space import NUMPY
from paramctl.errors import DocumentError
from paramctl.model.layers import LAYERS
from paramctl.model.layers.call import Call, NotComputed
from paramctl.model.layers.relative_position import RelativePosition
from tests.conftest import Run, model


def t5_small() -> str:
    """The document of T5-small (Raffel et al., 2020). All layers of a side share the table of the first."""
    attention = "num_heads: 8, key_dim: 64, use_bias: false"
    feed = (
        "  - residual: [rms_normalization, {dense: {units: 2048, use_bias: false, activation: relu}},"
        " {dense: {units: 512, use_bias: false}}]\n"
    )
    lines = [
        "inputs: {source: {shape: [null], dtype: int32}, target: {shape: [null], dtype: int32}}\nlayers:\n"
        "  - embedding: {name: shared, from: source, input_dim: 32128, output_dim: 512}\n"
    ]
    for side, bidirectional in (("encoder", "true"), ("decoder", "false")):
        for index in range(6):
            option = f"relative_position: {{bidirectional: {bidirectional}}}"
            if side == "decoder":
                option += ", use_causal_mask: true"
            own = f"multi_head_attention: {{name: self, {attention}, {option}}}"
            lines.append(f"  - residual: {{name: {side}-{index}, layers: [rms_normalization, {{{own}}}]}}\n")
            if side == "decoder":
                across = f"multi_head_attention: {{{attention}, value: encoded}}"
                lines.append(f"  - residual: [rms_normalization, {{{across}}}]\n")
            lines.append(feed)
        if side == "encoder":
            lines += ["  - rms_normalization: {name: encoded}\n", "  - reuse: {layer: shared, from: target}\n"]
    lines.append("  - rms_normalization\n  - dense: {name: head, units: 32128, use_bias: false}\nties:\n")
    lines.append("  - {keep: shared/embeddings, tie: head/kernel, transpose: true}\n")
    for side in ("encoder", "decoder"):
        table = "self/relative_position/embeddings"
        tied = ", ".join(f"{side}-{index}/{table}" for index in range(1, 6))
        lines.append(f"  - {{keep: {side}-0/{table}, tie: [{tied}]}}\n")
    return "".join(lines)


def test_t5_small_has_its_published_number_of_parameters() -> None:
    """60,506,624, those of google-t5/t5-small; a layer of the encoder has 1,048,576 in its attention, and 256 once."""
    built = model(t5_small())
    assert pc.summary(built).totals.parameters == 60_506_624
    tables = [path for path in built.parameters if path.endswith("relative_position/embeddings")]
    assert len(tables) == 12
    assert {built.parameters[path].shape for path in tables} == {(32, 8)}
    assert len({built.owner(path).path for path in tables}) == 2
    first = [parameter for path, parameter in built.parameters.items() if path.startswith("encoder-0/self/")]
    assert sum(parameter.size for parameter in first) == 4 * 512 * 512 + 256
    assert first[-1].fans is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # 2 * log2(n / 8) ranges above 8: they begin at 8, 12, 16, 23, 32, 46, 64 and 91
        (
            {},
            {
                -1: 17,
                -7: 23,
                -8: 24,
                -127: 31,
                -1000: 31,
                0: 0,
                1: 1,
                7: 7,
                8: 8,
                11: 8,
                12: 9,
                15: 9,
                16: 10,
                22: 10,
                23: 11,
                31: 11,
                32: 12,
                45: 12,
                46: 13,
                63: 13,
                64: 14,
                90: 14,
                91: 15,
                128: 15,
                10**6: 15,
            },
        ),
        # 16 / 3 * log2(n / 16) above 16; keys after the query are at distance 0
        (
            {"bidirectional": False},
            {-1: 0, -300: 0, 0: 0, 1: 1, 15: 15, 16: 16, 18: 16, 19: 17, 31: 21, 33: 21, 35: 22, 127: 31, 500: 31},
        ),
        ({"buckets": 4, "max_distance": 2}, {-9: 3, -1: 3, 0: 0, 1: 1, 2: 1, 9: 1}),
        ({"buckets": 2, "max_distance": 8, "bidirectional": False}, {-4: 0, 0: 0, 1: 1, 9: 1}),
    ],
)
def test_buckets_of_distances(options: dict[str, Any], expected: dict[int, int]) -> None:
    position = RelativePosition(**options)
    position.check()
    buckets = position.buckets_of(NUMPY, np.array([*expected]))
    assert dict(zip(expected, buckets.tolist(), strict=True)) == expected


def test_the_table_is_added_to_scores() -> None:
    """With queries of 0 the weights are the softmax of the table's column: here 1 before, 2 at, 3 after the query."""
    position = RelativePosition(buckets=4, max_distance=2)
    layer = LAYERS["multi_head_attention"](num_heads=2, key_dim=1, use_bias=False, relative_position=position)
    table = np.log(np.array([[2, 1], [1, 1], [9, 9], [3, 1]], "f"))
    parameters = {
        "query/kernel": np.zeros((1, 2, 1), "f"),
        "key/kernel": np.ones((1, 2, 1), "f"),
        "value/kernel": np.ones((1, 2, 1), "f"),
        "attention_output/kernel": np.array([[[1, 0]], [[0, 1]]], "f"),
        "relative_position/embeddings": table,
    }
    x = np.array([1, 2, 4], "f").reshape(1, 3, 1)
    output = layer.compute(Call(NUMPY, parameters), x)
    assert output.dtype == np.float32
    first = [(2 * 1 + 3 * 2 + 3 * 4) / 8, (1 + 2 * 2 + 3 * 4) / 6, (1 + 2 + 2 * 4) / 4]
    assert np.allclose(output[0], [[value, 7 / 3] for value in first], rtol=1e-6)
    with pytest.raises(NotComputed, match="relative_position requires that one axis is attended to"):
        layer.compute(Call(NUMPY, parameters), x.reshape(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{buckets: 6}", "buckets of relative_position must be a multiple of 4, not 6"),
        ("{buckets: 3, bidirectional: false}", "buckets of relative_position must be a multiple of 2, not 3"),
        ("{buckets: 64, max_distance: 16}", "max_distance of relative_position must be above 16"),
        ("{bucket: 4}", "relative_position has no such option .* Did you mean 'buckets'"),
        ("32", "relative_position must be a mapping with any of buckets, max_distance"),
    ],
)
def test_relative_positions_that_are_refused(value: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        model(
            f"input: [5, 4]\nlayers: [{{multi_head_attention: {{num_heads: 2, key_dim: 2, relative_position: {value}}}}}]"
        )


def test_torch_gets_an_embedding_and_keras_is_refused(paramctl: Run, tmp_path: Path) -> None:
    layer = "grouped_query_attention: {name: m, head_dim: 2, num_query_heads: 4, num_key_value_heads: 2"
    (tmp_path / "m.yaml").write_text(f"input: [5, 4]\nlayers: [{{{layer}, relative_position: {{buckets: 8}}}}}}]\n")
    assert paramctl("init", "m.yaml", "--preset", "torch", "-o", "m.h5", "-q").returncode == 0
    assert paramctl("save", "m.h5", "--layout", "torch", "-o", "t.safetensors").returncode == 0
    assert load_file(tmp_path / "t.safetensors")["m.relative_position.weight"].shape == (8, 4)
    refused = paramctl("save", "m.h5", "-o", "m.keras")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "has no relative_position" in refused.stderr


def test_the_gradient_of_the_table_is_that_of_finite_differences() -> None:
    from paramctl.compute.gradient_space import GRADIENTS, gradient

    rng = np.random.default_rng(0)
    position = RelativePosition(buckets=4, max_distance=3)
    layer = LAYERS["multi_head_attention"](num_heads=2, key_dim=3, use_causal_mask=True, relative_position=position)
    x = rng.standard_normal((2, 5, 4))
    arrays = {parameter.path: rng.standard_normal(parameter.shape) for parameter in layer.parameters((None, 5, 4))}
    _, gradients = gradient(lambda arrays: GRADIENTS.sum(layer.compute(Call(GRADIENTS, arrays), x) ** 2), arrays)
    table = "relative_position/embeddings"
    for place in np.ndindex(4, 2):
        losses = []
        for step in (1e-6, -1e-6):
            moved = arrays[table].copy()
            moved[place] += step
            losses.append((layer.compute(Call(NUMPY, arrays | {table: moved}), x) ** 2).sum())
        assert np.isclose(gradients[table][place], (losses[0] - losses[1]) / 2e-6, rtol=1e-5, atol=1e-6)
