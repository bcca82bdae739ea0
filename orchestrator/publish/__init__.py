"""Prepare a data set for publication: data card, metadata, citation, licence and checksums."""
