"""Energy measurements of LLM inference over generation hyperparameters.

Each verb begins in cli/. A sweep is planned and run in sweep/, a prompt measured in measure.py, and
what was measured written and read in dataset/. docs/architecture.md tells the rest.
"""

__version__ = "0.1.0"
