"""Sweeps: the plan, and running what of it is missing."""
