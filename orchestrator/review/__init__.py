"""Review: a page on this machine on which a person keeps or discards outputs.

review_queue.py says what is to be reviewed, review_server.py serves the page and takes decisions.
"""
