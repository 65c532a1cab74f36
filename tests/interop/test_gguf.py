"""GGUF against the gguf package: its files are read with its shapes, keys and values, to the last bit."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, quants
from safetensors.numpy import load_file, save_file

import paramctl as pc
from paramctl.errors import InputError
from paramctl.store.gguf.tensor_types import BLOCKS, DTYPES, NOT_DECODED, REFUSED
from tests.conftest import Run

QUANTIZED = [GGMLQuantizationType(code) for code in BLOCKS]
WIDTH = 512


def blocks(kind: GGMLQuantizationType, values: np.ndarray) -> np.ndarray:
    """Values quantized by the package, or random bytes where it cannot quantize."""
    try:
        return quants.quantize(values, kind)
    except NotImplementedError:
        size = WIDTH // gguf.GGML_QUANT_SIZES[kind][0] * gguf.GGML_QUANT_SIZES[kind][1]
        return np.random.default_rng(int(kind)).integers(0, 256, (len(values), size), dtype=np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a tensor of each type, and keys of each type."""
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    rng = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(2)
    writer.add_float32("some.float", 0.1)
    writer.add_uint64("some.count", 2**40)
    writer.add_int8("some.small", -3)
    writer.add_array("some.list", [1, 2, 3])
    writer.add_array("some.flags", [True, False])
    writer.add_token_list([f"token {number}".encode() for number in range(2_000)])
    for name in ("float32", "float16", "float64", "int8", "int16", "int32", "int64"):
        writer.add_tensor(f"blk.0.{name}.weight", (10 * rng.standard_normal((2, 3, 4))).astype(name))
    values = rng.standard_normal((600, WIDTH), dtype=np.float32)
    kinds = [*QUANTIZED, GGMLQuantizationType.BF16]
    for kind in kinds:
        writer.add_tensor(f"blk.1.{kind.name.lower()}.weight", blocks(kind, values), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_every_type_of_the_package_is_known() -> None:
    sizes = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert sizes.keys() <= BLOCKS.keys() | DTYPES.keys() | REFUSED.keys()
    assert {code: block[1:] for code, block in BLOCKS.items()} == {code: sizes[code] for code in BLOCKS}
    assert all(GGMLQuantizationType(code).name.lower() == name for code, (name, _, _) in BLOCKS.items())


def test_names_shapes_bytes_and_keys(file: Path) -> None:
    reader = GGUFReader(file)
    summary = pc.summary(file)
    ours = {row.path: (row.shape, row.bytes) for row in summary.parameters}
    theirs = {tensor.name: (tuple(tensor.shape.tolist()[::-1]), tensor.n_bytes) for tensor in reader.tensors}
    assert ours == theirs
    assert sum(summary.totals.bytes.values()) == sum(tensor.n_bytes for tensor in reader.tensors)
    metadata = dict(pc.open(file).source.origin.metadata)
    assert str(metadata.pop("tokenizer.ggml.tokens")) == "2,000 texts"
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    del fields["tokenizer.ggml.tokens"]
    assert metadata == fields
    assert {type(metadata[key]) for key in metadata} == {str, int, float, list}


def test_values_of_every_type(file: Path) -> None:
    """The same bits as by the package, whole and in slices that cut blocks."""
    weights, decoded = pc.open(file), 0
    for tensor in GGUFReader(file).tensors:
        array = weights[tensor.name]
        if tensor.tensor_type in NOT_DECODED:
            with pytest.raises(InputError, match="the gguf package has no decoder for the type"):
                np.asarray(array)
            with pytest.raises(NotImplementedError):
                quants.dequantize(tensor.data, tensor.tensor_type)
            continue
        if tensor.tensor_type in QUANTIZED:
            with np.errstate(all="ignore"):
                expected = quants.dequantize(tensor.data, tensor.tensor_type)
            decoded += 1
        elif tensor.tensor_type == GGMLQuantizationType.BF16:
            expected = tensor.data.view("<u2").astype("<u4") << 16
            expected = expected.view(np.float32)
        else:
            expected = tensor.data
        assert array.shape == expected.shape
        whole = np.asarray(array)
        whole = whole.astype(np.float32) if whole.dtype.name == "bfloat16" else whole
        assert whole.dtype == expected.dtype
        assert np.ascontiguousarray(whole).tobytes() == np.ascontiguousarray(expected).tobytes(), tensor.name
        part = np.asarray(array[1:2, ..., 1:-1]).astype(expected.dtype)
        assert part.tobytes() == np.ascontiguousarray(expected[1:2, ..., 1:-1]).tobytes(), tensor.name
    assert decoded == len(QUANTIZED) - len(NOT_DECODED) > 20


NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.layers.*.self_attn.q_proj.weight": "blk.*.attn_q.weight",
    "model.layers.*.mlp.down_proj.weight": "blk.*.ffn_down.weight",
    "model.layers.*.input_layernorm.weight": "blk.*.attn_norm.weight",
}
"""The names that llama.cpp gives to tensors of Hugging Face's models."""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with hf.safetensors, and the same as llama.cpp's converter names and quantizes it: q8_0 and q4_0."""
    folder, rng = tmp_path_factory.mktemp("llama"), np.random.default_rng(1)
    arrays = {"model.embed_tokens.weight": rng.standard_normal((100, 64), dtype=np.float32)}
    for layer in range(2):
        arrays[f"model.layers.{layer}.self_attn.q_proj.weight"] = rng.standard_normal((64, 64), dtype=np.float32)
        arrays[f"model.layers.{layer}.mlp.down_proj.weight"] = rng.standard_normal((64, 128), dtype=np.float32)
        arrays[f"model.layers.{layer}.input_layernorm.weight"] = rng.standard_normal(64, dtype=np.float32)
    save_file(arrays, folder / "hf.safetensors")
    for kind in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0):
        writer = GGUFWriter(folder / f"{kind.name}.gguf", "llama", split_max_tensors=3)
        for name, array in arrays.items():
            pattern = next(pattern for pattern in NAMES if pattern == name.replace(".0.", ".*.").replace(".1.", ".*."))
            new = NAMES[pattern].replace("*", name.split(".")[2])
            if array.ndim == 2:
                writer.add_tensor(new, quants.quantize(array, kind), raw_dtype=kind)
            else:
                writer.add_tensor(new, array)
        writer.write_header_to_file(path=folder / f"{kind.name}.gguf")
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return folder


