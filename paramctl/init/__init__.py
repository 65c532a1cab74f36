"""Values for parameters: rules choose schemes, schemes give distributions, and engines draw from them.

Importing this package fills the registry of schemes.
"""

from paramctl.init import schemes  # noqa: F401
