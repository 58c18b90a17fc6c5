"""The case file of a run, ``opsig.h5``: its format, its writer, its reader.

Who wants to know what is in a store asks here; only Keras files among checkpoints are opened as HDF5 elsewhere.
"""
