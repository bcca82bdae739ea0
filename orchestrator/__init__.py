"""Energy measurements of LLM inference over generation hyperparameters."""

__version__ = "0.1.0"
