"""Tokenizers of Hugging Face, read as data: ``tokenizer.json``, or GPT-2's ``vocab.json`` and ``merges.txt``.

The library reads the file from memory: it is asked for no name, and so never goes to the network.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.documents import Stream
from opsigcli.datasets.tokens import Tokenizer, smallest
from opsigcli.datasets.vocabulary import Vocabulary
from opsigcli.errors import DatasetError, UsageError
from opsigcli.files import read_file
from opsigcli.usercode import absolute_path, guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILES = "tokenizer.json, or vocab.json and merges.txt"
SAVE = "save it as tokenizer.json: transformers.AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
GPT2_END = "<|endoftext|>"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"  # as SentencePiece writes one


class Subwords:
    """A tokenizer of the library ``tokenizers``.

    Args:
        path: the folder that has ``tokenizer.json`` or ``vocab.json`` and ``merges.txt``, or one of these files.

    Raises:
        DatasetError: the library is not installed, or the files are not there, or no tokenizer.
    """

    def __init__(self, path: str) -> None:
        self.path = absolute_path(path)
        try:
            library: Any = import_module("tokenizers")
        except ImportError as error:
            raise DatasetError(
                f"expected tokenizers to be installed for tokenizer={path}; it is not",
                "pip install 'opsig[tokenizers]'",
            ) from error
        parts = [_read(file) for file in _files(Path(self.path))]
        self.digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
        with guarded(DatasetError, f"reading the tokenizer {path}", SAVE):
            self._own = _built(library, parts)
            self._own.no_truncation()
            self._own.no_padding()
            self.vocabulary = _vocabulary(self._own)

    @property
    def fact(self) -> str:
        """Which tokenizer it is, wherever its file lies."""
        return f"{len(self.vocabulary):,} tokens, sha256 {self.digest[:16]}"

    def number_of(self, name: str) -> int | None:
        """The number of a token by its name in the file, or None."""
        found: int | None = self._own.token_to_id(name)
        return found

    def of(self, stream: Stream) -> Tokenizer:
        """A text in these tokens, with those that the tokenizer itself adds to a document.

        Args:
            stream: the text, every document in one part.
        """
        lengths = array("q")
        for document, text in stream():
            lengths.extend([0] * (document - len(lengths)))
            lengths.append(len(self._numbers(text)))
        kind = smallest(len(self.vocabulary))
        return Tokenizer(
            self.vocabulary,
            np.array(lengths, dtype=np.int64),
            lambda text: np.array(self._numbers(text), dtype=kind),
        )

    def _numbers(self, text: str) -> list[int]:
        with guarded(DatasetError, f"numbering text with the tokenizer {self.path}"):
            found: list[int] = self._own.encode(text).ids
        return found


def _files(path: Path) -> list[Path]:
    """The files of the tokenizer at a path.

    Raises:
        UsageError: there are none.
    """
    if path.is_dir():
        for names in (["tokenizer.json"], ["vocab.json", "merges.txt"]):
            if all((path / name).is_file() for name in names):
                return [path / name for name in names]
        found = [name for name in ("tokenizer.model", "vocab.txt", "spiece.model") if (path / name).exists()]
        raise UsageError(
            f"expected {FILES} in {path}" + (f", found {', '.join(found)}" if found else "; there is none"),
            SAVE if found else "let tokenizer= name the folder of a tokenizer, or word or byte",
        )
    if path.name in ("vocab.json", "merges.txt"):
        return _files(path.parent)
    if not path.exists():
        raise UsageError(
            f"expected tokenizer= to be word, byte, or the path of {FILES}; there is nothing at {path}",
            "check the path after tokenizer=",
        )
    return [path]


def _read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        return read_file(path)
    except OSError as error:
        raise DatasetError(
            f"cannot read the tokenizer {path}: {error.strerror or error}", "check the path after tokenizer="
        ) from error


def _built(library: Any, parts: list[bytes]) -> Any:
    if len(parts) == 1:
        return library.Tokenizer.from_str(parts[0].decode())
    vocabulary = json.loads(parts[0])
    merges = [
        tuple(line.split(" "))
        for line in parts[1].decode().splitlines()
        if line.strip() and not line.startswith("#version")
    ]
    own = library.Tokenizer(library.models.BPE(vocabulary, merges))
    own.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = library.decoders.ByteLevel()
    if GPT2_END in vocabulary:
        own.add_special_tokens([GPT2_END])
    return own


def _vocabulary(own: Any) -> Vocabulary:
    """The text of every token, by the decoder that the tokenizer has.

    Raises:
        ValueError: it has no tokens.
    """
    parts = json.loads(own.to_str())
    decoders = set(_types(parts.get("decoder")))
    literal = {each["id"]: each["content"] for each in parts.get("added_tokens") or ()}
    numbers = own.get_vocab(with_added_tokens=True)
    size = max(numbers.values(), default=-1) + 1
    if not size:
        raise ValueError("it has no tokens")
    pieces, names = [b""] * size, [""] * size
    piece_of = _piece_of(decoders, any(_SPACE in name for name in numbers))
    for name, number in numbers.items():
        pieces[number] = literal[number].encode() if number in literal else piece_of(name)
    plain = Vocabulary(pieces).names
    seen = dict.fromkeys(plain, 0)
    for name in plain:
        seen[name] += 1
    for number, name in enumerate(plain):  # names tell tokens apart
        names[number] = name if name and seen[name] == 1 else f"{name or 'token'} #{number}"
    return Vocabulary(pieces, tuple(names))


def _piece_of(decoders: set[str], spaced: bool) -> Callable[[str], bytes]:
    if "ByteLevel" in decoders:
        return _of_bytes
    if spaced or decoders & {"Metaspace", "ByteFallback"}:
        return _of_sentencepiece
    if "WordPiece" in decoders:
        return lambda name: (name[2:] if name.startswith("##") else f" {name}").encode()
    return lambda name: f" {name}".encode()


def _of_sentencepiece(name: str) -> bytes:
    byte = _BYTE.fullmatch(name)
    return bytes([int(byte[1], 16)]) if byte else name.replace(_SPACE, " ").encode()


def _of_bytes(name: str) -> bytes:
    """GPT-2 writes every byte as a character that is seen; this turns it back."""
    if any(character not in _BYTES for character in name):
        return name.encode()
    return bytes(_BYTES[character] for character in name)


def _byte_characters() -> dict[str, int]:
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in seen]
    return {chr(b): b for b in seen} | {chr(256 + place): b for place, b in enumerate(others)}


_BYTES = _byte_characters()


def _types(decoder: Any) -> Iterator[str]:
    """The kinds of decoders in one."""
    if isinstance(decoder, dict):
        yield str(decoder.get("type"))
        for part in decoder.get("decoders") or ():
            yield from _types(part)
