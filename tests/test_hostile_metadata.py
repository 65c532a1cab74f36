"""Damaged files whose metadata is read, or changed: a line of error or the right arrays, and never a traceback.

With PARAMCTL_TORTURE set, five hundred times as many damaged files are tried.
"""

import os
import random
from pathlib import Path

import h5py
import numpy as np
import pytest

import paramctl as pc
from paramctl.errors import ParamctlError
from tests.conftest import ROOT

ROUNDS = 10_000 if os.environ.get("PARAMCTL_TORTURE") else 20
FIXTURES = ROOT / "tests/fixtures"


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A file of each format that has metadata of its own, with the state of an optimizer."""
    folder = tmp_path_factory.mktemp("whole")
    for name in ("m.h5", "m.safetensors", "m.npz"):
        pc.save(str(FIXTURES / "keras2_full_model.h5"), folder / name, state=True)
    for name in ("m.h5", "m.safetensors"):  # a file whose record is wrong is refused at once
        pc.set_metadata(folder / name, {}, drop_metadata="paramctl.sums")
    pc.save(str(ROOT / "sample_models/mlp.yaml"), folder / "m.keras")
    with h5py.File(folder / "plain.h5", "w") as file:
        for number in range(3):
            group = file.create_group(f"g{number}")
            group.attrs["names"] = ["one", "two"]
            group.attrs["rate"] = 0.5
            group["w"] = np.ones(4)
            group["w"].attrs["unit"] = "m"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def damaged(whole: bytes, rng: random.Random) -> bytes:
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 3))):
        place = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(len(data), 4_000))
        data[place] = rng.choice((0, 1, 0x7F, 0xFF, data[place] ^ (1 << rng.randrange(8))))
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


@pytest.mark.parametrize("name", ["m.h5", "m.safetensors", "m.npz", "m.keras", "plain.h5"])
def test_metadata_and_state_of_a_damaged_file(name: str, whole_files: dict[str, bytes], tmp_path: Path) -> None:
    """Errors name the file. Whatever is read as metadata has a key, and a place among the file's paths or none."""
    rng = random.Random(name)  # noqa: S311
    path = tmp_path / name
    refused = rows = 0
    for _ in range(ROUNDS):
        path.write_bytes(damaged(whole_files[name], rng))
        try:
            with pc.open(path) as weights:
                listed = pc.metadata(weights)
                rows += len(listed)
                assert all(isinstance(row.key, str) and (row.place is None or row.place) for row in listed)
                for array in weights.with_state().values():
                    if array.size < 10_000:
                        np.asarray(array)
        except ParamctlError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused
    assert rows


@pytest.mark.parametrize("name", ["m.h5", "m.safetensors", "plain.h5"])
def test_a_change_of_a_damaged_file(name: str, whole_files: dict[str, bytes], tmp_path: Path) -> None:
    """The file is refused and stays as it was, or it has the new key and the arrays that it had."""
    rng = random.Random(name)  # noqa: S311
    path = tmp_path / name
    changed = 0
    for _ in range(ROUNDS // 2):
        data = damaged(whole_files[name], rng)
        path.write_bytes(data)
        try:
            with pc.open(path) as weights:
                before = {key: each.shape for key, each in weights.items()}
            pc.set_metadata(path, {"note": "new"})
        except ParamctlError:
            assert path.read_bytes() == data
            continue
        changed += 1
        with pc.open(path) as weights:
            assert {key: each.shape for key, each in weights.items()} == before
            assert [row.value for row in pc.metadata(weights) if row.key == "note" and row.place is None] == ["new"]
    assert changed
