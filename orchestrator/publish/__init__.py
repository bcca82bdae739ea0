"""Prepare a data set for publication: data card, metadata, citation, licence and checksums.

publishing.py writes them all; scan.py looks for what should not be published.
"""
