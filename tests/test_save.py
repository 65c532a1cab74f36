"""paramctl save: every format into every other, sets of files with an index, other names."""

import json
import os
import tracemalloc
import zipfile
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import paramctl as pc
from tests.conftest import ROOT, Run
from tests.formats import ANY

FIXTURES = ROOT / "tests/fixtures"
MODEL = (
    "name: m\ninput: [6]\nlayers:\n  - dense: {name: a, units: 5}\n  - dense: {name: b, units: 6}\n  - dense: {name: c, units: 6}\n"
    "  - dense: {name: d, units: 6}\n"
    "ties: [{keep: a/kernel, tie: b/kernel, transpose: true}, {keep: c/kernel, tie: d/kernel}]\n"
)


@pytest.mark.parametrize(("first", "second"), list(product(ANY, ANY)))
def test_every_format_into_every_other(first: str, second: str, paramctl: Run, tmp_path: Path) -> None:
    """Through both and back into HDF5 it is the same file, to the byte: values, ties, axes, schemes, the document."""
    (tmp_path / "m.yaml").write_text(MODEL)
    assert paramctl("init", "m.yaml", "--scheme", "he", "-o", "start.h5", "-q").returncode == 0
    for source, target in (
        ("start.h5", f"one-{first}"),
        (f"one-{first}", f"two-{second}"),
        (f"two-{second}", "end.h5"),
    ):
        done = paramctl("save", source, "-o", target)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "start.h5").read_bytes() == (tmp_path / "end.h5").read_bytes()


def test_npz_is_numpys(paramctl: Run, tmp_path: Path) -> None:
    """Under every name, for who loads it knows no ties; and it is read again with them."""
    (tmp_path / "m.yaml").write_text(MODEL)
    paramctl("save", "m.yaml", "-o", "m.npz")
    loaded = np.load(tmp_path / "m.npz")
    assert np.array_equal(loaded["a/kernel"].T, loaded["b/kernel"])
    assert loaded["a/kernel"].shape == (6, 5)
    assert "Tied: b/kernel = a/kernel, transposed" in paramctl("summary", "m.npz").stdout
    paramctl("save", "m.yaml", "--dtype", "bfloat16", "-o", "b.npz")
    assert np.load(tmp_path / "b.npz")["a/kernel"].dtype == "V2", "what NumPy has not is there by its bytes"


def test_a_set_of_files_and_its_index(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MODEL)
    assert paramctl("save", "m.yaml", "-o", "set/", "--max-shard-size", "150").returncode == 0
    index = json.loads((tmp_path / "set/model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert sorted(os.listdir(tmp_path / "set")) == [*files, "model.safetensors.index.json"]
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert len(files) > 2
    arrays: dict[str, np.ndarray] = {}
    for name in files:
        loaded = load_file(tmp_path / "set" / name)
        assert sum(each.nbytes for each in loaded.values()) <= 150 or len(loaded) == 1
        assert all(index["weight_map"][path] == name for path in loaded)
        arrays |= loaded
    assert index["metadata"]["total_size"] == sum(each.nbytes for each in arrays.values())
    assert index["metadata"]["d/kernel"] == "c/kernel", "a tie is told as the hub's helpers tell it"
    assert paramctl("diff", "set", "m.yaml").returncode == 0


def test_the_old_set_is_complete_until_the_new_index_exists(paramctl: Run, tmp_path: Path) -> None:
    """The new files have other names than those that the index still names; afterwards only they are left."""
    (tmp_path / "m.yaml").write_text(MODEL)
    paramctl("save", "m.yaml", "-o", "set/", "--max-shard-size", "150")
    before = set(os.listdir(tmp_path / "set"))
    refused = paramctl("save", "m.yaml", "-o", "set/", "--max-shard-size", "150")
    assert (refused.returncode, "already exists (use --force to overwrite)" in refused.stderr) == (2, True)
    assert paramctl("save", "m.yaml", "-o", "set/", "--max-shard-size", "150", "--seed", "5", "--force").returncode == 0
    after = set(os.listdir(tmp_path / "set"))
    assert before & after == {"model.safetensors.index.json"}
    assert len(after) == len(before)
    assert paramctl("diff", "set", "m.yaml", "--seed", "5").returncode == 0
    paramctl("save", "m.yaml", "-o", "set/", "--force")
    assert os.listdir(tmp_path / "set") == ["model.safetensors"], "one file needs no index"


WRONG_INDEX = {
    "a file elsewhere": (
        {"w": "../x.safetensors"},
        "must be in the folder of the index (got '../x.safetensors'",
    ),
    "an absolute file": ({"w": "/etc/passwd"}, "must be in the folder of the index"),
    "a missing file": ({"w": "gone.safetensors"}, "the index names gone.safetensors, which does not exist"),
    "an array that is not there": (
        {"big": "model-00001-of-00002.safetensors", "w": "model-00001-of-00002.safetensors"},
        "model-00001-of-00002.safetensors must hold 'w', but does not",
    ),
    "an array that is not listed": (
        {"h.bias": "model-00002-of-00002.safetensors"},
        "is in model-00002-of-00002.safetensors, but the index says None",
    ),
    "no files": ({}, "weight_map must map the names of arrays to files"),
    "numbers": ({"w": 3}, "must be in the folder of the index (got 3"),
}


@pytest.mark.parametrize("what", WRONG_INDEX)
def test_an_index_that_is_wrong(what: str, paramctl: Run, tmp_path: Path) -> None:
    entries, says = WRONG_INDEX[what]
    for path in (FIXTURES / "hf_sharded").glob("*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": entries}))
    done = paramctl("summary", "m.safetensors.index.json")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr


