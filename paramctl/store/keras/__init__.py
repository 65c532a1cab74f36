"""Keras' files: read under Keras' names, and written from a model document as the Keras model that it describes.

Reading
    read.py          a file, or a set of shards, as a checkpoint
    names.py         the names of variables in the layout of Keras 3
    legacy_names.py  the same for Keras 2
    legacy_config.py the configuration of Keras 2, and its order of variables
    config_names.py  the names that a configuration adds
    variables.py     the variables of each class
    training.py      the parameters that a configuration trains
    layer_config.py  a layer in a configuration
    from_config.py   a configuration as a model document
    layer_cache.py   layers of a configuration, built through documents
    untranslated.py  the settings that a document does not have
    skeleton.py      the tree of a configuration that no document expresses
Writing
    objects.py       the parts of a Keras model
    network.py       a model document as a Keras model
    layer_order.py   the order in which a Functional lists its layers
    paths.py         the path of each parameter in a file
    to_config.py     the configuration of a Keras model
    weights_file.py  .weights.h5
    shards.py        .weights.json and its shards
    archive.py       .keras
"""

ARCHIVE_NAME = "Keras"
WEIGHTS_NAME = "Keras weights"
SHARDS_NAME = "sharded Keras weights"

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
METADATA, NPZ_WEIGHTS = "metadata.json", "model.weights.npz"
"""The members of a ``.keras`` file. It has weights in HDF5, or in early versions of Keras in npz."""
