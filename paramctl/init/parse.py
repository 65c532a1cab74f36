"""Schemes as text on a command line.

    he_normal                            a name
    normal:stddev=0.01                   a name and its options
    constant:42                          a name and its main option
    {mixture: [[0.5, zeros], ...]}       as in a document
    ./my_init.py:my_init:low=5           a function, or a class like Keras', in a Python file
    NAME                                 an entry point of the group "paramctl.initializers", of an installed package

Code runs only for a name on the command line, never for a name in a document or a file.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from paramctl.declare.located import Located
from paramctl.errors import DocumentError
from paramctl.init.distributions import CustomDistribution, Distribution
from paramctl.init.registry import SCHEMES, Target, lookup
from paramctl.init.rules import LocatedScheme, Scheme
from paramctl.model.document import parse_value

GROUP = "paramctl.initializers"

DrawFunction = Callable[[tuple[int, ...], str, Any], Any]
"""A function from a shape, a dtype's name and a random generator to an array."""


@dataclass(frozen=True, slots=True)
class UserScheme:
    """A function or a class of the user, or of an installed package, with its options."""

    text: str
    function: DrawFunction

    def distribution(self, target: Target) -> Distribution:
        return CustomDistribution(self.function, target.shape, self.text)


def parse_scheme(text: str, source: str) -> Scheme:
    """Return the scheme that a text denotes.

    source: the option that the text comes from, for errors.

    Raises DocumentError if the text denotes no scheme, or if the user's code does not load.
    """
    if text.lstrip().startswith("{"):
        return _checked(parse_value(text, source))
    if ".py:" in text:
        file, _, rest = text.partition(".py:")
        name, _, options = rest.partition(":")
        function = _from_file(f"{file}.py", name, source)
        return UserScheme(text, _draw_function(function, _options(options, source), text))
    name, _, options = text.partition(":")
    if name not in SCHEMES:
        from importlib.metadata import entry_points  # deferred: importing it is slow, and most schemes are built in

        for entry in entry_points(group=GROUP, name=name):
            function = _loaded(entry.load, text, source)
            return UserScheme(text, _draw_function(function, _options(options, source), text))
    return _checked(parse_call_text(text, source))


def parse_call_text(text: str, source: str) -> Located:
    """Return ``normal:stddev=0.01`` as a call that a document writes ``{normal: {stddev: 0.01}}``."""
    name, _, options = text.partition(":")
    key = parse_value(name, source)
    return Located({name: _options(options, source)}, source, keys={name: key}) if options else key


def _checked(node: Located) -> Scheme:
    lookup(node)
    return LocatedScheme(node)


def _options(text: str, source: str) -> Located:
    """Return ``stddev=0.01,mean=0`` as a mapping, and a value alone as the value of the main option."""
    if not text:
        return Located({}, source)
    # An "=" inside a list or a mapping belongs to a value.
    if "=" not in text.partition("[")[0].partition("{")[0]:
        return parse_value(text, source)
    values = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise Located(text, source).error("options of a scheme must be written NAME:option=value,...")
        if key.strip() in values:
            raise Located(text, source).error(f"option {key.strip()!r} must not be given twice")
        values[key.strip()] = parse_value(value, source)
    return Located(dict(values), source)


def _from_file(path: str, name: str, source: str) -> Any:
    """Return the function or class with a name in a Python file, which is executed."""
    spec = importlib.util.spec_from_file_location("paramctl_user_scheme", path)
    if spec is None or spec.loader is None:
        raise Located(path, source).error("a custom scheme must be written FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    _loaded(lambda: loader.exec_module(module), path, source)
    if not name or not hasattr(module, name):
        raise Located(name, source).error(f"{path} has no function or class with this name")
    return getattr(module, name)


def _loaded(load: Callable[[], Any], name: str, source: str) -> Any:
    try:
        return load()
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise Located(name, source).error(f"the scheme does not load: {_one_line(error)}") from error


def _draw_function(function: Any, options: Located, text: str) -> DrawFunction:
    """Return a checked draw function from a user's function, or from a class like those of keras.initializers."""
    keywords: Any = options.plain()
    if not isinstance(keywords, dict):
        raise options.error(f"{text}: options of a custom scheme must be written name=value,...")

    def draw(shape: tuple[int, ...], dtype: str, generator: Any) -> Any:
        try:
            if inspect.isclass(function):
                # A class like Keras' draws its random numbers from its own seed, which comes from the generator.
                accepted = inspect.signature(function).parameters
                seed = {"seed": int(generator.integers(2**31))} if "seed" in accepted else {}
                initializer: Any = function(**(seed | keywords))
                values = np.asarray(initializer(shape, dtype=dtype))
            else:
                values = np.asarray(function(shape, dtype, generator, **keywords))
        except (Exception, SystemExit) as error:
            raise DocumentError(f"{text} failed for the shape {shape}: {_one_line(error)}") from error
        if values.shape != shape or values.dtype.kind not in "fiuV":
            received = f"{values.dtype} {values.shape}"
            raise DocumentError(f"{text} must return real numbers of the shape {shape}", None, received)
        if not np.isfinite(values).all():
            raise DocumentError(f"{text} must return finite numbers", None, f"NaN or infinity, for the shape {shape}")
        return values

    return draw


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")