def test_sets_that_others_wrote(paramctl: Run) -> None:
    hub = json.loads(paramctl("summary", str(FIXTURES / "hf_sharded"), "--format", "json").stdout)
    assert hub["totals"]["parameters"] == 90_060
    assert hub["ties"] == [{"keep": "emb.weight", "tie": "out.weight", "transpose": False}]
    keras = json.loads(paramctl("summary", str(FIXTURES / "keras3_sharded.weights.json"), "--format", "json").stdout)
    assert [row["path"] for row in keras["parameters"]] == [
        "dense_5/kernel",
        "dense_5/bias",
        "dense_6/kernel",
        "dense_6/bias",
    ]
    assert keras["totals"]["parameters"] == 4100


def test_other_names(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MODEL)
    paramctl("save", "m.yaml", "-o", "m.safetensors", "--rename", "a/*=first.*", "--rename", "**/bias=**.b")
    assert set(load_file(tmp_path / "m.safetensors")) == {"first.kernel", "first.bias", "b.b", "c/kernel", "c.b", "d.b"}
    assert (
        paramctl("diff", "m.yaml", "m.safetensors", "--rename", "first.*=a/*", "--rename", "**.b=**/bias").returncode
        == 0
    )
    for rename, says in {
        "x/*=y/*": "has no parameter with this name",
        "a/*=y": "must have the wildcards of the pattern",
        "a/kernel=a/bias": "a/kernel and a/bias would have the same name",
        "a/kernel": "a renaming must have the form PATTERN=NAME (got 'a/kernel')",
    }.items():
        done = paramctl("save", "m.yaml", "-o", "n.h5", "--rename", rename)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("size", ["0", "5XB", "-1", "1.5GB", ""])
def test_a_size_that_is_none(size: str, paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MODEL)
    done = paramctl("save", "m.yaml", "-o", "set/", "--max-shard-size", size)
    assert (done.returncode, "must be a positive whole number, optionally with KB, MB, GB or TB" in done.stderr) == (
        2,
        True,
    )


def test_content_that_is_not_carried_over_is_reported(paramctl: Run, tmp_path: Path) -> None:
    """An optimizer's state and an archive's assets are no parameters: only files of Keras' own take them."""
    done = paramctl("save", str(FIXTURES / "keras2_full_model.h5"), "-o", "m.npz")
    said = "m.npz does not include 17 optimizer or metric arrays of the source\n"
    assert done.stderr.endswith(said)
    assert paramctl("save", str(ROOT / "sample_models/mlp.yaml"), "-o", "a.keras", "-q").returncode == 0
    with zipfile.ZipFile(tmp_path / "a.keras", "a") as archive:
        archive.writestr("assets/layers/words/vocabulary.txt", "a\nb\n")
    assert (
        "does not include assets/layers/words/vocabulary.txt of the source\n"
        in paramctl("save", "a.keras", "-o", "a.npz").stderr
    )
    assert paramctl("save", "a.keras", "-o", "b.keras").stderr == "wrote b.keras: 4 arrays, 25 values\n"
    assert zipfile.ZipFile(tmp_path / "b.keras").read("assets/layers/words/vocabulary.txt") == b"a\nb\n"


