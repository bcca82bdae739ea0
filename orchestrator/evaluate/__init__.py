"""Evaluate: whether a text is usable, by rules on signals that are computed from it.

evaluation.py does it for a data set: signals.py computes, rules.py decides. embedding.py and
judge.py give two more signals where a user asks for them.
"""
