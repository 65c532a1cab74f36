"""merge and extract-lora on files that the tests write; tests/interop/test_lora.py compares them with PEFT itself."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import paramctl as pc
from paramctl.edit.extract_lora import factorize
from paramctl.source.save import save as save_source
from paramctl.store.io.write_values import WriteOptions
from tests.conftest import Run

RNG = np.random.default_rng(0)
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["q"]}
PREFIX = "base_model.model."


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def base(path: Path, **more: np.ndarray) -> dict[str, np.ndarray]:
    """Write a base with a linear layer, a norm and an embedding, and return its arrays."""
    arrays = {
        "m.q.weight": normal(5, 4),
        "m.q.bias": normal(5),
        "m.norm.weight": normal(4),
        "m.wte.weight": normal(7, 4),
    }
    arrays |= more
    save_file(arrays, path)
    return arrays


def adapter(folder: Path, tensors: dict[str, np.ndarray], **config: Any) -> Path:
    """Write an adapter as PEFT does, and return its folder."""
    folder.mkdir(exist_ok=True)
    save_file({f"{PREFIX}{name}": array for name, array in tensors.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return folder


def factors(module: str, rows: int, columns: int, rank: int = 2, name: str = "") -> dict[str, np.ndarray]:
    return {
        f"{module}.lora_A{name}.weight": normal(rank, columns),
        f"{module}.lora_B{name}.weight": normal(rows, rank),
    }


def product(tensors: dict[str, np.ndarray], module: str, name: str = "") -> np.ndarray:
    up, down = tensors[f"{module}.lora_B{name}.weight"], tensors[f"{module}.lora_A{name}.weight"]
    return up.astype(np.float64) @ down.astype(np.float64)


def test_a_merge_adds_the_scaled_product(paramctl: Run, tmp_path: Path) -> None:
    """alpha / r is 3. Everything else stays as it was, to the byte."""
    weights, tensors = base(tmp_path / "b.safetensors"), factors("m.q", 5, 4)
    adapter(tmp_path / "a", tensors)
    run = paramctl("merge", "b.safetensors", "--lora", "a", "-o", "o.safetensors", "--format", "csv")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[1] == 'm.q.weight,"(5, 4)",a/adapter_model.safetensors,added,2,3.0'
    merged = load_file(tmp_path / "o.safetensors")
    expected = weights["m.q.weight"] + 3 * product(tensors, "m.q")
    assert np.array_equal(merged.pop("m.q.weight"), expected.astype(np.float32))
    assert all(np.array_equal(array, weights[name]) for name, array in merged.items())
    assert set(merged) == set(weights) - {"m.q.weight"}


def test_the_scale_of_the_option_multiplies(tmp_path: Path) -> None:
    weights, tensors = base(tmp_path / "b.safetensors"), factors("m.q", 5, 4)
    adapter(tmp_path / "a", tensors)
    merged = pc.merge(tmp_path / "b.safetensors", tmp_path / "a", scale=-0.5)
    expected = weights["m.q.weight"] - 1.5 * product(tensors, "m.q")
    assert np.array_equal(np.asarray(merged["m.q.weight"]), expected.astype(np.float32))
    again = pc.merge(merged, tmp_path / "a", scale=0.5)
    assert pc.diff(again, tmp_path / "b.safetensors", atol=1e-6).equal


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_must_be_finite(tmp_path: Path, scale: float) -> None:
    base(tmp_path / "b.safetensors")
    with pytest.raises(pc.AddressError, match="scale must be finite"):
        pc.merge(tmp_path / "b.safetensors", adapter(tmp_path / "a", factors("m.q", 5, 4)), scale=scale)


def test_several_adapters_add_up(tmp_path: Path) -> None:
    weights, one, two = base(tmp_path / "b.safetensors"), factors("m.q", 5, 4), factors("m.q", 5, 4, 1, ".default")
    paths = [adapter(tmp_path / "one", one), adapter(tmp_path / "two", two, r=1, lora_alpha=1)]
    merged = pc.merge(tmp_path / "b.safetensors", paths)
    expected = weights["m.q.weight"] + 3 * product(one, "m.q") + product(two, "m.q", ".default")
    assert np.array_equal(np.asarray(merged["m.q.weight"]), expected.astype(np.float32))
    assert [row.rank for row in merged.report] == [2, 1]


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"use_rslora": True}, 6 / 2**0.5),
        ({"r": 8, "rank_pattern": {"q": 2}}, 3),
        ({"alpha_pattern": {"m.q": 4, "q": 8}}, 2),
        ({"alpha_pattern": {"^m.q": 4}}, 2),
        ({"alpha_pattern": {r".*\.(q|k)": 4}}, 2),
        ({"alpha_pattern": {"other": 4}}, 3),
        ({"lora_alpha": 5.5}, 2.75),
    ],
)
def test_the_scale_follows_from_the_configuration(tmp_path: Path, config: dict[str, Any], scale: float) -> None:
    base(tmp_path / "b.safetensors")
    adapter(tmp_path / "a", factors("m.q", 5, 4), **config)
    (row,) = pc.merge(tmp_path / "b.safetensors", tmp_path / "a").report
    assert row.scale == scale


def test_each_kind_of_layer(tmp_path: Path) -> None:
    """An embedding and a Conv1D of GPT-2 are transposed; the factors of a convolution are flattened."""
    weights = base(
        tmp_path / "b.safetensors", **{"c.weight": normal(6, 3, 2, 2), "f.weight": normal(3, 8), "f.bias": normal(8)}
    )
    tensors = factors("f", 8, 3) | {"m.wte.lora_embedding_A": normal(2, 7), "m.wte.lora_embedding_B": normal(4, 2)}
    tensors |= {"c.lora_A.weight": normal(2, 3, 2, 2), "c.lora_B.weight": normal(6, 2, 1, 1)}
    adapter(tmp_path / "a", tensors)
    merged = pc.merge(tmp_path / "b.safetensors", tmp_path / "a", dtype="float64")
    wide = {name: array.astype(np.float64) for name, array in tensors.items()}
    expected = {
        "f.weight": product(tensors, "f").T,
        "m.wte.weight": (wide["m.wte.lora_embedding_B"] @ wide["m.wte.lora_embedding_A"]).T,
        "c.weight": np.einsum("orxy,rikl->oikl", wide["c.lora_B.weight"], wide["c.lora_A.weight"]),
    }
    for name, delta in expected.items():
        assert np.allclose(np.asarray(merged[name]), weights[name] + 3 * delta, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("flag", "with_bias"), [(True, False), (False, True)])
def test_a_square_weight_takes_the_direction_that_the_base_shows(tmp_path: Path, flag: bool, with_bias: bool) -> None:
    """The bias of a namesake, mlp.c_proj, shows that layers of this name store (in, out)."""
    namesake = {"mlp.c_proj.weight": normal(8, 4), "mlp.c_proj.bias": normal(4)} if with_bias else {}
    own = {"attn.c_proj.weight": normal(4, 4), "attn.c_proj.bias": normal(4)}
    weights = base(tmp_path / "b.safetensors", **own, **namesake)
    tensors = factors("attn.c_proj", 4, 4)
    adapter(tmp_path / "a", tensors, fan_in_fan_out=flag)
    merged = pc.merge(tmp_path / "b.safetensors", tmp_path / "a")
    expected = weights["attn.c_proj.weight"] + 3 * product(tensors, "attn.c_proj").T
    assert np.array_equal(np.asarray(merged["attn.c_proj.weight"]), expected.astype(np.float32))


def test_a_square_weight_of_unknown_direction_is_refused(tmp_path: Path) -> None:
    base(tmp_path / "b.safetensors", **{"x.weight": normal(4, 4), "x.bias": normal(4)})
    adapter(tmp_path / "a", factors("x", 4, 4) | factors("m.q", 5, 4), fan_in_fan_out=True)
    with pytest.raises(pc.AddressError, match="x is square"):
        pc.merge(tmp_path / "b.safetensors", tmp_path / "a")


def test_biases_and_saved_modules_replace_and_add(tmp_path: Path) -> None:
    weights = base(tmp_path / "b.safetensors")
    tensors = factors("m.q", 5, 4)
    tensors |= {"m.q.lora_B.bias": normal(5), "m.norm.weight": normal(4), "m.wte.base_layer.weight": normal(7, 4)}
    adapter(tmp_path / "a", tensors, bias="all", lora_bias=True, modules_to_save=["norm"])
    merged = pc.merge(tmp_path / "b.safetensors", tmp_path / "a")
    assert np.array_equal(np.asarray(merged["m.norm.weight"]), tensors["m.norm.weight"])
    assert np.array_equal(np.asarray(merged["m.wte.weight"]), tensors["m.wte.base_layer.weight"])
    bias = weights["m.q.bias"].astype(np.float64) + 3 * tensors["m.q.lora_B.bias"].astype(np.float64)
    assert np.array_equal(np.asarray(merged["m.q.bias"]), bias.astype(np.float32))
    assert {row.path: row.change for row in merged.report}["m.norm.weight"] == "replaced"


@pytest.mark.parametrize("change", ["without", "with"])
def test_a_prefix_that_only_one_side_has_is_found_and_named(tmp_path: Path, change: str) -> None:
    """GPT-2's file on the hub lacks the prefix of the class that its adapters are trained with."""
    base(tmp_path / "b.safetensors")
    module = "transformer.m.q" if change == "without" else "q"
    adapter(tmp_path / "a", factors(module, 5, 4))
    merged = pc.merge(tmp_path / "b.safetensors", tmp_path / "a")
    assert [row.path for row in merged.report] == ["m.q.weight"]
    prefix = "transformer" if change == "without" else "m"
    assert merged.notes == [f"{tmp_path}/a/adapter_model.safetensors: names {change} the prefix {prefix}."]


