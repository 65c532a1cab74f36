"""average and arithmetic: the values, the arrays that are copied, the refusals, and the files that result."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import paramctl as pc
from paramctl.edit.reopen import reopen
from paramctl.parallel import workers
from paramctl.source.save import save as save_source
from paramctl.store.io.write_values import WriteOptions
from tests.conftest import ROOT, Run

MLP = str(ROOT / "sample_models/mlp.yaml")
RNG = np.random.default_rng(0)


def arrays(dtype: Any = np.float32, count: int = 3) -> dict[str, np.ndarray]:
    """Return the arrays of a small model with a counter, as torch saves it."""
    return {
        "a.weight": RNG.normal(size=(5, 4)).astype(dtype),
        "a.bias": RNG.normal(size=5).astype(dtype),
        "bn.running_mean": RNG.normal(size=3).astype(dtype),
        "bn.num_batches_tracked": np.array(count),
    }


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three checkpoints of one model."""
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for number, path in enumerate(paths):
        save_file(arrays(count=number), path, {"format": "pt", "epoch": str(number)})
    return paths


def loaded(weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in weights.items()}


def test_an_average_is_the_mean_in_float64_rounded_once(files: list[Path]) -> None:
    """The oracle is NumPy; float32 sums would give other last bits for many files."""
    mean = loaded(pc.average(files))
    each = [load_file(path) for path in files]
    for name in ("a.weight", "a.bias", "bn.running_mean"):
        assert np.array_equal(mean[name], np.mean([one[name].astype(np.float64) for one in each], 0).astype(np.float32))
        assert mean[name].dtype == np.float32
    weighted = loaded(pc.average(files, weights=[0.5, 0.3, 0.2]))
    expected = sum(factor * one["a.weight"].astype(float) for factor, one in zip([0.5, 0.3, 0.2], each, strict=True))
    assert np.array_equal(weighted["a.weight"], np.asarray(expected).astype(np.float32))


def test_equal_files_average_to_themselves(files: list[Path], tmp_path: Path) -> None:
    """Infinities too, such as those of a causal mask."""
    save_file(load_file(files[0]) | {"mask": np.array([0.0, -np.inf], np.float32)}, files[0])
    mean = pc.average([files[0]] * 7)
    assert pc.diff(mean, files[0]).equal


def test_an_average_of_many_files_reads_one_after_another(files: list[Path]) -> None:
    """An expression of so many names would be too long."""
    mean = loaded(pc.average(files * 100))
    assert np.array_equal(mean["a.bias"], loaded(pc.average(files))["a.bias"])


def test_values_are_rounded_once_to_the_dtype_that_is_written(tmp_path: Path) -> None:
    """A mean of bfloat16 that is cast to float32 keeps the bits that bfloat16 lacks."""
    for name, value in (("a", 1.0), ("b", 1.0078125)):
        save_file({"w": np.full(3, value, ml_dtypes.bfloat16)}, tmp_path / f"{name}.safetensors")
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    assert np.asarray(pc.average(paths, dtype="float32")["w"]).tolist() == [1.00390625] * 3
    assert np.asarray(pc.average(paths)["w"]).dtype == ml_dtypes.bfloat16


