"""Schemes as a command line writes them, into what a rule may assign.

    he_normal                            a name
    normal:stddev=0.01                   a name and its options
    constant:42                          a name and its main option
    {mixture: [[0.5, zeros], ...]}       as a document has it
    ./my_init.py:my_init:low=5           a function, or a class like Keras', in a file of one's own
    a name from the entry-point group "paramctl.initializers", of packages that are installed

Code is run for a name that stands here, on the command line, and never for one in a document or a file.
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


@dataclass(frozen=True, slots=True)
class UserScheme:
    """A function or class of the user's, or of a package's, with its options."""

    text: str
    function: Callable[[tuple[int, ...], str, Any], Any]

    def distribution(self, target: Target) -> Distribution:
        return CustomDistribution(self.function, target.shape, self.text)


def parse_scheme(text: str, source: str) -> Scheme:
    """The scheme that a text means; ``source`` names the option it comes from, for errors.

    Raises DocumentError if it is none, or if code of one's own does not load.
    """
    if text.lstrip().startswith("{"):
        return _checked(parse_value(text, source))
    name, options = text, ""
    if ".py:" in text:
        file, _, rest = text.partition(".py:")
        function, _, options = rest.partition(":")
        return UserScheme(text, _called(_from_file(f"{file}.py", function, source), _options(options, source), text))
    name, _, options = text.partition(":")
    if name not in SCHEMES:
        from importlib.metadata import entry_points  # here, for it is slow and nearly every scheme is built in

        for entry in entry_points(group=GROUP, name=name):
            return UserScheme(text, _called(_loaded(entry.load, text, source), _options(options, source), text))
    value = _options(options, source) if options else None
    key = parse_value(name, source)
    return _checked(key if value is None else Located({name: value}, source, keys={name: key}))


def _checked(node: Located) -> Scheme:
    lookup(node)
    return LocatedScheme(node)


def _options(text: str, source: str) -> Located:
    """``stddev=0.01,mean=0`` as a mapping; a value alone is the main option's."""
    if not text:
        return Located({}, source)
    if "=" not in text.partition("[")[0].partition("{")[0]:
        return parse_value(text, source)
    values = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise Located(text, source).error("the options of a scheme are written NAME:option=value,...")
        if key.strip() in values:
            raise Located(text, source).error(f"the option {key.strip()!r} is given twice")
        values[key.strip()] = parse_value(value, source)
    return Located(dict(values), source)


def _from_file(path: str, name: str, source: str) -> Any:
    spec = importlib.util.spec_from_file_location("paramctl_users_own", path)
    if spec is None or spec.loader is None:
        raise Located(path, source).error("a scheme of one's own is written FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    _loaded(lambda: loader.exec_module(module), path, source)
    if not name or not hasattr(module, name):
        raise Located(name, source).error(f"{path} has no function or class of this name")
    return getattr(module, name)


def _loaded(load: Callable[[], Any], what: str, source: str) -> Any:
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise Located(what, source).error(f"this does not load: {_one_line(error)}") from error


def _called(function: Any, options: Located, text: str) -> Callable[[tuple[int, ...], str, Any], Any]:
    """A function of (shape, dtype, generator) from whatever somebody wrote."""
    keywords: Any = options.plain()
    if not isinstance(keywords, dict):
        raise options.error(f"{text}: options for code of one's own are written name=value,...")

    def values(shape: tuple[int, ...], dtype: str, generator: Any) -> Any:
        try:
            if inspect.isclass(function):
                takes = inspect.signature(function).parameters
                seed = {"seed": int(generator.integers(2**31))} if "seed" in takes else {}
                initializer: Any = function(**(seed | keywords))
                made = np.asarray(initializer(shape, dtype=dtype))
            else:
                made = np.asarray(function(shape, dtype, generator, **keywords))
        except (Exception, SystemExit) as error:
            raise DocumentError(f"{text} failed for the shape {shape}: {_one_line(error)}") from error
        if made.shape != shape or made.dtype.kind not in "fiuV":
            raise DocumentError(
                f"{text} must give real numbers of the shape {shape}", None, f"{made.dtype} {made.shape}"
            )
        if not np.isfinite(made).all():
            raise DocumentError(f"{text} must give finite numbers", None, f"others, for the shape {shape}")
        return made

    return values


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")
