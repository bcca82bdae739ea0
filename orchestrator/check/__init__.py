"""Checks of a data set: are its files readable, unchanged, complete and plausible.

validation.py runs them all: folders.py, plausibility.py, files_beside_trials.py and hub.py.
"""
