"""``from:FILE[path]`` as a scheme: values copied from a checkpoint."""

from __future__ import annotations

from paramctl.address.patterns import nearest_hint
from paramctl.core.dtypes import Array, to_native
from paramctl.errors import InputError, without_credentials
from paramctl.init import parse
from paramctl.init.distributions import Distribution, ExistingValues
from paramctl.init.registry import SchemeMismatch, Target
from paramctl.init.rules import Scheme
from paramctl.source.base import Description, Source
from paramctl.source.open import open_checkpoint
from paramctl.store.contents import check_decodable
from paramctl.store.urls import is_url

PREFIX = "from:"


class FromCheckpoint:
    """The values of a parameter of a source. Without a path, it is the parameter of the same name."""

    def __init__(self, text: str, source: Source, path: str) -> None:
        self.text, self.source, self.path = text, source, path

    def distribution(self, target: Target) -> Distribution:
        path = self.path or target.path
        model = self.source.model
        if path not in model.parameters:
            raise SchemeMismatch(f"the file has no parameter {path!r}. {nearest_hint(path, model.parameters)}")
        parameter = model.parameters[path]
        if parameter.shape != target.shape:
            raise SchemeMismatch(f"requires the shape of {path} in the file, {parameter.shape}")
        tie = model.tied.get(path)
        if tie is not None and tie.transpose:
            raise SchemeMismatch(
                f"requires a path that is not tied as a transpose; {path} is the transpose of {tie.kept}"
            )
        owner = model.owner(path).path
        check_decodable(model, owner)

        def read(start: int, stop: int) -> Array:
            return to_native(self.source.read(owner, start, stop))

        def describe() -> Description:
            return {"source": self.source.describe(), "path": owner}

        return ExistingValues(read, describe)


def parse_scheme(text: str, option: str) -> Scheme:
    """Parse a scheme of the command line, ``from:FILE[PATH]`` included. option: its place, for errors.

    Raises DocumentError, and InputError if the file cannot be read.
    """
    if not text.startswith(PREFIX):
        return parse.parse_scheme(text, option)
    address = text.removeprefix(PREFIX)
    # a URL may have a bracket before the path: http://[::1]/w.h5[path]
    if is_url(address):
        file, bracket, path = address.rpartition("[") if address.endswith("]") else (address, "", "")
    else:
        file, bracket, path = address.partition("[")
    if bracket and not path.endswith("]"):
        raise InputError(f"{option}: must be written from:FILE[PATH] (got {text})")
    # a file records the scheme, so a signature in a query must not be part of it
    shown = without_credentials(file.partition("?")[0]) if is_url(file) else file
    return FromCheckpoint(f"{PREFIX}{shown}{bracket}{path}", open_checkpoint(file), path.removesuffix("]"))
