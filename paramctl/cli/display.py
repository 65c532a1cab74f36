"""The display of a command's output: width, colors, pager and verbosity, as options and the environment set them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

COLORS = ("auto", "always", "never")


@dataclass(slots=True)
class Display:
    """The options of the group and of the command that is running; the command's are set last.

    wide: True to shorten no table. color: one of COLORS. pager: True or False if an option says so.
    hold: given a note, returns True if it will show it after the output that it holds.
    """

    wide: bool = False
    color: str = "auto"
    pager: bool | None = None
    verbosity: int = 0
    hold: Callable[[str], bool] | None = None


def display() -> Display:
    """Return the display of the running command, or the defaults outside a command."""
    context = click.get_current_context(silent=True)
    return Display() if context is None else display_of(context)


def display_of(context: click.Context) -> Display:
    """Return the display of the command line that a context belongs to."""
    shown: Display = context.meta.setdefault(__name__, Display())
    return shown


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def screen() -> os.terminal_size:
    """Return the columns and lines of the terminal. COLUMNS and LINES have priority, as in shutil."""
    from shutil import get_terminal_size  # takes time, and only a terminal needs it

    return get_terminal_size()


def table_width() -> int | None:
    """Return the width that tables must fit, or None if they may be of any width: with --wide, and in a pipe."""
    return screen().columns if is_terminal() and not display().wide else None


def has_color() -> bool:
    """Return whether output has colors: by --color, else NO_COLOR, else FORCE_COLOR, else because of a terminal."""
    color = display().color
    if color != "auto":
        return color == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0").lower() not in ("", "0", "false") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return is_terminal() and os.environ.get("TERM") != "dumb"


def style(text: str, **styles: Any) -> str:
    """Return a text with styles, such as ``bold=True`` or ``fg="red"``, if the output has colors."""
    return click.style(text, **styles) if has_color() else text


def encodes(text: str) -> bool:
    """Return whether the encoding of standard output has all characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
