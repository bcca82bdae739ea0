"""The glue to Ray Tune: the only package that imports ray.

driver.py runs Tune, searcher.py is what Tune asks for trials, trainable.py a trial on its worker,
callback.py what Tune tells. session.py starts Ray or attaches to a cluster.
"""
