"""Hostile input through the whole command line, and the corpus of cases that failed once or are worth keeping."""
