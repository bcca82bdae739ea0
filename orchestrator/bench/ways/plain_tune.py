"""Plain Ray Tune: a function as trainable, with Tune's defaults.

But for what measuring asks for: a trial takes all CPUs, or the GPU, so that one runs at a time, and
Ray's files go into a folder that is removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.bench.ways.bare import load, main, run_trial


def do_all(work: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The answers of all trials."""
    import ray
    from ray import tune

    def trainable(config: dict[str, Any]) -> dict[str, Any]:
        """One trial, in a process of its own."""
        trial = work["trials"][config["number"]]
        model, tokenizer = load(work)
        return {"answers": run_trial(work, trial, model, tokenizer, folder)}

    n_gpus = 0 if work["gpu_index"] is None else 1
    ray.init(
        address="local",
        num_cpus=work["threads"],
        num_gpus=n_gpus,
        log_to_driver=False,
        _temp_dir=str(folder / "ray"),
        _node_ip_address="127.0.0.1",
    )
    results = tune.Tuner(
        tune.with_resources(trainable, {"cpu": work["threads"], "gpu": n_gpus}),
        param_space={"number": tune.grid_search(list(range(len(work["trials"]))))},
        run_config=tune.RunConfig(storage_path=str(folder / "results")),
    ).fit()
    ray.shutdown()
    answers = []
    for result in results:
        if result.error is not None:
            raise result.error
        answers += result.metrics["answers"]
    return answers


if __name__ == "__main__":
    main(do_all)
