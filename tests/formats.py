"""The formats in the registry, for tests that loop over them: a new format is tested once it is registered."""

from paramctl.store.registry import FORMATS

NAMES = [f"m{format_.suffixes[0]}" for format_ in FORMATS if format_.writable and not format_.unnamed]
"""The name of a file, or of a set of files, in each format that can be written and holds any number of arrays."""

KERAS = [
    f"m{format_.suffixes[0]}"
    for format_ in FORMATS
    if format_.writable and type(format_).__module__.startswith("paramctl.store.keras.")
]
"""Those that hold a Keras model. The others hold any arrays."""

ANY = [name for name in NAMES if name not in KERAS]
SUFFIXES = [name[1:] for name in NAMES if not name.endswith(("/", ".json"))]
"""The suffixes of formats that are one file; tests/test_detection.py checks that they are."""
