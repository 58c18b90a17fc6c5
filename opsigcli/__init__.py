"""opsig finds the training examples that fight each other, from a folder of saved checkpoints.

The rooms, from the ground up (imports go down, never up, and sideways only where named here):

0. ground: ``errors``, ``registry``, ``parameters``, ``options``, ``mean_loss``, ``records``, ``examples``,
   ``sharpness_records``, ``training_records``, ``spike_records``, ``command_line``, ``outcome``, ``specs``,
   ``query``, ``usercode``, ``trust``, ``progress``
1. materials: ``checkpoints``, ``datasets``, ``models``, ``optimizers``, ``objective``, ``store``
2. instruments: ``derivatives`` (of an ``objective``), ``curvature``, ``mining``, ``reporting``,
   ``schemas``; upon ``mining`` and ``reporting`` ``gates``
3. benches, where materials and instruments meet: ``runs``; upon it ``tracing``, ``stability``, ``gradients``
4. ``commands``: one verb per file
5. ``cli``: the command line, the only writer to stdout and stderr
"""

__version__ = "0.1.0"
