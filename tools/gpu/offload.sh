#!/usr/bin/env bash
# A GPU with no room for the model: without --cpu-offload it is refused in a sentence; with it it runs, with part of its layers
# in the host's memory, and says so. Another process holds the GPU's memory but for FREE_MIB. Random weights; no network. Needs
# 20 GiB on disk and in memory; some minutes.
#   tools/gpu/offload.sh OUT_FOLDER ["nf4 int8 none"]
set -euo pipefail
out=$1
mkdir -p "$out"
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1 CODECARBON_LOG_LEVEL=error CUDA_VISIBLE_DEVICES=0
python=${PYTHON:-python3}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
$python -m orchestrator models stage synthetic-llama2  # on the whole GPU
coproc ballast { exec $python tools/gpu/ballast.py "${FREE_MIB:-3072}"; }
trap 'kill "$ballast_PID" 2>/dev/null || true' EXIT
read -r held <&"${ballast[0]}" && echo "$held"
sweep() {
  $python -m orchestrator tune --space lhs --samples 2 --prompts 1 --use-case fantasyWorld --model synthetic-llama2 \
    --range max_length=130:135 --fixed-length --country ITA "$@"
}
for quantization in ${2:-nf4 int8}; do
  echo "== $quantization without --cpu-offload"
  rc=0; sweep --out "$out/refused-$quantization" --quantization "$quantization" > "$out/refused.log" 2>&1 || rc=$?
  grep "doesn't fit on the GPU" "$out/refused.log" || { tail -5 "$out/refused.log"; exit 1; }
  [[ $rc == 2 ]] || { echo "exit $rc, not 2"; exit 1; }
  echo "== $quantization with --cpu-offload"
  sweep --out "$out/offloaded-$quantization" --quantization "$quantization" --cpu-offload > "$out/offloaded.log" 2>&1 \
    || { tail -20 "$out/offloaded.log"; exit 1; }
  grep -E "^ *Memory" "$out/offloaded.log" || true
  $python - "$out/offloaded-$quantization" <<'PY'
import pathlib, sys
import pyarrow.parquet as pq
rows = pq.read_table(pathlib.Path(sys.argv[1], "executions.parquet")).to_pylist()
for row in rows:
    print(row["status"], f"offload_fraction {row['offload_fraction']:.2f}", row["n_new_tokens"], "tokens",
          f"{row['tokens_per_s'] or 0:.2f} tokens/s", f"{row['energy_per_token_j'] or 0:.1f} J/token", row["warning_flags"], row["error_message"])
assert len(rows) == 2 and all(r["status"] == "ok" and 0 < r["offload_fraction"] < 1 for r in rows), "not offloaded"
assert all("cpu_offload" in r["warning_flags"].split(";") for r in rows), "not flagged"
print("offload: ok")
PY
  $python -m orchestrator validate --out "$out/offloaded-$quantization"
done
