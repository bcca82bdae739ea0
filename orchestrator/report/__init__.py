"""Report: what the measurements say, in charts and tables on one page.

execution_frame.py reads the data; configuration_means.py, effects.py, pairs.py, compare.py,
sweep_cost.py and trust.py analyse it; findings.py says what follows; charts.py and page_content.py
show it, and page.py puts the page together.
"""
