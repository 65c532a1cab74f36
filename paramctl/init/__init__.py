"""Which values parameters get: laws, the schemes that choose them, the rules that choose schemes, and the drawing.

Importing it fills the registry of schemes.
"""

from paramctl.init import schemes  # noqa: F401
