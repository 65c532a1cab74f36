"""--exactly flax:linen and flax:nnx: the recorded bits of Flax, its names, and what is refused. No test imports Flax."""

from __future__ import annotations

import json

import numpy as np
import pytest

import paramctl as pc
from paramctl.errors import AddressError
from paramctl.init.engines.fused import fma32
from paramctl.init.engines.jax_random import normal, uniform
from paramctl.init.engines.threefry import RandomBits, fold_in, key
from paramctl.model.layers import LAYERS
from tests.conftest import model
from tests.exact_flax_networks import FRAMEWORKS, NETWORKS, RECORDED, SEEDS, hash_of, initialized, tensors_of


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NETWORKS)
def test_recorded_bits(name: str, framework: str) -> None:
    """Five seeds each. tests/interop/test_exact_flax.py tests that the hashes are those of Flax."""
    recorded = json.loads(RECORDED.read_text())[framework][name]
    hashes = {str(seed): hash_of(tensors_of(initialized(name, seed, framework).source.base)) for seed in SEEDS}
    assert hashes == recorded


def test_every_layer_with_modules_in_flax_is_in_a_network() -> None:
    """Layers whose class overrides the default, which is that Flax has none. That at each step has a wrapped one's."""
    default = LAYERS["flatten"].flax
    with_modules = {name for name, layer in LAYERS.items() if layer.flax is not default}
    used = {block.type for network in NETWORKS.values() for block in model(network.document).walk()}
    assert len(with_modules) > 20
    assert {name.rstrip("123d") for name in with_modules - used - {"time_distributed"}} <= {
        "spatial_dropout",
        "separable_conv",
        "grouped_query_attention",
    }


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ("layers: [{dense: 3}, {dense: 2}]", ["params/Dense_0", "params/Dense_1"]),
        ("layers: [{dense: {name: fc, units: 3}}, {dense: 2}]", ["params/fc", "params/Dense_0"]),
        ("layers: [{residual: {layers: [{dense: 4}]}}, {dense: 2}]", ["params/Dense_0", "params/Dense_1"]),
        ("layers: [{residual: {name: r, layers: [{dense: 4}]}}, {dense: 2}]", ["params/r/Dense_0", "params/Dense_0"]),
        (
            "blocks: {my_net: {layers: [{dense: 3}]}}\nlayers: [my_net, {my_net: {name: last}}]",
            ["params/MyNet_0/Dense_0", "params/last/Dense_0"],
        ),
    ],
)
def test_layers_without_a_name_are_numbered_by_class(document: str, names: list[str]) -> None:
    """A layer or block with a name of its own has it in Flax too."""
    drawn = pc.initialize(model(f"input: [4]\n{document}\n"), exactly="flax:linen")
    kernels = [name for name in drawn.source.base.model.parameters if name.endswith("/kernel")]
    assert [name.removesuffix("/kernel") for name in kernels] == names


def test_another_layer_changes_no_key_in_linen_but_all_later_ones_in_nnx() -> None:
    """Names give keys in linen. In nnx the order does, and dropout takes a key, too."""
    with_dropout, without = (
        f"input: [4]\nlayers: [{{dense: 4}}, {layer}{{dense: 2}}]\n" for layer in ("{dropout: 0.5}, ", "")
    )
    for framework, is_equal in (("flax:linen", True), ("flax:nnx", False)):
        first, second = (pc.initialize(model(text), exactly=framework, seed=1) for text in (with_dropout, without))
        assert first["dense/kernel"][...].tobytes() == second["dense/kernel"][...].tobytes()
        assert (first["dense_1/kernel"][...].tobytes() == second["dense_1/kernel"][...].tobytes()) == is_equal


def test_a_dropout_at_each_step_takes_a_key_in_nnx() -> None:
    plain, wrapped = (
        pc.initialize(model(f"input: [4, 6]\nlayers: [{layer}, {{dense: 2}}]\n"), exactly="flax:nnx", seed=1)
        for layer in ("{dropout: 0.5}", "{time_distributed: {dropout: 0.5}}")
    )
    assert plain["dense/kernel"][...].tobytes() == wrapped["dense/kernel"][...].tobytes()


def test_a_large_parameter_is_drawn_in_blocks() -> None:
    """Values from anywhere in an array are those of the whole, which jax.random draws under the folded key."""
    drawn = pc.initialize(
        model("input: [700]\nlayers: [{dense: {units: 900, kernel_initializer: {random_normal: {stddev: 1}}}}]"),
        exactly="flax:nnx",
        seed=5,
    )
    whole = normal(RandomBits(fold_in(key(5), 0)), 0, 700 * 900, "float32")
    assert np.array_equal(drawn["dense/kernel"][...].reshape(-1), whole)
    assert np.array_equal(drawn["dense/kernel"][300:400, 10:20], whole.reshape(700, 900)[300:400, 10:20])