@pytest.mark.parametrize(
    ("tensors", "config", "says"),
    [
        ({}, {}, "must have the tensors of a LoRA adapter"),
        (factors("m.z", 5, 4), {}, "each tensor must belong to an array of b.safetensors (got m.z)"),
        (factors("m.q", 5, 4) | {"m.other": normal(3)}, {}, "(got m.other)"),
        (factors("m.q", 6, 4), {}, "(6, 4), not (5, 4)"),
        (factors("m.q", 5, 4) | {"m.norm.weight": normal(5)}, {}, "must fit m.norm.weight"),
        ({"m.q.lora_A.weight": normal(2, 4)}, {}, "the factor B (up) of m.q is missing"),
        ({"m.q.lora_A.weight": normal(2, 4), "m.q.lora_B.weight": normal(5, 3)}, {}, "do not fit"),
        ({key: array.astype(np.int8) for key, array in factors("m.q", 5, 4).items()}, {}, "must have numbers"),
        (factors("m.q", 5, 4, 3), {}, "the rank of m.q is 2, but its factors have 3"),
        (factors("m.q", 5, 4) | factors("m.q", 5, 4, 2, ".other"), {}, "one adapter"),
        (factors("m.q", 5, 4) | {"m.q.lora_magnitude_vector": normal(5)}, {}, "DoRA"),
        (factors("m.q", 5, 4), {"use_dora": True}, "DoRA"),
        (factors("m.q", 5, 4), {"peft_type": "LOHA"}, "(got LOHA)"),
        (factors("m.q", 5, 4), {"init_lora_weights": "pissa"}, "'pissa'"),
        (factors("m.q", 5, 4), {"target_parameters": ["w"]}, "target_parameters"),
        (factors("m.q", 5, 4), {"r": "x"}, "r must be a number"),
        (factors("m.q", 5, 4), {"use_rslora": 1}, "use_rslora must be true or false"),
        (factors("m.q", 5, 4), {"rank_pattern": {"(": 2}}, "invalid regular expression"),
        (factors("m.q", 5, 4), {"rank_pattern": {f"{n}.*": 2 for n in range(99)}}, "at most 50"),
        (factors("m.q", 5, 4), {"rank_pattern": []}, "must be a mapping"),
    ],
)
def test_an_adapter_that_does_not_fit_is_one_line(
    paramctl: Run, tmp_path: Path, tensors: dict[str, np.ndarray], config: dict[str, Any], says: str
) -> None:
    base(tmp_path / "b.safetensors")
    adapter(tmp_path / "a", tensors, **config)
    if "one adapter" in says:
        adapter(tmp_path / "a", {name.replace("_A.w", "_A.x.w"): array for name, array in tensors.items()})
    run = paramctl("merge", "b.safetensors", "--lora", "a", "-o", "o.safetensors")
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1), run.stderr
    assert says in run.stderr
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"peft_type": "LORA", "r": 1e400}', "[" * 10_000, "\udcff"])
def test_a_damaged_configuration_is_one_line(paramctl: Run, tmp_path: Path, text: str) -> None:
    base(tmp_path / "b.safetensors")
    adapter(tmp_path / "a", factors("m.q", 5, 4))
    (tmp_path / "a/adapter_config.json").write_bytes(text.encode(errors="surrogateescape"))
    run = paramctl("merge", "b.safetensors", "--lora", "a", "-o", "o.safetensors")
    assert (run.returncode, run.stderr.count("\n")) == (2, 1), run.stderr
    assert run.stderr.startswith("a/adapter_config.json: ")


