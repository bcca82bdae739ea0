"""Hostile input through the whole command line, and the corpus of cases worth keeping."""
