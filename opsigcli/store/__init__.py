"""The case file of a run, ``opsig.h5``: its format, its writer, its reader. The only room that imports h5py."""
