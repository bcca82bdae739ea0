"""Sweeps on several machines: a Ray cluster of machines that join it, or SLURM jobs."""
