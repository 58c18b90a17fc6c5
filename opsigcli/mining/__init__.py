"""Which examples fight each other: top loss deltas, opposing groups and pairs, spikes attributed.

Arrays in, records out; no torch, no files. ``mine.mine`` is the entry.
"""
