"""The initial values of other frameworks, bit for bit: which tensors they draw, in which order, by which laws."""
