"""The values that TAB completes, by the metavar of an option or argument: SCHEME, DTYPE, PATTERN, FILE and so on.

A function takes the context and the incomplete word, and returns whole words. It raises no error, waits for neither
standard input nor a server, and imports NumPy or h5py only to read a checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from paramctl.errors import ParamctlError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from paramctl.cli.render import Column

DEFAULT_MODEL = "model.yaml"
SHELLS = ("bash", "zsh", "fish")
MODELS = ("source", "model", "base", "sources", "a")
"""The arguments that name the model of a command, whose parameters and variables are completed."""

TAKE_FILES = ("summary", "stat")
"""The commands whose addresses may follow further files."""

Words = list[str]
Complete = Callable[[click.Context, str], Words]


def complete_address(context: click.Context, parameter: click.Parameter, incomplete: str) -> Words:
    """Return the paths of blocks and parameters, in the model on the command line, that begin with a text.

    For a command that takes several files, return files if no path does.
    """
    paths = _addresses(context, incomplete)
    return paths or (list_files(incomplete) if context.command.name in TAKE_FILES else [])


def complete_columns(known: Callable[[click.Context], Sequence[Column]]) -> Callable[..., Words]:
    """Return the completion of --columns, a list with commas. known: returns the columns that a command has."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> Words:
        return _in_list(incomplete, [column.key for column in known(context)])

    return complete


def complete_names(known: Callable[[], Iterable[str]]) -> Callable[..., Words]:
    """Return the completion of a list of names with commas."""
    return lambda context, parameter, incomplete: _in_list(incomplete, [*known()])


def _in_list(incomplete: str, known: Sequence[str]) -> Words:
    before, comma, last = incomplete.rpartition(",")
    chosen = before.split(",")
    return [before + comma + name for name in known if name.startswith(last) and name not in chosen]


def _model_file(context: click.Context) -> str | None:
    """Return the local file of the model on the command line, None for standard input, a URL or a pipe."""
    named = next((context.params[name] for name in MODELS if context.params.get(name)), DEFAULT_MODEL)
    file = named[0] if isinstance(named, tuple) else str(named)
    # a named pipe would wait for a writer, and a URL for a server
    return file if os.path.isfile(file) or os.path.isdir(file) else None


def _addresses(context: click.Context, incomplete: str) -> Words:
    from paramctl.source.open import open_path

    file = _model_file(context)
    if file is None:
        return []
    try:
        tree = open_path(file).model
    except ParamctlError:
        return []
    paths = dict.fromkeys([*(block.path for block in tree.walk()), *tree.parameters])
    return [path for path in paths if path.startswith(incomplete)]


def _variables(context: click.Context, incomplete: str) -> Words:
    """Return NAME= for the variables of the document on the command line."""
    from paramctl.model.document import decode, parse, read

    file = _model_file(context)
    if file is None or "=" in incomplete or not os.path.isfile(file):
        return []
    try:
        document = parse(decode(read(file), file), file).value
    except ParamctlError:
        return []
    variables = getattr(document.get("vars"), "value", None) if isinstance(document, dict) else None
    known = variables if isinstance(variables, dict) else {}
    return [f"{name}=" for name in known if str(name).startswith(incomplete)]


def _schemes(context: click.Context, incomplete: str) -> Words:
    """Return schemes; after NAME: its options, and after from: files."""
    from paramctl.init.registry import SCHEMES

    name, colon, options = incomplete.partition(":")
    if not colon:
        return [known for known in (*SCHEMES, "from:") if known.startswith(incomplete)]
    if name == "from":
        return [f"from:{file}" for file in list_files(options)]
    if name not in SCHEMES:
        return []
    before, comma, last = options.rpartition(",")
    # an option of a scheme is written once
    named = {each.partition("=")[0] for each in before.split(",")}
    known = SCHEMES[name].options
    return [f"{name}:{before}{comma}{each}=" for each in known if each.startswith(last) and each not in named]


