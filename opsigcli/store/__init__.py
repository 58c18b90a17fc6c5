"""The case file of a run, ``opsig.h5``: its format, its writer, its reader.

Who wants to know what is in a store asks here; only Keras files among checkpoints are opened as HDF5 elsewhere.
"""

import os

# HDF5's own locks fail where a file system has none. Stores need none: they are written beside and put in place whole.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
