"""Files that are neither checkpoints nor documents, named in errors: by their first bytes, else by their suffix."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import PurePath
from typing import NamedTuple

from paramctl.errors import InputError
from paramctl.store.keras import CONFIG, WEIGHTS
from paramctl.store.location import Location

START = 512
"""Bytes in which a file shows what it is; a tar archive needs them."""
MAX_TEXT = 1 << 20
"""Bytes in which a model document has its key ``layers``."""
DOCUMENTS = (".yaml", ".yml")
"""The suffixes of model documents, whose errors are the parser's."""
PICKLE = "which can run code, so it is never read. Save its arrays as safetensors"
UNSUPPORTED = "which is not supported"
SAVED_MODEL_HINT = "Name its folder, whose variables are read"
KERAS_HINT = "In Keras, save the weights as NAME.weights.h5"


class Kind(NamedTuple):
    """A kind of file. start: a pattern for its first bytes. suffixes: of files that may be of this kind."""

    words: str
    start: bytes
    suffixes: tuple[str, ...] = ()

    @property
    def pattern(self) -> re.Pattern[bytes]:
        return re.compile(self.start, re.DOTALL | re.IGNORECASE)


NEVER = b"(?!)"
"""The pattern of a kind whose first bytes can be any."""

KINDS = (
    Kind(f"a pickle of joblib, {PICKLE}", NEVER, (".joblib",)),
    Kind(
        "a tar archive of torch before version 0.1.12, which is not supported. Save its tensors with a newer torch",
        rb"(sys_info|pickle|storages|tensors)\0.{240,260}ustar",
    ),
    Kind(
        "a Git LFS pointer, not the file itself. Fetch it with git lfs pull",
        rb"version https://git-lfs",
    ),
    Kind(
        "an HTML or XML page, often an error message saved in place of the file",
        rb"(\xef\xbb\xbf)?\s*(<!doctype |<html|<\?xml|<!--|<error>)",
        (".html", ".xml"),
    ),
    Kind(f"GGML, the predecessor of GGUF, {UNSUPPORTED}", rb"GGML|ggjt|tjgg|lmgg|fmgg|algg", (".ggml",)),
    Kind(f"TensorFlow Lite, {UNSUPPORTED}", rb".{4}TFL3", (".tflite",)),
    Kind("a damaged ONNX model, or another kind of protocol buffer", rb"\x08[\x02-\x20][\x12\x1a\x3a\x42]"),
    Kind(f"the graph of a TensorFlow SavedModel. {SAVED_MODEL_HINT}", rb"\x08\x01\x12"),
    Kind(f"a TensorFlow model, {UNSUPPORTED}. {KERAS_HINT}", NEVER, (".pb", ".pbtxt")),
    Kind("data of a TensorFlow checkpoint, whose .index file is missing", NEVER, (".data-00000-of-00001",)),
    Kind("the graph of a TensorFlow checkpoint. Name its .index file", NEVER, (".meta",)),
    Kind(
        "MessagePack of another kind than Flax writes: a map of names to arrays",
        rb"([\x81-\x8f]|\xde[^\x80-\xbf].|\xdf.{4})[\xa0-\xbf\xd9\xda]",
        (".msgpack",),
    ),
    Kind(f"a MATLAB file before version 7.3, {UNSUPPORTED}. Save it with -v7.3", rb"MATLAB 5\.0", (".mat",)),
    Kind("Keras' configuration of a model, without its weights", rb'\s*\{\s*"(module|class_name)"\s*:.*"config"'),
    Kind("compressed with gzip. Decompress it with gunzip", rb"\x1f\x8b", (".gz", ".tgz")),
    Kind(
        "compressed with zlib, as joblib writes a pickle, which can run code, so it is never read. "
        "Save its arrays as safetensors",
        rb"\x78(\x01|\x9c|\xda|\x5e(?=.{0,99}[^\x20-\x7e\s]))",
    ),
    Kind("compressed with bzip2. Decompress it with bunzip2", rb"BZh", (".bz2",)),
    Kind("compressed with xz. Decompress it with unxz", rb"\xfd7zXZ", (".xz",)),
    Kind("compressed with zstd. Decompress it with unzstd", rb"\x28\xb5\x2f\xfd", (".zst",)),
    Kind("compressed with lz4. Decompress it with unlz4", rb"\x04\x22\x4d\x18", (".lz4",)),
    Kind("compressed with Snappy. Decompress it first", rb"\xff\x06\0\0sNaPpY"),
    Kind("a 7z archive", rb"7z\xbc\xaf", (".7z",)),
    Kind("a RAR archive", rb"Rar!", (".rar",)),
    Kind("a tar archive. Unpack it with tar -xf", rb".{257}ustar", (".tar", ".nemo")),
    Kind("a PNG image", rb"\x89PNG", (".png",)),
    Kind("a JPEG image", rb"\xff\xd8\xff", (".jpg", ".jpeg")),
    Kind("a GIF image", rb"GIF8", (".gif",)),
    Kind("a WebP image, a sound or a film", rb"RIFF.{4}(WEBP|WAVE|AVI )", (".webp", ".wav", ".avi")),
    Kind("a film", rb".{4}ftyp", (".mp4",)),
    Kind("a TIFF image", rb"II\*\0|MM\0\*", (".tif", ".tiff")),
    Kind("a PDF document", rb"%PDF", (".pdf",)),
    Kind(f"Parquet, {UNSUPPORTED}", rb"PAR1", (".parquet",)),
    Kind(f"Arrow, {UNSUPPORTED}", rb"ARROW1|FEA1", (".arrow", ".feather")),
    Kind(f"an SQLite database, {UNSUPPORTED}", rb"SQLite format 3", (".db", ".sqlite")),
    Kind(f"HDF4, {UNSUPPORTED}. Convert it to HDF5", rb"\x0e\x03\x13\x01", (".hdf", ".hdf4")),
    Kind(f"netCDF 3, {UNSUPPORTED}. Convert it to netCDF 4", rb"CDF[\x01\x02\x05]", (".nc",)),
    Kind("a program", rb"\x7fELF|MZ.{60}|\xca\xfe\xba\xbe|[\xce\xcf]\xfa\xed\xfe", (".so", ".exe", ".dll")),
    Kind("a zip archive", NEVER, (".zip",)),
)
"""Kinds of files, the special ones first."""

