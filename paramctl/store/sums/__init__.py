"""Content hashes: the hash of each array, and the record of them, with a seal, in every saved file.

array_sum.py     the hash of an array, from pieces
record.py        the text of a record, read and made
sealing.py       the record of a new file
patching.py      the record of a changed copy
stored_array.py  the place of an array in a file
checking.py      a file with its record
recorded.py      the recorded hashes of a source's arrays, by path
"""

KEY = "paramctl.sums"
"""The key of the record: in the metadata of a safetensors file or an index, and of an attribute of an HDF5 file."""
SUMMARY = "hashes of the arrays; paramctl verify checks them"
"""The record in a list of metadata, where its text would take thousands of lines."""