def test_uniform_values_are_rounded_once() -> None:
    """With a bound that is small beside the other, too."""
    source = RandomBits(key(0))
    fractions = (source.draw(0, 1000) >> 9).astype(np.float32) * np.float32(2**-23)
    for low, high in ((1e-9, 1.0), (-0.3, 0.45), (3.0, 7.7)):
        width = np.float32(np.float32(high) - np.float32(low))
        expected = np.maximum(fma32(fractions, float(width), float(np.float32(low))), np.float32(low))
        assert uniform(source, 0, 1000, "float32", low, high).tobytes() == expected.tobytes()


def test_promises_name_what_the_bits_depend_on() -> None:
    promises = initialized("schemes", 0, "flax:linen").source.plan.promises
    assert "FMA" not in promises["dense_2/kernel"].text  # glorot_uniform
    assert "FMA" in promises["dense/kernel"].text
    assert "FMA" in promises["conv2d_2/kernel"].text  # from -0.3 to 0.45
    assert "FMA" not in promises["conv2d_1/bias"].text


def test_the_promise_of_a_uniform_distribution_depends_on_its_width_in_the_dtype() -> None:
    """In float32, 0.001 + 2 - 0.001 is not 2. In half precision, each operation is rounded by itself."""
    for bounds, dtype, needs_fma in (
        ("[0.001, 2.001]", "float32", True),
        ("[0.5, 2.5]", "float32", False),
        ("[-0.3, 0.45]", "bfloat16", False),
    ):
        text = f"input: [4]\nlayers: [{{dense: {{units: 3, kernel_initializer: {{random_uniform: {bounds}}}}}}}]"
        promises = pc.initialize(model(text), exactly="flax:nnx", dtype=dtype).source.plan.promises
        assert ("FMA" in promises["dense/kernel"].text) == needs_fma


DENSE = "layers: [{dense: {units: 3, kernel_initializer: %s}}]"
REFUSED = {
    DENSE % "identity": "has no identity",
    DENSE % "{random_normal: {mean: 1, stddev: 1}}": "no normal distribution with a mean",
    DENSE % "{trunc_normal: {std: 1}}": "has no trunc_normal",
    DENSE % "orthogonal": "add --allow close",
    "layers: [{dense: {units: 3, bias_initializer: {mixture: [[0.5, ones], [0.5, zeros]]}}}]": "has no mixture",
    "layers: [{p_re_lu: {}}]": "Flax has no layer p_re_lu",
    "layers: [{batch_normalization: {moving_mean_initializer: normal}}]": "no random key",
    "layers: [{dense: {name: Dense_0, units: 3}}, {dense: 3}]": "two modules have the name Dense_0",
    "dtype: float64\nlayers: [{dense: 3}]": "draws no float64",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_what_flax_does_not_draw_is_refused(text: str, message: str) -> None:
    with pytest.raises(AddressError, match=message):
        pc.initialize(model(f"input: [4]\n{text}"), exactly="flax:linen")


SEQUENCES = {
    "gru: {units: 2, reset_after: false}": "as with reset_after",
    "lstm: {units: 2, use_bias: false}": "always has a bias",
    "multi_head_attention: {num_heads: 2, key_dim: 4, value_dim: 3}": "keys and values of one size",
    "multi_head_attention: {num_heads: 2, key_dim: 4, use_gate: true}": "has no gate/kernel",
    "multi_head_attention: {num_heads: 2, key_dim: 4, use_bias: [query]}": "biases in all projections, or in none",
    "grouped_query_attention: {head_dim: 4, num_query_heads: 2, num_key_value_heads: 1}": "as many heads of keys",
    "time_distributed: {layer: {dense: 2}}": "Flax has no layer time_distributed",
}


@pytest.mark.parametrize(("layer", "message"), SEQUENCES.items())
def test_options_that_flax_lacks_are_refused(layer: str, message: str) -> None:
    for framework in FRAMEWORKS:
        with pytest.raises(AddressError, match=message):
            pc.initialize(model(f"input: [6, 8]\nlayers: [{{{layer}}}]"), exactly=framework)


@pytest.mark.parametrize(
    ("framework", "order", "message"),
    [
        ("flax:linen", "dense", "depend on the names of modules"),
        ("flax:nnx", "convolution", "no layer matches"),
        ("flax:nnx", "rand(2)", "names layers only"),
        ("flax:nnx", "dense/kernel=normal", "use --rule"),
    ],
)
def test_an_order_that_has_no_effect_is_refused(framework: str, order: str, message: str) -> None:
    with pytest.raises(AddressError, match=message):
        pc.initialize(model("input: [4]\nlayers: [{dense: 3}]"), exactly=framework, order=order)
