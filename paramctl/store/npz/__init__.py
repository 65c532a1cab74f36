"""npz: zips of npy files, as numpy.savez writes them. Pickles are never loaded.

format.py         the format's object in the registry
single.py         an npy file by itself as a format
reading.py        npz files, read
writing.py        npz files, written
npy.py            headers of npy files
comments.py       metadata in the zip's comments
inflate.py        compressed members, read from any offset
slab_reader.py    arrays that have no extent, read in slabs
fortran_order.py  slabs of an array in Fortran order
"""

NAME = "npz"