def test_a_folder_or_file_without_its_other_half_is_refused(paramctl: Run, tmp_path: Path) -> None:
    base(tmp_path / "b.safetensors")
    folder = adapter(tmp_path / "a", factors("m.q", 5, 4))
    (folder / "adapter_config.json").rename(tmp_path / "config")
    for path, says in (("a", "the scale of m.q is unknown"), (".", "must have the file adapter_model.safetensors")):
        run = paramctl("merge", "b.safetensors", "--lora", path, "-o", "o.safetensors")
        assert (run.returncode, run.stderr.count("\n")) == (2, 1)
        assert says in run.stderr


def test_a_tied_or_quantized_array_is_refused(tmp_path: Path) -> None:
    base(tmp_path / "b.safetensors", **{"head.weight": normal(7, 4), "i.weight": np.zeros((5, 4), np.int8)})
    pc.save(pc.tie(tmp_path / "b.safetensors", "m.wte.weight", "head.weight"), tmp_path / "t.safetensors")
    adapter(tmp_path / "a", {"m.wte.lora_embedding_A": normal(2, 7), "m.wte.lora_embedding_B": normal(4, 2)})
    with pytest.raises(pc.AddressError, match=r"head\.weight = m\.wte\.weight.*paramctl untie FILE head\.weight"):
        pc.merge(tmp_path / "t.safetensors", tmp_path / "a")
    adapter(tmp_path / "i", factors("i", 5, 4))
    with pytest.raises(pc.AddressError, match=r"i\.weight of int8"):
        pc.merge(tmp_path / "b.safetensors", tmp_path / "i")


