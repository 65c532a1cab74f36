"""merge and extract_lora: low-rank adapters in PEFT's layout."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from paramctl.errors import AddressError, OutputError
from paramctl.library.arguments import expect, whole
from paramctl.library.opening import Openable, as_source, texts
from paramctl.library.weights import Weights
from paramctl.parallel import Progress
from paramctl.source.save import save
from paramctl.store.io.atomic import check_target, write_text
from paramctl.store.io.write_values import WriteOptions

if TYPE_CHECKING:
    from paramctl.edit.extract_lora import ExtractedRow
    from paramctl.edit.merge import MergeRow


def merge(
    base: Openable,
    lora: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    scale: float = 1.0,
    dtype: str | Sequence[str] = (),
    allow: str | Sequence[str] = (),
) -> Weights:
    """Return a base with LoRA adapters merged into its weights, one after the other, as PEFT's merge_and_unload does.

    lora: paths of adapters: folders with adapter_model.safetensors and adapter_config.json, or files.
    scale: a factor for what the adapters add, besides their own alpha.
    dtype: DTYPE, or PATTERN=DTYPE rules; those of the base by default. Values are computed in float64.
    allow: losses that a cast may have; see convert.
    The report has a row for each change. Raises AddressError for a tensor of an adapter that belongs to no array of the
    base, and InputError for an adapter that is damaged or of a kind that is not supported.
    """
    from paramctl.edit.merge import merge as merge_adapters

    expect("scale", scale, (int, float), "a number")
    if not isfinite(scale):
        raise AddressError("scale must be finite", f"{scale}")
    adapters = [lora] if isinstance(lora, (str, PathLike)) else list(lora)
    if not adapters:
        raise AddressError("merge requires an adapter", "none")
    paths = [fspath(adapter) for adapter in adapters]
    source, rows, notes = merge_adapters(as_source(base), paths, float(scale), texts(dtype), texts(allow))

    def report(measured: Mapping[str, Any]) -> list[MergeRow]:
        return [replace(row, **measured[row.path]._asdict()) if row.path in measured else row for row in rows]

    return Weights(source, report, notes=notes)


def extract_lora(
    base: Openable,
    tuned: Openable,
    path: str | PathLike[str],
    *,
    rank: int,
    full: str | Sequence[str] = (),
    force: bool = False,
    progress: Progress | None = None,
) -> list[ExtractedRow]:
    """Write a LoRA adapter that changes a base into a tuned checkpoint, as nearly as its rank allows.

    path: of a folder, for adapter_model.safetensors and adapter_config.json in PEFT's layout.
    rank: of the two factors of each matrix that differs: the best approximation, by singular values.
    full: patterns of arrays to store in full. Arrays that differ and are no matrices of linear layers are too.
    force: replace existing files. progress: called with the arrays done and in total.
    Returns a row for each array that differs, with the relative error of its factors.
    Raises AddressError for checkpoints that differ in names or shapes, and OutputError.
    """
    from paramctl.edit.extract_lora import extract
    from paramctl.edit.lora_adapter import FILES
    from paramctl.edit.lora_config import NAME

    folder, checked_rank = fspath(path), whole("rank", rank, 1)
    assert checked_rank is not None
    tensors, config = os.path.join(folder, FILES[0]), os.path.join(folder, NAME)
    is_new = not os.path.isdir(folder)
    if not is_new:
        for target in (tensors, config):
            check_target(target, force)
    elif not folder or os.path.exists(folder):
        raise OutputError(f"{folder}: must be a folder for {FILES[0]} and {NAME}")
    extracted = extract(as_source(base), as_source(tuned), checked_rank, texts(full), progress)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror or error}") from error
    save(extracted.source, tensors, WriteOptions(force))
    write_text(config, extracted.config(), force)
    return extracted.rows
