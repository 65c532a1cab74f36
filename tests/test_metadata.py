"""Metadata: what files record beside their arrays is listed by summary --metadata and changed by set --metadata."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import paramctl as pc
from paramctl.errors import OutputError
from paramctl.source.open import open_checkpoint
from paramctl.source.save import not_carried, save
from paramctl.store.io.write_values import WriteOptions
from paramctl.store.registry import FORMATS
from tests.conftest import ROOT, Run
from tests.formats import NAMES
from tests.samples import SAMPLES

MLP = str(ROOT / "sample_models/mlp.yaml")


def listed(paramctl: Run, path: object) -> dict[tuple[str | None, str], Any]:
    """Return the values of a file by place and key, from the JSON of the command."""
    done = paramctl("summary", str(path), "--metadata", "--format", "json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return {(row["place"], row["key"]): row["value"] for row in json.loads(done.stdout)}


def safetensors(path: Path, metadata: dict[str, str]) -> Path:
    """Write a file with one array, w, of two values."""
    entries = {"__metadata__": metadata, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + np.array([1, 2], "f4").tobytes())
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_format_shows_its_record(name: str, paramctl: Run, tmp_path: Path) -> None:
    """Files of paramctl's own have the document, and the scheme and seed of each array; Keras' a configuration."""
    assert paramctl("init", MLP, "--seed", "7", "-o", name, "-q").returncode == 0
    done = paramctl("summary", name, "--metadata", "--format", "json")
    values = {(row["place"], row["key"]): row["value"] for row in json.loads(done.stdout)}
    if name.endswith(".keras"):
        assert json.loads(values[None, "config.json"])["class_name"] == "Sequential"
        assert "keras_version" in json.loads(values[None, "metadata.json"])
    elif name.endswith(".weights.h5"):
        assert values["layers/dense/vars", "name"] == "dense"
    elif name.endswith(".weights.json"):
        assert values
    else:
        assert values[None, "paramctl.document"] == Path(MLP).read_text()
        assert values["dense/kernel", "scheme"] == "glorot_uniform"
        assert values["dense/kernel", "seed"] == 7
        assert values[None, "paramctl.recipe"] == 1
        assert values[None, "paramctl.written_by"].startswith("paramctl ")


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format_that_is_read_shows_its_values(name: str, paramctl: Run, tmp_path: Path) -> None:
    """Everything in Origin.metadata is a row, whatever the format."""
    path = SAMPLES[name](tmp_path)
    origin = pc.open(path).source.origin
    done = paramctl("summary", str(path), "--metadata", "--format", "json")
    assert done.returncode == 0
    rows = {row["key"] for row in json.loads(done.stdout)}
    assert rows >= origin.metadata.keys()
    assert ("has no metadata" in done.stderr) == (not rows)


def test_attributes_of_an_hdf5_file(paramctl: Run, tmp_path: Path) -> None:
    """Of the file, a group and an array: texts, numbers, booleans and lists. Other types are described."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["title"] = "Größe \x1b[2J"
        file.attrs["bytes"] = np.bytes_(b"old")
        group = file.create_group("encoder")
        group.attrs["rate"] = np.float32(0.5)
        group.attrs["is_frozen"] = True
        group["w"] = np.ones(3)
        group["w"].attrs["names"] = ["a", "b"]
        group["w"].attrs["sizes"] = np.array([[1, 2], [3, 4]])
        group["w"].attrs["other"] = group.ref
        file["again"] = group["w"]
    values = listed(paramctl, tmp_path / "m.h5")
    assert values == {
        (None, "title"): "Größe \x1b[2J",
        (None, "bytes"): "old",
        ("encoder", "rate"): 0.5,
        ("encoder", "is_frozen"): True,
        (next(place for place, key in values if key == "names"), "names"): ["a", "b"],
        (next(place for place, key in values if key == "sizes"), "sizes"): [[1, 2], [3, 4]],
        (next(place for place, key in values if key == "other"), "other"): None,
    }
    table = paramctl("summary", "m.h5", "--metadata").stdout
    assert "\x1b" not in table
    assert "(references to objects)" in table
    assert "(references to objects)" in paramctl("summary", "m.h5", "--metadata", "--format", "csv").stdout


def test_values_are_whole_in_a_pipe(paramctl: Run, tmp_path: Path) -> None:
    """A long text is shortened on a terminal only, and no control character reaches the table."""
    text = "long " * 1000 + "\nend\x07"
    safetensors(tmp_path / "m.safetensors", {"note": text, "format": "pt"})
    assert listed(paramctl, "m.safetensors")[None, "note"] == text
    table = paramctl("summary", "m.safetensors", "--metadata").stdout
    assert "long " * 1000 + "\\nend\\x07\n" in table


def test_numbers_that_are_not_finite(paramctl: Run, tmp_path: Path) -> None:
    """They are texts in JSON, as in dump, and never an empty value."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["w"] = np.ones(2)
        file.attrs["best"] = np.inf
        file.attrs["losses"] = [1.0, np.nan, -np.inf]
    assert listed(paramctl, "m.h5") == {(None, "best"): "Infinity", (None, "losses"): [1.0, "NaN", "-Infinity"]}
    assert "Infinity\n" in paramctl("summary", "m.h5", "--metadata").stdout


def test_files_without_metadata(paramctl: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", w=np.ones(2))
    done = paramctl("summary", "m.npz", "--metadata")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "m.npz: has no metadata\n")
    done = paramctl("summary", MLP, "--metadata")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "mlp: a model document has no metadata\n")
    for words in (["w"], ["--state"], ["--depth", "1"], ["--format", "tree"]):
        done = paramctl("summary", "m.npz", "--metadata", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1


def test_values_of_many_attributes_that_share_their_bytes(paramctl: Run, tmp_path: Path) -> None:
    """A small file whose attributes would be 100 MB is refused before they are in memory."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["w"] = np.ones(3)
        text = h5py.string_dtype()
        for number in range(200):
            file.attrs.create(f"a{number}", "x" * 30_000, dtype=text)
    done = paramctl("summary", "m.h5", "--metadata", "--format", "json")
    assert done.returncode == 0  # as many bytes as the file has
    assert len(json.loads(done.stdout)) == 200


@pytest.mark.parametrize("words", [["--in-place"], ["-o", "new.safetensors"]], ids=["in_place", "output"])
def test_metadata_of_safetensors_is_changed(words: list[str], paramctl: Run, tmp_path: Path) -> None:
    """The values of the arrays are the same to the byte, and keys that are not named stay."""
    path = safetensors(tmp_path / "m.safetensors", {"format": "pt", "epoch": "3", "license": "none"})
    before = path.read_bytes()
    done = paramctl("set", "m.safetensors", "--metadata", "license=mit = free", "--drop-metadata", "epoch", *words)
    target = tmp_path / words[-1] if len(words) > 1 else path
    assert (done.returncode, done.stderr) == (0, f"wrote {target.name}: 2 items of metadata changed\n")
    assert listed(paramctl, target) == {(None, "format"): "pt", (None, "license"): "mit = free"}
    assert np.asarray(pc.open(target)["w"]).tolist() == [1, 2]
    assert target.read_bytes().endswith(before[-8:])
    assert struct.unpack("<Q", target.read_bytes()[:8])[0] % 8 == 0
    if target != path:
        assert path.read_bytes() == before


def test_metadata_of_a_set_is_changed(paramctl: Run, tmp_path: Path) -> None:
    assert paramctl("save", MLP, "-o", "set/", "--max-shard-size", "64", "-q").returncode == 0
    done = paramctl("set", "set/", "--metadata", "license=mit", "--in-place")
    assert done.returncode == 0, done.stderr
    values = listed(paramctl, "set/")
    assert values[None, "license"] == "mit"
    assert paramctl("diff", "set/", MLP).returncode == 0
    done = paramctl("set", "set/", "--metadata", "total_size=1", "--in-place")
    assert (done.returncode, "describes the arrays" in done.stderr) == (2, True)


def test_attributes_are_changed(paramctl: Run, tmp_path: Path) -> None:
    """A text becomes the new text, a number keeps its type, and a new attribute is a text."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["encoder/w"] = np.arange(3.0)
        file.attrs["step"] = np.int64(3)
        file["encoder"].attrs["unit"] = "m"
        file["encoder/w"].attrs["gone"] = "soon"
    words = ["--metadata", "step=4", "--metadata", "encoder@unit=V", "--metadata", "encoder/w@new=1"]
    done = paramctl("set", "m.h5", *words, "--drop-metadata", "encoder/w@gone", "--in-place")
    assert (done.returncode, done.stderr) == (0, "wrote m.h5: 4 items of metadata changed\n")
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.attrs["step"] == 4
        assert file.attrs["step"].dtype == np.int64
        assert dict(file["encoder"].attrs) == {"unit": "V"}
        assert dict(file["encoder/w"].attrs) == {"new": "1"}
        assert file["encoder/w"][:].tolist() == [0, 1, 2]


TIED = {"format": "pt", "v": "w"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metadata", "v=x"], "records a tie with w, so it cannot be changed. Use: paramctl untie"),
        (["--drop-metadata", "v"], "records a tie with w"),
        (["--metadata", "paramctl={}"], "describes the arrays"),
        (["--metadata", "other=w"], "is the name of an array, so it would be a tie"),
        (["--drop-metadata", "format"], "transformers refuses a file"),
        (["--drop-metadata", "absent"], "has no metadata 'absent'"),
        (["--metadata", "a=1", "--drop-metadata", "a"], "metadata can be set or dropped, not both"),
        (["--metadata", "a=1", "--metadata", "a=2"], "has the key 'a' twice"),
        (["--metadata", "a"], "must be KEY=VALUE (got 'a')"),
        (["w=1", "--metadata", "a=1"], "changed by separate commands"),
        (["--metadata", "a=1", "--dry-run"], "does not support --dry-run"),
    ],
)
def test_a_change_that_is_refused(words: list[str], message: str, paramctl: Run, tmp_path: Path) -> None:
    path = safetensors(tmp_path / "m.safetensors", TIED)
    before = path.read_bytes()
    done = paramctl("set", "m.safetensors", *words, "--in-place")
    assert (done.returncode, done.stdout, message in done.stderr) == (2, "", True), done.stderr
    assert done.stderr.count("\n") == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("dense/kernel@seed", "describes the arrays"),
        ("dense/kernel@dtype", "describes the arrays"),
        ("__paramctl__@recipe", "describes the arrays"),
        ("nowhere@a", "has no group and no array 'nowhere'"),
    ],
)
def test_an_attribute_that_cannot_be_changed(key: str, message: str, paramctl: Run, tmp_path: Path) -> None:
    assert paramctl("init", MLP, "-o", "m.h5", "-q").returncode == 0
    before = (tmp_path / "m.h5").read_bytes()
    done = paramctl("set", "m.h5", "--metadata", f"{key}=1", "--in-place")
    assert (done.returncode, message in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr
    assert (tmp_path / "m.h5").read_bytes() == before


def test_an_attribute_that_decides_names_is_not_changed(paramctl: Run, tmp_path: Path) -> None:
    """Keras' own attributes name its arrays: a change after which the file is read otherwise is undone."""
    path = ROOT / "tests/fixtures/keras2_full_model.h5"
    for words in (["--drop-metadata", "model_weights@layer_names"], ["--drop-metadata", "model_config"]):
        done = paramctl("set", str(path), *words, "-o", "new.h5")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert not (tmp_path / "new.h5").exists()
    done = paramctl("set", str(path), "--metadata", "note=kept", "-o", "new.h5")
    assert done.returncode == 0, done.stderr
    assert paramctl("diff", str(path), "new.h5", "--state").returncode == 0


@pytest.mark.parametrize("format_", [each for each in FORMATS if each.writable], ids=lambda each: each.name)
def test_formats_without_metadata_refuse_a_change(format_: Any, paramctl: Run, tmp_path: Path) -> None:
    """A format either changes a key and keeps the arrays, or refuses and keeps the file."""
    name = f"m{format_.suffixes[0]}"
    source = MLP
    if format_.unnamed:
        np.save(tmp_path / "one.npy", np.ones(3))
        source = "one.npy"
    assert paramctl("save", source, "-o", name, "-q").returncode == 0
    file = "m/model.safetensors" if name == "m/" else name
    before = (tmp_path / file).read_bytes()
    done = paramctl("set", name, "--metadata", "license=mit", "--in-place")
    if done.returncode:
        assert "has no metadata that can be changed" in done.stderr
        assert (tmp_path / file).read_bytes() == before
    else:
        assert listed(paramctl, file)[None, "license"] == "mit"
        assert paramctl("diff", file, source).returncode == 0


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    safetensors(tmp_path / "m.safetensors", {})
    with pytest.raises(OutputError, match="keeps its format"):
        pc.set_metadata(tmp_path / "m.safetensors", {"a": "b"}, output=tmp_path / "m.h5")
    with pytest.raises(OutputError, match="already exists"):
        pc.set_metadata(tmp_path / "m.safetensors", {"a": "b"}, output=tmp_path / "m.safetensors")
    assert pc.metadata(str(tmp_path / "m.safetensors")) == []


@pytest.mark.parametrize(
    ("key", "value"), [("format", "best"), ("total_size", 3), ("paramctl", "{}"), ("best", "w"), ("__metadata__", "x")]
)
def test_a_value_that_would_have_another_meaning_is_named(key: str, value: Any, tmp_path: Path) -> None:
    """Such as a key that safetensors reserves, or a text that would be read as a tie: it is dropped with a line."""
    np.savez(tmp_path / "m.npz", w=np.ones(2))
    source = open_checkpoint(str(tmp_path / "m.npz"))
    source.origin = replace(source.origin, metadata={key: value, "epoch": 3})
    for name in ("m.safetensors", "m/"):
        path = f"{tmp_path}/{name}"
        save(source, path)
        assert not_carried(source, path) == [f"the metadata {key!r}"]
        read = pc.open(path)
        assert [*read] == ["w"]
        assert {row.key: row.value for row in pc.metadata(read)}.items() >= {"epoch": "3", "format": "pt"}.items()


def test_numbers_that_json_lacks_become_texts(tmp_path: Path) -> None:
    """The index of a set is JSON, which other readers parse strictly."""
    np.savez(tmp_path / "m.npz", v=np.ones(2), w=np.ones(2))
    source = open_checkpoint(str(tmp_path / "m.npz"))
    source.origin = replace(source.origin, metadata={"best": float("inf"), "losses": [1.0, float("nan")]})
    save(source, f"{tmp_path}/m/", WriteOptions(max_shard_size=16))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (tmp_path / "m/model.safetensors.index.json").read_text()
    metadata = json.loads(text, parse_constant=refuse)["metadata"]
    assert (metadata["best"], metadata["losses"]) == ("Infinity", "[1.0, NaN]")


@pytest.mark.parametrize("value", [3, 0.5, True, ["a", "b"], "text"])
def test_plain_values_are_carried_into_safetensors(value: Any, paramctl: Run, tmp_path: Path) -> None:
    """The values of another format become texts there: a text as it is, anything else as JSON."""
    np.savez(tmp_path / "m.npz", w=np.ones(2))
    source = open_checkpoint(str(tmp_path / "m.npz"))
    source.origin = replace(source.origin, metadata={"training.value": value})
    save(source, str(tmp_path / "m.safetensors"))
    text = listed(paramctl, "m.safetensors")[None, "training.value"]
    assert text == (value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_copy_of_a_format_that_is_only_read_is_refused(name: str, paramctl: Run, tmp_path: Path) -> None:
    """Such a format has no suffix to suggest: the error names the way, whatever the suffix of the copy."""
    path = SAMPLES[name](tmp_path)
    for output in ("new.safetensors", f"new{path.suffix}"):
        done = paramctl("set", str(path), "--metadata", "a=b", "-o", output)
        expected = "has no metadata that can be changed. Save the arrays as .safetensors first.\n"
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.endswith(expected)
        assert not (tmp_path / output).exists()