def test_a_file_of_kohyas_scripts(tmp_path: Path) -> None:
    """Its names have underscores for dots, and each module has its own alpha."""
    weights = base(tmp_path / "b.safetensors")
    name = "lora_unet_m_q"
    tensors = {
        f"{name}.lora_down.weight": normal(2, 4),
        f"{name}.lora_up.weight": normal(5, 2),
        f"{name}.alpha": np.float32(1),
    }
    save_file({key: np.asarray(value) for key, value in tensors.items()}, tmp_path / "style.safetensors")
    merged = pc.merge(tmp_path / "b.safetensors", tmp_path / "style.safetensors")
    up, down = (tensors[f"{name}.lora_{side}.weight"].astype(np.float64) for side in ("up", "down"))
    expected = weights["m.q.weight"] + 0.5 * (up @ down)
    assert np.array_equal(np.asarray(merged["m.q.weight"]), expected.astype(np.float32))


def test_names_that_fit_several_parts_of_the_base_are_refused(tmp_path: Path) -> None:
    """The text and the vision model of CLIP have layers of one name, and none is guessed."""
    save_file({"text.q.weight": normal(5, 4), "vision.q.weight": normal(5, 4)}, tmp_path / "b.safetensors")
    adapter(tmp_path / "a", factors("q", 5, 4))
    with pytest.raises(pc.AddressError, match=r"one part of .*the prefix text\. or names with the prefix vision\."):
        pc.merge(tmp_path / "b.safetensors", tmp_path / "a")
    adapter(tmp_path / "a", factors("vision.q", 5, 4))
    assert [row.path for row in pc.merge(tmp_path / "b.safetensors", tmp_path / "a").report] == ["vision.q.weight"]


def test_names_of_kohyas_scripts_that_mean_two_layers_are_refused(tmp_path: Path) -> None:
    save_file({"a.b_c.weight": normal(5, 4), "a_b.c.weight": normal(5, 4)}, tmp_path / "b.safetensors")
    name = "lora_unet_a_b_c"
    tensors = {f"{name}.lora_down.weight": normal(2, 4), f"{name}.lora_up.weight": normal(5, 2)}
    save_file(tensors | {f"{name}.alpha": np.ones((), np.float32)}, tmp_path / "style.safetensors")
    with pytest.raises(pc.AddressError, match="each tensor must belong to an array"):
        pc.merge(tmp_path / "b.safetensors", tmp_path / "style.safetensors")


