"""Gates: conditions on a case that a pipeline can fail on, and how they are told to it.

``metrics`` is the table of what a condition can be about; ``condition`` reads one; ``asked`` gathers those of the
command line and of the ``project``; ``hold`` holds a case against them and a ``baseline``; ``junit`` tells the outcome.
"""
