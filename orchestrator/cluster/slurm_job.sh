# --- from here on every job is the same -----------------------------------------------------------
job=$SLURM_JOB_ID
link=${1:-0} # how many jobs of this chain ran before
say() { echo "[$(date +%T)] job $job, link $link of $chain: $*"; }

# Compute nodes have no network: nothing may wait for one, and a token of the hub is of no use.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1
export PIP_NO_INDEX=1 RAY_USAGE_STATS_ENABLED=0
unset HF_TOKEN HUGGING_FACE_HUB_TOKEN

# Record a job in the data set, so that `orchestrator status` shows its state in the queue.
note() {
  mkdir -p "$out"
  printf '{"job": "%s", "after": %s, "link": %d, "submitted_at": "%s"}\n' \
    "$1" "$2" "$3" "$(date -u +%FT%TZ)" >>"$out/.slurm.jsonl"
}
grep -qs "\"job\": \"$job\"" "$out/.slurm.jsonl" || note "$job" null "$link"
finished() { find "$out" -name trial.json 2>/dev/null | wc -l; }
before=$(finished)

# SLURM signals this shell alone (B:), which passes the signal on to the driver: a signal to all
# processes would end Ray too.
driver='' drained=0 told=0 stopped=0
tell() { # only once, since a second signal ends the running prompts
  [ -n "$driver" ] && ((!told)) && told=1 && kill -USR1 "$driver" 2>/dev/null
}
trap 'drained=1; say "SIGUSR1: draining"; tell' USR1
# The wall time is up, or somebody ran `scancel`: SLURM signals all processes and kills them soon.
trap 'stopped=1; rm -f "$RAY_AUTH_TOKEN_PATH"; say "SIGTERM: stopping"' TERM

