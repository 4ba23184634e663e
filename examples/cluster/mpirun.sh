#!/usr/bin/env bash
# The same without Slurm: one rank a GPU on the hosts of a file ("node1 slots=8" a line). The
# keepalive options let mpirun notice a host that is gone. Never run on a cluster: see docs/gpu.md.
#   examples/cluster/mpirun.sh HOSTFILE RANKS
set -eu
exec mpirun --hostfile "$1" -np "$2" --bind-to none \
  --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 \
  -x PATH -x LD_LIBRARY_PATH \
  tessera train examples/llama3-8b-1gpu.yml \
  memory_budget=null sharding=hybrid optimizer=adamw watchdog_seconds=300 \
  output_dir=runs/llama3-8b-two-nodes resume_from_checkpoint=auto
