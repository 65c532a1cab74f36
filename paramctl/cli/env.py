"""paramctl env: the versions and settings that a report of a defect needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple

import click

from paramctl import __version__
from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.display import has_color, is_terminal, screen
from paramctl.cli.render import ROW_FORMATS, Column, emit, rows
from paramctl.errors import without_credentials

REQUIRED = {
    "click": "click",
    "NumPy": "numpy",
    "h5py": "h5py",
    "tabulate": "tabulate",
    "PyYAML": "yaml",
    "ml_dtypes": "ml_dtypes",
}
"""The packages that paramctl requires: their modules."""

EXTRAS = {
    "pyarrow": "arrow",
    "gguf": "gguf",
    "autograd": "grad",
    "tensorstore": "orbax",
    "matplotlib": "plot",
    "fsspec": "remote",
    "gcsfs": "remote",
    "s3fs": "remote",
    "wcwidth": "wide",
}
"""The packages of extras, and the extra that installs each."""

SHOWN = (
    *("LANG", "LC_ALL", "LC_CTYPE", "TERM", "COLORTERM", "COLUMNS", "LINES"),
    *("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "PAGER", "LESS", "PYTHONIOENCODING", "PYTHONUTF8"),
    *("HDF5_USE_FILE_LOCKING", "HDF5_PLUGIN_PATH", "OMP_NUM_THREADS", "TMPDIR", "XDG_CACHE_HOME"),
    *("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "SSL_CERT_FILE", "NO_PROXY"),
)
"""The variables whose values are shown, and so are those of paramctl."""

HIDDEN = ("HF_TOKEN", "HF_TOKEN_PATH", "NETRC", "HTTP_PROXY", "HTTPS_PROXY", "AWS_PROFILE", "AWS_ACCESS_KEY_ID")
"""The variables that may hold a secret, or lead to one: only that they are set is shown."""
SECRET_WORDS = ("TOKEN", "KEY", "SECRET", "PASS", "CREDENTIAL", "AUTH")
"""The words in the name of a variable of paramctl whose value is not shown."""


class Fact(NamedTuple):
    """A line of the report."""

    name: str
    value: str


COLUMNS = [
    Column("name", "Name", lambda row: row.name),
    Column("value", "Value", lambda row: row.value),
]


@click.command(cls=Command, short_help="Show versions and settings, for a report")
@options.format_(*ROW_FORMATS)
def env(format: str) -> None:
    """Show the versions of paramctl, Python and the packages that it uses, and the settings that change its output.

    A package that is missing or cannot be imported is named with the reason. Values of tokens and passwords are never
    shown.

    \b
    Examples:
      paramctl env
      paramctl env --format json
    """
    emit(rows(format, [*_versions(), *_machine(), *_variables()], COLUMNS))


def _versions() -> Iterator[Fact]:
    yield Fact("paramctl", f"{__version__} in {os.path.dirname(os.path.dirname(os.path.dirname(__file__)))}")
    yield Fact("Python", f"{sys.version.split()[0]}, {sys.executable}")
    for name, module in REQUIRED.items():
        yield Fact(name, _version(module, name))
        if name == "h5py":
            yield Fact("HDF5", _version("h5py.version", "HDF5", "hdf5_version"))
    for module, extra in EXTRAS.items():
        version = _version(module, module)
        yield Fact(module, f"not installed (extra {extra})" if version == "" else version)


def _version(module: str, distribution: str, attribute: str = "") -> str:
    """Return the version of a module that can be imported, empty if it is not installed, else the error."""
    from importlib import metadata

    try:
        imported = import_module(module)
        return str(getattr(imported, attribute)) if attribute else metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return str(getattr(imported, "__version__", "of unknown version"))
    except Exception as error:  # noqa: BLE001  a package may fail in any way when it is imported
        if isinstance(error, ModuleNotFoundError) and error.name == module and distribution == module:
            return ""
        return f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}"


def _machine() -> Iterator[Fact]:
    import locale
    import platform

    yield Fact("platform", platform.platform())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Fact("processors", f"{usable} of {os.cpu_count()}")
    language, encoding = locale.getlocale()
    streams = f"standard output {sys.stdout.encoding}, file names {sys.getfilesystemencoding()}"
    yield Fact("locale", f"{language or 'C'} {encoding or ''}".strip() + f", {streams}")
    columns, lines = screen()
    size = f"{columns} x {lines}" if is_terminal() else "standard output is not a terminal"
    yield Fact("terminal", f"{size}, {'colors' if has_color() else 'no colors'}")


def _variables() -> Iterator[Fact]:
    ours = sorted(name for name in os.environ if name.startswith("PARAMCTL_"))
    for name in (*SHOWN, *HIDDEN, *ours):
        if name in os.environ:
            is_secret = name in HIDDEN or (name in ours and any(word in name for word in SECRET_WORDS))
            yield Fact(name, "(set; not shown)" if is_secret else without_credentials(os.environ[name]))
