"""Places where sweeps run on several machines: batch systems."""
