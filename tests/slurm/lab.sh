#!/usr/bin/env bash
# A real Slurm cluster on this machine, to try batch scripts in: each node has its own network, host name, processes,
# /tmp and /dev/shm.
#
#   LAB_DIR=DIR lab.sh up [N]        start slurmctld and N nodes n1..nN (default 4) of 2 CPUs each
#   LAB_DIR=DIR lab.sh down          stop what `up` started; /etc/hosts, munged and the network are as they were before
#   LAB_DIR=DIR lab.sh on nK CMD..   run a command inside node nK
#   LAB_DIR=DIR lab.sh kill nK       let the whole node die at once
#   LAB_DIR=DIR lab.sh cut nK        pull the node's network cable; `lab.sh mend nK` plugs it in again
#   LAB_DIR=DIR lab.sh rate MBIT     let every node send and receive so many Mbit/s, no more; 0 ends that
#
# Between up and down: export SLURM_CONF=$LAB_DIR/slurm.conf, then sinfo, srun, sbatch as usual. DIR must be seen by all
# nodes, so it cannot lie in /tmp or /dev/shm. Needs root, and the packages slurm-wlm, munge, iproute2 and util-linux.
set -eEuo pipefail

DIR=${LAB_DIR:?set LAB_DIR to a folder for the files of the lab}
NET=10.77.0
BRIDGE=lab0
CPUS=2

die() { echo "lab.sh: $*" >&2; exit 1; }

check_machine() {
  case $DIR/ in /tmp/* | /dev/shm/*) die "LAB_DIR must be outside of /tmp and /dev/shm: each node has its own" ;; esac
  [ "$(id -u)" -eq 0 ] || die "needs root, to make networks and mounts"
  local tool
  for tool in slurmctld slurmd munged ip nsenter unshare; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
  done
  [ ! -e "$DIR/slurm.conf" ] || die "a lab is up in $DIR already"
}

# ---- up -------------------------------------------------------------------------------------------------------------

start_munge() {
  munge -n >/dev/null 2>&1 && return 0
  if [ ! -e /etc/munge/munge.key ]; then
    runuser -u munge -- mungekey --create
    touch "$DIR/made-key"
  fi
  if [ ! -d /run/munge ]; then
    install -d -o munge -g munge /run/munge
    touch "$DIR/made-run-munge"
  fi
  runuser -u munge -- munged
  cp /run/munge/munged.pid "$DIR/munged.pid"
}

name_hosts() {
  cp /etc/hosts "$DIR/hosts.before"
  {
    echo "127.0.0.1 localhost"
    echo "$NET.254 ctl"
    for i in $(seq "$1"); do echo "$NET.$i n$i"; done
  } >"$DIR/hosts"
  tail -n +2 "$DIR/hosts" >>/etc/hosts
}

write_configuration() {
  cat >"$DIR/slurm.conf" <<CONF
ClusterName=lab
SlurmctldHost=ctl($NET.254)
SlurmUser=root
AuthType=auth/munge
MpiDefault=pmix
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$DIR/state
SlurmdSpoolDir=/tmp/spool
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=/tmp/slurmd.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.%n.log
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=5
InactiveLimit=0
KillWait=2
NodeName=n[1-$1] NodeAddr=$NET.[1-$1] CPUs=$CPUS RealMemory=4000 State=UNKNOWN
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

sweep() {  # what a lab leaves whose processes were all killed: its networks
  local cable
  for cable in $(ip -br link | sed -n 's/^lab-\(n[0-9]*\)@.*/\1/p'); do
    ip link del "lab-$cable" 2>/dev/null || true
    ip netns del "$cable" 2>/dev/null || true
  done
  ip link del "$BRIDGE" 2>/dev/null || true
}

make_bridge() {  # first of all, and removed last: there can be only one lab on a machine
  pgrep -x slurmd >/dev/null || sweep
  ip link add "$BRIDGE" type bridge 2>/dev/null || die "a lab is up on this machine already (network $BRIDGE)"
  touch "$DIR/made-bridge"
  ip addr add "$NET.254/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
}

plug_in() {  # plug_in K: gives node K a network of its own, with one cable to the bridge
  local node=n$1
  ip netns add "$node"
  touch "$DIR/networks/$node"
  ip link add "lab-$node" type veth peer name eth0 netns "$node"
  ip link set "lab-$node" master "$BRIDGE" up
  ip netns exec "$node" ip addr add "$NET.$1/24" dev eth0
  ip netns exec "$node" ip link set eth0 up
  ip netns exec "$node" ip link set lo up
}