def test_metadata_of_another_format_is_kept_or_named(paramctl: Run, tmp_path: Path) -> None:
    """safetensors keeps its metadata under new names too; HDF5 keeps attributes. Other formats name what they drop."""
    metadata = {"format": "np", "modelspec.title": "x", "v": "a"}
    save_file({"a": np.ones(2, "f4"), "b": np.ones(2, "f4")}, tmp_path / "s.safetensors", metadata)
    tie = {"v": "a"}  # so the hub's helpers read it
    for name, more in {"t.safetensors": [], "r.safetensors": ["--rename", "b=c"], "m/": []}.items():
        done = paramctl("save", "s.safetensors", *more, "-o", name)
        assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
        with safe_open(tmp_path / (name if name != "m/" else "m/model.safetensors"), "np") as file:
            assert (metadata | tie).items() <= file.metadata().items()
    (tmp_path / "p.safetensors").write_bytes(paramctl("save", "s.safetensors", "-o", "-", text=False).stdout)
    with safe_open(tmp_path / "p.safetensors", "np") as file:
        assert metadata.items() <= file.metadata().items()
    for name in ("s.h5", "s.npz"):
        lines = paramctl("save", "s.safetensors", "-o", name).stderr.splitlines()
        assert lines[1:] == [f"{name} does not include the metadata 'modelspec.title' of the source"]
    with h5py.File(tmp_path / "h.h5", "w") as file:
        file["g/w"] = np.ones(2)
        file["g/w"].attrs["unit"] = "m"
        file.attrs["version"] = 2
    assert paramctl("save", "h.h5", "-o", "i.h5").stderr.count("\n") == 1
    for source in ("h.h5", "i.h5"):  # the second is a native file, whose own attributes are not named
        for more in (["-o", "x.safetensors"], ["-o", "x.npz"], ["--rename", "g/w=g/v", "-o", "x.h5"]):
            lines = paramctl("save", source, *more, "--force").stderr.splitlines()
            assert lines[1:] == [f"{more[-1]} does not include the attributes version of /, unit of g/w of the source"]
    with h5py.File(tmp_path / "h.h5", "a") as file:
        file["g"].attrs.update({f"a{number}": number for number in range(10)})
        del file.attrs["version"]
        del file["g/w"].attrs["unit"]
    lines = paramctl("save", "h.h5", "-o", "y.npz").stderr.splitlines()
    named = ", ".join(f"a{number} of g" for number in range(5))
    assert lines[1:] == [f"y.npz does not include the attributes {named} and 5 more of the source"]


def test_a_report_names_the_file_to_open(paramctl: Run, tmp_path: Path) -> None:
    """A set called a.safetensors has no file of that name: its index opens it."""
    (tmp_path / "m.yaml").write_text("input: [8]\nlayers: [dense: 8, dense: 8]\n")
    for size, name in [("300", "a.safetensors.index.json"), ("1MB", "b.safetensors")]:
        done = paramctl("save", "m.yaml", "-o", f"{name[0]}.safetensors", "--max-shard-size", size)
        assert done.stderr.startswith(f"wrote {name}: 4 arrays")
        assert paramctl("summary", name).returncode == 0


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".npz"])
def test_memory_is_bounded_by_the_arrays_in_work(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of less than a leaf of their hash: once, the bytes of each were kept until the last was written."""
    monkeypatch.setattr("paramctl.parallel.workers", lambda: 2)
    size, count = 200_000, 60
    save_file({f"a{k}": np.full(size, k, "float32") for k in range(count)}, tmp_path / "m.safetensors")
    tracemalloc.start()
    try:
        pc.save(tmp_path / "m.safetensors", tmp_path / f"x{suffix}")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * size * count / 2


READERS = {
    "sum": lambda file: pc.sums(file),
    "verify": lambda file: pc.verify(file),
    "check": lambda file: pc.check(file),
    "set": lambda file: pc.save(pc.assign(pc.open(file), ["** *= 2"]), file, in_place=True),
}


@pytest.mark.parametrize("verb", READERS)
def test_memory_of_a_reader_is_bounded_by_the_arrays_in_work(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that hash every array, and finish the hashes at the end, keep no bytes of small arrays until then."""
    monkeypatch.setattr("paramctl.parallel.workers", lambda: 2)
    size, count = 200_000, 60
    save_file({f"a{k}": np.full(size, k, "float32") for k in range(count)}, tmp_path / "m.safetensors")
    pc.save(tmp_path / "m.safetensors", tmp_path / "x.safetensors")
    tracemalloc.start()
    try:
        READERS[verb](tmp_path / "x.safetensors")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * size * count / 2
