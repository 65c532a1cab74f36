"""--exactly torch: the recorded bits of torch, the order of its draws, and what it refuses. No test imports torch."""

from __future__ import annotations

import json
from pathlib import Path
from time import process_time

import numpy as np
import pytest

import paramctl as pc
from paramctl.conversion.torch import torch_layout
from paramctl.edit.reopen import reopen
from paramctl.errors import AddressError, OutputError
from paramctl.model.layers import LAYERS
from tests.conftest import model
from tests.exact_d2l import PAGES, Page
from tests.exact_torch_networks import NETWORKS, RECORDED, SEEDS, hash_of, initialized
from tests.test_layers import CASES

MLP = NETWORKS["mlp"].document
BARE = {"class_token", "expression", "normalization", "scale"}
"""Layers of which torch.nn has no module, so that torch code makes their tensors itself."""


@pytest.mark.parametrize("exactly", ["torch", "torch:no-fma"])
@pytest.mark.parametrize("name", NETWORKS)
def test_recorded_bits(name: str, exactly: str) -> None:
    """Five seeds each. tests/interop/test_exact_torch.py tests that the hashes are torch's."""
    recorded = json.loads(RECORDED.read_text())[exactly][name]
    assert {str(seed): hash_of(initialized(name, seed, exactly).source.base) for seed in SEEDS} == recorded


def test_only_promised_bits_depend_on_the_kernels() -> None:
    """A parameter is equal with both kinds of kernels if its promise names no machine, and most others differ."""
    equal, different = 0, 0
    for name in NETWORKS:
        fused, default = initialized(name, 1), initialized(name, 1, "torch:no-fma")
        for path, promise in fused.source.plan.promises.items():
            same = fused[path][...].tobytes() == default[path][...].tobytes()
            if "AVX2" not in promise.text:
                assert same, (name, path)
                equal += 1
            elif not same:
                different += 1
    assert equal > 20
    assert different > 50


def test_every_layer_says_what_its_module_draws() -> None:
    """The calls of the constructor fill every tensor of torch's module, and no other."""
    seen = set()
    for document in [*(case[0] for case in CASES.values()), *(network.document for network in NETWORKS.values())]:
        structure = model(document)
        layout = torch_layout(structure)
        for block in structure.walk():
            tensors = {
                name.removeprefix(f"{block.path.replace('/', '.')}."): tensor.arrangement.shape
                for name, tensor in layout.tensors.items()
                if tensor.layer == block.path
            }
            if tensors and block.reuse_of is None and block.type not in BARE:
                assert {call.tensor for call in block.layer.torch_draws(tensors)} == tensors.keys(), document
                seen.add(block.type)
    default = LAYERS["flatten"].torch_draws
    assert seen == {name for name, layer in LAYERS.items() if layer.torch_draws is not default}


def test_the_recorded_networks_have_every_layer_that_torch_has() -> None:
    blocks = [block for network in NETWORKS.values() for block in model(network.document).walk()]
    default = LAYERS["flatten"].torch
    assert {block.type for block in blocks} >= {name for name, layer in LAYERS.items() if layer.torch is not default}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_lines_that_d2l_prints(page: Page) -> None:
    drawn = pc.initialize(model(page.document), exactly="torch", order=page.order, seed=0)
    for address, line in page.lines.items():
        path, bracket, indices = address.partition("[")
        values = np.asarray(drawn[path][...])
        values = eval(f"values[{indices}", {"values": values}) if bracket else values  # noqa: S307
        assert ", ".join(f"{value:.4f}" for value in np.ravel(values)) == line, address


def test_what_a_truncated_law_depends_on_is_carried_to_all_draws_after_it() -> None:
    """Its bits decide how many numbers it takes. A bias of U(-0.5, 0.5) alone has the same bits everywhere."""
    layers = ["{dense: 4}", "{dense: {units: 4, kernel_initializer: {trunc_normal: {std: 0.1}}}}", "{dense: 4}"]
    rules = {"dense/bias": "random_uniform:minval=-0.5,maxval=0.5", "dense_2/bias": "random_uniform:minval=0,maxval=1"}
    drawn = pc.initialize(model(f"input: [4]\nlayers: [{', '.join(layers)}]"), exactly="torch", rules=rules)
    promised = {row.path: row.exactly for row in drawn.report}
    assert promised["dense/bias"] == "torch>=2.12"
    assert promised["dense_1/kernel"] == "torch>=2.12, x86-64 with AVX2"
    assert promised["dense_2/bias"] == "torch>=2.12, x86-64 with AVX2"
    small = initialized("mlp in bfloat16", 0).source.plan.promises["dense/bias"]
    assert small.text == "torch>=2.13"


