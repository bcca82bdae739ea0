"""The data set: its schema, its files and the tables derived from them."""