def _scheme_list(context: click.Context, incomplete: str) -> Words:
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + scheme for scheme in _schemes(context, last)]


def _dtypes(context: click.Context, incomplete: str) -> Words:
    from paramctl.core.parameter import DTYPE_BYTES

    return [dtype for dtype in DTYPE_BYTES if dtype.startswith(incomplete)]


def _assigned(context: click.Context, incomplete: str) -> Words:
    """Return schemes, and after @ files."""
    if incomplete.startswith("@"):
        return [f"@{file}" for file in list_files(incomplete[1:])]
    return _schemes(context, incomplete)


def _losses(context: click.Context, incomplete: str) -> Words:
    return [loss for loss in ("overflow", "integers", "parts") if loss.startswith(incomplete)]


def _pair(first: Complete, second: Complete, after: str = "") -> Complete:
    """Return the completion of FIRST=SECOND, divided at the first equals sign. after: added to FIRST alone."""

    def complete(context: click.Context, incomplete: str) -> Words:
        name, equals, value = incomplete.partition("=")
        if not equals:
            return [each + after for each in first(context, incomplete)]
        return [f"{name}={each}" for each in second(context, value)]

    return complete


def _either(first: Complete, pair: Complete) -> Complete:
    """Return the completion of a value alone, or else of a pair."""
    return lambda context, incomplete: first(context, incomplete) or pair(context, incomplete)


def _files(context: click.Context, incomplete: str) -> Words:
    return list_files(incomplete)


def _nothing(context: click.Context, incomplete: str) -> Words:
    return []


def _model_and_path(context: click.Context, incomplete: str) -> Words:
    """Return files, and after FILE: the paths of its parameters."""
    file, colon, path = incomplete.rpartition(":")
    if not colon:
        return list_files(incomplete)
    # the model of this command is in the word itself
    context.params = context.params | {"source": file}
    return [f"{file}:{each}" for each in _addresses(context, path)]


def list_files(incomplete: str) -> Words:
    """Return the names of files that begin with a text; those of folders end with a slash."""
    folder, start = os.path.split(incomplete)
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    shown = [each for each in entries if each.name.startswith(start) and (start or not each.name.startswith("."))]
    return [os.path.join(folder, each.name) + ("/" if each.is_dir() else "") for each in shown]


BY_METAVAR: dict[str, Complete] = {
    "SCHEME": _schemes,
    "[SCHEME]...": _schemes,
    "SCHEME,...": _scheme_list,
    "PATTERN": _addresses,
    "PATTERN=SCHEME": _pair(_addresses, _schemes, "="),
    "PATTERN=NAME": _pair(_addresses, _nothing, "="),
    "[ASSIGNMENT]...": _pair(_addresses, _assigned),
    "DTYPE": _dtypes,
    "[PATTERN=]DTYPE": _either(_dtypes, _pair(_addresses, _dtypes)),
    "LOSS[=PATTERN]": _pair(_losses, _addresses),
    "[NAME=]FILE": _either(_files, _pair(_nothing, _files)),
    "NAME=FILE...": _pair(_nothing, _files),
    "NAME=VALUE": _variables,
    "MODEL:PATH": _model_and_path,
}
"""The completions by metavar. FILE, MODEL and ADAPTER are left to the shell, which knows files best."""

FILES = ("FILE", "MODEL", "ADAPTER", "FOLDER")


class Completed(click.types.StringParamType):
    """A text that TAB completes."""

    def __init__(self, metavar: str) -> None:
        self.metavar = metavar

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        """Return the items that begin with a text."""
        from click.shell_completion import CompletionItem

        if self.metavar in FILES:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(word) for word in BY_METAVAR[self.metavar](ctx, incomplete)]


def complete_by_metavar(parameters: Iterable[click.Parameter]) -> None:
    """Give every parameter that is a text, and whose metavar is known, its completion."""
    for parameter in parameters:
        known = parameter.metavar in BY_METAVAR or parameter.metavar in FILES
        if known and parameter.type is click.STRING:
            parameter.type = Completed(str(parameter.metavar))