def test_arithmetic_is_that_of_numpy(files: list[Path]) -> None:
    a, b = (load_file(path) for path in files[:2])
    texts = {
        "a + 0.5 * (b - a)": lambda a, b: a + 0.5 * (b - a),
        "-a ** 2 / 3": lambda a, b: -(a**2) / 3,
        "sqrt(abs(a)) - b": lambda a, b: np.sqrt(np.abs(a)) - b,
        "exp(a) * log(abs(b))": lambda a, b: np.exp(a) * np.log(np.abs(b)),
        "2 * a": lambda a, b: 2 * a,
    }
    for text, oracle in texts.items():
        named = {name: path for name, path in zip("ab", files, strict=False) if name in text.replace("abs", "")}
        result = np.asarray(pc.arithmetic(text, named)["a.weight"])
        wide = oracle(a["a.weight"].astype(np.float64), b["a.weight"].astype(np.float64))
        assert np.array_equal(result, wide.astype(np.float32)), text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max(a, b)", "supports numbers, names"),
        ("a @ b", "supports numbers, names"),
        ("a[0] + b", "supports numbers, names"),
        ("a + ", "supports numbers, names"),
        ("__import__('os')", "supports numbers, names"),
        ("a + c + b", "no file of this name (got 'c')"),
        ("a + 1", "must use every file"),
        ("1 + 2", "must use the name of a file"),
        ("a + b" * 500, "at most 1,000 characters"),
        ("a + b" + " + 1" * 150, "at most 200 parts"),
        ("a + b / 0", "become"),
    ],
)
def test_a_wrong_expression_is_one_line(paramctl: Run, files: list[Path], text: str, says: str) -> None:
    run = paramctl("arithmetic", text, "a=0.safetensors", "b=1.safetensors", "-o", "out.npz")
    if says == "become":  # a division by zero is found when values are computed
        says = "(use --allow overflow"
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert says in run.stderr
    assert not (files[0].parent / "out.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["average", "0.safetensors", "-o", "o.npz"], "at least two"),
        (["average", "0.safetensors", "1.safetensors", "--weights", "0.5,0.4", "-o", "o.npz"], "sum to 1 (got 0.9)"),
        (["average", "0.safetensors", "1.safetensors", "--weights", "1", "-o", "o.npz"], "1 weights for 2 files"),
        (["average", "0.safetensors", "1.safetensors", "--weights", "a,b", "-o", "o.npz"], "must be numbers"),
        (["average", "0.safetensors", "1.safetensors", "--weights", "nan,1", "-o", "o.npz"], "must be numbers"),
        (["average", "0.safetensors", "1.safetensors", "--partial", "zzz", "-o", "o.npz"], "--partial must match"),
        (["average", "-", "-", "-o", "o.npz"], "only one of the files"),
        (["average", "0.safetensors", "none.safetensors", "-o", "o.npz"], "none.safetensors"),
        (["average", "0.safetensors", "1.safetensors", "-o", "0.safetensors"], "already exists"),
        (["arithmetic", "a", "a", "-o", "o.npz"], "NAME=FILE"),
        (["arithmetic", "a", "a=0.safetensors", "a=1.safetensors", "-o", "o.npz"], "two files have the name a"),
    ],
)
def test_wrong_arguments_are_one_line(paramctl: Run, files: list[Path], arguments: list[str], says: str) -> None:
    before = files[0].read_bytes()
    run = paramctl(*arguments)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1), run.stderr
    assert says in run.stderr
    assert not (files[0].parent / "o.npz").exists()
    assert files[0].read_bytes() == before


def test_weights_may_be_fractions(paramctl: Run, files: list[Path]) -> None:
    run = paramctl("average", *(path.name for path in files), "--weights", "1/3,1/3,1/3", "-o", "o.npz")
    assert run.returncode == 0, run.stderr
    mean = pc.average(files)
    assert pc.diff(mean, files[0].parent / "o.npz", rtol=1e-6).equal


def test_integers_are_kept_or_named(paramctl: Run, files: list[Path]) -> None:
    """A counter that differs is that of the last file, as torch's AveragedModel has it."""
    run = paramctl("average", *(path.name for path in files), "-o", "o.safetensors")
    assert "kept from 2.safetensors, because the files have other integers: bn.num_batches_tracked" in run.stderr
    assert "measure them again: bn.running_mean" in run.stderr
    assert load_file(files[0].parent / "o.safetensors")["bn.num_batches_tracked"] == 2
    same = pc.average([files[0], files[0]])
    assert not any("integers" in note for note in same.notes)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_quantized_weights_that_differ_are_refused(tmp_path: Path, dtype: str) -> None:
    """Their mean is not the mean of the weights that they stand for."""
    for name in "ab":
        codes = RNG.integers(0, 100, size=(4, 4)).astype(dtype)
        save_file({"w": codes, "w_scale": RNG.normal(size=4).astype(np.float32)}, tmp_path / f"{name}.safetensors")
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    with pytest.raises(pc.AddressError, match=f"w of {dtype} with other values"):
        pc.average(paths)
    kept = pc.average(paths, partial="w")
    assert np.array_equal(np.asarray(kept["w"]), load_file(paths[0])["w"])
    assert kept.notes == [f"kept from {paths[0]}: w"]


def test_eight_bit_floats_with_scales_are_refused(tmp_path: Path) -> None:
    """Without scales they are numbers, and have a mean."""
    for name in "ab":
        codes = RNG.normal(size=(4, 4)).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
        header = {"w": {"dtype": "F8_E4M3", "shape": [4, 4], "data_offsets": [0, 16]}}
        scaled = header | {"w_scale_inv": {"dtype": "F32", "shape": [1], "data_offsets": [16, 20]}}
        for stem, entries, data in ((name, header, b""), (f"{name}s", scaled, np.float32(2).tobytes())):
            text = json.dumps(entries).encode()
            path = tmp_path / f"{stem}.safetensors"
            path.write_bytes(len(text).to_bytes(8, "little") + text + codes.tobytes() + data)
    assert np.asarray(pc.average([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])["w"]).dtype.itemsize == 1
    with pytest.raises(pc.AddressError, match="w of float8_e4m3fn with other values"):
        pc.average([tmp_path / "as.safetensors", tmp_path / "bs.safetensors"])


