"""Facts about one array: its axes, its dtype, and slices of it."""
