"""The data set: every file of it, and the tables that are derived from the trials' files.

paths.py has the files' names, schema.py and summary.py the columns, sweep_plan.py the plan of a
sweep. recorder.py writes a running sweep by trial_files.py; tables.py derives the tables.
"""
