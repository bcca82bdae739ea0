"""How often the report's intervals hold a truth that is known."""
