"""Trials in the form of other tools: a data set's sweeps as studies of Optuna.

studies.py says which studies a data set has, optuna_storage.py puts them where Optuna keeps its
own, and study_file.py makes a file of them.
"""
