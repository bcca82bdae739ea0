"""Sweeps on machines that are several: a Ray cluster of attached ones, jobs of SLURM."""
