"""The glue to Ray Tune: the only package that imports ray."""
