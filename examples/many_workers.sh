#!/bin/sh
# One trace by several processes, on one machine or on many nodes. Needs no download.
# Usage: sh examples/many_workers.sh [FOLDER]
#
# Work is cut into units (checkpoint x shard of examples) that depend on model, data and checkpoints alone, so the
# result is the same to the bit for any number of workers. Workers share nothing but the folder of the store: it has
# to be on a file system that all of them see. The last worker to finish writes the store. When one is lost, run the
# same commands again, or plain `opsig trace`: finished units are not computed again.
#
# The same trace, elsewhere:
#   one machine, a GPU for each process    torchrun --nproc-per-node 8 -m opsigcli trace CKPTS --store S.h5
#   SLURM, one job on many nodes           srun --ntasks 32 opsig trace CKPTS --store S.h5
#   SLURM, an array                        sbatch --array 0-31 --wrap 'opsig trace CKPTS --store S.h5'
#   anything else                          opsig trace CKPTS --store S.h5 --shard I/N      for I = 1 ... N
set -eu
folder=${1:-opsig-workers}
mkdir -p "$folder"
OPSIG_STORE=$folder/opsig.h5
export OPSIG_STORE

opsig train "$folder/run" --steps 60
opsig trace "$folder/run" --shard 1/2 &
opsig trace "$folder/run" --shard 2/2
wait
opsig report
