"""Evaluate: whether a text is usable, by rules on signals that are computed from it."""
