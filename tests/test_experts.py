"""Mixtures of experts: paths and counts, exact outputs, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import paramctl as pc
from paramctl.compute.space import NUMPY
from paramctl.errors import DocumentError
from paramctl.model.layers import LAYERS
from paramctl.model.layers.call import Call
from tests.conftest import Run, model

TWO = "input: [3, 4]\nlayers:\n  - experts: {count: 2, top: 1, layers: [{dense: {units: 5, use_bias: false}}]}\n"

MIXTRAL = """
vars: {width: 4096, depth: 32, heads: 32, key_value_heads: 8, hidden: 14336, vocabulary: 32000, experts: 8}
input: {shape: [null], dtype: int32}
blocks:
  gated:                      # silu(x @ gate) * (x @ up) @ down
    layers:
      - parallel:
          merge: multiply
          branches:
            gate: [{dense: {units: "${hidden}", use_bias: false, activation: silu}}]
            up: [{dense: {units: "${hidden}", use_bias: false}}]
      - dense: {name: down, units: "${width}", use_bias: false}
  block:
    layers:
      - residual:
          name: attention
          layers:
            - rms_normalization
            - grouped_query_attention:
                head_dim: "${width / heads}"
                num_query_heads: "${heads}"
                num_key_value_heads: "${key_value_heads}"
                use_bias: false
      - residual:
          name: mixture
          layers: [rms_normalization, {experts: {count: "${experts}", top: 2, layers: [gated]}}]
layers:
  - embedding: {name: tokens, input_dim: "${vocabulary}", output_dim: "${width}"}
  - block: {name: "block-${i}", repeat: "${depth}"}
  - rms_normalization
  - dense: {name: head, units: "${vocabulary}", use_bias: false}
