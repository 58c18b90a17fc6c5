"""The manual page on large runs: many processes, memory, and what tokens as examples cost."""

from __future__ import annotations

from opsigcli.cli.topic import Topic

SCALING = Topic(
    "opsig-scaling",
    "one trace by many processes, on one machine or on many nodes",
    (
        (
            "DESCRIPTION",
            (
                "A trace is cut into units: the losses of one checkpoint over one shard of at most 262,144 examples. "
                "Which units there are depends on model, data and checkpoints alone, and each is computed in a fixed "
                "order, so the store is the same to the bit for any number of workers, on processors and devices of "
                "one kind.",
                "Worker i of n computes the i-th n-th of the units, neighbours in the list, and so decodes only the "
                "shards that it needs. Workers exchange no messages and need not run at the same time. They share "
                "the folder of the store: it has to be on a file system that all of them see. Finished units lie in "
                "STORE.parts, each written under another name first and then put in place; the worker that finishes "
                "the last unit writes the store and removes the folder.",
            ),
        ),
        (
            "STARTING WORKERS",
            (
                "Every worker runs the same command. Its place is read from the launcher's environment (RANK and "
                "WORLD_SIZE, SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, or SLURM_PROCID and "
                "SLURM_STEP_NUM_TASKS), or is given with --shard.",
                "  # one machine, a process for each of 8 GPUs\n"
                "  torchrun --nproc-per-node 8 -m opsigcli trace CKPTS --store S.h5",
                "  # several machines, the same command on each\n"
                "  torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d \\\n"
                "      --rdzv-endpoint FIRST_HOST:29500 -m opsigcli trace CKPTS --store S.h5",
                "  # SLURM: a job on many nodes, or an array of small jobs\n"
                "  srun --nodes 4 --ntasks-per-node 8 opsig trace CKPTS --store S.h5\n"
                "  sbatch --array 0-31 --wrap 'opsig trace CKPTS --store S.h5'",
                "  # anything else\n  opsig trace CKPTS --store S.h5 --shard I/N      for I = 1 ... N",
                "With --device auto each process of a machine takes a GPU of its own, by LOCAL_RANK or "
                "SLURM_LOCALID. "
                "Without GPUs give each process its share of the cores, for example with OMP_NUM_THREADS. "
                "examples/many_nodes.sbatch is a job to start from, examples/many_workers.sh runs two workers here.",
            ),
        ),
        (
            "WHEN A WORKER IS LOST",
            (
                "Run the same command again, with as many workers as before or another number, or without any: "
                "finished units are not computed again, whoever made them, and a store is written once "
                "all are there. "
                "A killed process loses at most the unit it was working on. On SIGTERM, as a scheduler sends it, "
                "opsig stops between two batches, keeps what is finished and prints the command to resume; "
                "requeueing the job does the same.",
                "A checkpoint that cannot be read is left out by all workers; the rest is kept, and the last worker "
                "ends with exit status 4.",
                "Two processes never have the same part of one store: the second one says that it is in use, and "
                "ends. --fresh is refused where several work; remove the store instead.",
            ),
        ),
        (
            "SIZES",
            (
                "A worker needs the model, the inputs of one shard (up to 1 GiB), its data as bytes where they fit "
                "2 GiB, and one row of losses for each of a few checkpoints; more checkpoints take no more memory. "
                "Text is read in streams; --tokens with --examples N takes N tokens of any text. The next checkpoint "
                "is read while one is computed. Units take 4 bytes for each example and checkpoint on disk until "
                "the store is written, which takes 8 (losses and their changes).",
            ),
        ),
        (
            "TOKENS",
            (
                "Where tokens are examples, a sequence passes through the model once for all of its tokens. mine "
                "screens them by their gradients in the last layer, which that pass gives: the outer product of "
                "softmax minus label and of what goes into the layer, sketched from both (2 KiB each with 512 "
                "dimensions). It takes a pass at one checkpoint, three where --screening-space does not hold the "
                "sketches, and one at each checkpoint compared to ask who else belongs to the pairs; whole backward "
                "passes are for the candidates. A model whose logits are not the outputs of a trainable linear layer "
                "has those for all tokens, which is said.",
                "So that mine takes a tenth of what the trace took, gradients of tokens are compared at 3 to 8 "
                "checkpoints, counted in forward passes: 1 to 3 over all tokens to screen, and for each checkpoint "
                "compared 1 over all, and of a sequence 5 for each candidate (its last layer, and its gradient, "
                "measured at 2 to 5; 9 where the model sees what follows a token); a hundredth is for the references. "
                "How many it is, and what they take, stands in --dry-run and among the notes; --gradient-checkpoints "
                "asks for another number. Short traces and few tokens take more: 3 checkpoints are the fewest.",
                "On paper, for Pythia-160M with 143 checkpoints and 10,000,000 tokens in sequences of 2,048: a pass "
                "is 2.8 PFLOP and the trace 0.4 EFLOP. mine takes up to 0.09 of that at 3 checkpoints: 0.03 in whole "
                "gradients of 2,000 candidates, 0.02 each to screen and to ask who belongs to the pairs (0.19 with "
                "--gradient-checkpoints 8); to see a pair swing takes about 0.01 for each pair that is no chance. "
                "The store has 5.3 GiB of losses and as much of their changes, "
                "which mine reads row by row, and 1 GiB of the tokens' text; about 3 GiB of memory are "
                "for tokens and references, beside the model and a sequence's logits of 0.4 GiB. The weights are read "
                "once for each of a checkpoint's 39 shards. tests/benchmarks/tokens.py has the counts (--paper), and "
                "measures a scaled run.",
            ),
        ),
        (
            "SHARPNESS",
            (
                "torchrun -m opsigcli sharpness shares the examples of every Hessian-vector product "
                "instead, with one "
                "all-reduce each (NCCL on GPUs, else Gloo): its workers run at the same time.",
            ),
        ),
    ),
)
