"""Texts with a label, usable or not, and what is fitted on them."""
