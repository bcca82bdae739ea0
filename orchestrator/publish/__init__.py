"""Publish: the data card, metadata and checksums of a data set; import of others."""
