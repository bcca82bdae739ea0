"""Grafana's dashboard and Prometheus's configuration use existing metrics and the right folder."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from orchestrator.ray_tune.metrics import METRICS
from orchestrator.ray_tune.prometheus_targets import targets_folder
from orchestrator.yaml_files import packaged_folder

FOLDER = packaged_folder("clusters")
DASHBOARD: dict[str, Any] = json.loads(
    (FOLDER / "grafana" / "orchestrator.json").read_text(encoding="utf-8")
)
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]


def named(text: str) -> set[str]:
    """The sweep's metrics in an expression; a histogram is named by its buckets."""
    return {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for name in re.findall(r"ray_(orchestrator_\w+)", text)
    }


def test_every_metric_in_grafana_exists_and_every_metric_is_there() -> None:
    assert named(json.dumps(DASHBOARD)) == set(METRICS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["expr"][:60])
def test_labels_in_grafana_exist(target: dict[str, Any]) -> None:
    labels = {
        label for name in named(target["expr"]) for label in ("le", "sweep", *METRICS[name].labels)
    }
    grouped = {
        label.strip()
        for group in re.findall(r"by \(([^)]*)\)", target["expr"])
        for label in group.split(",")
    }
    matched = set(re.findall(r'(\w+)=~?"', target["expr"]))
    shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    assert grouped | matched | shown <= labels
    assert shown <= grouped, "a label that was summed away shows nothing"


def test_a_counter_is_never_shown_as_a_rate_of_a_gauge() -> None:
    rated = {
        name
        for t in TARGETS
        for part in re.findall(r"(?:rate|increase)\([^[]*\[", t["expr"])
        for name in named(part)
    }
    assert {METRICS[name].kind for name in rated} <= {"Counter", "Histogram"}


def test_panels_have_a_place_and_a_number_of_their_own() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (place["x"] + dx, place["y"] + dy)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for dx in range(place["w"])
        for dy in range(place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_prometheus_looks_where_sweeps_write(monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))[
        "scrape_configs"
    ]
    (found,) = job["file_sd_configs"]
    for name in ("ORCHESTRATOR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/USER")
    assert found["files"] == [f"{targets_folder()}/*.json"]
    assert all(
        re.fullmatch(job["metric_relabel_configs"][0]["regex"], f"ray_{name}") for name in METRICS
    )
