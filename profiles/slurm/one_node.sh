#!/usr/bin/env bash
# A SLURM cluster of this one machine, for as long as a command runs: to see profiles/slurm work before a real cluster does.
#   sudo apt-get install --no-install-recommends slurmctld slurmd slurm-client munge      # Debian, Ubuntu; once
#   sudo profiles/slurm/one_node.sh .venv/bin/python -m lib.workflow run --profile smoke --paper huatuogpt_o1 --cluster slurm
# As root: the daemons start jobs of users. Their state, key and logs live below a temporary folder, their configuration where jobs
# look for it, /etc/slurm/slurm.conf, which must not exist; both go away. The node says that it has the memory for which
# profiles/slurm asks, whatever it has.
set -euo pipefail
for tool in slurmctld slurmd sinfo munged; do
    command -v "$tool" > /dev/null || { echo "there is no $tool; the head of $0 says how to install it" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "run $0 as root: the daemons of SLURM start jobs of users" >&2; exit 2; }
[ $# -gt 0 ] || { echo "say which command to run on the cluster; the head of $0 has one" >&2; exit 2; }

config=/etc/slurm/slurm.conf
[ ! -e "$config" ] || { echo "there is a $config: this machine has a cluster already; use that" >&2; exit 2; }

here="$(mktemp -d "${TMPDIR:-/tmp}/one_node.XXXXXX")"
host="$(hostname -s)"
stop() {
    for name in slurmd slurmctld munged; do
        [ -s "$here/$name.pid" ] && kill "$(cat "$here/$name.pid")" 2> /dev/null || true
    done
    sleep 1
    rm -rf "$here" "$config"
}
trap stop EXIT

# munge refuses keys and folders that others may write
mkdir -m 755 "$here/munge" "$here/state" "$here/spool"
head -c 64 /dev/urandom > "$here/munge/key" && chmod 400 "$here/munge/key"
chmod 755 "$here"
munged --force --socket "$here/munge/socket" --key-file "$here/munge/key" --log-file "$here/munge/log" \
    --pid-file "$here/munged.pid" --seed-file "$here/munge/seed" 2> /dev/null

mkdir -p "${config%/*}"
cat > "$config" << END
ClusterName=one_node
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ONE_NODE_PORT:-16817}
SlurmdPort=$((${ONE_NODE_PORT:-16817} + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$here/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$here/state
SlurmdSpoolDir=$here/spool
SlurmctldPidFile=$here/slurmctld.pid
SlurmdPidFile=$here/slurmd.pid
SlurmctldLogFile=$here/slurmctld.log
SlurmdLogFile=$here/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_interval=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=1000000 State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
slurmctld
slurmd
for _ in $(seq 60); do
    [ "$(sinfo --noheader --format %t 2> /dev/null)" = idle ] && break
    sleep 0.5
done
[ "$(sinfo --noheader --format %t 2> /dev/null)" = idle ] || { tail -n 20 "$here"/*.log >&2; exit 1; }
"$@"