def test_half_precision_is_rounded_once_and_overflow_is_refused(tmp_path: Path) -> None:
    weights = {"q.weight": normal(5, 4).astype(ml_dtypes.bfloat16), "k.weight": np.full((5, 4), 6e4, np.float16)}
    save_file(weights, tmp_path / "b.safetensors")
    tensors = factors("q", 5, 4)
    merged = pc.merge(tmp_path / "b.safetensors", adapter(tmp_path / "a", tensors))
    expected = weights["q.weight"].astype(np.float64) + 3 * product(tensors, "q")
    assert np.array_equal(np.asarray(merged["q.weight"]), expected.astype(ml_dtypes.bfloat16))
    ones = {"k.lora_A.weight": np.ones((2, 4), np.float32), "k.lora_B.weight": np.full((5, 2), 1e4, np.float32)}
    adapter(tmp_path / "o", ones)
    with pytest.raises(pc.OutputError, match=r"k\.weight: a value exceeds the range of float16"):
        pc.save(pc.merge(tmp_path / "b.safetensors", tmp_path / "o"), tmp_path / "o.npz")


def test_any_piece_of_a_merged_array_and_any_number_of_threads(tmp_path: Path) -> None:
    """Arrays larger than a block, whose pieces end within rows."""
    weights = base(tmp_path / "b.safetensors", **{"l.weight": normal(3, 300_001)})
    tensors = factors("l", 3, 300_001)
    merged = pc.merge(tmp_path / "b.safetensors", adapter(tmp_path / "a", tensors))
    expected = (weights["l.weight"] + 3 * product(tensors, "l")).astype(np.float32)
    assert np.allclose(np.asarray(merged["l.weight"]), expected, rtol=1e-6, atol=1e-6)
    assert np.allclose(merged["l.weight"][1, 7:300_000:1000], expected[1, 7:300_000:1000], rtol=1e-6, atol=1e-6)
    for threads in (1, 5):
        save_source(merged.source, str(tmp_path / f"by{threads}.safetensors"), WriteOptions(threads=threads))
    assert (tmp_path / "by1.safetensors").read_bytes() == (tmp_path / "by5.safetensors").read_bytes()


def tuned(path: Path, weights: dict[str, np.ndarray], rank: int) -> dict[str, np.ndarray]:
    """Write a base whose linear layer has a change of a rank, and whose norm has another value."""
    change = normal(5, rank) @ normal(rank, 4)
    arrays = weights | {"m.q.weight": weights["m.q.weight"] + change, "m.norm.weight": weights["m.norm.weight"] + 1}
    save_file(arrays, path)
    return arrays


def test_an_extracted_adapter_merges_to_the_tuned_file(paramctl: Run, tmp_path: Path) -> None:
    """A change of rank 2 has an adapter of rank 2 without an error."""
    weights = base(tmp_path / "b.safetensors")
    expected = tuned(tmp_path / "t.safetensors", weights, 2)
    run = paramctl("extract-lora", "b.safetensors", "t.safetensors", "--rank", "2", "-o", "a", "--format", "json")
    assert run.returncode == 0, run.stderr
    rows = {row["path"]: row for row in json.loads(run.stdout)}
    assert (rows["m.q.weight"]["stored"], rows["m.q.weight"]["rank"]) == ("factors", 2)
    assert rows["m.q.weight"]["error"] < 1e-6
    assert rows["m.norm.weight"]["stored"] == "in full"
    assert set(rows) == {"m.q.weight", "m.norm.weight"}
    merged = pc.merge(tmp_path / "b.safetensors", tmp_path / "a")
    assert all(np.allclose(np.asarray(merged[name]), array, atol=1e-6) for name, array in expected.items())


def test_the_error_is_that_of_the_best_approximation(tmp_path: Path) -> None:
    weights = base(tmp_path / "b.safetensors")
    expected = tuned(tmp_path / "t.safetensors", weights, 4)
    rows = pc.extract_lora(tmp_path / "b.safetensors", tmp_path / "t.safetensors", tmp_path / "a", rank=1)
    difference = expected["m.q.weight"].astype(np.float64) - weights["m.q.weight"]
    values = np.linalg.svd(difference, compute_uv=False)
    (error,) = [row.error for row in rows if row.path == "m.q.weight"]
    assert error == pytest.approx(np.linalg.norm(values[1:]) / np.linalg.norm(values))
    merged = np.asarray(pc.merge(tmp_path / "b.safetensors", tmp_path / "a")["m.q.weight"])
    left = np.linalg.norm(expected["m.q.weight"] - merged) / np.linalg.norm(difference)
    assert left == pytest.approx(error, abs=1e-6)


