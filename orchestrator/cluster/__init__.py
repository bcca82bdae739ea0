"""Sweeps on several machines: a Ray cluster of machines that join it, or SLURM jobs.

ray_node.py starts and stops nodes; slurm.py writes and submits jobs, slurm_queue.py asks for them.
"""
