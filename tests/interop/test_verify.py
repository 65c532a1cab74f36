"""The record of hashes against the real libraries: they read the files as before, and a signed list of hashes works."""

import subprocess
import sys
from pathlib import Path
from shutil import which

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

import paramctl as pc

DOCUMENT = "name: m\ninput: [3]\nlayers:\n  - dense: {name: first, units: 2}\n  - dense: {name: second, units: 1}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    (folder / "m.yaml").write_text(DOCUMENT)
    for name in ("m.safetensors", "m.h5", "m.npz", "m.keras", "m.weights.h5"):
        pc.save(folder / "m.yaml", folder / name)
    pc.save(folder / "m.yaml", folder / "s.weights.json", max_shard_size=20)
    return folder


@pytest.fixture(scope="module")
def values(folder: Path) -> dict[str, np.ndarray]:
    with pc.open(folder / "m.npz") as weights:
        return {path: np.asarray(weights[path][...]) for path in weights}


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5", "s.weights.json"])
def test_keras_loads_the_values(folder: Path, values: dict[str, np.ndarray], name: str) -> None:
    if name == "m.keras":
        model = keras.models.load_model(folder / name)
    else:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
        model.load_weights(folder / name)
    for array, expected in zip(model.get_weights(), values.values(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_the_other_libraries_see_the_same_arrays(folder: Path, values: dict[str, np.ndarray]) -> None:
    """Arrays and names are those of the model: the record is none of them, and no tie."""
    tensors = safetensors.numpy.load_file(folder / "m.safetensors")
    assert tensors.keys() == values.keys()
    with safe_open(folder / "m.safetensors", "np") as file:
        assert not set(file.metadata().values()) & values.keys()
    with np.load(folder / "m.npz") as archive:
        assert set(archive.files) == values.keys()
    with h5py.File(folder / "m.h5") as native:
        assert set(native) == {"first", "second", "__paramctl__"}
        np.testing.assert_array_equal(native["first/kernel"][...], values["first/kernel"])
    with h5py.File(folder / "m.weights.h5") as weights:
        assert "paramctl" not in " ".join(weights)


def test_an_edit_by_h5py_is_found(folder: Path) -> None:
    """The record stays in the file when another program changes it."""
    for name, path, shown in (("m.h5", "first/bias", "first/bias"), ("m.weights.h5", "layers/dense/vars/1", "first")):
        copy = folder / f"edited-{name}"
        copy.write_bytes((folder / name).read_bytes())
        with h5py.File(copy, "r+") as file:
            file[path][0] = 3
        assert [row.path for row in pc.verify(copy).altered] == [path] or shown in str(pc.verify(copy).altered[0].path)
        with h5py.File(copy, "r+") as file:
            file.attrs["note"] = "x"
        assert None in [row.path for row in pc.verify(copy).altered]


def test_keras_saves_a_file_that_has_no_stale_record(folder: Path) -> None:
    model = keras.models.load_model(folder / "m.keras")
    model.save(folder / "again.keras")
    with pytest.raises(pc.InputError, match="records no hashes"):
        pc.verify(folder / "again.keras")


def test_a_signed_list_of_hashes(folder: Path) -> None:
    """OpenSSF's model-signing signs the output of paramctl sum with a key, and finds a changed list."""
    openssl = which("openssl")
    tool = Path(sys.executable).parent / "model_signing"
    if openssl is None or not tool.exists():
        pytest.skip("model_signing or openssl is not installed")

    def run(*words: str) -> int:
        return subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode

    rows = pc.sums(folder / "m.h5").rows
    sums = folder / "model.sums"
    sums.write_text("".join(f"{row.sha256}  {row.path}\n" for row in rows))
    assert run(openssl, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem") == 0
    assert run(openssl, "ec", "-in", "key.pem", "-pubout", "-out", "public.pem") == 0
    signature = ("model.sums", "--signature", "model.sums.sig")
    if run(str(tool), "sign", "key", *signature, "--private_key", "key.pem"):
        pytest.skip("model_signing cannot start here")
    assert run(str(tool), "verify", "key", *signature, "--public_key", "public.pem") == 0
    assert pc.verify(folder / "m.safetensors", against=sums).matches
    sums.write_text(sums.read_text().replace(rows[0].sha256, "0" * 64))
    assert run(str(tool), "verify", "key", *signature, "--public_key", "public.pem") != 0