def test_factors_have_determined_signs() -> None:
    """LAPACK may return either sign of each pair; their product is the same."""
    for _ in range(20):
        matrix = RNG.normal(size=(5, 4))
        down, up, error = factorize(matrix, 4)
        assert error < 1e-12
        assert np.allclose(up.astype(np.float64) @ down, matrix, atol=1e-6)
        assert (up[np.abs(up).argmax(0), np.arange(4)] > 0).all()
        again = factorize(-matrix, 4)
        assert np.allclose(again[1], up, atol=1e-6)


def test_every_kind_of_array_comes_back(tmp_path: Path) -> None:
    """Embeddings, biases of adapted layers, buffers, parameters of containers, layers of smaller size than the rank."""
    more = {"m.cls": normal(4), "m.bn.running_mean": normal(3), "m.bn.num_batches_tracked": np.array(1)}
    more |= {
        "m.conv.weight": normal(3, 2, 2, 2),
        "small.weight": normal(2, 3),
        "f.weight": normal(4, 8),
        "f.bias": normal(8),
    }
    weights = base(tmp_path / "b.safetensors", **more)
    changed = {
        name: np.asarray(array + 1 + (normal(*array.shape) if array.dtype == np.float32 else 0))
        for name, array in weights.items()
    }
    save_file(changed, tmp_path / "t.safetensors")
    rows = pc.extract_lora(tmp_path / "b.safetensors", tmp_path / "t.safetensors", tmp_path / "a", rank=8)
    assert {row.path for row in rows} == set(weights)
    assert {row.path for row in rows if row.stored == "factors"} == {"m.q.weight", "small.weight", "f.weight"}
    merged = pc.merge(tmp_path / "b.safetensors", tmp_path / "a")
    assert all(np.allclose(np.asarray(merged[name]), array, atol=1e-5) for name, array in changed.items())
    config = json.loads((tmp_path / "a/adapter_config.json").read_text())
    assert config["rank_pattern"] == {"m.q": 4, "small": 2, "f": 4}
    assert sorted(config["modules_to_save"]) == ["m.bn", "m.conv", "m.norm"]


def test_full_names_arrays_to_store_in_full(tmp_path: Path) -> None:
    weights = base(tmp_path / "b.safetensors")
    tuned(tmp_path / "t.safetensors", weights, 2)
    paths = tmp_path / "b.safetensors", tmp_path / "t.safetensors", tmp_path / "a"
    rows = pc.extract_lora(*paths, rank=1, full="m.q.*")
    assert {row.stored for row in rows} == {"in full"}
    with pytest.raises(pc.OutputError, match="already exists"):
        pc.extract_lora(*paths, rank=1)
    assert len(pc.extract_lora(*paths, rank=1, force=True)) == 2


def test_an_adapter_of_other_arrays_has_factors_of_zeros(tmp_path: Path) -> None:
    """PEFT refuses an adapter whose configuration targets no module, so a layer gets factors that change nothing."""
    weights = base(tmp_path / "b.safetensors", **{"m.conv.weight": normal(3, 2, 2, 2)})
    paths = tmp_path / "b.safetensors", tmp_path / "t.safetensors", tmp_path / "a"
    for changed in ("m.conv.weight", "m.q.weight"):
        save_file(weights | {changed: weights[changed] + 1}, paths[1])
        rows = pc.extract_lora(*paths, rank=2, full="m.q.weight", force=True)
        assert [(row.path, row.stored) for row in rows] == [(changed, "in full")]
        config = json.loads((tmp_path / "a/adapter_config.json").read_text())
        assert (config["target_modules"], config["rank_pattern"]) == (["m.q"], {"m.q": 1})
        merged = pc.merge(paths[0], paths[2])
        assert all(np.array_equal(np.asarray(merged[name]), array) for name, array in load_file(paths[1]).items())
    only = {"m.conv.weight": normal(3, 2, 2, 2)}
    save_file(only, paths[0])
    save_file({"m.conv.weight": only["m.conv.weight"] + 1}, paths[1])
    with pytest.raises(pc.AddressError, match="only with factors"):
        pc.extract_lora(*paths, rank=2, force=True)