def test_names_shapes_and_kinds_that_differ_are_named(files: list[Path]) -> None:
    folder = files[0].parent
    base = load_file(files[0])
    changes: dict[str, tuple[dict[str, np.ndarray], str]] = {
        "missing": ({key: value for key, value in base.items() if key != "a.bias"}, r"missing a.bias \(5,\)"),
        "unexpected": (base | {"b": np.zeros(2)}, r"unexpected b \(2,\)"),
        "shape": (base | {"a.bias": np.zeros(6)}, r"a.bias of shape \(6,\), expected \(5,\)"),
        "kind": (base | {"a.bias": np.zeros(5, np.int64)}, "a.bias of int64, expected float32"),
    }
    for stem, (changed, says) in changes.items():
        other = folder / f"{stem}.safetensors"
        save_file(changed, other)
        with pytest.raises(pc.AddressError, match=says):
            pc.average([files[0], other])
        partly = pc.average([files[0], other], partial=["b", "a.bias"][stem != "unexpected"])
        assert set(partly) == set(base)
        assert np.array_equal(np.asarray(partly["a.bias"]), base["a.bias"]) or stem == "unexpected"
        assert any(("not included" if stem == "unexpected" else "kept from") in note for note in partly.notes)


def test_a_prefix_gets_a_hint(files: list[Path]) -> None:
    other = files[0].parent / "prefix.safetensors"
    save_file({f"net.{name}": array for name, array in load_file(files[1]).items()}, other)
    with pytest.raises(pc.AddressError, match=r"--rename 'net\.\*\*=\*\*'"):
        pc.average([files[0], other])


def test_a_tie_that_the_files_share_stays_and_another_is_untied(tmp_path: Path) -> None:
    """Otherwise the values of the second name would be lost."""
    tied, untied = tmp_path / "tied.h5", tmp_path / "untied.h5"
    equal = pc.initialize(ROOT / "sample_models/rgnet.yaml", scheme="normal")
    pc.save(pc.tie(equal, "block2/block-0/dense/kernel", "block2/block-1/dense/kernel"), tied)
    weights = pc.open(tied)
    (tie,) = weights.model.ties
    pc.save(pc.assign(pc.untie(weights, tie.tied), {tie.tied: 5}), untied)
    assert pc.average([tied, tied]).model.ties == (tie,)
    mean = pc.average([tied, untied])
    assert mean.model.ties == ()
    assert any("untied" in note for note in mean.notes)
    expected = (np.asarray(weights[tie.tied], np.float64) + 5) / 2
    assert np.array_equal(np.asarray(mean[tie.tied]), expected.astype(np.float32))
    assert np.array_equal(np.asarray(pc.average([untied, tied])[tie.tied]), np.asarray(mean[tie.tied]))


def test_ties_of_a_document_are_untied_too(tmp_path: Path) -> None:
    """Its values are generated, and it has no second name's values of its own."""
    document = tmp_path / "m.yaml"
    document.write_text(
        "input: [null]\nlayers:\n- embedding: {name: a, input_dim: 7, output_dim: 4}\n"
        "- dense: {name: b, units: 7, use_bias: false}\nties:\n- {keep: a/embeddings, tie: b/kernel, transpose: true}\n"
    )
    pc.save(pc.untie(pc.initialize(document), "b/kernel"), tmp_path / "untied.npz")
    generated = np.asarray(pc.initialize(document)["a/embeddings"])
    mean = pc.average([document, tmp_path / "untied.npz"])
    assert mean.model.ties == ()
    pc.save(mean, tmp_path / "mean.npz")
    with np.load(tmp_path / "mean.npz") as saved:
        assert np.array_equal(saved["b/kernel"], generated.T)
        assert np.array_equal(saved["a/embeddings"], generated)


def test_a_file_that_lacks_the_second_name_of_a_tie_has_the_array(tmp_path: Path) -> None:
    """Transformers writes one of the names into safetensors, and both into other formats."""
    both, one = tmp_path / "both.h5", tmp_path / "one.npz"
    save_file({"emb.weight": np.ones((3, 2)), "head.weight": np.ones((3, 2))}, tmp_path / "m.safetensors")
    pc.save(pc.tie(tmp_path / "m.safetensors", "emb.weight", "head.weight"), both)
    np.savez(one, **{"head.weight": np.full((3, 2), 3.0)})
    for pair in ([both, one], [one, both]):
        mean = pc.average(pair)
        assert np.asarray(mean["head.weight"]).tolist() == [[2, 2]] * 3


