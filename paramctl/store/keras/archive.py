"""Keras' ``.keras``: a zip of metadata.json, config.json and model.weights.h5, which is read in place if it is stored.

A file written from another ``.keras`` keeps its configuration, its metadata.json and its other members, such as
assets. Otherwise the configuration and the metadata are made from the model document.
https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py (_save_model_to_fileobj)
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from shutil import copyfileobj
from typing import IO

from paramctl import __version__
from paramctl.address.quoting import shell_quoted
from paramctl.errors import InputError, OutputError, ParamctlError, message
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.contents import Contents, KerasLayout, MetadataItem, WithOrigin, kept_origin
from paramctl.store.hdf5 import files as hdf5
from paramctl.store.io.atomic import replacing, scratch
from paramctl.store.io.json_limits import parse_json
from paramctl.store.io.write_values import WriteOptions, Written, write_values
from paramctl.store.io.zips import ZIP_ERRORS, DamagedZip, data_offset, open_zip
from paramctl.store.keras import ARCHIVE_NAME, CONFIG, METADATA, NPZ_WEIGHTS, WEIGHTS
from paramctl.store.keras.dialect import KerasDialect
from paramctl.store.keras.marking import check_recorded, marked_config
from paramctl.store.keras.objects import NotInKeras
from paramctl.store.keras.paths import keras_layout
from paramctl.store.keras.to_config import model_config
from paramctl.store.keras.untranslated import untranslated_settings
from paramctl.store.keras.weights_file import keras_model, lay_out
from paramctl.store.location import LocalFile, Location
from paramctl.store.sums.record import record_text
from paramctl.store.sums.sealing import Placed, seal_file
from paramctl.store.sums.stored_array import StoredArray

MAX_CONFIG = 12_000_000
MAX_RATIO, MAX_SPARE = 8, 1 << 20
"""Decompressed members may have this many times the bytes of the file, plus so many."""
MAX_INFLATED, MAX_WEIGHTS_RATIO = 1 << 28, 100
"""Compressed weights may inflate to so many bytes, or to so many times their own; Keras has the same limits."""
KERAS_VERSION = "3.15.1"
"""The version of Keras whose format is written."""
MAX_METADATA = 100_000
MODEL_MEMBERS = (CONFIG, WEIGHTS)
BLOCK = 1 << 20


def read(file: Location) -> Checkpoint:
    """Return the contents of a ``.keras`` file. Raises InputError if it is damaged."""
    try:
        archive = open_zip(file)
        if WEIGHTS not in archive.namelist():
            raise _without_weights(file, archive)
        config_member = archive.getinfo(CONFIG)
        limit = min(MAX_CONFIG, _decompressed_limit(file))
        if config_member.file_size > limit:
            raise DamagedZip(message(f"{CONFIG} must have at most {limit:,} bytes", f"{config_member.file_size:,}"))
        config = archive.read(config_member).decode()
        parse_json(config)
        legacy = _is_keras2(archive)
        weights = archive.getinfo(WEIGHTS)
        stored = weights.compress_type == zipfile.ZIP_STORED
        place, begin = (file, data_offset(file, weights)) if stored else (_inflated(file, archive, weights), 0)
    except InputError:
        raise
    except ZIP_ERRORS as error:
        raise _damaged(file, error) from error
    checkpoint = hdf5.read(place, begin, weights.file_size, [KerasDialect(config)])
    others = (member.filename for member in archive.infolist() if not member.is_dir())
    more = tuple(name for name in others if name not in (METADATA, *MODEL_MEMBERS))
    # The zip has a checksum of each member, so values cannot be changed in place: no extents.
    origin = replace(checkpoint.origin, format=ARCHIVE_NAME, companion=file, other_content=more, extents={})
    origin = replace(origin, location=file)
    if legacy and origin.keras is not None:
        keras, optimizer = replace(origin.keras, legacy=True), origin.optimizer
        more = (*origin.other_content, *untranslated_settings(parse_json(config), keras2=True))
        optimizer = optimizer and replace(optimizer, layout=keras)
        origin = replace(origin, keras=keras, optimizer=optimizer, other_content=more)
    return replace(checkpoint, origin=origin)


def read_metadata(file: Location) -> Iterator[MetadataItem]:
    """Yield the texts of metadata.json and config.json. Raises InputError if the file is damaged."""
    try:
        archive = open_zip(file)
        for name in (METADATA, CONFIG):
            with suppress(KeyError):
                member = archive.getinfo(name)
                limit = min(MAX_CONFIG, _decompressed_limit(file))
                if member.file_size > limit:
                    raise DamagedZip(message(f"{name} must have at most {limit:,} bytes", f"{member.file_size:,}"))
                yield MetadataItem("", name, archive.read(member).decode("utf-8", "replace"))
    except ZIP_ERRORS as error:
        raise _damaged(file, error) from error


def _without_weights(file: Location, archive: zipfile.ZipFile) -> InputError:
    if NPZ_WEIGHTS in archive.namelist():
        return InputError(f"{file.name}: a .keras file whose weights are {NPZ_WEIGHTS}, which is not supported")
    return InputError(f"{file.name}: a .keras file without weights: it has a configuration, but no {WEIGHTS}")


def _inflated(file: Location, archive: zipfile.ZipFile, weights: zipfile.ZipInfo) -> Location:
    """Return compressed weights in an unnamed temporary file. Raises DamagedZip, or InputError if it has no space."""
    import tempfile  # deferred: slow to import, and Keras does not compress

    limit = max(MAX_INFLATED, MAX_WEIGHTS_RATIO * weights.compress_size)
    if weights.file_size > limit:
        raise DamagedZip(message(f"{WEIGHTS} must inflate to at most {limit:,} bytes", f"{weights.file_size:,}"))
    with tempfile.TemporaryFile() as spool:
        for block in _decompressed(file, archive, weights):
            try:
                spool.write(block)
            except OSError as error:
                raise InputError(f"{file.name}: cannot inflate {WEIGHTS}: {error.strerror or error}") from error
        spool.flush()
        return LocalFile(os.dup(spool.fileno()), file.name)


def _is_keras2(archive: zipfile.ZipFile) -> bool:
    """Return whether Keras 2 wrote an archive, by its metadata.json."""
    with suppress(KeyError, ValueError):
        member = archive.getinfo(METADATA)
        metadata = parse_json(archive.read(member).decode()) if member.file_size <= MAX_METADATA else None
        return isinstance(metadata, dict) and str(metadata.get("keras_version", "")).startswith("2.")
    return False


def write(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write an archive; see Format.write. The weights are written to a temporary file first, and then copied."""
    contents = WithOrigin(contents, kept_origin(contents, path))
    with replacing(path, options.force, options.confirm) as temporary:
        layout, config = configuration(contents, path)
        with scratch(path) as weights:
            extents = lay_out(weights, contents.model, layout, contents.origin.carried_optimizer)
            sealed = yield from write_values(contents, contents.model.parameters.values(), weights, extents, options)
            origin = contents.origin
            like = origin.companion if origin.keras is not None and origin.format == ARCHIVE_NAME else None
            try:
                with temporary.open() as file, open(weights.address, "rb") as weights_file:
                    begin = _write_archive(file, weights_file, config, like)
            except OSError as error:
                raise (error if isinstance(error, ParamctlError) else temporary.error(error)) from error
            # a second record, because the checksum of the weights in the archive covers their own
            values = [Placed((begin + first, begin + last), "") for first, last in sealed.ranges]
            seal_file(temporary, values, record_sums=False)


