"""HDF5: paramctl's native files, and any other HDF5 file that holds arrays.

The HDF5 library runs in a worker process, because a small damaged file can crash it. The parent never loads it.

In the parent:
format.py         read and write files
dialect.py        the protocol of a framework's layout, such as Keras'
listing.py        the worker's list of a file, as parameters and readers
client.py         the handle on a worker process
native.py         names that both processes share

In the worker:
worker.py         the request loop
limits.py         limits on memory and time
parser.py         opens a file and lists its contents
walk.py           visits groups and links within budgets
claims.py         checks the sizes that datasets claim
element_types.py  HDF5 types as NumPy dtypes
values.py         reads values that have no extent
layout.py         lays out new files
carry_over.py     copies attributes and non-numeric data from another file
window.py         a part of a file as a file
refusal.py        the error for a file that is not read
"""

NAME = "HDF5"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
