"""Which values parameters get: laws, the schemes that choose them, and the rules that choose schemes."""
