"""Flags of imported rows: one table, and each of its flags is set somewhere."""

from __future__ import annotations

from orchestrator.dataset.imported import IMPORT_FLAGS
from orchestrator.importer.imported_rows import FLAGS_OF_EVERY_ROW, FLAGS_OF_ROW, FLAGS_OF_TABLE
from orchestrator.importer.measurements import FLAGS_OF_ALL


def test_the_flags_that_are_set_are_those_of_the_table() -> None:
    set_somewhere = FLAGS_OF_EVERY_ROW | FLAGS_OF_TABLE | FLAGS_OF_ROW.keys() | FLAGS_OF_ALL
    assert set_somewhere == IMPORT_FLAGS.keys()
