"""Names that are reserved, or that a format cannot hold: refused before anything is written, or read back by all."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from paramctl.errors import OutputError
from paramctl.model import Tie
from paramctl.source.open import open_checkpoint
from paramctl.source.save import save, write_stream
from paramctl.source.stored import Stored
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter
from paramctl.store.contents import Origin
from paramctl.store.io.write_values import WriteOptions
from tests.conftest import Run
from tests.formats import ANY

NAMES: list[list[str]] = [
    *(["__metadata__"], ["__metadata__", "w"], ["a", "a/b"], ["a/b", "a/b/c"], [".."], ["../../evil"], ["./a"], ["."]),
    *(["a/./b"], ["a//b"], ["/a"], ["a/"], ["/etc/evil"], [""], ["", "w"], ["a\0b"], ["a", "a\0b"], ["a" * 4_097]),
    *(["a" * 70_000], ["/".join("a" * 64)], ["/".join("a" * 65)], ["\ud800"], ["a", "\udcff"], ["x.npy"]),
    *(["x", "x.npy"], ["x.npy", "x.npy.npy"], ["file"], ["allow_pickle"], ["self", "arr_0"], ["__paramctl__"]),
    *(["__paramctl__/w"], ["a/__paramctl__"], ["paramctl"], ["format", "pt"], ["pt"], ["total_size"], ["e\u0301", "\xe9"]),
    *(["a", "A", "a "], ["a\nb"], ["\u202ew"], ["C:\\x"], ["a", "a\\b"], ['"w"'], ["{}"], ["w[0]"], ["\x1b[31m"]),
    *(["vars"], ["layer_names"], ["a", "a.b"], ["model.safetensors"]),
]  # fmt: skip
"""The names of the arrays of a model."""

TIES = ["format", "paramctl", "total_size", "__metadata__", "w/x", "w.npy", "..", "", "a\0", "x"]
"""Second names of an array w."""


class Values:
    """A reader of arrays of two values: the number of the array, and 7."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def read(self, path: str, start: int, stop: int) -> np.ndarray:
        return np.array([self.names.index(path), 7], "float32")[start:stop]


def source(names: list[str], ties: tuple[Tie, ...] = ()) -> Stored:
    parameters = {name: stored_parameter(name, (2,), "float32") for name in [*names, *(tie.tied for tie in ties)]}
    return Stored(Checkpoint(build_model("m", parameters, ties)[0], Values(names), Origin()))


def by_its_library(path: Path) -> dict[str, list[float]]:
    """Read a file, or every file of a set, with the library of its format."""
    if path.is_dir():
        return {name: values for file in path.glob("*.safetensors") for name, values in by_its_library(file).items()}
    if path.suffix == ".safetensors":
        return {name: array.tolist() for name, array in load_file(path).items()}
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return {name: archive[name].tolist() for name in archive.files}
    arrays: dict[str, list[float]] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[...].tolist()} if hasattr(item, "dtype") else {}))
    return {name: values for name, values in arrays.items() if not name.startswith("__paramctl__")}


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ANY)
def test_a_name_is_refused_or_read_back_by_all(name: str, tmp_path: Path) -> None:
    """Nothing is written, in one line; or the format's own library, and paramctl, find each array under its name."""
    assert len(ANY) >= 4
    refused = []
    for number, names in enumerate(NAMES):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        target = f"{path}/" if name.endswith("/") else str(path)
        try:
            save(source(names), target, WriteOptions())
        except OutputError as error:
            assert str(error).isprintable()
            assert not list(files(path.parent)), names
            refused.append(names)
            continue
        expected = {each: [float(names.index(each)), 7.0] for each in names}
        assert by_its_library(path) == expected
        opened = open_checkpoint(target)
        assert {each: opened.read(each, 0, 2).tolist() for each in opened.model.parameters} == expected
        assert not opened.model.ties
    assert ["\ud800"] in refused
    assert (["__metadata__"] in refused) is ("safetensors" in name or name.endswith("/"))
    assert (["a", "a/b"] in refused) is (".h5" in name)
    assert (["x", "x.npy"] in refused) is (".npz" in name)
    assert len(refused) < len(NAMES) / 2


@pytest.mark.parametrize("name", ANY)
def test_a_second_name_is_refused_or_read_back(name: str, tmp_path: Path) -> None:
    """A tie under a key that the metadata uses would be lost, or undo the metadata."""
    for number, second in enumerate(TIES):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        target = f"{path}/" if name.endswith("/") else str(path)
        try:
            save(source(["w", "v"], (Tie("w", second),)), target, WriteOptions())
        except OutputError as error:
            assert str(error).isprintable()
            assert not list(files(path.parent)), second
            continue
        opened = open_checkpoint(target)
        assert opened.model.ties == (Tie("w", second),)
        by_its_library(path)
        assert second not in ("format", "paramctl", "total_size", "__metadata__") or name.endswith((".h5", ".npz"))


def test_a_stream_has_the_rules_of_its_format(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file, pytest.raises(OutputError, match="reserves the name"):
        write_stream(source(["__metadata__"]), file)
    assert not (tmp_path / "x").stat().st_size


def test_metadata_is_not_mistaken_for_a_tie(paramctl: Run, tmp_path: Path) -> None:
    """Every file has {"format": "pt"}: an array called pt has no second name for that."""
    from safetensors.numpy import save_file

    save_file({"pt": np.ones(2, "float32")}, tmp_path / "m.safetensors", {"format": "pt"})
    for _ in range(2):
        assert open_checkpoint(str(tmp_path / "m.safetensors")).model.ties == ()
        assert paramctl("save", "m.safetensors", "-o", "m.safetensors", "--force").returncode == 0


def test_reserved_names_on_the_command_line(paramctl: Run, tmp_path: Path) -> None:
    """One line that names the array and the way out, which works when it is typed."""
    np.savez(tmp_path / "s7.npz", __metadata__=np.ones(2), w=np.ones(2))
    for arguments in (
        ("save", "s7.npz", "-o", "x.safetensors"),
        ("save", "s7.npz", "-o", "folder/"),
        ("save", "s7.npz", "-o", "-"),
        ("save", "s7.npz", "-o", "x.safetensors", "--max-shard-size", "16"),
        ("set", "s7.npz", "w=2", "-o", "x.safetensors"),
        ("tie", "s7.npz", "w=__metadata__", "-o", "x.safetensors"),
        ("save", "s7.npz", "--rename", "__metadata__=../w", "-o", "x.h5"),
        ("save", "s7.npz", "--rename", "w=\udcff", "-o", "x.npz"),
        ("save", "s7.npz", "--rename", "__metadata__=w.npy", "-o", "x.npz"),
    ):
        done = paramctl(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), arguments
        assert not [path for path in files(tmp_path) if path.name != "s7.npz"]
    assert paramctl("save", "s7.npz", "-o", "x.safetensors", "--rename", "__metadata__=meta").returncode == 0
    assert sorted(load_file(tmp_path / "x.safetensors")) == ["meta", "w"]
