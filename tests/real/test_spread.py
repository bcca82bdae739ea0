"""Work shared out by a private Ray: the same results in the same order."""

from __future__ import annotations

import functools

from orchestrator.evaluate.rules import read_rules
from orchestrator.evaluate.verdict import Text, verdicts_on
from orchestrator.tune.parallel_map import spread
from tests.evaluate.texts import ENGLISH, LOOP, PROMPT


def test_texts_judged_by_many_processes() -> None:
    texts = [
        Text(f"a#{i}", "fantasyWorld", PROMPT, text)
        for i, text in enumerate([ENGLISH, LOOP, "", ENGLISH * 2, LOOP])
    ]
    judge = functools.partial(verdicts_on, rules=read_rules(), embedding_model=None, judge=None)
    shared = [verdict for some in spread(judge, texts, 2) for verdict in some]
    assert shared == judge(texts)
