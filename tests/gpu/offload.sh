#!/usr/bin/env bash
# A GPU with no room for the model: --cpu-offload runs it, with part of its layers in the host's memory, and says so; without
# the flag it is refused in a sentence. Another process holds the GPU's memory but for FREE_GIB. Random weights; no network.
#   tests/gpu/offload.sh OUT_FOLDER
set -euo pipefail
out=$1
mkdir -p "$out"
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1 CODECARBON_LOG_LEVEL=error FREE_GIB=${FREE_GIB:-4}
python=${PYTHON:-python3}
$python -m orchestrator models stage synthetic-llama2
$python - <<'PY' &
import os, time, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(int(free - float(os.environ["FREE_GIB"]) * 2**30), dtype=torch.uint8, device="cuda")
time.sleep(1000)
PY
hog=$!
trap 'kill $hog' EXIT
sleep 15
nvidia-smi --query-gpu=memory.free --format=csv,noheader
sweep() {
  $python -m orchestrator tune --space lhs --samples 1 --prompts 1 --use-case fantasyWorld --model synthetic-llama2 \
    --range max_length=130:135 --fixed-length "$@"
}
echo "== without --cpu-offload"
sweep --out "$out/refused" 2>&1 | grep -E "error|doesn't fit" || true
echo "== with --cpu-offload"
sweep --out "$out/offloaded" --cpu-offload > "$out/log" 2>"$out/errors.log" || tail -5 "$out/errors.log" "$out/log"
$python - "$out/offloaded" <<'PY'
import pathlib, sys
import pyarrow.parquet as pq
rows = pq.read_table(pathlib.Path(sys.argv[1], "executions.parquet")).to_pylist()
for row in rows:
    print(row["status"], f"offload_fraction {row['offload_fraction']:.2f}", row["n_new_tokens"], "tokens",
          f"{row['tokens_per_s'] or 0:.2f} tokens/s", f"{row['energy_per_token_j'] or 0:.1f} J/token", row["limits"], row["error_message"])
assert rows and all(r["status"] == "ok" and 0 < r["offload_fraction"] < 1 for r in rows), "not offloaded"
print("offload: ok")
PY
