"""Checkpoints: what is in a folder, in which order, and their weights.

No code from a checkpoint runs, with one exception that a user has to ask for in the call: ``--unsafe-pickle``.
"""
