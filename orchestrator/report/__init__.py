"""What a data set says, as one HTML page and as charts and tables for a paper.

execution_frame.py reads the data. configuration_means.py, effects.py, pairs.py, compare.py,
sweep_cost.py, configurations.py, trial_rows.py and circumstances.py compute; findings.py says what
follows. charts.py lists the charts, drawing.py writes them to files; page.py and table_export.py
lay out.
"""
