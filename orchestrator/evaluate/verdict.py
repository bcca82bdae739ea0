"""The machine's verdict on a text, from its signals and the rules.

These are pure functions, so that texts can be distributed over many processes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

from orchestrator.dataset.paths import execution_id
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import Key, Trials
from orchestrator.dataset.verdicts import Verdict, text_sha256
from orchestrator.evaluate.rules import Rules, packaged_rules
from orchestrator.evaluate.signals import prompt_language, signals_of


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
    signals = signals_of(text.text, text.prompt)
    signals |= {"similarity": text.similarity, "judge_score": text.judge_score}
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
    """The verdicts on many texts by the rules, in the order of the texts."""
    return [verdict_on(text, rules, embedding_model=embedding_model, judge=judge) for text in texts]


def learned_figures(trials: Trials, key: Key, objectives: Container[str]) -> dict[str, Any]:
    """The figures of a trial that a learning sampler gets; also the mean quality if it asks for it.

    Quality is that of the packaged rules, without models, so that a study's figures don't depend
    on whether the data set was evaluated meanwhile. Texts of random weights are judged, too, so
    that the study of a dry run learns as a real one does.
    """
    figures = trials.figures(key)
    if "quality" not in objectives:
        return figures
    rules = packaged_rules()
    qualities = []
    for columns, execution, record in trials.counted(key):
        if execution.status == "ok" and execution.text is not None:
            prompt = prompt_of(record, execution.prompt)
            text = Text("", columns.use_case, prompt, execution.text)
            qualities.append(verdict_on(text, rules).quality)
    if not qualities:
        return figures | {"quality": None}
    return figures | {"quality": sum(qualities) / len(qualities)}


def prompt_of(record: TrialRecord, number: int) -> str:
    """The text of a trial's prompt by its number."""
    return next(prompt.text for prompt in record.spec.prompts if prompt.number == number)


def texts_of(trials: Trials) -> Iterable[Text]:
    """Every text worth judging: a real model's, of an execution that is ok and counts."""
    for key in trials:
        for columns, execution, record in trials.counted(key):
            if execution.status == "ok" and execution.text is not None and not columns.synthetic:
                name = execution_id(columns.machine, record.spec, execution.prompt)
                yield Text(
                    name, columns.use_case, prompt_of(record, execution.prompt), execution.text
                )
