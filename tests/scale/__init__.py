"""How `evaluate`, `summarize` and `report` grow with the data; minutes, so run by hand."""
