"""What the page shows of a text, as JSON: plain values only, which the page puts in as text."""

from __future__ import annotations

from typing import Any

from orchestrator.dataset.schema import Column
from orchestrator.dataset.verdicts import Decision, Signals, Verdict
from orchestrator.nouns import PARAMETERS
from orchestrator.review.review_queue import Item, Queue

OFF = {"top_p": 1.0, "top_k": 0}
"""Effective values that switch a parameter off."""


def entry(queue: Queue, item: Item) -> dict[str, Any]:
    """A line of the list."""
    columns = item.columns
    return {
        "execution": item.execution,
        "title": f"{columns.use_case} #{item.measured.prompt}",
        "place": f"{columns.index:04d}-r{columns.repeat} · {columns.model} · {columns.strategy}",
        "word": queue.my_word(item),
    }


def details(queue: Queue, item: Item) -> dict[str, Any]:
    """All about a text."""
    mine, others = queue.mine(item), queue.others(item)
    return {
        "execution": item.execution,
        "text_sha256": item.sha256,
        "prompt": item.prompt,
        "text": item.text,
        "configuration": _configuration(item),
        "facts": _facts(item),
        "verdict": _verdict(queue.verdict(item)),
        "no_verdict": _why_no_verdict(queue, item),
        "word": queue.my_word(item),
        "note": mine.note if mine else "",
        "others": None if others is None else [_said(decision) for decision in others],
    }


def agreements(queue: Queue) -> list[dict[str, Any]]:
    """Of each two reviewers, and of each with the machine."""
    return [
        {"reviewer": pair.reviewer, "other": pair.other, **pair.agreement.model_dump()}
        for pair in queue.agreements()
    ]


def _said(decision: Decision) -> dict[str, str]:
    return {"reviewer": decision.reviewer, "decision": decision.decision, "note": decision.note}


def _configuration(item: Item) -> list[dict[str, Any]]:
    """Requested and effective values; a dormant parameter changed nothing."""
    asked, ran = item.columns, item.measured
    return [
        {
            "name": name,
            "requested": getattr(asked, name),
            "effective": getattr(ran, f"effective_{name}"),
            "off": name in OFF and getattr(ran, f"effective_{name}") == OFF[name],
            "dormant": name in ran.dormant,
        }
        for name in PARAMETERS
    ]


def _facts(item: Item) -> list[tuple[str, Any, str]]:
    """Name, value and unit of what was measured; null: unknown."""
    columns, ran = item.columns, item.measured
    basis = ran.energy_basis
    facts: list[tuple[str, Any, str]] = [
        ("sampling", "random draws" if ran.effective_do_sample else "greedy", ""),
        ("limits", ", ".join(ran.limits) or "none", ""),
        ("prompt", ran.n_prompt_tokens, "tokens"),
        ("output", ran.n_new_tokens, "tokens"),
        ("finish reason", ran.finish_reason, ""),
        ("time", ran.window_s, "s"),
        ("energy", None if basis is None else getattr(ran, basis), "J"),
        ("energy of", basis, ""),
        ("energy per token", ran.energy_per_token_j, "J"),
        ("flags", ", ".join(ran.flags) or "none", ""),
        ("model", f"{columns.model} ({columns.quantization})", ""),
        ("machine", columns.machine, ""),
        ("strategy", columns.strategy, ""),
        ("repeat", columns.repeat, ""),
        ("seed", str(ran.seed), ""),  # as text: JavaScript's numbers end at 2^53
    ]
    return facts


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "usable": verdict.usable,
        "reasons": verdict.reasons,
        "quality": verdict.quality,
        "rules": verdict.rules,
        "signals": [
            (name, getattr(verdict, name), _meaning(name)) for name in Signals.model_fields
        ],
    }


def _meaning(signal: str) -> str:
    return next(
        part.meaning for part in Signals.model_fields[signal].metadata if isinstance(part, Column)
    )


def _why_no_verdict(queue: Queue, item: Item) -> str:
    if queue.fault:
        return queue.fault
    if item.columns.synthetic:
        return "synthetic: no real model wrote this, so it is not judged"
    return "not evaluated; `orchestrator evaluate` judges it"
