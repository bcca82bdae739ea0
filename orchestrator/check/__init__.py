"""Checks of a data set: are its files readable, unchanged, complete and plausible."""