def test_a_few_normal_values_with_a_mean_depend_on_the_kernels() -> None:
    """Each is a product and a sum, which only some processors round once. Without a mean, there is no sum."""
    order = ["**", "dense/kernel=random_normal:mean=0.3,stddev=0.7", "dense/bias=random_normal:mean=0,stddev=0.7"]
    document = model("input: [2]\nlayers: [{dense: 3}]")
    kinds = [
        pc.initialize(document, exactly=exactly, order=order, dtype="float64") for exactly in ("torch", "torch:no-fma")
    ]
    kernel, bias = ([drawn[f"dense/{name}"][...].tobytes() for drawn in kinds] for name in ("kernel", "bias"))
    promises = kinds[0].source.plan.promises
    assert kernel[0] != kernel[1]
    assert promises["dense/kernel"].text == "torch>=2.12, x86-64 with AVX2, glibc"
    assert bias[0] == bias[1]
    assert promises["dense/bias"].text == "torch>=2.12, glibc"


def test_a_padded_truncated_law_carries_what_it_depends_on_too() -> None:
    embedding = "{embedding: {input_dim: 9, output_dim: 6, embeddings_initializer: {padded: {initializer: %s}}}}"
    document = f"inputs: {{w: {{shape: [6], dtype: int32}}}}\nlayers: [{embedding}, {{dense: 4}}]"
    rules = {"dense/bias": "random_uniform:minval=0,maxval=1"}
    laws = ("{trunc_normal: {std: 0.1}}", "{random_normal: {stddev: 0.1}}")
    drawn = [pc.initialize(model(document % law), exactly="torch", rules=rules) for law in laws]
    promised = [each.source.plan.promises["dense/bias"].text for each in drawn]
    assert promised == ["torch>=2.12, x86-64 with AVX2", "torch>=2.12"]


@pytest.mark.parametrize(("scheme", "dtype"), [("random_normal:stddev=1e300", "float32"), ("constant:1e6", "float16")])
def test_values_beyond_the_range_of_a_dtype_are_an_error(scheme: str, dtype: str) -> None:
    drawn = pc.initialize(model(MLP), exactly="torch", dtype=dtype, rules={"dense/kernel": scheme})
    with pytest.raises(OutputError, match=f"dense.weight: a value exceeds the range of {dtype}"):
        drawn["dense/kernel"][...]


@pytest.mark.parametrize("name", ["classifier", "gpt", "resnet", "decoder"])
def test_the_torch_layout_has_the_tensors_that_torch_drew(name: str, tmp_path: Path) -> None:
    """Both biases of a recurrent layer too, of which the model has the sum. A description gives the same values."""
    (tmp_path / "m.yaml").write_text(NETWORKS[name].document)
    drawn = pc.initialize(tmp_path / "m.yaml", exactly="torch", order=NETWORKS[name].order, seed=1)
    tensors = pc.convert(drawn, layout="torch")
    again = reopen(json.loads(json.dumps(tensors.describe())))
    for path, parameter in drawn.source.base.model.parameters.items():
        expected = drawn.source.base.read(path, 0, parameter.size)
        assert tensors[path][...].tobytes() == expected.tobytes(), path
        assert again.read(path, 0, parameter.size).tobytes() == expected.tobytes(), path
        assert tensors.source.origin.provenance[path].exactly.startswith("torch>=2.12")
    if name == "gpt":
        assert np.array_equal(tensors["head.weight"][...], tensors["wte.weight"][...])
    if name == "classifier":
        assert np.any(tensors["lstm.bias_hh_l0"][...])
    if name == "resnet":
        assert tensors["unit0.add.batch_normalization.num_batches_tracked"][...] == 0


REFUSED = {
    "layers: [{dense: {units: 3, kernel_initializer: he_normal}}]": "has no he_normal; use kaiming_normal",
    "layers: [{dense: {units: 3, kernel_initializer: variance_scaling}}]": "has no variance_scaling",
    "layers: [{dense: {units: 3, kernel_initializer: {lecun_uniform: 2}}}]": "no lecun_uniform with a gain",
    "layers: [{dense: {units: 3, kernel_initializer: {he_uniform: fan_avg}}}]": "has no mode fan_avg",
    "layers: [{dense: {units: 3, kernel_initializer: {kaiming_normal: {nonlinearity: gelu}}}}]": "not support gelu",
    "layers: [{dense: {units: 3, kernel_initializer: {mixture: [[0.5, ones], [0.5, zeros]]}}}]": "only mixtures of 0",
    "layers: [{dense: {units: 3, kernel_initializer: {trunc_normal: {a: 1, b: 2}}}}]": "few values are within",
    "layers: [{dense: {units: 3, kernel_initializer: {truncated_normal: {stddev: 0}}}}]": "a standard deviation above 0",
    "layers: [{dense: {units: 3, kernel_initializer: {uniform: [-3.0e+38, 3.0e+38]}}}]": "in the range of float32",
    "layers: [{dense: {units: 3, kernel_initializer: orthogonal}}]": "add --allow close",
    "layers: [{expression: {formula: x @ w, params: {w: {shape: [4, 2]}}}}]": "Write its initializer",
    "layers: [{p_re_lu: {name: a}}, {unit_normalization: {}}, {conv_lstm: 3}]": "conv_lstm",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_what_torch_does_not_draw_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError if "conv_lstm" in text else AddressError, match=message):
        pc.initialize(model(f"input: [4]\n{text}"), exactly="torch")


