"""Whether the first answer of a process that reaches a length costs more than later ones.

    python -m tools.gpu.first_answers OUT.jsonl [--cudnn] [--quantization nf4]

One process: it loads a model of Llama-2-7B's shape with random weights, warms it up as a sweep
does, and measures texts of 24 new tokens through the program's own engine, meters and windows.
Prompts get longer, so that each text reaches lengths that are new to the process, and each prompt
comes twice, so that first and later answers stand side by side and the host's moods cancel.
`--cudnn` allows cuDNN's attention again, which the engine forbids. Prints the ratio of first to
later answers; docs/measurement.md has its figures.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from orchestrator.engine import ENGINES
from orchestrator.machine_files import read_machine
from orchestrator.measure import Instrumented, execute, warm_up
from orchestrator.meters import Scene, meters_for
from orchestrator.nouns import Prompt
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, resolve_request
from orchestrator.sweep.staging import staged_revisions

PROMPT_WORDS = range(60, 1000, 45)
"""Words, about as many tokens, of each prompt."""
NEW_TOKENS = 24
LONGEST = 1200


def measured_rows(out: Path, quantization: str, *, cudnn: bool) -> list[dict[str, Any]]:
    """Load, warm up and measure; a row a text."""
    import torch

    request = Request(
        space="lhs",
        samples=1,
        models=("synthetic-llama2",),
        quantizations=(quantization,),
        use_cases=("fantasyWorld",),
        prompts=1,
        fixed_length=True,
    )
    resolved = resolve_request(request, [torch.cuda.get_device_name(0)])
    plan = make_plan(resolved)
    plan = plan.with_revisions(staged_revisions(resolved, print))
    spec = next(iter(plan.specs()))
    engine = ENGINES["transformers"].load(spec.setup, spec.model_ref, None, None)
    if cudnn:
        torch.backends.cuda.enable_cudnn_sdp(enabled=True)
    machine, _ = read_machine("pc")
    tools = Instrumented(engine, meters_for(Scene(machine, engine.gpu)))
    began_s = time.perf_counter()
    pilot = warm_up(tools, LONGEST)
    print(f"warm-up {time.perf_counter() - began_s:.1f} s, pilot {pilot.tokens_per_s:.1f} tokens/s")
    rows = []
    for words in PROMPT_WORDS:
        prompt = Prompt(number=1, text=" ".join(["sea"] * words))
        values = {"top_p": 0.9, "top_k": 50, "temperature": 1.0}
        values["max_length"] = engine.encode(prompt.text).n_tokens + NEW_TOKENS
        configuration = spec.configuration.model_copy(update=values)
        one = spec.model_copy(update={"configuration": configuration, "prompts": (prompt,)})
        for answer in ("first", "later"):
            row = execute(tools, one, prompt, "design").execution.model_dump(
                mode="json", exclude={"output_text", "notes"}
            )
            row |= {"attention": "cudnn allowed" if cudnn else engine.info.columns.attention}
            row |= {"quantization": quantization, "pid": os.getpid(), "answer": answer}
            rows.append(row)
            with out.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
    tools.close()
    return rows


def main() -> None:
    """Measure once and print the ratio of first to later answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cudnn", action="store_true")
    parser.add_argument("--quantization", default="nf4")
    arguments = parser.parse_args()
    rows = measured_rows(arguments.out, arguments.quantization, cudnn=arguments.cudnn)
    print(f"{rows[0]['attention']}, {arguments.quantization}, {len(rows) // 2} pairs")
    for figure in ("energy_per_token_j", "window_s"):
        values = [row[figure] for row in rows]
        ratios = [a / b for a, b in zip(values[::2], values[1::2], strict=True)]
        error = stdev(ratios) / len(ratios) ** 0.5
        print(
            f"  {figure}: first over later {mean(ratios):.3f} +- {error:.3f}, median "
            f"{median(ratios):.3f}; later answers {mean(values[1::2]):.3f}"
        )


if __name__ == "__main__":
    main()
