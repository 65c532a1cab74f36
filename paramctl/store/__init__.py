"""Files of arrays: one package for each format, behind one protocol (format.py) and in one registry (registry.py)."""
