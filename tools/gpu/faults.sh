#!/usr/bin/env bash
# Faults that need a GPU: NaN in sampling, memory that runs out, a timeout, a killed worker, a drain, a budget of GPU hours.
# Prints what docs/reliability.md tells. Small random models; no network.
#   tools/gpu/faults.sh OUT_FOLDER ["nan oom timeout kill budget"]
set -uo pipefail
out=$1
mkdir -p "$out"
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1 CODECARBON_LOG_LEVEL=error
python=${PYTHON:-python3}
parts=${2:-all}
part() { [[ $parts == all || $parts == *$1* ]] && echo "== $2"; }
small=synthetic-llama2:num_hidden_layers=4
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
tune() {  # data set, then flags
  local data=$1; shift
  $python -m orchestrator tune --space uniform --use-case fantasyWorld --country ITA --out "$out/$data" "$@"
}
rows() {
  $python - "$out/$1" <<'PY'
import collections, sys
import pyarrow.parquet as pq
rows = pq.read_table(f"{sys.argv[1]}/executions.parquet").to_pylist()
count = collections.Counter((r["status"], r["error_kind"], (r["error_message"] or "")[:170]) for r in rows)
for (status, kind, message), n in sorted(count.items(), key=str):
    print(f"   {n} x {status} {kind or ''} {message}")
print("   GPUs:", dict(collections.Counter(r["gpu_uuid"][-4:] for r in rows)), "attempts:", dict(collections.Counter(r["attempt"] for r in rows)))
PY
  $python -m orchestrator validate --out "$out/$1"; echo "   validate: exit $?"
}
wait_for() { for _ in $(seq 600); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.2; done; echo "never: $2"; tail -5 "$1"; }

$python -m orchestrator models stage "$small"  # before anything waits for a line of the sweep
if part nan "NaN in sampling"; then
  $python tools/gpu/poison.py "$small" "$out/poisoned"
  tune nan --model "$out/poisoned" --samples 3 --prompts 2 --range max_length=300:400 > "$out/nan.log" 2>&1; echo "exit $?"
  grep -E "lost|another|FAILED|error|nan" "$out/nan.log" | cut -c1-160 | head -12; rows nan
fi

if part oom "memory runs out"; then
  flags="--model $small --samples 3 --prompts 2 --range max_length=1000:2000 --fixed-length --quantization none"
  (wait_for "$out/oom.log" "warmed up in"; exec $python tools/gpu/ballast.py 40) \
    < <(exec tail --pid=$$ -f /dev/null) > "$out/ballast.log" 2>&1 &
  ballast=$!
  CUDA_VISIBLE_DEVICES=0 tune oom $flags > "$out/oom.log" 2>&1; echo "exit $?"
  cat "$out/ballast.log"; rows oom
  kill $ballast; wait $ballast; sleep 2
  CUDA_VISIBLE_DEVICES=0 tune oom $flags --rerun oom > "$out/oom2.log" 2>&1; echo "rerun: exit $?"; rows oom
fi

if part timeout "timeout"; then
  CUDA_VISIBLE_DEVICES=0 tune timeout --model "$small" --samples 2 --prompts 2 --range max_length=2000:2000 --fixed-length \
    --execution-timeout 2 > "$out/timeout.log" 2>&1; echo "exit $?"; grep -c "loaded in" "$out/timeout.log"; rows timeout
fi

if part kill "a worker is killed, then a drain, on every GPU"; then
  flags="--model $small --samples 6 --prompts 3 --range max_length=200:300 --fixed-length"
  $python -m orchestrator tune --space uniform --use-case fantasyWorld --country ITA --out "$out/kill" $flags > "$out/kill.log" 2>&1 &
  driver=$!
  wait_for "$out/kill.log" "\[1/6\]"; kill -9 "$(pgrep -o -P "$(pgrep -P $driver -x raylet)" -f "^ray::(Measure|ResourceTr)")"; wait_for "$out/kill.log" "another"; wait_for "$out/kill.log" "\[2/6\]"
  kill -USR1 $driver; wait $driver; echo "exit $?"; grep -E "another|SIGUSR1" "$out/kill.log"; rows kill
  tune kill $flags > "$out/kill2.log" 2>&1; echo "exit $?"; rows kill
fi

if part budget "a budget of GPU hours"; then
  tune budget $flags --max-gpu-hours 0.004 > "$out/budget.log" 2>&1; echo "exit $?"; tail -1 "$out/budget.log"
fi
