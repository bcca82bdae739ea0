"""A program that uses the package, as mypy --strict sees it (pyproject.toml: files).

`type: ignore` stands where a mistake must be found: mypy reports one that isn't needed. Run with a
folder, it makes a small data set there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orchestrator
from orchestrator import DataSet, Plan, UserError


def planned(out: Path) -> Plan:
    """A small sweep of the engine without a model."""
    return orchestrator.plan(
        "lhs",
        engines="simulated",
        models=["smollm2"],
        samples=2,
        use_cases="fantasyWorld",
        prompts=1,
        ranges={"max_length": (100, 110)},
        machine="cpu",
        out=out,
    )


def tuned(out: Path) -> DataSet:
    """The same sweep, run."""
    return orchestrator.tune(
        "lhs",
        engines="simulated",
        models=["smollm2"],
        samples=2,
        use_cases="fantasyWorld",
        prompts=1,
        ranges={"max_length": (100, 110)},
        machine="cpu",
        out=out,
        max_hours=1.0,
    )


def mistakes() -> None:
    """What a type checker finds before anything runs."""
    orchestrator.plan("lhs", samples="many")  # type: ignore[arg-type]
    orchestrator.plan("lhs", sample=3)  # type: ignore[call-arg]
    orchestrator.plan("lhs", order="random")  # type: ignore[arg-type]
    orchestrator.tune("lhs", rerun="omm")  # type: ignore[arg-type]
    orchestrator.load(3)  # type: ignore[arg-type]
    orchestrator.nothing  # type: ignore[attr-defined]  # noqa: B018 - a mistake


def main(out: Path) -> None:
    """Plan, run, and read what came."""
    plan = planned(out)
    print(plan.id, plan.n_missing)
    print(len(tuned(out).executions), len(orchestrator.load(out).summary))
    again = tuned(out)  # nothing is missing
    print(None if again.run is None else again.run["executions_run"])
    try:
        orchestrator.plan("lsh")
    except UserError as error:
        print(error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
