"""Sweeps: the plan, and running what of it is missing.

In the order of use: request.py (flags and files), planning.py (what the sweep is), prepare.py (what
is missing), run.py. Only ray_tune/ knows Ray.
"""
