"""Sweeps under random faults: `python -m tests.chaos --sweeps 30 --seed 1`."""