def test_a_model_against_its_quantization(converted: Path) -> None:
    """Under the names of Hugging Face: the layout is the same, and the errors are those of the quantization."""
    q8, q4 = (converted / f"{kind}-00001-of-00003.gguf" for kind in ("Q8_0", "Q4_0"))
    assert pc.diff(q8, converted / "hf.safetensors", rename=NAMES, structure=True).equal
    assert pc.diff(q8, converted / "hf.safetensors", rename=NAMES, atol=0.02).equal
    rows = pc.diff(q4, converted / "hf.safetensors", rename=NAMES, atol=0.02).rows
    assert {row.path for row in rows} == {row for row in pc.open(q4) if "norm" not in row}
    for row in rows:
        assert 0.02 < row.max_abs < 0.5


def test_a_conversion_to_safetensors(converted: Path) -> None:
    """With a note that names what was quantized; the values are the package's."""
    run = Run(converted)
    done = run("save", "Q8_0-00001-of-00003.gguf", "-o", "out.safetensors", "--dtype", "bfloat16")
    assert done.stderr.splitlines()[:2] == [
        "wrote out.safetensors: 7 arrays, 31,104 values",
        "out.safetensors has dequantized arrays: 5 of q8_0 in bfloat16",
    ]
    done = run("save", "Q8_0-00001-of-00003.gguf", "-o", "out.safetensors", "--force")
    assert "out.safetensors has dequantized arrays: 5 of q8_0 in float32\n" in done.stderr
    written = load_file(converted / "out.safetensors")
    for number in (1, 2, 3):
        for tensor in GGUFReader(converted / f"Q8_0-0000{number}-of-00003.gguf").tensors:
            expected = quants.dequantize(tensor.data, tensor.tensor_type)
            assert np.array_equal(written.pop(tensor.name), expected)
    assert not written


def test_a_file_for_big_endian_machines_is_refused(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.add_tensor("w", np.ones(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match="GGUF for big-endian machines is not supported"):
        pc.open(tmp_path / "m.gguf")
