"""The machine's verdict on a text, from its signals and the rules.

These are pure functions, so that texts can be distributed over many processes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

from orchestrator.dataset.paths import execution_id
from orchestrator.dataset.tables import Key, Trials, prompt_text
from orchestrator.dataset.verdicts import Verdict
from orchestrator.evaluate.rules import Rules, packaged_rules
from orchestrator.evaluate.signals import prompt_language, signals_of
from orchestrator.nouns import text_sha256


class Text(NamedTuple):
    """A text to judge, with its prompt and, where they are known, the models' scores."""

    execution: str
    use_case: str
    prompt: str
    text: str
    similarity: float | None = None
    judge_score: float | None = None


def verdict_on(
    text: Text, rules: Rules, *, embedding_model: str | None = None, judge: str | None = None
) -> Verdict:
    """The verdict on one text by the rules.

    `embedding_model` and `judge` are recorded only if they gave the text a score.
    """
    if text.similarity is None:
        embedding_model = None
    if text.judge_score is None:
        judge = None
    of_models = {"similarity": text.similarity, "judge_score": text.judge_score}
    signals = {**signals_of(text.text, text.prompt), **of_models}
    reasons, quality = rules.judge(signals, text.use_case, prompt_language(text.prompt))
    return Verdict(
        execution=text.execution,
        text_sha256=text_sha256(text.text),
        usable=not reasons,
        reasons=reasons,
        quality=quality,
        rules=rules.name,
        embedding_model=embedding_model,
        judge=judge,
        **signals,
    )


def verdicts_on(
    texts: Sequence[Text], rules: Rules, embedding_model: str | None, judge: str | None
) -> list[Verdict]:
    """The verdicts on many texts by the rules, in the order of the texts.

    `embedding_model`, `judge`: names of the models that scored the texts before; None: none did.
    """
    return [verdict_on(text, rules, embedding_model=embedding_model, judge=judge) for text in texts]


def learned_figures(trials: Trials, key: Key, objectives: Container[str]) -> dict[str, Any]:
    """What a sampler that learns is told of a trial: its figures and, if wanted, its quality.

    Quality is the mean over the trial's texts by the packaged rules and without models, so that a
    study's figures don't depend on what was evaluated meanwhile. Texts of random weights are rated
    too: the study of a dry run should learn as a real one does.
    """
    figures = trials.figures(key)
    if "quality" not in objectives:
        return figures
    rules = packaged_rules()
    ratings = []
    for one in trials.chosen(key):
        text = one.execution.output_text
        if one.execution.status == "ok" and text is not None:
            use_case = one.record.columns.use_case
            prompt = prompt_text(one.record, one.execution) or ""
            ratings.append(verdict_on(Text("", use_case, prompt, text), rules).quality)
    return figures | {"quality": sum(ratings) / len(ratings) if ratings else None}


def texts_of(trials: Trials) -> Iterable[Text]:
    """Every text worth judging: a real model's, of an execution that is ok and counts."""
    for key in trials:
        for one in trials.chosen(key):
            columns, execution = one.record.columns, one.execution
            text = execution.output_text
            if execution.status != "ok" or text is None or columns.synthetic:
                continue
            name = execution_id(columns.machine, one.record.spec, execution.prompt_number)
            prompt = prompt_text(one.record, execution) or ""
            yield Text(name, columns.use_case, prompt, text)
