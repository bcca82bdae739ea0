"""The frozen data sets of schema version 1, and how tests read them and what follows from them.

Columns keep their names of version 1 here: `rows_of` translates the names of later versions back.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

DATA = Path(__file__).parents[1] / "data"
MEASURED = DATA / "version-1"
"""Two trials of a GPU, with verdicts and reviews; their plans are incomplete."""
SIMULATED = DATA / "version-1-simulated"
"""A complete sweep of the simulated engine."""
SWEEP = (
    # what the bare command on a machine without a GPU was reduced to then
    *("--range", "max_length=100:250"),
    *("--space", "lhs", "--engine", "simulated", "--model", "smollm2", "--seed", "7"),
    *("--use-case", "danceCoreography", "--machine", "cpu"),
)
"""What SIMULATED was made with, beside --samples 3 --prompts 2."""

NEW_NAMES = {
    "flags": "warning_flags",
    "index": "config_index",
    "prompt": "prompt_number",
    "repeat": "repetition",
    "text": "output_text",
}
"""Columns of version 1 that later versions name otherwise."""
CAVEAT = "new_lengths"
"""A flag that version 3 adds to rows of earlier versions."""
LISTS = ("dormant", "flags", "limits", "reasons")
"""Columns that are lists in version 1, and texts joined by ";" in later versions."""
SAME_IN_EVERY_VERSION = (
    *("execution", "machine", "model", "strategy", "use_case", "index", "config_hash", "repeat"),
    *("attempt", "sweep_id", "max_length", "top_p", "top_k", "temperature", "quantization"),
    *("prompt", "prompt_sha256", "seed", "started_at", "status", "n_prompt_tokens"),
    *("n_new_tokens", "window_s", "energy_kwh", "energy_j", "gpu_energy_counter_j"),
    *("cpu_energy_j", "ram_energy_j", "energy_per_token_j", "energy_basis", "flags"),
    *("usable", "reasons", "quality", "decided_by", "text"),
)
"""What a row of executions.parquet says, by its names in version 1."""


def rows_of(table: Path) -> list[dict[str, Any]]:
    """Rows of a table with the column names of version 1, whichever version wrote it."""
    old_names = {new: old for old, new in NEW_NAMES.items()}
    rows = []
    for row in pq.read_table(table, partitioning=None).to_pylist():
        named = {old_names.get(name, name): value for name, value in row.items()}
        for name in LISTS:
            if isinstance(named.get(name), str):
                named[name] = [
                    entry for entry in named[name].split(";") if entry not in ("", "none")
                ]
            if name in named and named[name] is not None:
                named[name] = [entry for entry in named[name] if entry != CAVEAT]
        if "started_at" in named:
            named["started_at"] = as_time(named["started_at"])
        rows.append(named)
    return rows


def as_time(value: str | datetime) -> datetime:
    """A start of a window, which version 1 has as text and later versions as a time stamp; UTC."""
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def executions_in(folder: Path) -> dict[str, dict[str, Any]]:
    """What executions.parquet of a data set says in every version, by the execution's id."""
    found = {}
    for row in rows_of(folder / "executions.parquet"):
        found[row["execution"]] = {name: row[name] for name in SAME_IN_EVERY_VERSION}
    return found


def trial_bytes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in sealed trials: no verb may change one."""
    found = {}
    for path in folder.glob("*/*/*/*/*/*"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found[path.relative_to(folder).as_posix()] = digest
    return found


def simulated_truth() -> list[dict[str, Any]]:
    """What each execution of SIMULATED was: its hashes, its seed, its number of new tokens."""
    document = json.loads((DATA / "version-1-simulated.hashes.json").read_text(encoding="utf-8"))
    return document["executions"]


def truth_in(folder: Path) -> list[dict[str, Any]]:
    """The same facts as in `simulated_truth`, read from the tables of a data set."""
    facts = [
        {
            "execution": row["execution"],
            "config_hash": row["config_hash"],
            "generation_seed": row["seed"],
            "n_new_tokens": row["n_new_tokens"],
            "text_sha256": hashlib.sha256(row["text"].encode()).hexdigest(),
        }
        for row in rows_of(folder / "executions.parquet")
    ]
    return sorted(facts, key=lambda fact: fact["execution"])
