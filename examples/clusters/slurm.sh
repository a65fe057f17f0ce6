#!/bin/bash
# A Ray cluster that lives as long as this job, and a command that uses it:
#
#   sbatch --nodes=4 slurm.sh batchmill run score.py --input /shared/images --output /shared/scores --nodes 4 --compute ray:auto
#   sbatch --nodes=4 slurm.sh batchmill resume last
#
# Script, input and output lie on a file system that all nodes see, as does the environment that has `ray` and `batchmill`.
#SBATCH --job-name=batchmill
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=04:00:00
set -euo pipefail

port=${RAY_PORT:-6379}
read -r head < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname -I | awk '{print $1}')
export BATCHMILL_HOME=${BATCHMILL_HOME:-$SLURM_SUBMIT_DIR/batchmill-runs} # where the next job finds the run
export RAY_ADDRESS=$address:$port RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') # other users of these machines stay out
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

# Each of these steps lasts as long as its Ray node; --overlap lets steps share the CPUs of a node.
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    env -u RAY_ADDRESS ray start --head --block --node-ip-address="$address" --port="$port" --include-dashboard=false &
until ray status >/dev/null 2>&1; do
    kill -0 $! # when the head has ended, so does this job
    sleep 1
done
if ((SLURM_JOB_NUM_NODES > 1)); then
    srun --overlap --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" \
        ray start --block --address="$RAY_ADDRESS" &
fi
"$@"
