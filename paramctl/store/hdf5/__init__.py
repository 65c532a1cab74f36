"""The HDF5 format: files are parsed by a worker process and read and written at byte offsets."""
