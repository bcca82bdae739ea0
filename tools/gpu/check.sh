#!/usr/bin/env bash
# The main job on a GPU host: Llama-2-7B's full shape with random weights, a few short configurations in each quantization.
# Prints what docs/gpu.md shows. Needs an NVIDIA GPU and the packages; no network, no real weights.
#   tools/gpu/check.sh OUT_FOLDER
set -euo pipefail
out=$1
mkdir -p "$out"
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1 CODECARBON_LOG_LEVEL=error
python=${PYTHON:-python3}
nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit --format=csv
$python - <<'PY'
import importlib.metadata as m, platform
print("python", platform.python_version(), *(f"{n} {m.version(n)}" for n in ("torch", "transformers", "bitsandbytes", "ray", "codecarbon", "optuna")))
PY
sweep() {  # name, then flags
  echo "== $1"; shift
  $python -m orchestrator tune --space lhs --model synthetic-llama2 --use-case fantasyWorld --country ITA \
    --out "$out/measurements" "$@" 2>"$out/errors.log" || { tail -5 "$out/errors.log"; return 1; }
}
sweep "nf4" --samples 3 --prompts 2 --range max_length=300:450
sweep "nf4 again: nothing is missing" --samples 3 --prompts 2 --range max_length=300:450
sweep "int8" --samples 2 --prompts 1 --range max_length=220:280 --quantization int8
sweep "none" --samples 2 --prompts 1 --range max_length=300:450 --quantization none --fixed-length
$python tools/gpu/table.py "$out/measurements"