def test_formats_and_dtypes_mix(paramctl: Run, tmp_path: Path) -> None:
    """The result has the format of its suffix, and the names and dtypes of the first file."""
    pc.save(MLP, tmp_path / "a.h5", seed=1)
    pc.save(MLP, tmp_path / "b.safetensors", seed=2, dtype="float16")
    run = paramctl("average", "a.h5", "b.safetensors", "-o", "c.npz")
    assert run.returncode == 0, run.stderr
    mean = pc.open(tmp_path / "c.npz")
    a, b = pc.open(tmp_path / "a.h5"), pc.open(tmp_path / "b.safetensors")
    for name in a:
        expected = (np.asarray(a[name], np.float64) + np.asarray(b[name], np.float64)) / 2
        assert np.array_equal(np.asarray(mean[name]), expected.astype(np.float32))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
def test_an_average_of_keras_files_is_a_keras_file(tmp_path: Path, suffix: str) -> None:
    """It has the model, so it opens with its layers."""
    for number in range(2):
        pc.save(MLP, tmp_path / f"{number}{suffix}", seed=number)
    pc.save(pc.average([tmp_path / f"{number}{suffix}" for number in range(2)]), tmp_path / f"mean{suffix}")
    mean, first = pc.open(tmp_path / f"mean{suffix}"), pc.open(tmp_path / f"0{suffix}")
    assert list(mean) == list(first)
    assert mean.source.origin.format == first.source.origin.format
    assert mean.model.inputs == first.model.inputs


def test_a_recorded_scheme_is_dropped_from_computed_values(tmp_path: Path) -> None:
    for number in range(2):
        pc.save(pc.initialize(MLP, scheme="he_normal", seed=number), tmp_path / f"{number}.h5")
    pc.save(pc.average([tmp_path / "0.h5", tmp_path / "1.h5"]), tmp_path / "mean.h5")
    assert not pc.open(tmp_path / "mean.h5").source.origin.provenance.get("dense/kernel", None) or not any(
        value.scheme for value in pc.open(tmp_path / "mean.h5").source.origin.provenance.values()
    )


def test_what_the_other_files_have_besides_is_named(paramctl: Run, files: list[Path]) -> None:
    run = paramctl("average", "0.safetensors", "1.safetensors", "-o", "o.safetensors")
    assert "o.safetensors does not include, of 1.safetensors: the metadata 'epoch'" in run.stderr
    assert pc.open(files[0].parent / "o.safetensors").source.origin.metadata["epoch"] == "0"


def test_overflow_is_refused_unless_allowed(tmp_path: Path) -> None:
    """So is a NaN that no file has."""
    for name, value in (("a", 60000), ("b", -60000)):
        save_file({"w": np.array([value, 1], np.float16)}, tmp_path / f"{name}.safetensors")
    named = {name: tmp_path / f"{name}.safetensors" for name in "ab"}
    with pytest.raises(pc.OutputError, match="w: a value exceeds the range of float16"):
        pc.save(pc.arithmetic("a - b", named), tmp_path / "o.npz")
    assert np.isinf(np.asarray(pc.arithmetic("a - b", named, allow="overflow")["w"][0]))
    with pytest.raises(pc.OutputError, match=r"w\[0\]: the result is NaN"):
        pc.save(pc.arithmetic("sqrt(b) + a", named), tmp_path / "o.npz")
    assert not (tmp_path / "o.npz").exists()


def test_nan_and_infinities_of_a_file_pass_and_are_mentioned(paramctl: Run, tmp_path: Path) -> None:
    for name, value in (("a", np.nan), ("b", 1.0)):
        save_file({"w": np.array([value, np.inf, 1], np.float32)}, tmp_path / f"{name}.safetensors")
    run = paramctl("average", "a.safetensors", "b.safetensors", "-o", "o.npz")
    assert run.returncode == 0
    assert "o.npz has values that are not finite: w (1 NaN, 1 infinite)" in run.stderr
    assert "finite" not in paramctl("average", "a.safetensors", "b.safetensors", "-o", "p.npz", "-q").stderr


def test_complex_and_empty_arrays(tmp_path: Path) -> None:
    for number in range(2):
        np.savez(tmp_path / f"{number}.npz", z=np.array([1j * number]), e=np.zeros((0, 3)), s=np.float64(number))
    mean = loaded(pc.average([tmp_path / "0.npz", tmp_path / "1.npz"]))
    assert mean["z"].tolist() == [0.5j]
    assert (mean["e"].shape, mean["s"].tolist()) == ((0, 3), 0.5)


