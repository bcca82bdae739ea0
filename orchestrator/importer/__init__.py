"""Import measurements that were made without this program: files that CodeCarbon wrote.

import_tree.py imports a tree: source_tree.py walks over it, places.py finds each file's place among
the copies, emissions_files.py and output_files.py read files, imported_rows.py makes rows of one
and measurements.py of all.
"""