ORDERS = {
    ("dense/kernel=normal",): "is not constructed yet",
    ("**", "dense/bias=xavier_uniform"): "requires fans",
    ("**", "dense/kernel[0]=normal"): "not slices",
    ("rand(99999, 99999)",): "throws away at most",
    ("conv",): "has no parameter with this name",
    ("**", "**/kernel=he_normal"): "use kaiming_normal",
}


@pytest.mark.parametrize(("order", "message"), ORDERS.items())
def test_an_order_that_no_program_has_is_refused(order: tuple[str, ...], message: str) -> None:
    with pytest.raises(AddressError, match=message):
        pc.initialize(model(MLP), exactly="torch", order=order)


def test_orthogonal_values_in_a_half_dtype_are_refused() -> None:
    """torch.linalg.qr has none either."""
    for dtype in ("float16", "bfloat16"):
        with pytest.raises(AddressError, match=f"orthogonal_ requires float32 or float64, not {dtype}"):
            pc.initialize(model(MLP), exactly="torch", dtype=dtype, rules={"dense/kernel": "orthogonal"}, allow="close")


@pytest.mark.parametrize("scheme", ["orthogonal", "{sparse: {sparsity: 0.5}}"])
def test_a_padded_law_has_independent_values(scheme: str) -> None:
    order = ["**", f"embedding/embeddings={{padded: {{initializer: {scheme}}}}}"]
    with pytest.raises(AddressError, match="no independent values, which padded requires"):
        pc.initialize(model(NETWORKS["classifier"].document), exactly="torch", order=order, allow="close")


def test_random_values_of_integers_are_refused() -> None:
    order = ["**", "normalization/count=uniform"]
    with pytest.raises(AddressError, match="torch draws no random values in int32"):
        pc.initialize(model("input: [4]\nlayers: [normalization]"), exactly="torch", order=order)


def test_the_documents_order_applies_unless_another_one_is_given() -> None:
    drawn = pc.initialize(model(f"order: ['rand(2, 4)']\n{MLP}"), exactly="torch")
    assert hash_of(drawn.source.base) == hash_of(initialized("lazy mlp", 0).source.base)
    plain = pc.initialize(model(f"order: ['rand(2, 4)']\n{MLP}"), exactly="torch", order=["**"])
    assert hash_of(plain.source.base) == hash_of(initialized("mlp", 0).source.base)


def test_an_order_of_many_items_takes_linear_time() -> None:
    """One for each of 1,000 layers takes less than four times the time of none."""
    names = ["dense", *(f"dense_{number}" for number in range(1, 1000))]
    document = model(f"input: [3]\nlayers: [{', '.join(['{dense: 3}'] * len(names))}]")

    def seconds(*order: str) -> float:
        start = process_time()
        pc.initialize(document, exactly="torch", order=order)
        return process_time() - start

    seconds()  # which imports modules
    assert seconds("**", *(f"{name}/kernel=normal" for name in names)) < 4 * max(seconds(), 0.1)


def test_one_tensor_has_one_scheme() -> None:
    document = "input: [6, 8]\nlayers: [{multi_head_attention: {num_heads: 2, key_dim: 4}}]\n"
    rules = {"*/query/kernel": "normal"}
    with pytest.raises(AddressError, match=r"in_proj_weight is one tensor, so its parts must have the same scheme"):
        pc.initialize(model(document), exactly="torch", rules=rules)


def test_a_pattern_skips_parameters_to_which_a_scheme_does_not_apply() -> None:
    drawn = pc.initialize(model(MLP), exactly="torch", order=["**", "**=xavier_uniform"])
    schemes = {row.path: row.scheme for row in drawn.report}
    assert schemes["dense/kernel"] == "xavier_uniform_(gain=1.0)"
    assert schemes["dense/bias"] == "uniform_(a=-0.5, b=0.5)"


def test_a_scheme_of_a_recurrent_bias_is_that_of_the_sum() -> None:
    """torch adds two biases, of which the second is then 0."""
    document = "input: [6, 8]\nlayers: [{lstm: {units: 3, bias_initializer: {constant: 2}, unit_forget_bias: false}}]"
    drawn = pc.initialize(model(document), exactly="torch")
    assert set(np.ravel(drawn["lstm/lstm_cell/bias"][...])) == {2.0}