def test_a_square_linear_layer_of_a_model_of_conv1d_is_stored_in_full(tmp_path: Path) -> None:
    """Its direction is unknown: taken for a Conv1D, its factors would be transposed in PEFT."""
    weights = {"h.weight": normal(4, 12), "h.bias": normal(12), "head.weight": normal(4, 4), "head.bias": normal(4)}
    save_file(weights, tmp_path / "b.safetensors")
    save_file({name: array + 1 for name, array in weights.items()}, tmp_path / "t.safetensors")
    rows = pc.extract_lora(tmp_path / "b.safetensors", tmp_path / "t.safetensors", tmp_path / "a", rank=2)
    assert {row.path: row.stored for row in rows if row.path.endswith("weight")} == {
        "h.weight": "factors",
        "head.weight": "in full",
    }


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    weights = base(tmp_path / "b.safetensors")
    tuned(tmp_path / "t.safetensors", weights, 3)
    for folder in ("x", "y"):
        pc.extract_lora(tmp_path / "b.safetensors", tmp_path / "t.safetensors", tmp_path / folder, rank=2)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_a_merge_reopens_unless_an_adapter_has_changed(tmp_path: Path) -> None:
    base(tmp_path / "b.safetensors")
    adapter(tmp_path / "a", factors("m.q", 5, 4))
    merged = pc.merge(tmp_path / "b.safetensors", tmp_path / "a")
    description = json.loads(json.dumps(merged.describe()))
    assert pc.diff(merged, pc.reopen(description)).equal
    adapter(tmp_path / "a", factors("m.q", 5, 4))
    with pytest.raises(pc.InputError, match="changed since it was described"):
        pc.reopen(description)


def test_a_counter_that_an_adapter_replaces_keeps_its_bits(tmp_path: Path) -> None:
    """Beyond 2^53, float64 would round it."""
    base(tmp_path / "b.safetensors", **{"m.count": np.array(2**62 + 1)})
    adapter(tmp_path / "a", factors("m.q", 5, 4) | {"m.count": np.array(2**62 + 3)})
    assert np.asarray(pc.merge(tmp_path / "b.safetensors", tmp_path / "a")["m.count"]) == 2**62 + 3


def test_a_difference_that_is_not_finite_has_no_factors(tmp_path: Path) -> None:
    weights = base(tmp_path / "b.safetensors")
    save_file(weights | {"m.q.weight": np.full((5, 4), np.nan, np.float32)}, tmp_path / "t.safetensors")
    paths = tmp_path / "b.safetensors", tmp_path / "t.safetensors", tmp_path / "a"
    with pytest.raises(pc.AddressError, match=r"--full 'm\.q\.weight'"):
        pc.extract_lora(*paths, rank=1)
    assert not (tmp_path / "a").exists()
    assert [row.stored for row in pc.extract_lora(*paths, rank=1, full="m.q.weight")] == ["in full"]


def test_what_cannot_be_extracted_is_one_line(paramctl: Run, tmp_path: Path) -> None:
    weights = base(tmp_path / "b.safetensors")
    save_file(weights | {"more": normal(2)}, tmp_path / "more.safetensors")
    np.savez(tmp_path / "k.npz", **{"dense/kernel": normal(2, 2), "dense/bias": normal(2)})
    (tmp_path / "file").write_text("")
    for arguments, says in (
        (["b.safetensors", "b.safetensors", "--rank", "1", "-o", "a"], "must differ"),
        (["b.safetensors", "more.safetensors", "--rank", "1", "-o", "a"], "unexpected more"),
        (["k.npz", "k.npz", "--rank", "1", "-o", "a"], "--layout torch"),
        (["b.safetensors", "b.safetensors", "--rank", "0", "-o", "a"], "--rank"),
        (["b.safetensors", "b.safetensors", "--rank", "1", "-o", "file"], "must be a folder"),
        (["-", "-", "--rank", "1", "-o", "a"], "only one"),
    ):
        run = paramctl("extract-lora", *arguments)
        assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1), run.stderr
        assert says in run.stderr
        assert not (tmp_path / "a").exists()
