"""`import orchestrator`: what a program or a notebook calls, thin as the command line is.

sweeps.py plans and runs, by the functions that `plan` and `tune` of the command line use;
data_set.py reads a data set as pandas tables, with the report's own figures. orchestrator/__init__
names what is public, and imports a module here when one of its names is used.
"""
