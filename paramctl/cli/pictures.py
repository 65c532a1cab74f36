"""Pictures by matplotlib, without pyplot: checked before any work, and written atomically."""

from __future__ import annotations

from os.path import splitext
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".png": {}, ".pdf": {"CreationDate": None}}
"""The metadata of each kind of picture that leaves out the time, so that equal pictures are equal files."""


def check_picture(path: str | None, force: bool) -> None:
    """Raise UsageError or OutputError, before any work, for a picture that cannot be written. None is no picture."""
    from paramctl.store.io.atomic import check_target

    if path is None:
        if force:
            raise click.UsageError("--force requires --plot")
        return
    if splitext(path)[1].lower() not in UNDATED:
        raise click.UsageError(f"--plot {path}: must end in .svg, .png or .pdf")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise click.UsageError("--plot requires matplotlib: pip install 'paramctl[plot]'") from error
    check_target(path, force)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure. width, height: in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write_picture(figure: Figure, path: str, force: bool) -> None:
    """Write a figure to a file whose suffix names its kind, atomically. Raises OutputError."""
    import io
    import warnings

    from matplotlib import rc_context

    from paramctl.store.io.atomic import replacing

    suffix = splitext(path)[1].lower()
    data = io.BytesIO()
    # a name with characters that the font lacks is drawn with boxes
    with warnings.catch_warnings(action="ignore"), rc_context({"svg.hashsalt": "paramctl"}):
        figure.savefig(data, format=suffix[1:], metadata=UNDATED[suffix])
    with replacing(path, force) as temporary:
        temporary.write(data.getbuffer(), 0)
