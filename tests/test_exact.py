"""`init --exactly`: the plan of a framework's draws, the promise of its values, and what is recorded of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

import paramctl as pc
from paramctl.conversion.exact.order import Constructed, InitializedAgain, NamedBlocks, ThrownAway, parse_order
from paramctl.conversion.exact.plan import ExactPlan, Promise
from paramctl.conversion.exact.registry import FRAMEWORKS
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.views import Arrangement, view
from paramctl.edit.reopen import reopen
from paramctl.errors import AddressError, OutputError
from paramctl.init.distributions import Constant
from paramctl.init.engines.base import DrawRequest
from paramctl.model import Block
from paramctl.store.contents import blocks


class Counting:
    """An engine whose values count on from one request to the next, as a sequence does."""

    name, recipe, addressable = "counting", 1, False

    def start(self, seed, requests):
        return CountingDraws(seed, requests)


@dataclass
class CountingDraws:
    seed: int
    requests: Mapping[str, DrawRequest]

    def block_size(self, path):
        return 4

    def draw(self, path, block):
        start = self.seed
        for name, request in self.requests.items():
            size = int(np.prod(request.shape))
            if name == path:
                break
            start += size
        return np.arange(start + 4 * block, start + min(4 * block + 4, size), dtype=request.dtype)


@dataclass(frozen=True)
class Fake:
    """A framework that draws each kernel transposed, in the order given, and whose biases are only close."""

    name: str = "fake"
    preset: str = "torch"
    versions: str = "fake 1.0"

    def plan(self, model, assigned, order):
        parameters = model.parameters
        items = order or [Constructed(path) for path in parameters]
        requests, tensors, arrangements, promises = {}, {}, {}, {}
        for number, item in enumerate(items):
            if isinstance(item, ThrownAway):
                requests[f"#{number}"] = DrawRequest(Constant(0.0), item.shape, np.dtype("float32"))
                continue
            parameter = parameters[item.pattern]
            name = f"tensor {item.pattern}"
            axes = tuple(reversed(parameter.axes))
            requests[name] = DrawRequest(Constant(0.0), parameter.shape[::-1], numpy_dtype(parameter.dtype))
            tensors[name] = replace(parameter, path=name, axes=axes)
            order_of_axes = tuple(reversed(range(len(axes))))
            arrangements[item.pattern] = Arrangement(
                parameter.shape, (view(name, parameter.shape[::-1], order_of_axes),)
            )
            exact = parameter.kind != "bias"
            promises[item.pattern] = Promise(exact, self.versions if exact else "within 1e-7 of fake 1.0")
        return ExactPlan(Counting(), requests, tensors, arrangements, promises, {"dense/kernel": "counted_()"})


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setitem(FRAMEWORKS, "fake", Fake())


MODEL = "input: [2]\nlayers: [{dense: 3}, {dense: 2}]\n"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(MODEL)
    return str(path)


def test_values_come_from_the_framework_s_tensors_in_its_order_and_are_turned(model):
    weights = pc.initialize(model, exactly="fake", allow="close", seed=100)
    assert np.array_equal(np.asarray(weights["dense/kernel"]), np.arange(100, 106).reshape(3, 2).T)
    assert np.array_equal(np.asarray(weights["dense/bias"]), [106, 107, 108])
    assert np.array_equal(np.asarray(weights["dense_1/kernel"]), np.arange(109, 115).reshape(2, 3).T)


def test_an_order_moves_a_layer_and_throws_numbers_away(model):
    order = ["rand(2, 5)", "dense_1/kernel", "dense/kernel", "dense/bias", "dense_1/bias"]
    weights = pc.initialize(model, exactly="fake", order=order, allow=["close"])
    assert np.asarray(weights["dense_1/kernel"])[0, 0] == 10
    assert np.asarray(weights["dense/kernel"])[0, 0] == 16


def test_the_order_of_a_document_is_used_unless_an_argument_has_one(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(MODEL + "order: ['rand(7)', dense/kernel, dense/bias, dense_1/kernel, dense_1/bias]\n")
    assert np.asarray(pc.initialize(path, exactly="fake", allow="close")["dense/kernel"])[0, 0] == 7
    order = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    assert np.asarray(pc.initialize(path, exactly="fake", allow="close", order=order)["dense/kernel"])[0, 0] == 0


def test_values_that_are_only_close_are_refused_unless_allowed(call, model, tmp_path):
    code, _, stderr = call("init", model, "--exactly", "fake", "-o", str(tmp_path / "a.h5"))
    assert code == 2
    assert "within 1e-7 of fake 1.0; add --allow close" in stderr
    assert "'dense/bias', 'dense_1/bias'" in stderr
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("suffix", ["h5", "safetensors", "npz", "weights.h5"])
def test_a_file_records_the_framework_s_law_and_promise(call, model, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    code, _, stderr = call("init", model, "--exactly", "fake", "--allow", "close", "--seed", "3", "-o", str(path))
    assert code == 0, stderr
    assert "note: the bits of fake 1.0" in stderr
    assert "draws in sequence" in stderr
    listed = json.loads(call("summary", str(path), "--metadata", "--format", "json")[1])
    if suffix != "weights.h5":  # Keras' own layout has no place for it
        assert "within 1e-7 of fake 1.0" in json.dumps(listed)
        origin = pc.open(path).source.origin.provenance["dense/kernel"]
        assert (origin.scheme, origin.seed, origin.exactly) == ("counted_()", 3, "fake 1.0")


def test_the_report_has_the_law_and_the_promise_of_each_parameter(call, model):
    _, stdout, _ = call("init", model, "--exactly", "fake", "--allow", "close", "--dry-run", "--format", "json")
    rows = {row["path"]: row for row in json.loads(stdout)}
    assert rows["dense/kernel"]["scheme"] == "counted_()"
    assert rows["dense/kernel"]["reason"] == "the default of fake"
    assert rows["dense/bias"]["exactly"] == "within 1e-7 of fake 1.0"


def test_the_report_names_the_item_of_an_order_that_initializes_again(call, model):
    items = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias", "dense*/kernel=constant:7"]
    options = [word for item in items for word in ("--order", item)]
    rule = ("--rule", "dense_1/kernel=ones")
    report = ("--dry-run", "--format", "json")
    _, stdout, _ = call("init", model, "--exactly", "torch", *options, *rule, *report)
    rows = {row["path"]: row for row in json.loads(stdout)}
    again = rows["dense/kernel"]
    assert (again["reason"], again["mean"], again["stddev"]) == ("--order dense*/kernel", 7, 0)
    assert rows["dense_1/kernel"]["reason"] == "--rule dense_1/kernel"
    assert rows["dense_1/bias"]["reason"] == "the default of torch"


def test_a_source_is_made_again_from_its_description(model):
    weights = pc.initialize(model, exactly="fake", allow="close", seed=5, rules={"dense/kernel": "normal"})
    again = reopen(json.loads(json.dumps(weights.describe())))
    assert np.array_equal(again.read("dense_1/kernel", 0, 6), weights.source.read("dense_1/kernel", 0, 6))
    assert again.origin.provenance == weights.source.origin.provenance


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--order", "dense"], "order is for a framework's own values"),
        (["--allow", "close"], "allow is for a framework's own values"),
        (["--exactly", "fake", "--fan-convention", "keras"], "fan_convention is not for a framework's own values"),
        (["--exactly", "fake", "--scheme", "lsuv"], "the scheme lsuv is not for a framework's own values"),
        (["--exactly", "fake", "--order", "ones(2)"], "must call rand or randn"),
        (["--exactly", "fake", "--order", "rand((2, 4))"], "as in 'rand(2, 4)' (got 'rand((2, 4))')"),
        (["--exactly", "fake", "--order", "torch.randn(2)"], "as in 'rand(2, 4)'"),
        (["--exactly", "flax:nnx", "--order", "rand(2,  3)"], "an order names layers only"),
        (["--exactly", "flax:nnx", "--order", "rand(2,  3)"], "(got rand(2, 3))"),
        (["--exactly", "keras:jax", "--order", "dense=normal:stddev=2"], "(got dense=random_normal(stddev=2))"),
        (["--exactly", "fake", "--layout", "jax"], "'jax' is not one of"),
        (["--exactly", "fake", "--order", "=normal"], "must be PATTERN"),
        (["--exactly", "jax"], "'jax' is not one of 'torch'"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(call, model, options, words):
    code, stdout, stderr = call("init", model, *options, "--dry-run")
    assert code == 2
    assert words in stderr
    assert stdout == ""


def test_presets_of_another_framework_are_refused(call, model):
    code, stdout, stderr = call("init", model, "--exactly", "torch", "--preset", "keras", "--dry-run")
    assert code == 2
    assert "torch has its own defaults" in stderr
    assert stdout == ""


def test_a_preset_of_a_family_is_used_and_the_rest_has_the_framework_s_defaults(call, tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("input: [5, 2]\nlayers: [{lstm: 3}, {dense: 2}, batch_normalization]\n")
    _, stdout, _ = call("init", str(path), "--exactly", "torch", "--preset", "gpt2", "--dry-run", "--format", "json")
    rows = {row["path"]: row for row in json.loads(stdout)}
    assert (rows["dense/kernel"]["scheme"], rows["dense/kernel"]["stddev"]) == ("normal_(mean=0.0, std=0.02)", 0.02)
    assert rows["lstm/lstm_cell/kernel"]["reason"] == "--preset gpt2"
    assert rows["batch_normalization/gamma"]["reason"] == "the default of torch"


def test_torch_s_layout_keeps_both_biases_of_a_recurrent_layer(call, tmp_path):
    path, both, one = tmp_path / "m.yaml", tmp_path / "both.safetensors", tmp_path / "one.safetensors"
    path.write_text("input: [5, 2]\nlayers: [{lstm: 3}]\n")
    call("init", str(path), "--exactly", "torch", "--layout", "torch", "-o", str(both))
    call("init", str(path), "--exactly", "torch", "-o", str(one))
    with pc.open(both) as of_torch, pc.open(one) as of_model:
        first, second = (np.asarray(of_torch[f"lstm.bias_{name}_l0"]) for name in ("ih", "hh"))
        assert second.any()
        assert np.array_equal(first + second, np.asarray(of_model["lstm/lstm_cell/bias"]))


@pytest.mark.parametrize("framework", ["torch", "keras:jax"])
def test_the_report_of_torch_s_layout_has_the_moments_of_each_array(call, tmp_path, framework):
    path, rows = tmp_path / "m.yaml", []
    path.write_text("input: [5, 2]\nlayers: [{gru: {units: 3, use_bias: false}}, {dense: 4}]\n")
    for number, layout in enumerate([(), ("--layout", "torch")]):
        options = ("--allow", "close", *layout, "-o", str(tmp_path / f"{number}.safetensors"))
        code, stdout, stderr = call("init", str(path), "--exactly", framework, *options, "--format", "json")
        assert code == 0, stderr
        rows.append({row["path"]: (row["measured_mean"], row["measured_stddev"]) for row in json.loads(stdout)})
    own, converted = rows
    assert own.keys() == converted.keys()
    for name, moments in own.items():
        assert None not in moments
        assert converted[name] == pytest.approx(moments, abs=1e-6)


def test_a_checkpoint_has_no_order_of_construction(call, model, tmp_path):
    call("init", model, "-o", str(tmp_path / "a.h5"))
    code, stdout, stderr = call("init", str(tmp_path / "a.h5"), "--exactly", "fake", "-o", str(tmp_path / "b.h5"))
    assert code == 2
    assert stdout == ""
    assert "requires a model document" in stderr


def test_items_of_an_order():
    first, second, third = parse_order(["block-*/**", "randn( 2,3 )", "dense/kernel = normal:stddev=0.01"])
    assert first == Constructed("block-*/**")
    assert second == ThrownAway("randn", (2, 3))
    assert isinstance(third, InitializedAgain)
    assert third.pattern == "dense/kernel"


def test_blocks_are_the_engine_s(model):
    weights = pc.initialize(model, exactly="fake", allow="close")
    base = weights.source.base
    assert list(base.pieces(base.model.parameters["tensor dense/kernel"])) == list(
        blocks(base.model.parameters["tensor dense/kernel"], 4)
    )


@pytest.mark.parametrize("framework", ["flax:nnx", "keras:jax"])
def test_an_order_names_a_block_for_all_layers_in_it(tmp_path, framework):
    path = tmp_path / "m.yaml"
    path.write_text("blocks: {twice: {layers: [{dense: 2}, {dense: 2}]}}\ninput: [2]\nlayers: [{dense: 2}, twice]\n")
    whole = pc.initialize(path, exactly=framework, order="twice")
    layers = pc.initialize(path, exactly=framework, order=["twice/dense", "twice/dense_1"])
    document = pc.initialize(path, exactly=framework)
    assert all(np.array_equal(whole[name], layers[name]) for name in whole)
    assert not np.array_equal(whole["dense/kernel"], document["dense/kernel"])


class CountedPath(str):
    """A path that counts how often its start is compared."""

    compared = 0

    def startswith(self, *prefix):
        CountedPath.compared += 1
        return super().startswith(*prefix)


def test_an_order_of_many_names_looks_at_each_block_once():
    blocks = NamedBlocks(Block(CountedPath(f"dense_{n}"), "dense", None, (), ()) for n in range(1000))
    CountedPath.compared = 0
    for n in range(1000):
        assert [block.path for block in blocks.named(f"dense_{n}")] == [f"dense_{n}"]
    assert CountedPath.compared < 1000


def test_the_layout_of_the_result_is_a_known_one(model):
    with pytest.raises(pc.AddressError, match="layout must be one of keras, torch"):
        pc.initialize(model, exactly="torch", layout="jax")


def test_a_file_in_another_dtype_promises_no_bits(call, model, tmp_path):
    exact, half = str(tmp_path / "exact.npz"), str(tmp_path / "half.npz")
    call("init", model, "--exactly", "torch", "-o", exact)
    call("save", exact, "--dtype", "dense/*=float16", "-o", half)
    with pc.open(half) as weights:
        origins = weights.source.origin.provenance
    assert (origins["dense/kernel"].scheme, origins["dense/kernel"].exactly) == (
        "kaiming_uniform_(a=2.23606797749979)",
        None,
    )
    assert origins["dense_1/kernel"].exactly == "torch>=2.12, x86-64 with AVX2"


def test_a_random_seed_is_one_that_every_framework_accepts(call, model, monkeypatch):
    monkeypatch.setattr("secrets.randbits", lambda bits: (1 << bits) - 1)
    for framework in FRAMEWORKS:
        code, _, stderr = call(
            "init", model, "--exactly", framework, "--allow", "close", "--seed", "random", "--dry-run"
        )
        assert code == 0, stderr


def test_the_note_has_all_conditions_of_the_promises(model):
    assert pc.initialize(model, exactly="torch", rules={"dense/kernel": "ones"}).notes[0].endswith("with AVX2")
    half = pc.initialize(model, exactly="torch", dtype="float16", scheme="random_normal")
    assert half.notes[0] == "the bits of torch>=2.13, glibc, x86-64 with AVX2"
    fixed = pc.initialize(model, exactly="torch", rules={"**": "ones"})
    assert fixed.notes[0] == "the bits of torch>=2.12"
    close = pc.initialize(model, exactly="torch", rules={"*/kernel": "orthogonal"}, allow="close")
    assert close.notes[1] == "2 of 4 parameters are only close"


def test_a_document_s_order_does_not_keep_it_from_frameworks_that_have_none(tmp_path, model):
    path = tmp_path / "o.yaml"
    path.write_text(f"{MODEL}order: [dense_1, 'rand(2)']\n")
    ordered, plain = (pc.initialize(each, exactly="flax:linen") for each in (path, model))
    assert all(np.array_equal(ordered[name], plain[name]) for name in plain)
    path.write_text(f"{MODEL}order: ['dense/kernel=normal']\n")
    with pytest.raises(pc.AddressError, match="depend on the names of modules"):
        pc.initialize(path, exactly="flax:linen")


TOO_LARGE = {
    "float32": ("{random_normal: {stddev: 1e39}}", "{random_uniform: [-3e38, 3e38]}"),
    "bfloat16": ("{random_normal: {stddev: 1e39}}", "{random_uniform: [-3e38, 3e38]}"),
    "float16": ("{random_normal: {stddev: 30000}}", "{random_uniform: [-1e5, 1e5]}"),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("dtype", TOO_LARGE)
@pytest.mark.filterwarnings("error")
def test_values_that_a_dtype_cannot_hold_are_refused(tmp_path, framework, dtype):
    document = tmp_path / "wide.yaml"
    for law in TOO_LARGE[dtype]:
        document.write_text(f"input: [40]\nlayers: [{{dense: {{units: 30, kernel_initializer: {law}}}}}]")
        with pytest.raises((AddressError, OutputError), match=f"the range of {dtype}"):
            np.asarray(pc.initialize(str(document), exactly=framework, dtype=dtype)["dense/kernel"])


@pytest.mark.parametrize(("dtype", "kept"), [((), "torch>=2.12"), (["float16"], None)])
def test_arrays_that_a_combination_leaves_unchanged_lose_the_promise_with_their_dtype(tmp_path, dtype, kept):
    first, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    (tmp_path / "a.yaml").write_text("input: [2]\nlayers: [{dense: {name: x, units: 3}}, {dense: {name: y, units: 1}}]")
    (tmp_path / "b.yaml").write_text("input: [2]\nlayers: [{dense: {name: x, units: 3}}]")
    for path in (first, other):
        pc.save(pc.initialize(path.with_suffix(".yaml"), exactly="torch"), path)
    averaged = pc.average([first, other], partial=["y/**"], dtype=dtype)
    assert averaged.source.origin.provenance["y/bias"].seed == 0
    promise = averaged.source.origin.provenance["y/bias"].exactly
    assert promise is None if kept is None else promise.startswith(kept)
