"""Pickles read as data: checkpoints, ids of examples and vocabularies are kept in them; nothing of them is run."""
