"""Sets of files whose index is missing or wrong: refused with a hint that works, and indexed again from their headers."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import paramctl as pc
from tests.conftest import ROOT, Run

INDEX = "model.safetensors.index.json"
FILES = {
    "model-00001-of-00002.safetensors": ["a.weight", "mtp.fc.weight"],
    "model-00002-of-00002.safetensors": ["b.weight"],
    "model-mtp-of-00002.safetensors": ["mtp.x"],
}
NAMES = sorted(name for names in FILES.values() for name in names)


def write_set(folder: Path, change: Callable[[dict[str, str]], object] | None) -> None:
    """Write a set of three files, and its index with a change; None for no index."""
    folder.mkdir()
    for file, names in FILES.items():
        save_file({name: np.full(4, NAMES.index(name), "float32") for name in names}, folder / file)
    weight_map = {name: file for file, names in FILES.items() for name in names}
    if change is not None:
        change(weight_map)
        (folder / INDEX).write_text(
            json.dumps({"metadata": {"total_size": 1, "format": "pt"}, "weight_map": weight_map})
        )


MISFITS: dict[str, tuple[Callable[[dict[str, str]], object] | None, str]] = {
    "no index": (None, "the index of model-00001-of-00002.safetensors is missing"),
    "an array is not listed": (lambda index: index.pop("mtp.fc.weight"), "but the index says None"),
    "a file does not exist": (lambda index: index.update(new="model-9.safetensors"), "which does not exist"),
    "another file": (
        lambda index: index.update({"b.weight": "model-mtp-of-00002.safetensors"}),
        "must hold 'b.weight'",
    ),
    "no such array": (
        lambda index: index.update(new="model-mtp-of-00002.safetensors"),
        "must hold 'new', but does not",
    ),
    "no map": (lambda index: index.clear(), "damaged index (weight_map must map"),
}
NO_FILE = ("which does not exist", "must hold 'new', but does not")
"""The problems of an index that names an array which no file has."""


@pytest.mark.parametrize("what", MISFITS)
def test_the_hint_works_as_printed(what: str, paramctl: Run, tmp_path: Path) -> None:
    """The command of the error, typed in a shell, writes an index that fits; no other file is changed."""
    change, problem = MISFITS[what]
    folder = tmp_path / "a set"
    write_set(folder, change)
    files = {name: (folder / name).read_bytes() for name in FILES}
    for command in ("summary", "dump"):
        done = paramctl(command, "a set")
        assert (done.returncode, done.stdout) == (2, "")
        assert problem in done.stderr.splitlines()[-1]  # a note before it may name files that the index does not
    program, *arguments = shlex.split(done.stderr.rstrip().partition("Index the files again with: ")[2])
    assert program == "paramctl"
    done = paramctl(*arguments, "-o", "all.safetensors")
    assert done.returncode == 0, done.stderr
    assert ("which no file holds" in done.stderr) is (problem in NO_FILE)
    assert (folder / INDEX).exists() is (change is not None)
    assert paramctl("summary", "a set").returncode == 2
    assert sorted(load_file(tmp_path / "all.safetensors")) == NAMES
    done = paramctl(*arguments)
    gone = f"a set/{INDEX}: the old index also names new, which no file holds\n" if problem in NO_FILE else ""
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"wrote a set/{INDEX}\n{gone}")
    assert {name: (folder / name).read_bytes() for name in FILES} == files
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, INDEX])
    assert paramctl("diff", "a set", "all.safetensors").returncode == 0
    index = json.loads((folder / INDEX).read_text())
    assert index["metadata"] == {"total_size": 64} | ({"format": "pt"} if change and "damaged" not in problem else {})
    assert index["weight_map"] == {name: file for file, names in FILES.items() for name in names}
    assert paramctl(*arguments, "-q").stderr == ""


def test_an_array_in_two_files_is_refused(paramctl: Run, tmp_path: Path) -> None:
    """A file that holds all arrays again, as some publishers add, would make the index ambiguous."""
    write_set(tmp_path / "m", None)
    save_file({"b.weight": np.zeros(4, "float32")}, tmp_path / "m/consolidated.safetensors")
    for more in ([], ["-o", "x.h5"]):
        done = paramctl("save", "m", "--rebuild-index", *more)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "m: 'b.weight' is in consolidated.safetensors and in model-00002-of-00002.safetensors. "
            "Move one of the files to another folder\n"
        )
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == sorted([*FILES, "consolidated.safetensors"])
    assert not (tmp_path / "x.h5").exists()


def test_two_sets_in_a_folder_are_indexed_by_their_names(paramctl: Run, tmp_path: Path) -> None:
    for name, value in {"a": 1, "b": 2}.items():
        (tmp_path / "x.yaml").write_text("input: [4]\nlayers: [{dense: 3}, {dense: 2}]\n")
        assert paramctl("init", "x.yaml", "--scheme", f"constant:{value}", "-o", f"{name}.h5").returncode == 0
        done = paramctl("save", f"{name}.h5", "-o", f"{name}.safetensors", "--max-shard-size", "40")
        assert done.returncode == 0
    before = (tmp_path / "a.safetensors.index.json").read_bytes()
    (tmp_path / "a.safetensors.index.json").write_text('{"weight_map": {"w": "a-00001-of-00004.safetensors"}}')
    done = paramctl("save", ".", "--rebuild-index")
    assert (done.returncode, "has several indexes" in done.stderr) == (2, True)
    assert paramctl("save", "a.safetensors.index.json", "--rebuild-index").returncode == 0
    again = json.loads((tmp_path / "a.safetensors.index.json").read_text())
    assert again["weight_map"] == json.loads(before)["weight_map"]
    assert paramctl("dump", "a.safetensors.index.json", "dense/kernel[0]").stdout == "[1. 1. 1.]\n"


def test_keras_shards_are_indexed_again(paramctl: Run, tmp_path: Path) -> None:
    """The new index is the one that Keras' own order gives, files of a split group included."""
    (tmp_path / "k").mkdir()
    mlp = str(ROOT / "sample_models/mlp.yaml")
    assert paramctl("save", mlp, "-o", "k/m.weights.json", "--max-shard-size", "40").returncode == 0
    path = tmp_path / "k/m.weights.json"
    before = path.read_text()
    index = json.loads(before)
    assert any(isinstance(files, list) for files in index["weight_map"].values())
    index["weight_map"].pop("/layers/dense_1/vars")
    for text in (json.dumps(index), None):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        done = paramctl("summary", "k")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "paramctl save k --rebuild-index" in done.stderr
        assert paramctl("save", "k", "--rebuild-index").stderr == "wrote k/m.weights.json\n"
        assert path.read_text() == before
        assert paramctl("diff", "k", mlp).returncode == 0


