"""Spikes attributed to names: classes, what can be seen in examples, their confidence before, and mined groups.

Losses alone are enough; features of the examples make it finer. Nothing here needs a gradient or the model.
"""
