"""Checks of a data set: is what stands there sound, whole and plausible."""
