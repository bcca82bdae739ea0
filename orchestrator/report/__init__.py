"""Report: what the measurements say, in figures and tables."""
