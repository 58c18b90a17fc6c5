"""Files that people have their data in and opsig does not open as arrays: what they are, and how they become some."""

from __future__ import annotations

import shlex
from typing import IO

START = 400  # bytes that tell
SAVE = "; numpy.savez('data.npz', x=x, y=y)\""
TORCH = f'python -c "import numpy, torch; x, y = torch.load({{0}})[:2]{SAVE}  # if it holds a pair of tensors'
HDF5 = f"python -c \"import h5py, numpy; f = h5py.File({{0}}); x, y = f['X'][()], f['Y'][()]{SAVE}  # {{1}}"
PICKLE = (
    "python -c \"import pickle, numpy; d = pickle.load(open({0}, 'rb'), encoding='latin1'); x, y = d['X'], d['Y']"
    f"{SAVE}  # runs what stands in it; of CIFAR's batches: --data torchvision:CIFAR10?root=FOLDER"
)
IDX = (
    "of MNIST and its kind, put the files into FOLDER/MNIST/raw (FashionMNIST/raw, …): "
    "--data torchvision:MNIST?root=FOLDER"
)
TAR = (
    "unpack it; of WebDataset's pairs (000.png, 000.cls): mkdir d && tar -xf {0} -C d && "
    "(echo id,label; for f in d/*.cls; do echo $(basename $f .cls),$(cat $f); done) > d.csv, "
    "then --data 'csv:d.csv?image=id&label=label&root=d&ext=.png'"
)


def other_file(file: IO[bytes], path: str) -> tuple[str, str] | None:
    """What a file is, by its first bytes, and how an .npz file is made of it; None where it is none of these.

    Args:
        file: open at its start, where it is left.
        path: its name, for the hint.
    """
    start = file.read(START)
    file.seek(0)
    name = shlex.quote(path) if shlex.quote(path) == path else "FILE"
    quoted = f"'{name}'"
    if start.startswith(b"\x89HDF"):
        return "an HDF5 file", HDF5.format(quoted, f"X and Y as it names them: h5ls {name}")
    if start[:2] == b"PK" and b"/data.pkl" in start:
        return "a file of torch.save", TORCH.format(quoted)
    if start[257:262] == b"ustar":
        return "a tar archive", TAR.format(name)
    if start[:2] == b"\x1f\x8b" or (start[:2] == b"\0\0" and start[2:3] in b"\x08\x09\x0b\x0c\x0d\x0e"):
        return "a file of gzip or idx", IDX
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "a pickle", PICKLE.format(quoted)
    return None
