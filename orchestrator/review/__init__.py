"""Review: a page on loopback where a person keeps or discards outputs."""
