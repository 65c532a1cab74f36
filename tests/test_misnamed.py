"""Files of other kinds, damaged, cut and empty ones too, under every suffix: named for what they are, in one line."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

import paramctl as pc
from paramctl.errors import ParamctlError
from paramctl.source.open import open_path
from paramctl.store.foreign import FOLDERS, KINDS
from paramctl.store.registry import FORMATS
from tests.conftest import ROOT, Run


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"\0" * 40)
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.yaml"))
    return buffer.getvalue()


def header(text: bytes, size: int | None = None) -> bytes:
    return (len(text) if size is None else size).to_bytes(8, "little") + text


BIG = b'{"w":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}'
NESTED = b'{"w":{"dtype":"F32","shape":' + b"[" * 4000 + b"}}"

SAMPLES: dict[str, tuple[bytes, str, str]] = {
    "safetensors, a header of 2^40 bytes": (
        header(b"{}", 1 << 40),
        ".safetensors",
        "the header has 1,099,511,627,776 bytes",
    ),
    "safetensors, 7 bytes": (bytes(7), ".safetensors", "truncated within the length of the header: 7 of 8 bytes"),
    "safetensors, cut": (save({"w": np.ones(3)})[:40], ".safetensors", "truncated within the header"),
    "safetensors, 5,000 digits": (header(BIG) + bytes(4), "", "the header is damaged: a number may have at most"),
    "safetensors, nested": (header(NESTED) + bytes(4), "", "'w' must have dtype, shape and data_offsets"),
    "npz, cut": (zipped("w.npy")[:60], ".npz", "damaged zip file"),
    "HDF5, damaged": (b"\x88HDF\r\n\x1a\n" + bytes(600), ".h5", "not an HDF5 file, or damaged at its beginning"),
    "an index, cut": (b'{"metadata": {"total', ".safetensors.index.json", "damaged index"),
    "Keras' index, cut": (b'{"metadata": {"total', ".weights.json", "damaged index"),
    ".keras without weights": (zipped("metadata.json", "config.json"), "", "a .keras file without weights: it has"),
    ".keras without configuration": (zipped("model.weights.h5"), "", "a .keras file without config.json"),
    ".keras without anything": (zipped(), ".keras", "a .keras file without config.json and model.weights.h5"),
    "torch": (zipped("m/data.pkl", "m/data/0"), "", "damaged pickle"),
    "TorchScript": (zipped("m/data.pkl", "m/constants.pkl", "m/code/m.py"), "", "damaged pickle"),
    "old torch": (
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        "",
        "damaged pickle (the pickle is truncated",
    ),
    "a pickle": (pickle.dumps({"w": 1}, protocol=3), "", "a pickle without arrays that can be read: a dict of 1"),
    "an old pickle": (
        pickle.dumps({"w": 1}, protocol=0),
        ".pkl",
        "neither an archive of torch.save nor a pickle of protocol 2",
    ),
    "SavedModel in a zip": (zipped("m/saved_model.pb"), "", "a zipped TensorFlow model"),
    "another zip": (zipped("word/document.xml"), "", "a zip archive without arrays"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x051.13" + bytes(40), "", "a damaged ONNX model"),
    "SavedModel": (b"\x08\x01\x12\xd5\x1b\n" + bytes(40), "", "the graph of a TensorFlow SavedModel"),
    "a graph": (b"\n\x1f\n\x05input\x12\x0bPlaceholder" + bytes(20), ".pb", "a TensorFlow model"),
    "a checkpoint": (b'model_checkpoint_path: "m"\nall_model_checkpoint_paths: "m"\n', "", "the TensorFlow checkpoint"),
    "its index": (bytes(2) + b"\x05\x02BEL" + bytes(50), ".index", "damaged TensorFlow checkpoint"),
    "its values": (np.ones(9).tobytes(), ".data-00000-of-00001", "a TensorFlow checkpoint"),
    "Flax": (b"\x81\xa6params\x81\xa5dense" + bytes(20), "", "damaged ("),
    "TFLite": (b"\x1c\0\0\0TFL3" + bytes(40), "", "TensorFlow Lite, which is not supported"),
    "GGUF": (b"GGUF\3\0\0\0" + bytes(9), "", "truncated"),
    "Keras' JSON": (
        b'{"module": "keras", "class_name": "Sequential", "config": {"layers": []}}',
        "",
        "Keras' configuration",
    ),
    "gzip": (gzip.compress(b"input: [4]"), "", "compressed with gzip"),
    "joblib": (zlib.compress(pickle.dumps([1] * 99), 3), "", "compressed with zlib, as joblib writes a pickle"),
    "joblib, compressed less": (zlib.compress(bytes(99), 1), "", "compressed with zlib"),
    "joblib, compressed more": (zlib.compress(bytes(99), 9), "", "compressed with zlib"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "", "an HTML or XML page"),
    "HTML": (b"\xef\xbb\xbf\n<!DOCTYPE html>", "", "an HTML or XML page"),
    "GGML": (b"lmgg" + bytes(40), "", "GGUF, which is not supported"),
    "sound": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "", "a WebP image, a sound or a film"),
    "TIFF": (b"II*\0" + bytes(40), "", "a TIFF image"),
    "tar": (tar(), "", "a tar archive"),
    "MATLAB": (
        b"MATLAB 5.0 MAT-file, Platform: PCWIN64".ljust(124) + b"\0\1IM",
        "",
        "a MATLAB file before version 7.3",
    ),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(40), "", "a PNG image"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", "", "a PDF document"),
    "Parquet": (b"PAR1" + bytes(40), "", "Parquet"),
    "zeros": (bytes(1000), ".dat", "neither a checkpoint nor a model document, but binary data"),
    "noise": (b"\xfe\xed\xc3" * 100, "", "neither a checkpoint nor a model document, but binary data"),
}
"""The first bytes of a kind of file, the suffix that it needs to be recognized, and the words of the error."""

SUFFIXES = sorted(
    {suffix for format_ in FORMATS for suffix in (*format_.suffixes, *format_.read_suffixes)} - {"/"}
    | {suffix for kind in KINDS for suffix in kind.suffixes}
)


def error_of(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(ParamctlError) as error:
        open_path(str(path))
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize("what", SAMPLES)
def test_a_kind_of_file_is_named(what: str, tmp_path: Path) -> None:
    data, suffix, words = SAMPLES[what]
    for name in [f"m{suffix}"] if suffix else ["m", "m.safetensors", "m.h5", "m.npz", "m.yaml", "m.pt", "m.bin"]:
        if not (what == "noise" and name != "m"):
            assert words in error_of(tmp_path / name, data), name


def cut(data: bytes) -> Iterator[bytes]:
    return (data[:size] for size in sorted({0, 3, 9, len(data) // 2, len(data)}))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_file_is_called_a_wrong_document(suffix: str, tmp_path: Path) -> None:
    """With the suffix of a checkpoint, a file of any content, cut anywhere, is never called a wrong document."""
    assert len(SUFFIXES) > 30
    for what, (whole, _, _) in SAMPLES.items():
        for data in cut(whole):
            if "index, cut" in what and suffix.endswith((".json", ".h5")) and len(data) > 2:
                continue
            if suffix == ".npz" and whole == zipped():  # numpy.savez writes one where it gets no arrays
                continue
            text = error_of(tmp_path / f"m{suffix}", data)
            assert "a model document must" not in text, (what, len(data))
            assert "YAML" not in text, (what, len(data))
            assert bool(data) is ("empty (0 bytes)" not in text)


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_other_formats_are_named(name: str, paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / name).write_bytes(b"x")
    done = paramctl("summary", "m")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"m: {FOLDERS[name]}\n")


def test_a_document_may_have_any_name(paramctl: Run, tmp_path: Path) -> None:
    """The content decides: a document is read under the suffix of a checkpoint too, and its errors are the parser's."""
    text = "input: [4]\nlayers: [{dense: 3}]\n"
    for name in ("m.h5", "m.safetensors", "m.pb", "m", "m.txt"):
        (tmp_path / name).write_text(text)
        assert "Total parameters:  15" in paramctl("summary", name).stdout
        (tmp_path / name).write_text(text.replace("dense", "dnse"))
        assert f"{name}:2:" in paramctl("summary", name).stderr
    (tmp_path / "m.yaml").write_text(json.dumps({"input": [4]}))
    assert "a model document" in paramctl("summary", "m.yaml").stderr


