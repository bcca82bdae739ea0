"""Evaluate: whether a text is usable, by rules on signals that are measured on it; pure functions."""