start_node() {  # start_node K. By nsenter, because `ip netns exec` would hide /sys/fs/cgroup
  local node=n$1
  local inside="hostname $node; mount --bind $DIR/hosts /etc/hosts; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /tmp
    cd /; exec env SLURM_CONF=$DIR/slurm.conf slurmd -D -N $node"
  setsid nsenter --net="/run/netns/$node" \
    unshare --mount --uts --ipc --pid --fork --mount-proc --kill-child bash -c "$inside" >"$DIR/log/$node.out" 2>&1 </dev/null &
  echo $! >"$DIR/nodes/$node"
}

start_controller() {
  setsid unshare --uts bash -c "hostname ctl; exec env SLURM_CONF=$DIR/slurm.conf slurmctld -D" >"$DIR/log/ctl.out" 2>&1 </dev/null &
  echo $! >"$DIR/controller"
}

wait_until_idle() {
  for _ in $(seq 120); do
    [ "$(SLURM_CONF=$DIR/slurm.conf sinfo -h -t idle -o %D 2>/dev/null)" = "$1" ] && return 0
    sleep 0.25
  done
  tail -n 5 "$DIR"/log/* >&2
  down
  die "the nodes did not come up"
}

up() {
  check_machine
  mkdir -p "$DIR"
  make_bridge
  trap down ERR
  mkdir "$DIR"/{state,log,nodes,networks}
  start_munge
  name_hosts "$1"
  write_configuration "$1"
  for i in $(seq "$1"); do
    plug_in "$i"
    start_node "$i"
  done
  start_controller
  wait_until_idle "$1"
}

# ---- down -----------------------------------------------------------------------------------------------------------

alive() {  # alive PID: also a process that nobody reaps has ended
  case $(ps -o stat= -p "$1") in "" | Z*) return 1 ;; esac
}

kill_and_wait() {  # kill_and_wait FILE: the process whose pid is in FILE
  [ -f "$1" ] || return 0
  local pid
  pid=$(cat "$1")
  kill -9 "$pid" 2>/dev/null || true
  while alive "$pid"; do sleep 0.05; done
}

unplug() {  # unplug NODE
  ip link del "lab-$1" 2>/dev/null || true
  ip netns del "$1" 2>/dev/null || true
}

restore_munge() {
  if [ -f "$DIR/munged.pid" ]; then
    kill "$(cat "$DIR/munged.pid")" 2>/dev/null || true
    while alive "$(cat "$DIR/munged.pid")"; do sleep 0.05; done
  fi
  [ ! -e "$DIR/made-run-munge" ] || rm -rf /run/munge
  [ ! -e "$DIR/made-key" ] || rm -f /etc/munge/munge.key
}

down() {
  local file
  trap - ERR
  for file in "$DIR"/nodes/*; do kill_and_wait "$file"; done
  kill_and_wait "$DIR/controller"
  for file in "$DIR"/networks/*; do [ ! -f "$file" ] || unplug "$(basename "$file")"; done
  restore_munge
  [ ! -f "$DIR/hosts.before" ] || cat "$DIR/hosts.before" >/etc/hosts
  [ ! -e "$DIR/made-bridge" ] || ip link del "$BRIDGE"
  rm -rf "${DIR:?}"/{state,log,nodes,networks,controller,slurm.conf,slurmctld.pid,hosts,hosts.before,munged.pid,made-*}
}

# ---- links ----------------------------------------------------------------------------------------------------------

shape() {  # shape MBIT DEVICE [PREFIX..]: what leaves by the device; PREFIX.. runs tc where the device is
  local mbit=$1 device=$2
  shift 2
  "$@" tc qdisc del dev "$device" root 2>/dev/null || true
  [ "$mbit" -eq 0 ] || "$@" tc qdisc add dev "$device" root tbf rate "${mbit}mbit" burst 256kb latency 50ms
}

rate() {
  local node
  for node in $(ls "$DIR/networks"); do
    shape "$1" "lab-$node"
    shape "$1" eth0 ip netns exec "$node"
  done
}

# ---- inside ---------------------------------------------------------------------------------------------------------

on() {  # on NODE CMD..
  local outer inner node=$1
  shift
  outer=$(cat "$DIR/nodes/$node")
  inner=$(pgrep -P "$outer" | head -n 1)
  exec nsenter --target "${inner:-$outer}" --net --mount --uts --ipc --pid "$@"
}

case ${1:-} in
  up) up "${2:-4}" ;;
  down) down ;;
  on) shift; on "$@" ;;
  rate) rate "$2" ;;
  kill) kill -9 "$(cat "$DIR/nodes/$2")" ;;
  cut) ip link set "lab-$2" down ;;
  mend) ip link set "lab-$2" up ;;
  *) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
