"""Draw docs/images/review.png: `python -m tools.review_screenshot`.

Texts and figures are made up; verdicts are by the rules.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import Trials
from orchestrator.dataset.verdicts import write_verdicts
from orchestrator.evaluate.rules import read_rules
from orchestrator.evaluate.verdict import texts_of, verdicts_on
from orchestrator.review.review_queue import Queue
from tests import builders
from tests.browser import browser_page, until
from tests.review.serving import decides, served

TARGET = Path(__file__).parents[1] / "docs" / "images" / "review.png"
STORY = (
    "In the valley of Arden, where the river bends twice before it finds the sea, there "
    "lived a clockmaker called Mirela. Nobody in the village had seen her sleep, and the "
    "oldest of them swore that her lamp had burned since the year of the flood.\n\n"
    'One evening a boy knocked at her door with a broken watch. "It belonged to my '
    'grandfather," he said. "It stopped on the day that he went into the forest."\n\n'
    "Mirela opened the case with a thin blade. Inside there were no wheels and no spring, "
    "only a small grey seed, as dry as paper. She laid it in the palm of her hand and "
    "listened.\n\n"
    '"It isn\'t broken," she said at last. "It is waiting for rain."\n\n'
    "The boy did not understand, and he was too polite to say so. He took the watch home "
    "and put it on the windowsill, and for nine days the sky was as blue as a plate. On "
    "the tenth the clouds came over the hills"
)
LOOP = "The dancers move to the left. The dancers move to the right. " * 12
STORIES = (
    (
        "The lighthouse keeper counted the ships each night, and each night there was "
        "one more than the evening before. He wrote the number down, blew out the "
        "candle, and wondered who was sailing the last one home."
    ),
    STORY,
    (
        "A dragon who could not breathe fire opened a bakery at the edge of the "
        "kingdom. The ovens were cold, but the bread was the best in the land, and the "
        "knights came without their swords to ask for the recipe."
    ),
    (
        "Under the old bridge there was a door that only opened for those who had "
        "forgotten what they were looking for. On the first day of spring three sisters "
        "stood in front of it and could not remember why."
    ),
    (
        "No one had mapped the islands beyond the mist, because they moved. Captain "
        "Ilse drew them anyway, in chalk, on the deck of her ship, and washed them away "
        "each morning."
    ),
)
DANCES = (
    (
        "Begin in stillness, with your weight on the left foot. In the first movement "
        "the arms rise slowly as though they were lifted by water, and the dancers turn "
        "towards the light."
    ),
    LOOP,
    (
        "Twelve dancers enter from both sides in silence. They cross, pause, and cross "
        "again, until a single drum begins and the lines dissolve into a wide circle."
    ),
)
REQUESTED = (
    (412, 0.92, 40, 0.81),
    (233, 0.55, 12, 0.3),
    (180, 0.98, 77, 1.1),
    (300, 0.7, 25, 0.6),
    (350, 0.85, 60, 0.9),
)
PROMPTS = {
    "fantasyWorld": (
        "Write a short story about someone who mends what others have given up on, "
        "in a world with a little magic."
    ),
    "danceCoreography": "Describe the choreography of a dance for twelve dancers.",
}


def trials() -> Trials:
    """Some texts of two use cases, measured on a GPU."""
    trials = Trials()
    for use_case, texts in (("danceCoreography", DANCES), ("fantasyWorld", STORIES)):
        for index, text in enumerate(texts):
            max_length, top_p, top_k, temperature = REQUESTED[index]
            of = builders.spec(
                config_index=index,
                configuration=builders.configuration(
                    max_length=max_length, top_p=top_p, top_k=top_k, temperature=temperature
                ),
                setup=builders.setup(use_case=use_case, model="mistral", engine="transformers"),
                prompts=builders.prompts([PROMPTS[use_case]]),
            )
            tokens = round(len(text.split()) * 1.3)
            ran = {
                "gpu_energy_counter_j": 3.1 * tokens,
                "energy_per_token_j": 3.1,
                "warning_flags": (),
                "n_prompt_tokens": 24,
                "n_new_tokens": tokens,
                "window_s": tokens / 24,
                "finish_reason": "length" if text in (STORY, LOOP) else "eos",
            }
            done = builders.execution(1, of=of, output_text=text, **(builders.ON_GPU | ran))
            trials.add(builders.record(of, executions=[done], synthetic=False))
    return trials


def draw(target: Path, *, dark: bool = False) -> None:
    """A window of 1280 x 800 in which one text was decided on and the next is being read."""
    with tempfile.TemporaryDirectory() as folder:
        paths, data, rules = DataSetPaths(Path(folder)), trials(), read_rules(None)
        write_verdicts(
            paths, verdicts_on(list(texts_of(data)), rules=rules, embedding_model=None, judge=None)
        )
        queue = Queue(paths, data, "ada")
        for place, word in ((1, "discard"), (3, "keep"), (4, "keep"), (6, "discard")):
            decides(queue, paths.root, "bob", place, word)
        for place, word in ((0, "keep"), (1, "discard"), (3, "keep")):
            decides(queue, paths.root, "ada", place, word)
        with served(queue) as address, browser_page(dark=dark) as (page, errors):
            page.goto(address)
            page.click("#list li:nth-child(5)")
            until(page, "shown && shown.text.startsWith('In the valley')")
            page.fill("#note", "ends in the middle of a sentence, but reads well")
            page.screenshot(path=target)
            assert not errors, errors


if __name__ == "__main__":
    draw(TARGET)
