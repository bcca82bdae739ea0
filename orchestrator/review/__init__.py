"""Review: a page on this machine on which a person keeps or discards outputs."""