def test_the_options_of_an_index(paramctl: Run, tmp_path: Path) -> None:
    write_set(tmp_path / "m", None)
    for arguments, says in {
        ("m",): "Missing option '-o' / '--output'",
        ("m", "--rebuild-index", "--dtype", "float16"): "Other options with --rebuild-index require -o",
        ("m/model-00001-of-00002.safetensors", "--rebuild-index"): "must be a folder or an index",
        ("none", "--rebuild-index"): "must be a folder or an index",
    }.items():
        done = paramctl("save", *arguments)
        assert (done.returncode, done.stdout, says in done.stderr) == (2, "", True), done.stderr
    (tmp_path / "empty").mkdir()
    done = paramctl("save", "empty", "--rebuild-index")
    assert (done.returncode, "must have the files of a set" in done.stderr) == (2, True)
    assert pc.rebuild_index(tmp_path / "m") == str(tmp_path / "m" / INDEX)
    with pc.open(tmp_path / "m") as weights:
        assert sorted(weights) == NAMES


OTHER_FILES = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer"),
    "HTML": (b"<!DOCTYPE html><html></html>", "an HTML or XML page"),
    "pickle": (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "a pickle of torch.save"),
    "nothing": (b"", "is empty (0 bytes)"),
}


@pytest.mark.parametrize("what", OTHER_FILES)
def test_a_file_of_a_set_is_named_for_what_it_is(what: str, paramctl: Run, tmp_path: Path) -> None:
    """A set is often cloned without Git LFS: its index is there, and its files are pointers."""
    data, words = OTHER_FILES[what]
    write_set(tmp_path / "m", lambda _: None)
    (tmp_path / "m/model-00002-of-00002.safetensors").write_bytes(data)
    for arguments in (["summary", "m"], ["save", "m", "--rebuild-index"]):
        done = paramctl(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("m/model-00002-of-00002.safetensors: ")
        assert words in done.stderr
    (tmp_path / "x.yaml").write_text("input: [4]\nlayers: [{dense: 3}, {dense: 2}]\n")
    assert paramctl("save", "x.yaml", "-o", "k.weights.json", "--max-shard-size", "40").returncode == 0
    (tmp_path / "k_00001.weights.h5").write_bytes(data)
    done = paramctl("summary", "k.weights.json")
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_the_metadata_of_a_set_is_kept(paramctl: Run, tmp_path: Path) -> None:
    """In place, in another set, in a single file, and in a new index: numbers too. Other formats name it."""
    metadata = {"total_size": 1, "format": "pt", "note": "hi", "total_parameters": 16, "tool": {"a": [1, None]}}
    write_set(tmp_path / "m", lambda _: None)
    index = json.loads((tmp_path / "m" / INDEX).read_text())
    (tmp_path / "m" / INDEX).write_text(json.dumps({**index, "metadata": metadata}))
    kept = {key: value for key, value in metadata.items() if key not in ("total_size", "format")}
    for arguments in (
        ["save", "m", "--rebuild-index"],
        ["set", "m", "a.weight = 9", "--in-place"],
        ["save", "m", "-o", "n/", "--max-shard-size", "20"],
        ["save", "m", "--rename", "a.weight=z", "-o", "o/", "--max-shard-size", "20"],
    ):
        done = paramctl(*arguments)
        assert done.returncode == 0, done.stderr
        folder = arguments[-3] if "-o" in arguments else "m"
        written = json.loads((tmp_path / folder / INDEX).read_text())["metadata"]
        assert written["total_size"] == 64
        assert kept.items() <= written.items()
    assert paramctl("save", "m", "-o", "s.safetensors", "-q").returncode == 0
    with safe_open(tmp_path / "s.safetensors", "np") as file:
        texts = {"note": "hi", "total_parameters": "16", "tool": '{"a": [1, null]}'}
        assert texts.items() <= file.metadata().items()
    for name in ("x.h5", "x.npz"):
        done = paramctl("save", "m", "-o", name)
        lines = [f"{name} does not include the metadata {key!r} of the source" for key in kept]
        assert sorted(line for line in done.stderr.splitlines() if "include" in line) == sorted(lines)


@pytest.mark.parametrize("suffix", ["safetensors", "keras"])
def test_a_missing_file_of_a_set_is_not_forgotten(suffix: str, paramctl: Run, tmp_path: Path) -> None:
    """The error first advises to get the file again, and a new index names each array that it lacks, with -q too."""
    target = {"safetensors": "m/model.safetensors", "keras": "m/model.weights.json"}[suffix]
    (tmp_path / "m").mkdir()
    mlp = str(ROOT / "sample_models/mlp.yaml")
    assert paramctl("save", mlp, "-o", target, "--max-shard-size", "40").returncode == 0
    index = next((tmp_path / "m").glob("*.json"))
    before = index.read_text()
    listed = json.loads(before)["weight_map"]
    lost = next(files for files in [*listed.values()][::-1] if isinstance(files, str))
    (tmp_path / "m" / lost).unlink()
    done = paramctl("summary", "m")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"names {lost}, which does not exist. Get this file again, because a new index leaves its" in done.stderr
    assert done.stderr.index("Get this file again") < done.stderr.index("paramctl save m --rebuild-index")
    gone = [name for name, files in listed.items() if files == lost]
    parts = [f"{name} of {lost}" for name, files in listed.items() if isinstance(files, list) and lost in files]
    for quiet in ([], ["-q"]):
        index.write_text(before)
        done = paramctl("save", "m", "--rebuild-index", *quiet)
        assert (done.returncode, done.stderr.count("wrote ")) == (0, 0 if quiet else 1)
        names = done.stderr.splitlines()[-1].removeprefix(f"m/{index.name}: the old index also names ")
        assert gone
        assert sorted(names.removesuffix(", which no file holds").split(", ")) == sorted([*gone, *parts])


def test_files_that_are_missing_with_their_index_are_named(paramctl: Run, tmp_path: Path) -> None:
    """The numbers of the others count them; a complete set has the usual hint alone."""
    for number in (1, 3):
        (tmp_path / "m").mkdir(exist_ok=True)
        save_file({f"w{number}": np.ones(2)}, tmp_path / f"m/model-0000{number}-of-00003.safetensors")
    done = paramctl("summary", "m")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert ", and so is model-00002-of-00003.safetensors. Get these files again too, because" in done.stderr
    assert "paramctl save m --rebuild-index" in done.stderr
    save_file({"w2": np.ones(2)}, tmp_path / "m/model-00002-of-00003.safetensors")
    assert "again too" not in paramctl("summary", "m").stderr
