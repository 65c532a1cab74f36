"""Detection: each format recognizes its own files by their content, and no others, whatever their names."""

import re
from pathlib import Path

import pytest

from paramctl.address.quoting import address_of
from paramctl.address.resolve import resolve
from paramctl.errors import AddressError, OutputError, ParamctlError
from paramctl.source.open import open_path, source_of
from paramctl.source.save import other_content_lost, save
from paramctl.store.folder import resolve_folder
from paramctl.store.format import Format
from paramctl.store.io.write_values import WriteOptions
from paramctl.store.location import open_location
from paramctl.store.registry import FORMATS, by_name, detect, for_writing
from tests.conftest import ROOT, SAMPLES, Run
from tests.formats import SUFFIXES
from tests.samples import SAMPLES as READ_ONLY

READ_AS = {"Keras weights": "HDF5"}
"""Formats that are only written. Another format reads their files."""

MATCHED_TOO = {
    ("Keras", "npz"),
    ("torch", "npz"),
    ("torch set", "sharded safetensors"),
    ("torch distributed", "torch"),
    ("Flax msgpack set", "sharded safetensors"),
}
"""Files, and a general format that matches them too. It must come later in the registry."""

EVERY = pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)


def written(format_: Format, folder: Path, suffix: str | None = None) -> Path:
    """Save a small model in a format; return the file by which it is opened."""
    if not format_.writable:
        return READ_ONLY[format_.name](folder)
    suffix = format_.suffixes[0] if suffix is None else suffix
    layers = "[{dense: {units: 3, use_bias: false}}]" if format_.unnamed else "[{dense: 3}, {dense: 2}]"
    (folder / "model.yaml").write_text(f"name: m\ninput: [4]\nlayers: {layers}\n")
    options = WriteOptions(max_shard_size=20 if format_.shardable and suffix not in SUFFIXES else None)
    save(source_of(open_path(str(folder / "model.yaml"))), f"{folder}/m{suffix}", options)
    return Path(resolve_folder(f"{folder}/m{suffix}"))


def matches(path: Path) -> set[str]:
    """Return the names of the formats that match a file."""
    location = open_location(str(path))
    try:
        return {format_.name for format_ in FORMATS if format_.matches(location)}
    finally:
        location.close()


def detected(path: Path) -> str | None:
    location = open_location(str(path))
    try:
        format_ = detect(location)
        return format_.name if format_ else None
    finally:
        location.close()


def reader(format_: Format) -> str:
    return READ_AS.get(format_.name, format_.name)