"""


def test_each_expert_has_parameters_of_its_own_and_the_router_a_kernel() -> None:
    built = model(TWO)
    assert {path: parameter.shape for path, parameter in built.parameters.items()} == {
        "experts/router/kernel": (4, 2),
        "experts/expert-0/dense/kernel": (4, 5),
        "experts/expert-1/dense/kernel": (4, 5),
    }
    assert built.blocks[0].output == (None, 3, 5)


def test_mixtral_has_its_published_number_of_parameters() -> None:
    """46.7 B: Jiang et al. (2024); the safetensors of mistralai/Mixtral-8x7B-v0.1 have 46,702,792,704."""
    assert pc.summary(model(MIXTRAL)).totals.parameters == 46_702_792_704
    small = model(
        MIXTRAL, width="8", depth="1", heads="2", key_value_heads="1", hidden="3", vocabulary="7", experts="4"
    )
    attention, experts = 8 * 8 + 2 * 8 * 4 + 8 * 8, 8 * 4 + 4 * 3 * 8 * 3
    assert pc.summary(small).totals.parameters == 2 * 7 * 8 + attention + experts + 3 * 8


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (1, [[4], [1], [1]]),
        # weights: 3 and 2 of 5; of equal scores, the first two
        (2, [[(3 * 4 + 2 * 2) / 5], [(1 + 2) / 2], [(6 * 1 + 2 * 4) / 8]]),
        (3, [[(3 * 4 + 2 * 2 + 1) / 6], [(1 + 2 + 4) / 3], [(6 + 2 * 4 + 2) / 9]]),
    ],
)
def test_the_best_experts_are_weighted_by_the_softmax_of_their_scores(top: int, expected: list[list[float]]) -> None:
    scores = np.log(np.array([[1, 2, 3], [5, 5, 5], [6, 1, 2]], "f"))
    outputs = [np.full((3, 1), value, "f") for value in (1, 2, 4)]
    mixed = LAYERS["experts"](count=3, top=top, layers=None).compute(Call(NUMPY, {}), scores, *outputs)
    assert mixed.dtype == np.float32
    assert np.allclose(mixed, expected, rtol=1e-6)


def test_a_document_computes_what_its_experts_do(tmp_path: Path) -> None:
    """Against the definition, position by position, from the values of the file."""
    (tmp_path / "m.yaml").write_text(TWO.replace("count: 2, top: 1", "count: 3, top: 2"))
    weights = pc.initialize(tmp_path / "m.yaml", seed=3)
    arrays = {name: np.asarray(array) for name, array in weights.items()}
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype("f")
    expected = np.zeros((2, 3, 5))
    for place in np.ndindex(2, 3):
        scores = x[place] @ arrays["experts/router/kernel"]
        best = np.argsort(-scores)[:2]
        shares = np.exp(scores[best]) / np.exp(scores[best]).sum()
        expected[place] = sum(
            share * (x[place] @ arrays[f"experts/expert-{index}/dense/kernel"])
            for share, index in zip(shares, best, strict=True)
        )
    output = next(iter(pc.run(weights, x).values()))
    assert np.allclose(output, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{count: 2, top: 3, layers: [{dense: 4}]}", "experts: top 3 must be at most count 2"),
        ("{count: 2, top: 1, layers: [flatten]}", "the experts must keep all axes of the input except for the last"),
        ("{count: 2, top: 1}", "layers"),
        ("{count: 0, top: 1, layers: []}", "count must be a positive integer"),
        ("{count: 1000000000000, top: 1, layers: []}", "a model may expand to at most 1,000,000 entries"),
    ],
)
def test_experts_that_cannot_be_mixed_are_refused(options: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        model(f"input: [3, 4]\nlayers: [{{experts: {options}}}]")


def test_experts_can_be_reused_frozen_and_referred_to() -> None:
    built = model(
        "input: [3, 4]\nlayers:\n  - experts: {name: e, count: 2, top: 1, layers: [{dense: 4}], trainable: false}\n"
        "  - reuse: e\n  - dense: {units: 2, from: e/expert-1}\n"
    )
    assert built.blocks[1].reuse_of == "e"
    assert built.blocks[2].inputs == ("e/expert-1",)
    assert {path for path, parameter in built.parameters.items() if parameter.trainable} == {
        "dense/kernel",
        "dense/bias",
    }


def test_each_expert_is_a_module_in_torch_and_keras_is_refused(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(TWO)
    assert paramctl("init", "m.yaml", "-o", "m.h5", "-q").returncode == 0
    assert paramctl("save", "m.h5", "--layout", "torch", "-o", "t.safetensors").returncode == 0
    assert {name: array.shape for name, array in load_file(tmp_path / "t.safetensors").items()} == {
        "experts.router.weight": (2, 4),
        "experts.expert-0.dense.weight": (5, 4),
        "experts.expert-1.dense.weight": (5, 4),
    }
    refused = paramctl("save", "m.h5", "-o", "m.keras")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "Keras has no layer experts" in refused.stderr
    assert not (tmp_path / "m.keras").exists()


def test_the_gradient_of_scores_is_that_of_finite_differences() -> None:
    """Of the weights of the best, that is; scores of the others have none."""
    from paramctl.compute.gradient_space import GRADIENTS, gradient

    rng = np.random.default_rng(0)
    layer = LAYERS["experts"](count=4, top=2, layers=None)
    scores, outputs = rng.standard_normal((3, 4)), [rng.standard_normal((3, 5)) for _ in range(4)]
    _, gradients = gradient(
        lambda arrays: GRADIENTS.sum(layer.compute(Call(GRADIENTS, {}), arrays["scores"], *outputs) ** 2),
        {"scores": scores},
    )
    for place in np.ndindex(3, 4):
        step = np.zeros((3, 4))
        step[place] = 1e-6
        above, below = ((layer.compute(Call(NUMPY, {}), scores + way * step, *outputs) ** 2).sum() for way in (1, -1))
        assert np.isclose(gradients["scores"][place], (above - below) / 2e-6, rtol=1e-5, atol=1e-8)
    assert (gradients["scores"] == 0).sum() == 6
