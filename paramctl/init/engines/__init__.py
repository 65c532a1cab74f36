"""Random engines: each turns a seed, a path, and a position into values.

To add an engine, write a module with an object of the protocol in base.py, and list the object here.
"""

from paramctl.init.engines.base import Engine
from paramctl.init.engines.native import NATIVE

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (NATIVE,)}
"""Every engine, by its name."""
