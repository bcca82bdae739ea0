"""Sweeps under random faults: `python -m tools.chaos --sweeps 30 --seed 1`."""
