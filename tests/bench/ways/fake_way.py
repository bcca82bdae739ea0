"""Answers at once; each text is what the environment says of threads and of a secret."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from orchestrator.bench.ways.bare import main


def do_all(work: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    assert folder.is_dir()
    seen = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "A_SECRET")}
    return [
        {
            "trial": trial["trial"],
            "prompt": generation["prompt"],
            "began_at": time.time(),
            "window_s": 0.001,
            "n_new_tokens": 5,
            "text": json.dumps(seen),
        }
        for trial in work["trials"]
        for generation in trial["generations"]
    ]


if __name__ == "__main__":
    main(do_all)
