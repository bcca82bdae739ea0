"""Programs that are no tests and no part of the package; README.md lists them."""
