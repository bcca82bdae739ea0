"""Programs that stand in for ways (test_running.py)."""
