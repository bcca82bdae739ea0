"""A sampler for tests of what uses samplers: nothing is drawn and nothing learned."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.nouns import Configuration

MIDDLE = Configuration(max_length=500, top_p=0.5, top_k=50, temperature=1.0)


class Counting:
    """Counts top_k from 1 up to its last value, and remembers what it was told."""

    def __init__(self, last: int = 100) -> None:
        self._top_k = iter(range(1, last + 1))
        self.n_asked = 0
        self.told: list[tuple[int, Mapping[str, float] | None]] = []
        """(top_k, figures)"""

    def ask(self) -> Configuration | None:
        self.n_asked += 1
        top_k = next(self._top_k, None)
        return MIDDLE.model_copy(update={"top_k": top_k}) if top_k else None

    def tell(self, configuration: Configuration, objectives: Mapping[str, float] | None) -> None:
        self.told.append((configuration.top_k, objectives))
