"""Checkpoints from within a training loop, with all that opsig needs of them; more of them around a spike."""
