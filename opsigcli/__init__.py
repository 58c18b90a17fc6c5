"""opsig finds the training examples that fight each other, from a folder of saved checkpoints.

The rooms, from the ground up (imports go down, never up and never sideways):

0. ground: ``errors``, ``options``, ``records``, ``outcome``, ``registry``, ``specs``, ``progress``
1. materials: ``checkpoints``, ``datasets``, ``models``, ``optimizers``, ``objective``, ``store``
2. instruments: ``curvature``, ``mining``, ``reporting``
3. ``commands``: one verb per file, the only place where rooms meet
4. ``cli``: the command line, the only writer to stdout and stderr
"""

__version__ = "0.1.0"
