"""From a series of checkpoints to rows of losses: which rows, in which pieces, by which process."""
