#!/usr/bin/env bash
# A host with two GPUs against one of them: two trials at once, each on its own GPU, the model loaded once a GPU, throughput,
# energies by device. Prints what docs/gpu.md shows. Random weights of Llama-2-7B's shape; no network.
#   tools/gpu/two.sh OUT_FOLDER
set -euo pipefail
out=$1
mkdir -p "$out"
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1 CODECARBON_LOG_LEVEL=error
python=${PYTHON:-python3}
nvidia-smi --query-gpu=name,driver_version --format=csv
$python -m orchestrator models stage synthetic-llama2
sweep() {
  $python -m orchestrator tune --space sobol --samples 10 --prompts 1 --model synthetic-llama2 --use-case fantasyWorld \
    --country ITA --range max_length=300:360 --fixed-length --out "$out/$1" > "$out/$1.log" 2>&1 || tail -5 "$out/$1.log"
  grep -E "loaded in" "$out/$1.log" || true
}
CUDA_VISIBLE_DEVICES=0 sweep one
sweep two
$python - "$out" <<'PY'
import collections, datetime as dt, json, pathlib, sys
import pyarrow.parquet as pq
speed = {}
for name in ("one", "two"):
    folder = pathlib.Path(sys.argv[1], name)
    rows = pq.read_table(folder / "executions.parquet").to_pylist()
    started = [r["started_at"] for r in rows]
    ended = [start + dt.timedelta(seconds=r["window_s"]) for start, r in zip(started, rows)]
    span = (max(ended) - min(started)).total_seconds()
    tokens = sum(r["n_new_tokens"] for r in rows)
    speed[name] = tokens / span
    loads = [json.loads(p.read_text())["environment"]["loaded_here"] for p in folder.glob("*/*/*/*/*/trial.json")]
    print(f"{name}: {len(rows)} executions, {tokens} tokens in {span:.1f} s = {tokens / span:.1f} tokens/s; loads {sum(loads)}")
    for gpu in sorted({r["gpu_uuid"] for r in rows}):
        of_gpu = [r for r in rows if r["gpu_uuid"] == gpu]
        n = sum(r["n_new_tokens"] for r in of_gpu)
        joules = sum(r["gpu_energy_counter_j"] for r in of_gpu)
        cc = sum(r["gpu_energy_cc_j"] for r in of_gpu)
        window = sum(r["window_s"] for r in of_gpu)
        print(f"  GPU ..{gpu[-4:]}: {len(of_gpu)} executions, {n / window:.1f} tokens/s, {joules / n:.2f} J/token by its counter, {cc / n:.2f} by CodeCarbon, {joules / window:.0f} W; scope {collections.Counter(r['scope'] for r in of_gpu)}")
    if name == "two":
        pairs = sorted(zip(started, ended, (r["gpu_uuid"] for r in rows)))
        overlap = sum(a[2] == b[2] and b[0] < a[1] for i, a in enumerate(pairs) for b in pairs[i + 1 :])
        print(f"  windows that overlap on one GPU: {overlap}")
print(f"throughput: {speed['two'] / speed['one']:.2f} times that of one GPU")
PY
