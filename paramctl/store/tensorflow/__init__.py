"""TensorFlow's checkpoints, and the variables of its SavedModels, which are checkpoints too. They are only read.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/tensor_bundle/tensor_bundle.h
"""

import re

NAME = "TensorFlow"
STATE_START = b"model_checkpoint_path:"
"""The first bytes of the file ``checkpoint`` in a folder, which names the latest checkpoint there."""
INDEX = ".index"
"""The suffix of an index. The names of its data files begin with the same prefix."""
BUNDLE = re.compile(rb"\0\0[\x02-\x20]\x08[\x80-\xff]{0,2}[\x01-\x7f][\x10\x1a]")
"""The first bytes of an index: an empty key, and a header that begins with the number of shards."""
FIRST_VERSION = re.compile(rb"\0\0[\x80-\xff]{0,4}[\x01-\x7f]\x0a")
"""The first bytes of a file of the Saver's first version: an empty key, and the description of all tensors."""
START_BYTES = 32