IN_A_SET = (
    Kind("a pickle of torch.save, and not of the kind that its set has", rb"\x80\x02\x8a\x0a"),
    Kind("a pickle, and not of the kind that its set has", rb"\x80[\x02-\x05]"),
    Kind("a zip archive, and not of the kind that its set has", rb"PK\x03\x04"),
    Kind("GGUF, and not of the kind that its set has", b"GGUF"),
)
"""Kinds of files that are read, but cannot be one of a set of safetensors or of Keras."""

FOLDERS = {
    "saved_model.pb": "a TensorFlow SavedModel without variables",
    "checkpoint": "a TensorFlow checkpoint without its .index file",
    "_CHECKPOINT_METADATA": "an Orbax checkpoint of several items. Open the folder of one of them",
}
"""Folders of other formats, by the name of a file in each."""


def check_not_foreign(location: Location, others: Sequence[Kind] = ()) -> None:
    """Raise InputError for a file that no format matches, and that is no model document either.

    Such a file is named by its content, if that is known, else by its suffix. A damaged file whose suffix is of a
    supported format is left to that format, which finds the damage.
    others: further kinds to name, IN_A_SET for a file of a set.
    """
    start, name = location.read(0, START), location.name.lower()
    if not start and not name.endswith(DOCUMENTS):
        raise InputError(f"{location.name}: is empty (0 bytes)")
    for kind in (*others, *KINDS):
        if kind.pattern.match(start):
            raise InputError(f"{location.name}: {kind.words}")
    if may_be_document(location):
        return
    for kind in KINDS:
        if name.endswith(kind.suffixes):
            rule = f"damaged, or a file of another kind (its suffix is that of {kind.words})"
            raise InputError(f"{location.name}: {rule}")


def may_be_document(location: Location) -> bool:
    """Return whether a file may be a model document, whatever its suffix: text with the word ``layers``."""
    name = location.name.lower()
    return name.endswith(DOCUMENTS) or (not _is_binary(location) and b"layers" in location.read(0, MAX_TEXT))


def check_not_binary(location: Location) -> None:
    """Raise InputError for a file of unknown kind that is not text."""
    if not location.name.lower().endswith(DOCUMENTS) and _is_binary(location):
        raise InputError(f"{location.name}: neither a checkpoint nor a model document, but binary data")


def _is_binary(location: Location) -> bool:
    """Return whether a file begins with bytes that no text has in any encoding that a document may be in."""
    start = location.read(0, START)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, about which the document's parser has more to say
        return False
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if error.end < len(start) or len(start) < START:  # otherwise the last character is cut
            return True
        text = start[: error.start].decode()
    return any(character < " " and character not in "\t\n\r\f\x1b\x85" for character in text)


def zip_kind(names: Collection[str], location: Location) -> str | None:
    """Return the kind of a zip that is not an npz, by the names of its members; None for an npz."""
    last = {name.rpartition("/")[2] for name in names}
    suffix = PurePath(location.name.lower()).suffix
    if {CONFIG, WEIGHTS, "metadata.json"} & set(names) or (not names and suffix == ".keras"):
        missing = [name for name in (CONFIG, WEIGHTS) if name not in names]
        return f"a .keras file without {' and '.join(missing)}"
    if "saved_model.pb" in last:
        return f"a zipped TensorFlow model, {UNSUPPORTED}. {KERAS_HINT}"
    if not names and suffix not in ("", ".npz"):  # numpy.savez writes one where it gets no arrays
        return "an empty zip archive"
    if names and not any(name.endswith(".npy") for name in names):
        return f"a zip archive without arrays (its first member is {next(iter(names))!r})"
    return None


def folder_kind(names: Collection[str]) -> str | None:
    """Return the kind of a folder of another format, by the names in it."""
    return next((words for name, words in FOLDERS.items() if name in names), None)
