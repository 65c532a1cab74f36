"""The reader of HDF5 metadata in plain Python: it lists most files without the HDF5 library, and so without a worker.

It knows a part of the format, and raises Unknown for the rest. The worker then lists the file, and its verdict stands.
So no rule about a file is decided here: whatever is damaged, inconsistent or uncommon is left to the library. The names
are those of the specification:
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html

unknown.py        the error for what this reader does not know
blocks.py         reads parts of a file within a budget
checksum.py       the checksums that are still to be checked
lookup3.py        hashes many texts at once
superblock.py     the superblock
object_header.py  object headers, versions 1 and 2
datatype.py       datatype messages
messages.py       the messages of a dataset: dataspace, data layout, fill value
symbol_table.py   the links of an old group: B-tree version 1, symbol table nodes, local heap
fractal_heap.py   objects in a fractal heap
btree.py          the records of a B-tree version 2
links.py          the links of a group, in any of its forms
attribute.py      attribute messages, and the texts in the global heap
parsed_file.py    walks over a file and lists its contents
"""
