"""Programs that do the work as one would without this program.

Each is started as `python -m orchestrator.bench.ways.NAME WORK ANSWERS`: it reads the work
(bench/work.py as JSON) and writes its answers. They import transformers, CodeCarbon and Ray
directly, and nothing of this program.
"""