def test_an_empty_file_is_empty(paramctl: Run, tmp_path: Path) -> None:
    for name in ("m", "m.h5", "m.keras", "m.safetensors", "m.weights.json", "m.pt"):
        (tmp_path / name).write_bytes(b"")
        for command in ("summary", "dump", "stat"):
            done = paramctl(command, name)
            assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{name}: is empty (0 bytes)\n")
    done = paramctl("dump", "-", input="")
    assert (done.returncode, done.stderr) == (2, "<stdin>: is empty (0 bytes)\n")


WRITTEN = {
    "adapter.safetensors": {".safetensors"},
    "torch_tied.pt": {".pt", ".pth", ".pth.tar", ".pkl", ".pickle"},
    "keras2_weights.h5": {".h5", ".hdf5", ".weights.h5"},
    "keras3_bf16.weights.h5": {".h5", ".hdf5", ".weights.h5"},
    "keras3_nested.keras": {".keras"},
    "tiny.gguf": {".gguf"},
}
"""Files of other programs, and the suffixes that they may have."""


@pytest.mark.parametrize("fixture", WRITTEN)
def test_a_suffix_of_another_format_is_a_finding(fixture: str, tmp_path: Path) -> None:
    """A warning for every suffix of a format but the file's own; none for .bin, .ckpt and unknown suffixes."""
    data = (ROOT / "tests/fixtures" / fixture).read_bytes()
    single = {each for format_ in FORMATS for each in (*format_.suffixes, *format_.read_suffixes)} - {"/"}
    assert len(single) > 15
    harmless = {*WRITTEN[fixture], ".bin", ".ckpt", ".index", "", ".dat", ".old"}
    for suffix in sorted((single | harmless) - {each for each in single if each.endswith((".json", ".metadata"))}):
        path = tmp_path / f"m{suffix.upper() if suffix == '.safetensors' else suffix}"
        path.write_bytes(data)
        found = [each for each in pc.check(path, select="misnamed").findings if each.name == "misnamed"]
        assert [(each.severity, each.place) for each in found] == [("warning", str(path))] * (suffix not in harmless)
        assert all(f"the suffix {suffix} is of " in each.text for each in found)
        path.unlink()