# Ray runs the code of whoever knows its token, so each job has a token of its own in a file that
# only its user can read. Names and port contain the job's number, since two jobs may share a node.
# The temporary folder has a short path, since Ray makes Unix sockets in it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$folder/.slurm-$job.token"
random() { head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'; }
(umask 077 && random 32 >"$RAY_AUTH_TOKEN_PATH") || exit 1
temp=/tmp/ray-$job-$(random 3) # private; Ray makes a folder in it that everybody may read
export temp
port=$((20000 + job % 10000))

# A node that is cut off counts as lost after half a minute (Ray's default: more than a minute). Not
# sooner, since a node that loads a model may be slow to answer.
export RAY_health_check_initial_delay_ms=3000 RAY_health_check_period_ms=3000
export RAY_health_check_timeout_ms=5000 RAY_health_check_failure_threshold=4

own_address() {
  if [ -n "$interface" ]; then
    ip -4 -o addr show dev "$interface" | awk '{ sub("/.*", "", $4); print $4; exit }'
  else
    getent ahostsv4 "$(hostname)" | awk '$1 !~ /^127\./ { print $1; exit }'
  fi
}
# Three tries: `ray start` gives up after 30 s, and imports from a busy shared file system may take
# longer.
start_node() {
  local ip
  ip=$(own_address)
  [ -n "$ip" ] || { echo "$(hostname): no address of its own (interface '$interface')"; return 1; }
  trap 'exit 143' TERM
  trap 'rm -rf "$temp"' EXIT
  mkdir -m 700 "$temp" 2>/dev/null || [ -O "$temp" ] || {
    echo "$(hostname): $temp can't be made"
    return 1
  }
  for try in 1 2 3; do
    "$@" --node-ip-address="$ip" && return
    echo "$(hostname): try $try ended with $?"
    sleep 5
  done
  return 1
}
export interface
export -f own_address start_node

ip=$(own_address)
[ -n "$ip" ] || { say "this node has no address of its own (interface '$interface')"; exit 1; }
address=$ip:$port
cpus=${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}
export SRUN_CPUS_PER_TASK=$cpus # srun doesn't take this setting from sbatch
# --overlap: a step that runs beside others. If one node dies, the step goes on on the other nodes.
step=(srun --export=ALL --overlap --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=0)
# A small object store: only rows travel between nodes, and /tmp and /dev/shm may be memory.
ray=("${run[@]}" ray start --block --log-color=false --temp-dir="$temp/r"
  --labels="machine=$label" '--resources={"energy_host": 1}' --num-cpus="$cpus" --num-gpus="${SLURM_GPUS_ON_NODE:-0}"
  --object-store-memory=200000000)
[ "${SLURM_MEM_PER_NODE:-0}" -eq 0 ] || ray+=(--memory=$((SLURM_MEM_PER_NODE * 1048576 * 9 / 10)))

head_step='' worker_step=''
end_ray() {
  trap '' USR1 TERM
  for pid in $worker_step $head_step; do kill -TERM "$pid" 2>/dev/null; done
  rm -f "$RAY_AUTH_TOKEN_PATH"
  for pid in $worker_step $head_step; do wait "$pid"; done
  timeout 30 "${step[@]}" rm -rf "$temp"
  say "Ray is down"
}
trap end_ray EXIT

first=$(hostname)
say "Ray on $SLURM_JOB_NODELIST, head $first at $address"
"${step[@]}" --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" bash -c 'start_node "$@"' head \
  "${ray[@]}" --head --port="$port" --include-dashboard="$dashboard" >"slurm-$job.head.log" 2>&1 &
head_step=$!
until "${run[@]}" ray health-check --address "$address" >/dev/null 2>&1; do
  kill -0 "$head_step" 2>/dev/null || {
    say "Ray's head didn't start; see slurm-$job.head.log"
    exit 1
  }
  sleep 1
done
if ((SLURM_JOB_NUM_NODES > 1)); then
  others=$((SLURM_JOB_NUM_NODES - 1))
  "${step[@]}" --nodes=$others --ntasks=$others --exclude="$SLURMD_NODENAME" \
    bash -c 'start_node "$@"' worker \
    "${ray[@]}" --address="$address" >"slurm-$job.workers.log" 2>&1 &
  worker_step=$!
fi
[ "$dashboard" = false ] || say "dashboard on http://127.0.0.1:8265 of $first;" \
  "it asks for the token in $RAY_AUTH_TOKEN_PATH"

rc=75
if ((!drained && !stopped)); then
  "${run[@]}" python -u -m orchestrator tune "${tune[@]}" \
    --machine "$machine" --address "$address" </dev/null &
  driver=$!
  ((!drained)) || tell # the signal came before there was a driver to tell
  # `wait` alone would return early at a trapped signal, at times with a wrong exit status
  while kill -0 "$driver" 2>/dev/null; do sleep 1; done
  wait "$driver"
  rc=$?
fi
driver=''
say "tune ended with $rc"

# A sweep can be resumed after exit code 75, and after a signal that ended the driver (which dies
# with the Ray of its own node). A follow-up job is submitted only where it helps: after a drain, or
# if this job finished any trial. None if SIGTERM came before the wall time was up: `scancel`.
unfinished=$((rc == 75 || rc > 128))
if ((unfinished && stopped && SECONDS < limit_s - 120)); then
  say "cancelled: no follow-up job"
elif ((unfinished && !drained && $(finished) == before)); then
  say "no trial was finished: no follow-up job, see the lines above"
elif ((unfinished && link >= chain)); then
  say "this was the last job of the chain: submit again to resume"
elif ((unfinished)); then
  # a new job and no requeue: SLURM would hold a requeued one for two minutes
  if next=$(sbatch --parsable --dependency="afterany:$job" "$0" $((link + 1))); then
    next=${next%%;*}
    say "job $next resumes the sweep"
    note "$next" "\"$job\"" $((link + 1))
    rc=0
  else
    say "sbatch refused the follow-up job: submit again to resume"
  fi
fi
exit "$rc"
