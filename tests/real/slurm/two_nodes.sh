#!/bin/bash
# Two SLURM nodes on one machine, for a test that runs as root.
#
#   two_nodes.sh up FOLDER [SHARED ...]   start; FOLDER is absolute, not in /tmp. Commands for the "login node" are then
#                                         FOLDER/bin/sbatch, squeue, scancel, scontrol
#   two_nodes.sh down FOLDER              end what was started, by its pids, and put back /etc/slurm
#
# A node is a set of namespaces: its own network and address, host name, processes, /tmp and /dev/shm, so that two Rays don't
# meet in ports, files or process lists. Everything else is seen by both, as a cluster's shared file system is; SHARED names
# folders below /tmp that are to be, too (a checkout, an environment). GPUs are copies of /dev/null: SLURM gives them out.
# Names of namespaces and the subnet are fixed: one such cluster at a time.
set -eu
verb=$1 base=$2
shift 2
net=10.77.0

write_configuration() {
  if [ -d /etc/slurm ]; then cp -a /etc/slurm "$base/etc-slurm"; fi
  mkdir -p /etc/slurm
  cat >/etc/slurm/slurm.conf <<CONF
ClusterName=two
SlurmctldHost=slurm-login($net.1)
SlurmUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$base/log/jobs.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation=$base/state
SlurmdSpoolDir=$base/%n/spool
SlurmctldPidFile=$base/log/slurmctld.pid
SlurmdPidFile=$base/%n/slurmd.pid
SlurmctldLogFile=$base/log/slurmctld.log
SlurmdLogFile=$base/log/slurmd-%n.log
KillWait=10
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0
NodeName=slurm-n1 NodeAddr=$net.11 CPUs=8 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
NodeName=slurm-n2 NodeAddr=$net.12 CPUs=8 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=slurm-n[1-2] Default=YES MaxTime=24:00:00 DefaultTime=00:30:00 State=UP
CONF
  echo "NodeName=slurm-n[1-2] Name=gpu File=$base/dev/nvidia[0-1]" >/etc/slurm/gres.conf
  # no plug-in that is chosen above uses control groups, but slurmd wants to know their kind
  printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' >/etc/slurm/cgroup.conf
}

make_network() {
  local names="127.0.0.1 localhost
$net.1 slurm-login
$net.11 slurm-n1
$net.12 slurm-n2"
  for host in slurm-login slurm-n1 slurm-n2; do
    ip netns add $host
    mkdir -p /etc/netns/$host
    echo "$names" >/etc/netns/$host/hosts
    ip -n $host link set lo up
  done
  ip -n slurm-login link add br0 type bridge
  ip -n slurm-login addr add $net.1/24 dev br0
  ip -n slurm-login link set br0 up
  for i in 1 2; do
    ip link add eth0 netns slurm-n$i type veth peer name node$i netns slurm-login
    ip -n slurm-login link set node$i master br0 up
    ip -n slurm-n$i addr add $net.1$i/24 dev eth0
    ip -n slurm-n$i link set eth0 up
  done
}

start() { # LOG COMMAND...: in a session of its own, its pid noted
  local log=$1
  shift
  setsid "$@" </dev/null >"$base/log/$log" 2>&1 &
  echo $! >>"$base/pids"
}

start_node() { # NAME SHARED...
  local node=$1
  shift
  mkdir -p "$base/$node/spool" "$base/$node/tmp"
  chmod 1777 "$base/$node/tmp"
  # shellcheck disable=SC2016 # for the shell in the namespaces
  start "$node.out" ip netns exec "$node" unshare --uts --pid --mount --fork --kill-child --mount-proc bash -c '
    set -e
    node=$1 base=$2
    shift 2
    hostname "$node"
    mount -t tmpfs -o size=4g tmpfs /dev/shm
    for folder; do
      mkdir -p "$base/$node$folder"
      mount --rbind "$folder" "$base/$node$folder"
    done
    mount --rbind "$base/$node/tmp" /tmp
    slurmd -N "$node" -D &
    slurmd=$!
    # this shell is the first process here, and reaps what its children leave
    while kill -0 $slurmd 2>/dev/null; do wait -n || true; done' node "$node" "$base" "$@"
}

munge_answers() { [ -S /run/munge/munge.socket.2 ] && timeout 2 munge --no-input >/dev/null 2>&1; }

up() {
  mkdir -p "$base"/{log,state,dev,bin}
  : >"$base/pids"
  for i in 0 1; do mknod "$base/dev/nvidia$i" c 1 3; done
  write_configuration
  make_network
  for command in sbatch squeue scancel scontrol sinfo; do
    printf '#!/bin/sh\nexec ip netns exec slurm-login %s "$@"\n' "$(command -v $command)" >"$base/bin/$command"
    chmod +x "$base/bin/$command"
  done
  if ! munge_answers; then # a socket alone says nothing: one that was killed leaves it
    mkdir -p /run/munge
    chown munge: /run/munge
    start munged.log setpriv --reuid munge --regid munge --clear-groups munged --foreground --force
    for _ in $(seq 50); do munge_answers && break; sleep 0.1; done
  fi
  start slurmctld.out ip netns exec slurm-login unshare --uts sh -c 'hostname slurm-login; exec slurmctld -D'
  start_node slurm-n1 "$@"
  start_node slurm-n2 "$@"
  for _ in $(seq 150); do
    [ "$(timeout 5 "$base/bin/sinfo" --noheader --states=idle --format=%D 2>/dev/null)" = 2 ] && return
    sleep 0.2
  done
  echo "the nodes didn't come up; see $base/log" >&2
  return 1
}

down() {
  # SIGKILL: the namespaces' first processes take all the others with them (--kill-child), and `unshare` heeds no SIGTERM
  for signal in TERM KILL; do
    while read -r pid; do kill -$signal "$pid" 2>/dev/null || true; done <"$base/pids"
    sleep 0.5
  done
  for host in slurm-login slurm-n1 slurm-n2; do
    ip netns del $host 2>/dev/null || true
    rm -rf "/etc/netns/$host"
  done
  rm -rf /etc/slurm
  if [ -d "$base/etc-slurm" ]; then mv "$base/etc-slurm" /etc/slurm; fi
}

"$verb" "$@"
