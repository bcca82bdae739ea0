#!/usr/bin/env bash
# The data set of docs/example: SmolLM2 on one GPU, all use cases, a Latin hypercube of 10 configurations on 5 prompts each, in
# nf4, and five on the stories without quantization. Run again, it goes on. Needs an NVIDIA GPU and smollm2 staged; no network.
#   tools/gpu/example.sh OUT_FOLDER
set -euo pipefail
out=$1
mkdir -p "$out"
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1 CODECARBON_LOG_LEVEL=error
python=${PYTHON:-python3}
sweep() {
  $python -m orchestrator tune --space lhs --model smollm2 --prompts 5 --range max_length=100:260 \
    --out "$out/measurements" "$@" 2>>"$out/errors.log" | tail -4
}
sweep --samples 10 --quantization nf4
sweep --samples 5 --quantization none --use-case creativeStorytelling