def test_bytes_do_not_depend_on_threads(files: list[Path], tmp_path: Path) -> None:
    for number in range(2):
        save_file({"w": RNG.normal(size=(700, 1000)).astype(np.float32)}, tmp_path / f"big{number}.safetensors")
    mean = pc.average([tmp_path / "big0.safetensors", tmp_path / "big1.safetensors"], weights=[0.9, 0.1])
    for threads in (1, 2, 7):
        save_source(mean.source, str(tmp_path / f"by{threads}.safetensors"), WriteOptions(threads=threads))
    assert len({(tmp_path / f"by{threads}.safetensors").read_bytes() for threads in (1, 2, 7)}) == 1


def test_a_set_of_files_and_a_stream(paramctl: Run, files: list[Path]) -> None:
    names = [path.name for path in files]
    assert paramctl("average", *names, "-o", "set/", "--max-shard-size", "60", "-q").returncode == 0
    assert len(list((files[0].parent / "set").glob("*.safetensors"))) > 1
    stream = paramctl("average", *names, "-o", "-", text=False)
    (files[0].parent / "stream.safetensors").write_bytes(stream.stdout)
    assert pc.diff(files[0].parent / "set", files[0].parent / "stream.safetensors").equal
    assert pc.diff(files[0].parent / "set", pc.average(files)).equal


def test_the_output_may_be_one_of_the_files(paramctl: Run, files: list[Path]) -> None:
    """As for a running average."""
    expected = loaded(pc.average(files[:2], weights=[0.9, 0.1]))
    for output in ("1.safetensors", "0.safetensors"):
        save = [path.read_bytes() for path in files]
        run = paramctl(
            "average", "0.safetensors", "./1.safetensors", "--weights", "0.9,0.1", "-o", output, "--force", "-q"
        )
        assert (run.returncode, run.stderr) == (0, "")
        result = load_file(files[0].parent / output)
        assert all(np.array_equal(result[name], expected[name]) for name in expected)
        for path, data in zip(files, save, strict=True):
            path.write_bytes(data)


def test_a_damaged_second_file_is_refused(files: list[Path], tmp_path: Path) -> None:
    """The checksums of every file are tested, not only those of the first."""
    for number in range(2):
        np.savez(tmp_path / f"{number}.npz", w=np.arange(100.0))
    data = bytearray((tmp_path / "1.npz").read_bytes())
    data[data.index(np.float64(50).tobytes())] ^= 1
    (tmp_path / "1.npz").write_bytes(data)
    with pytest.raises(pc.InputError, match=r"1\.npz"):
        pc.save(pc.average([tmp_path / "0.npz", tmp_path / "1.npz"]), tmp_path / "o.npz")


def test_a_combination_reopens_from_its_description(files: list[Path]) -> None:
    named = dict(zip("ab", files, strict=False))
    for weights in (
        pc.average(files, weights=[0.5, 0.25, 0.25], dtype="float64"),
        pc.arithmetic("a - b", named, allow="overflow"),
    ):
        again = pc.Weights(reopen(json.loads(json.dumps(weights.describe()))))
        assert pc.diff(weights, again).equal


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux counts a process' own peak")
def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """The peak for 8 times the values is the same, within the noise of the allocator."""
    code = (
        "import sys, paramctl as pc; pc.save(pc.average(sys.argv[1:3]), sys.argv[3], force=True);"
        # ru_maxrss would be that of the tests' own process, from which this one is forked
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for rows in (4_000, 32_000):
        for name in "ab":
            save_file({"w": np.zeros((rows, 1_000), np.float16)}, tmp_path / f"{name}.safetensors")
        command = [sys.executable, "-c", code, *(str(tmp_path / f"{name}.safetensors") for name in "abo")]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        peaks.append(int(done.stdout) * 1024)
    assert peaks[1] - peaks[0] < 20_000_000, peaks
    assert peaks[1] < 150_000_000 + 30_000_000 * workers()


def test_the_report_counts_what_was_written(files: list[Path], tmp_path: Path) -> None:
    mean = pc.average(files)
    assert {row.path: row.status for row in mean.report} == {
        "a.weight": "computed",
        "a.bias": "computed",
        "bn.running_mean": "computed",
        "bn.num_batches_tracked": "kept",
    }
    rows = pc.save(mean, tmp_path / "o.npz", measure=True)
    assert {row.nan for row in rows if row.status == "computed"} == {0}
