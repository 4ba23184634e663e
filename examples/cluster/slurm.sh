#!/usr/bin/env bash
# Llama 3.1 8B on two nodes of eight GPUs, one rank (process) per GPU. Slurm signals the ranks two
# minutes before the time limit. They write a checkpoint and end with exit code 3. Then this script
# puts the job back into the queue, and the next start resumes it.
# This script has not been run on a cluster: see docs/gpu.md.
#   sbatch examples/cluster/slurm.sh
#SBATCH --job-name=tessera
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
set -u
status=0
srun --mpi=pmix --gpu-bind=none tessera train examples/llama3-8b-1gpu.yml \
  memory_budget=null sharding=hybrid optimizer=adamw watchdog_seconds=300 \
  output_dir=runs/llama3-8b-two-nodes resume_from_checkpoint=auto || status=$?
[ $status != 3 ] || scontrol requeue "$SLURM_JOB_ID"
exit $status
