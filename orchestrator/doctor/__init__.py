"""`doctor`: what this machine can measure and how well, and whether a sweep can run on it.

diagnosis.py runs all checks. gpu_at_rest.py and cpu_at_rest.py read every meter while nothing runs,
powercap.py asks Linux for RAPL, overhead.py measures what the meters themselves take, setting.py
looks at packages, disk, network and Ray, rooms.py computes how long a text can be, conclusion.py
says in a line what the energies are good for. Nothing here changes the machine.
"""
