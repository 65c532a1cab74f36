"""Arrays that parameters could share, and layers that are reused, whose parameters share arrays without a tie."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from paramctl.address.resolve import resolve
from paramctl.core.parameter import Parameter, bytes_of
from paramctl.declare.located import scalar_text
from paramctl.errors import AddressError
from paramctl.inspect.fold import PieceToMeasure, fold
from paramctl.inspect.layers import default_text
from paramctl.model import Block, Model
from paramctl.parallel import Progress, advancing
from paramctl.source.base import Source
from paramctl.store.contents import blocks, connections
from paramctl.store.io.extents import as_bytes


class Checksum(NamedTuple):
    """A checksum of consecutive pieces: the hash of a piece, or of the hashes of several from left to right."""

    digest: bytes

    def join(self, later: Checksum) -> Checksum:
        """Return the checksum of both together."""
        return Checksum(_hash(self.digest + later.digest))


def equal_arrays(source: Source, progress: Progress | None = None, threads: int | None = None) -> list[list[str]]:
    """Return groups of arrays that are equal but not tied: one shape, one dtype, and the same bytes by their hash.

    progress: called with the bytes done and the bytes in total, after each piece.
    threads: the number of workers, which does not affect the result.
    """
    # all empty arrays are equal, which is no reason to tie them
    return equal_among(source, {owner.path for owner in source.model.owners() if owner.size}, progress, threads)


def equal_among(
    source: Source, paths: Collection[str], progress: Progress | None = None, threads: int | None = None
) -> list[list[str]]:
    """Return groups of equal arrays among those with these paths; see equal_arrays."""
    by_form: dict[tuple[object, ...], list[Parameter]] = {}
    for parameter in source.model.owners():
        if parameter.path in paths:
            by_form.setdefault((parameter.shape, parameter.dtype), []).append(parameter)
    # The only array of its shape and dtype equals no other, so it is not read.
    candidates = [parameter for alike in by_form.values() if len(alike) > 1 for parameter in alike]
    advance = advancing(progress, sum(parameter.bytes for parameter in candidates))
    checksums = fold(_pieces(source, candidates), advance, threads or connections(source))
    groups: dict[tuple[object, ...], list[str]] = {}
    for parameter in candidates:
        key = (parameter.shape, parameter.dtype, checksums[parameter.path].digest)
        groups.setdefault(key, []).append(parameter.path)
    return [group for group in groups.values() if len(group) > 1]


def _pieces(source: Source, parameters: Sequence[Parameter]) -> Iterator[PieceToMeasure[str, Checksum]]:
    # Cut at multiples of a block, whatever the source prefers: a checksum depends on where the array is cut.
    for parameter in parameters:
        for path, start, stop in blocks(parameter):
            size = bytes_of(parameter.dtype, stop - start)
            yield PieceToMeasure(path, size, partial(_checksum, source, path, start, stop))


def _checksum(source: Source, path: str, start: int, stop: int) -> Checksum:
    return Checksum(_hash(as_bytes(source.read(path, start, stop))))


def _hash(data: bytes | memoryview) -> bytes:
    return blake2b(data, digest_size=32).digest()


def refuse_reuse(model: Model, addresses: Sequence[str]) -> None:
    """Raise AddressError if an address names a parameter of a layer that ``reuse`` applies again.

    The error shows the line that makes the second use a layer with its own parameters.
    """
    reused_by = {block.reuse_of: block for block in model.walk() if block.reuse_of is not None}
    for text in addresses if reused_by else ():
        for path in resolve(model, text).paths:
            names = path.split("/")
            above = ("/".join(names[:count]) for count in range(1, len(names)))
            reused = next((block for block in above if block in reused_by), None)
            if reused is not None and path not in model.tied:
                rule = f"{reused} is one layer, which 'reuse' applies again: replace the 'reuse' by a layer"
                raise AddressError(rule, repr(text), f"Write: - {_line(reused_by[reused])}")


def _line(block: Block) -> str:
    """Return the layer as a line of a document."""
    if block.layer is None:
        return block.type
    options = {
        name: scalar_text(default_text(value))
        for name, option in block.layer.signature.items()
        if (value := getattr(block.layer, name)) != option.default
    }
    inside = ", ".join(f"{name}: {text}" for name, text in options.items())
    return f"{block.type}: {{{inside}}}" if inside else block.type
