"""Import measurements that were made without this program: files that CodeCarbon wrote.

import_tree.py walks over the folders; the other modules read the files and make rows of them.
"""
