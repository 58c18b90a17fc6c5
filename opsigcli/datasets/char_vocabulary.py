"""nanoGPT's ``meta.pkl``: the characters that its token numbers stand for, read as data and never unpickled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.datasets.vocabulary import Vocabulary, name_of
from opsigcli.errors import DatasetError
from opsigcli.files import read_file
from opsigcli.pickles.reader import read
from opsigcli.pickles.records import Malformed

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 1 << 26  # bytes


def read_meta(path: Path) -> Vocabulary:
    """The characters in ``itos``, a dict of number to text.

    Raises:
        DatasetError: the file cannot be read, or holds something else.
    """
    hint = "say what the tokens stand for with tokenizer=PATH, or how many there are with vocabulary=N"
    try:
        found = read(read_file(path, LARGEST), {}, lambda _: None).value
        itos = found["itos"]
        texts = [itos[number] for number in range(len(itos))]
        pieces = [text.encode() for text in texts]
    except (OSError, Malformed, LookupError, TypeError, AttributeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or (str(error) if isinstance(error, Malformed) else "")
        raise DatasetError(
            f"expected characters by number (itos) in {path}, beside the tokens; cannot read it"
            + (f": {reason}" if reason else ""),
            hint,
        ) from error
    size = found.get("vocab_size", len(pieces))
    if not pieces or size != len(pieces) or len(set(texts)) < len(texts):
        raise DatasetError(
            f"expected {size} different characters by number (itos) in {path}; found {len(set(texts))}", hint
        )
    return Vocabulary(pieces, tuple("\u00b7" if text == " " else name_of(text.encode()) for text in texts))
