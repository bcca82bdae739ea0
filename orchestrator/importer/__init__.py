"""Imports measurements that were made without this program: other CodeCarbon files."""
