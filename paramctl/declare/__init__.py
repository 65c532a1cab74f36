"""How layers, activations, and schemes declare options, and how those options are read with their positions."""
