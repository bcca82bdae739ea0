"""The same work done in several ways, side by side: what does the software around a model cost?

The ways of others (`ways/`) are programs of their own, which use transformers, CodeCarbon and Ray
bare; so nothing is imported here. The other modules plan the work, run the ways one at a time,
compare and show.
"""
