"""Keras' files, read and written: what its layers' arrays are called, and which Keras model a model document is.

read.py          files, one or a set, as parameters
names.py         the names of what lies in a file, from classes, order and attributes
variables.py     what the variables of a class are called
known.py         a layer of a configuration as a document has it
sketch.py        the tree of a configuration that no document can say
from_config.py   a Keras configuration as a model document
network.py       the Keras model that a document is: Sequential, Functional, nested ones
weights.py       where in a .weights.h5 each parameter of it lies
to_config.py     its configuration
archive.py       .keras
"""
