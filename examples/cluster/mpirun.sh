#!/usr/bin/env bash
# The same run as slurm.sh, without Slurm: one rank (process) per GPU, on the hosts of a file with
# lines such as "node1 slots=8". The keepalive options let mpirun notice a host that is gone.
# This script has not been run on a cluster: see docs/gpu.md.
#   examples/cluster/mpirun.sh HOSTFILE RANKS
set -eu
exec mpirun --hostfile "$1" -np "$2" --bind-to none \
  --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 \
  -x PATH -x LD_LIBRARY_PATH \
  tessera train examples/llama3-8b-1gpu.yml \
  memory_budget=null sharding=hybrid optimizer=adamw watchdog_seconds=300 \
  output_dir=runs/llama3-8b-two-nodes resume_from_checkpoint=auto
