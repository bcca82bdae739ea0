"""GPUs: which are there, and how to ask one of them. The meters, doctor and the sweep build on it.

devices.py lists a host's GPUs, access.py opens one, architectures.py knows what its power reading
means, simulated.py stands in for a GPU that isn't there.
"""
