"""Packed dtypes of safetensors, F4 and F6: summarized, copied to the byte, and refused where values would be read."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors

from tests.conftest import Run

PACKED = {"F4": (4, "float4_e2m1fn"), "F6_E2M3": (6, "float6_e2m3fn"), "F6_E3M2": (6, "float6_e3m2fn")}
"""The bits of a value, and paramctl's name, by the code of the dtype."""
SMALL = ("F8_E8M0", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")


def write(path: Path, arrays: dict[str, tuple[str, list[int], bytes]]) -> dict[str, bytes]:
    """Write a safetensors file, and return the bytes of each array."""
    entries, data = {}, b""
    for name, (dtype, shape, values) in arrays.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return {name: values for name, (_, _, values) in arrays.items()}


def by_the_library(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    return {
        name: (info["dtype"], info["shape"], bytes(info["data"]))
        for name, info in safetensors.deserialize(path.read_bytes())
    }


def arrays_of(code: str, count: int = 700_000) -> dict[str, tuple[str, list[int], bytes]]:
    """An array of more than one block of values, with a smaller one and one of ordinary numbers."""
    rng, bits = np.random.default_rng(0), PACKED[code][0]
    return {
        "norm": ("F32", [3], np.arange(3, dtype="<f4").tobytes()),
        "big": (code, [count // 4, 4], rng.bytes(count * bits // 8)),
        "small": (code, [8], rng.bytes(bits)),
        "empty": (code, [0, 3], b""),
    }


@pytest.mark.parametrize("code", PACKED)
def test_packed_arrays_are_copied(code: str, paramctl: Run, tmp_path: Path) -> None:
    """The library reads the same bytes from the copy, from a stream, from the shards of a set, and under other names."""
    write(tmp_path / "m.safetensors", arrays_of(code))
    expected = by_the_library(tmp_path / "m.safetensors")
    assert expected["big"] == arrays_of(code)["big"]
    bits, name = PACKED[code]
    facts = json.loads(paramctl("summary", "m.safetensors", "--format", "json").stdout)
    assert facts["totals"]["parameters"] == 700_011
    assert facts["totals"]["bytes"] == 12 + 700_008 * bits // 8
    assert f"Bytes in {name}:" in paramctl("summary", "m.safetensors").stdout
    assert paramctl("save", "m.safetensors", "-o", "x.safetensors").returncode == 0
    assert by_the_library(tmp_path / "x.safetensors") == expected
    with (tmp_path / "y.safetensors").open("wb") as file:
        done = paramctl("save", "m.safetensors", "-o", "-", stdout=file, stderr=None, capture_output=False)
    assert done.returncode == 0
    assert by_the_library(tmp_path / "y.safetensors") == expected
    assert paramctl("save", "m.safetensors", "-o", "set/", "--max-shard-size", "100000").returncode == 0
    shards = list((tmp_path / "set").glob("*.safetensors"))
    assert len(shards) > 1
    assert {name: array for path in shards for name, array in by_the_library(path).items()} == expected
    assert paramctl("save", "set", "-o", "z.safetensors", "--rename", "big=large").returncode == 0
    assert by_the_library(tmp_path / "z.safetensors")["large"] == expected["big"]
    assert paramctl("set", "m.safetensors", "norm=7", "--in-place").returncode == 0
    again = by_the_library(tmp_path / "m.safetensors")
    assert again.pop("norm")[2] == np.full(3, 7, "<f4").tobytes()
    assert again == {name: array for name, array in expected.items() if name != "norm"}
    assert paramctl("stat", "m.safetensors", "norm").returncode == 0
    assert paramctl("tie", "m.safetensors", "norm=norm", "-o", "n.safetensors").returncode == 2


@pytest.mark.parametrize("code", PACKED)
def test_values_of_packed_arrays_are_refused(code: str, paramctl: Run, tmp_path: Path) -> None:
    """In one line that names the array and its dtype, before anything is written."""
    write(tmp_path / "m.safetensors", arrays_of(code, 64))
    (tmp_path / "m.yaml").write_text("input: [8]\nlayers: [{dense: 8}]\n")
    name = PACKED[code][1]
    for arguments in (
        ("dump", "m.safetensors"),
        ("dump", "m.safetensors", "small[0]"),
        ("dump", "m.safetensors", "small", "--format", "npy"),
        ("stat", "m.safetensors"),
        ("stat", "m.safetensors", "small[1:2]"),
        ("diff", "m.safetensors", "m.safetensors"),
        ("set", "m.safetensors", "small=1", "--in-place"),
        ("set", "m.safetensors", "small*=2", "-o", "x.safetensors"),
        ("save", "m.safetensors", "-o", "x.h5"),
        ("save", "m.safetensors", "-o", "x.npz"),
        ("save", "m.safetensors", "-o", "x.safetensors", "--dtype", "float32"),
        ("save", "m.safetensors", "-o", "x.safetensors", "--dtype", "small=float32"),
        ("init", "m.yaml", "--rule", "dense/bias=from:m.safetensors[small]", "-o", "x.h5"),
    ):
        done = paramctl(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), (arguments, done.stderr)
        assert name in done.stderr, arguments
        assert not list(tmp_path.glob("x.*"))


def test_dtypes_that_do_not_end_with_a_byte_are_refused_as_by_the_library(paramctl: Run, tmp_path: Path) -> None:
    for shape, size in (([3], 1), ([3], 2), ([5, 3], 7), ([5, 3], 8)):
        write(tmp_path / "m.safetensors", {"w": ("F4", shape, bytes(size))})
        with pytest.raises(safetensors.SafetensorError):
            by_the_library(tmp_path / "m.safetensors")
        done = paramctl("summary", "m.safetensors")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "'w' must end with a byte" in done.stderr


@pytest.mark.parametrize("code", SMALL)
def test_one_byte_dtypes_are_read_and_copied(code: str, paramctl: Run, tmp_path: Path) -> None:
    write(tmp_path / "m.safetensors", {"w": (code, [256], bytes(range(256)))})
    assert paramctl("stat", "m.safetensors").returncode == 0
    for name in ("x.h5", "x.npz"):
        assert paramctl("save", "m.safetensors", "-o", name).returncode == 0
        assert paramctl("save", name, "-o", "y.safetensors", "--force").returncode == 0
        assert by_the_library(tmp_path / "y.safetensors")["w"] == (code, [256], bytes(range(256)))
