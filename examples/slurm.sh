#!/bin/bash
# One run on two nodes of eight cards each:   sbatch examples/slurm.sh configs/mt.toml run_dir=/shared/runs/mt
# The same command goes on after a stop, a kill or a lost node.
#SBATCH --job-name=semantic-grpo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail

# Both on a file system that every node sees.
export SEMANTIC_GRPO_CACHE="${SEMANTIC_GRPO_CACHE:-$SLURM_SUBMIT_DIR/.cache}"
cd "$SLURM_SUBMIT_DIR"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
first_node=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 20000))
config=$1
shift

# 300 seconds before the time is over slurm sends SIGTERM to every process, and all save and end. torchrun kills
# processes that have not ended after a while: by default 30 seconds, here 240.
exec srun --kill-on-bad-exit=1 \
    python -m torch.distributed.run \
    --nnodes "$SLURM_JOB_NUM_NODES" \
    --nproc-per-node "${SLURM_GPUS_ON_NODE:-8}" \
    --rdzv-backend c10d \
    --rdzv-endpoint "$first_node:$port" \
    --rdzv-id "$SLURM_JOB_ID" \
    --shutdown-timeout 240 \
    -m grpo.run --config "$config" "$@"