def configuration(contents: Contents, target: str) -> tuple[KerasLayout, str]:
    """Return the path of each parameter in Keras' file and the text of config.json.

    Both come from the file of the model, if it is a ``.keras``, and otherwise from the model document.
    target: the name of the output, for errors.
    Raises OutputError if Keras cannot build the model.
    """
    keras, model = contents.origin.keras, contents.model
    # weights alone need no configuration
    hint = f"Save the values alone as {shell_quoted(target.removesuffix('.keras') + '.weights.h5')}"
    if keras is not None and keras.legacy and not contents.origin.is_at(target):
        rule = f"the configuration of Keras 2 in {model.name} has layers that cannot be translated for Keras 3"
        raise OutputError(message(f"{target}: {rule}", hint=hint))
    marked = contents.origin.marked
    if keras is not None and keras.config is not None:
        return keras, marked_config(keras, model, target) if marked else keras.config
    top = keras_model(contents, target)
    try:
        layout, text = keras_layout(top), json.dumps(model_config(model, top))
    except NotInKeras as error:
        raise OutputError(message(f"{target}: Keras cannot build {model.name}: {error}", hint=hint)) from error
    if marked:
        check_recorded(text, model, target)
    return layout, text


def _write_archive(file: IO[bytes], weights: IO[bytes], config: str, like: Location | None) -> int:
    """Write an archive, and return the offset of the weights in it.

    weights: a ``.weights.h5``.
    config: the text of config.json.
    like: the ``.keras`` that the values come from, if any. Its other members are copied.
    Raises InputError if these are damaged or too large.
    """
    copied = _other_members(like) if like is not None else {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        if METADATA not in copied:
            metadata = json.dumps({"keras_version": KERAS_VERSION, "written_by": f"paramctl {__version__}"})
            archive.writestr(zipfile.ZipInfo(METADATA), metadata)
        archive.writestr(zipfile.ZipInfo(CONFIG), config)
        with archive.open(zipfile.ZipInfo(WEIGHTS), "w", force_zip64=True) as member:
            begin = file.tell()
            copyfileobj(weights, member, BLOCK)
        for name, blocks in copied.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                for block in blocks:
                    member.write(block)
        archive.comment = record_text().encode()
    return begin


def stored_arrays(file: Location) -> list[StoredArray] | None:
    """Return the places of the values in an archive; None if its weights are compressed. Raises InputError."""
    try:
        weights = open_zip(file).getinfo(WEIGHTS)
        begin = data_offset(file, weights)
    except KeyError:
        return None
    except ZIP_ERRORS as error:
        raise _damaged(file, error) from error
    stored = weights.compress_type == zipfile.ZIP_STORED
    return hdf5.stored_arrays(file, begin, weights.file_size) if stored else None


def _other_members(like: Location) -> dict[str, Iterator[bytes]]:
    """Return the contents of an archive's members other than the model, by name."""
    try:
        archive = open_zip(like)
        members = [info for info in archive.infolist() if info.filename not in MODEL_MEMBERS and not info.is_dir()]
    except ZIP_ERRORS as error:
        raise _damaged(like, error) from error
    size, limit = sum(info.file_size for info in members), _decompressed_limit(like)
    if size > limit:
        rule = f"members other than the model must have at most {limit:,} bytes together"
        raise InputError(message(f"{like.name}: {rule}", f"{size:,}"))
    return {info.filename: _decompressed(like, archive, info) for info in members}


def _decompressed(like: Location, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the bytes of a member in blocks."""
    try:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DamagedZip(f"{member.filename} must be stored or deflated, got method {member.compress_type}")
        with archive.open(member) as stream:
            while block := stream.read(BLOCK):
                yield block
    except ZIP_ERRORS as error:
        raise _damaged(like, error) from error


def _decompressed_limit(file: Location) -> int:
    """Return the limit on the bytes of an archive's decompressed members."""
    return MAX_RATIO * file.size() + MAX_SPARE


def _damaged(file: Location, error: Exception) -> InputError:
    return InputError(f"{file.name}: damaged .keras file ({' '.join(str(error).split())})")
