"""Files of PyTorch, read without torch: by a pickle machine that imports nothing and calls nothing."""

NAME = "torch"
SHARDS_NAME = "torch set"
