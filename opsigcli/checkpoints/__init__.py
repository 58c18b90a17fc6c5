"""Checkpoints: what is in a folder, in which order, and their weights. No code from a checkpoint ever runs."""
