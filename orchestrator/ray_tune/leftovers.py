"""What killed runs of this user left on this host outside their data sets."""

from __future__ import annotations

from orchestrator.ray_tune import prometheus_targets, temp_folders


def remove_leftovers() -> None:
    """End Ray's processes of killed runs; remove their scratch folders and Prometheus files."""
    temp_folders.remove_orphans()
    prometheus_targets.remove_orphans()
