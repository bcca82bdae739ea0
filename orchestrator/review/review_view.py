"""What the page shows of a text, as JSON.

It has plain values only, which the page inserts as text and never as HTML.
"""

from __future__ import annotations

from typing import Any

from orchestrator.dataset.energy import counted_energy_j, energy_name
from orchestrator.dataset.verdicts import Decision, Signals, Verdict
from orchestrator.nouns import PARAMETERS, Column
from orchestrator.review.review_queue import Item, Queue

MOST_WORDS = 15
MOST_CHARACTERS = 90
"""Of a text, so much stands in the list."""
OFF = {"top_p": 1.0, "top_k": 0}
"""Parameter -> the effective value at which it does nothing."""


def entry(queue: Queue, item: Item) -> dict[str, Any]:
    """A text's line in the list."""
    columns = item.columns
    index = f"{columns.config_index:04d}-r{columns.repetition}"
    return {
        "execution": item.execution,
        "words": _first_words(item.text),
        "title": f"{columns.use_case} #{item.measured.prompt_number}",
        "place": f"{index} · {columns.model} · {columns.strategy}",
        "word": queue.my_word(item),
    }


def details(queue: Queue, item: Item) -> dict[str, Any]:
    """Everything that the page shows of one text.

    Other reviewers' decisions are left out until this reviewer has decided, so that they don't sway
    the decision.
    """
    mine, others = queue.mine(item), queue.others(item)
    note = ""
    reasons: tuple[str, ...] = ()
    if mine is not None:
        note, reasons = mine.note, mine.reasons
    others_shown = None
    if others is not None:
        others_shown = [_decision(decision) for decision in others]
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
        "note": note,
        "reasons": reasons,
        "others": others_shown,
    }


def _first_words(text: str) -> str:
    """How a text begins, on one line; "" for a blank text."""
    words = " ".join(text.split(maxsplit=MOST_WORDS)[:MOST_WORDS])
    return words[:MOST_CHARACTERS]


def agreements(queue: Queue) -> list[dict[str, Any]]:
    """The agreement of every two reviewers, and of each reviewer with the machine."""
    return [
        {"reviewer": pair.reviewer, "other": pair.other, **pair.agreement.model_dump()}
        for pair in queue.agreements()
    ]


def _decision(decision: Decision) -> dict[str, Any]:
    """A decision as the page shows it."""
    return {
        "reviewer": decision.reviewer,
        "decision": decision.decision,
        "reasons": decision.reasons,
        "note": decision.note,
    }


def _configuration(item: Item) -> list[dict[str, Any]]:
    """Requested and effective value of each parameter; a dormant one changed nothing."""
    return [_parameter(item, name) for name in PARAMETERS]


def _parameter(item: Item, name: str) -> dict[str, Any]:
    """A parameter as requested and as it took effect."""
    effective = getattr(item.measured, f"effective_{name}")
    return {
        "name": name,
        "requested": getattr(item.columns, name),
        "effective": effective,
        "off": name in OFF and effective == OFF[name],
        "dormant": name in item.measured.dormant,
    }


def _facts(item: Item) -> list[tuple[str, Any, str]]:
    """(name, value, unit) of what was measured; a null value is unknown."""
    columns, ran = item.columns, item.measured
    basis = ran.energy_basis
    sampling = "random draws" if ran.effective_do_sample else "greedy"
    facts: list[tuple[str, Any, str]] = [
        ("sampling", sampling, ""),
        ("limits", ", ".join(ran.limits) or "none", ""),
        ("prompt", ran.n_prompt_tokens, "tokens"),
        ("output", ran.n_new_tokens, "tokens"),
        ("finish reason", ran.finish_reason, ""),
        ("time", ran.window_s, "s"),
        ("gross energy", counted_energy_j(vars(ran)), "J"),
        ("energy from", basis and energy_name(basis), ""),
        ("energy per token", ran.energy_per_token_j, "J"),
        ("flags", ", ".join(ran.warning_flags) or "none", ""),
        ("model", f"{columns.model} ({columns.quantization})", ""),
        ("machine", columns.machine, ""),
        ("strategy", columns.strategy, ""),
        ("repetition", columns.repetition, ""),
        # As text: JavaScript's numbers are exact only up to 2^53.
        ("seed", str(ran.seed), ""),
    ]
    return facts


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    """The rules' verdict with each signal behind it; None for a text not evaluated yet."""
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
    """What a signal means, as the schema of its column says."""
    return next(
        part.meaning for part in Signals.model_fields[signal].metadata if isinstance(part, Column)
    )


def _why_no_verdict(queue: Queue, item: Item) -> str:
    """The sentence that stands in the place of a verdict."""
    if queue.fault:
        return queue.fault
    if item.columns.synthetic:
        return "synthetic: no real model wrote this text, so it isn't judged"
    return "not evaluated yet: run `orchestrator evaluate`"
