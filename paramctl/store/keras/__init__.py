"""Keras' files, read and written: what its layers' arrays are called, and which Keras model a model document is.

names.py         the names of what lies in a file, from classes, order and attributes
from_config.py   a Keras configuration as a model document
network.py       the Keras model that a document is: Sequential, Functional, nested ones
weights.py       where in a .weights.h5 each parameter of it lies
to_config.py     its configuration
archive.py       .keras
"""