def test_the_registry_is_complete() -> None:
    assert len(FORMATS) > 5
    assert len({format_.name for format_ in FORMATS}) == len(FORMATS)
    suffixes = [suffix for format_ in FORMATS if format_.writable for suffix in format_.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert set(READ_ONLY) == {format_.name for format_ in FORMATS if not format_.writable}
    names = [format_.name for format_ in FORMATS]
    assert all(names.index(special) < names.index(general) for special, general in MATCHED_TOO)


@EVERY
def test_a_format_matches_its_own_files_and_no_others(format_: Format, tmp_path: Path) -> None:
    path = written(format_, tmp_path)
    others = {general for special, general in MATCHED_TOO if special == format_.name}
    assert matches(path) == {reader(format_)} | others
    assert detected(path) == reader(format_)
    checkpoint = open_path(str(path)).checkpoint
    assert checkpoint is not None
    assert checkpoint.origin.format in (format_.name, reader(format_))


@EVERY
def test_the_suffix_chooses_the_format_and_is_not_needed_to_read_it(format_: Format, tmp_path: Path) -> None:
    for suffix in format_.suffixes if format_.writable else ():
        assert for_writing(f"x{suffix}") is for_writing(f"x{suffix}".upper()) is by_name(format_.name)
        folder = tmp_path / f"of{suffix.rstrip('/')}"
        folder.mkdir()
        path = written(format_, folder, suffix)
        path = path.rename(path.with_name("no suffix"))
        assert detected(path) == reader(format_)


@EVERY
def test_a_damaged_first_byte_is_an_error(format_: Format, tmp_path: Path) -> None:
    """No other format, and no model document, takes the file for its own."""
    path = written(format_, tmp_path)
    data = bytearray(path.read_bytes())
    first = data[0]
    for byte in set(range(256)) - {first}:
        data[0] = byte
        path.write_bytes(data)
        assert detected(path) in (None, reader(format_))
        with pytest.raises(ParamctlError) as error:
            open_path(str(path))
        assert "\n" not in str(error.value)


@EVERY
def test_a_file_cut_short_is_an_error(format_: Format, tmp_path: Path) -> None:
    path = written(format_, tmp_path)
    data = path.read_bytes()
    for size in (0, 1, 2, 4, 8, 9, len(data) // 2, len(data.rstrip()) - 1):
        path.write_bytes(data[:size])
        assert detected(path) in (None, reader(format_), *(general for _, general in MATCHED_TOO))
        with pytest.raises(ParamctlError):
            source_of(open_path(str(path)))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_no_format_matches_a_model_document(path: Path) -> None:
    assert matches(path) == set()


@EVERY
def test_a_format_of_one_file_writes_one(format_: Format, tmp_path: Path) -> None:
    if not format_.writable:
        return
    path = written(format_, tmp_path)
    names = {file.name for file in path.parent.iterdir()} - {"model.yaml"}
    assert (names == {path.name}) is (format_.unnamed or format_.suffixes[0] in SUFFIXES)


def test_a_folder_of_several_checkpoints_says_which_is_read(paramctl: Run, tmp_path: Path) -> None:
    """The files of the set that is read are no others."""
    folder = tmp_path / "f"
    folder.mkdir()
    for name in ("one.h5", "two.npz", "one.safetensors"):
        assert paramctl("save", str(ROOT / "sample_models/mlp.yaml"), "-o", str(folder / name)).returncode == 0
    shown = paramctl("summary", "f")
    assert (shown.returncode, shown.stderr) == (0, "f: reading one.safetensors, not one.h5, two.npz\n")
    sharded = [str(ROOT / "sample_models/mlp.yaml"), "--max-shard-size", "80", "-o", str(folder / "set.safetensors")]
    assert paramctl("save", *sharded).returncode == 0
    assert len(list(folder.glob("set-*.safetensors"))) > 1
    shown = paramctl("stat", "f")
    expected = "f: reading set.safetensors.index.json, not one.h5, one.safetensors, two.npz\n"
    assert (shown.returncode, shown.stderr) == (0, expected)
    for name in ("one.h5", "two.npz", "one.safetensors"):
        (folder / name).unlink()
    assert paramctl("summary", "f").stderr == ""


def test_a_format_that_is_only_read_says_so_when_its_suffix_is_written() -> None:
    suffixes = {suffix: format_.name for format_ in FORMATS if not format_.writable for suffix in format_.read_suffixes}
    assert len(suffixes) > 8
    for suffix, name in suffixes.items():
        with pytest.raises(OutputError, match=f"{name} is only read: "):
            for_writing(f"x{suffix}")


@EVERY
def test_a_model_knows_everything_else_in_its_file(format_: Format, tmp_path: Path) -> None:
    """An address of an optimizer's array, or of content that is no array, gets an error that says so."""
    checkpoint = open_path(str(written(format_, tmp_path))).checkpoint
    assert checkpoint is not None
    assert checkpoint.model.skipped == checkpoint.origin.skipped
    state = checkpoint.origin.optimizer
    assert set(checkpoint.model.optimizer) == (set(state.arrays) if state else set())
    for name, kind in checkpoint.origin.skipped.items():
        with pytest.raises(AddressError, match=re.escape(kind)):
            resolve(checkpoint.model, address_of(name, checkpoint.model.separator))


@EVERY
def test_what_describes_a_file_alone_is_not_reported_as_lost(format_: Format, tmp_path: Path) -> None:
    """The sum of a set's bytes is metadata of the set. Another file has its own size."""
    checkpoint = open_path(str(written(format_, tmp_path))).checkpoint
    assert checkpoint is not None
    keys = by_name(checkpoint.origin.format).file_keys
    if format_.name in ("torch set", "Flax msgpack set", "sharded safetensors"):
        assert keys & checkpoint.origin.metadata.keys()
    lost = other_content_lost(checkpoint.origin, checkpoint.model, "x.npz")
    assert not [words for words in lost for key in keys if repr(key) in words]
