"""The documents of a text file, in streams: no text is held as a whole, however long it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import TextIOWrapper

from opsigcli.errors import DatasetError
from opsigcli.files import open_file

BLOCK = 1 << 20  # characters of a document at a time
LONGEST = 1 << 25  # characters of a document that is held as a whole

# Called anew for every pass: (number of a document, a part of its text), in order, cut between words.
Stream = Callable[[], Iterator[tuple[int, str]]]


def read_documents(path: str, ends: str) -> Iterator[tuple[int, str]]:
    """The documents of a UTF-8 file in blocks, cut between words.

    Args:
        path: the file.
        ends: what makes a document: ``paragraphs``, which an empty line ends; ``lines``; or the ``file`` as a whole.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        with TextIOWrapper(open_file(path), encoding="utf-8", errors="replace") as file:
            yield from _READERS[ends](_pieces(file))
    except OSError as error:
        raise DatasetError(
            f"cannot read the text {path}: {error.strerror or error}", "check the path"
        ) from error


def whole_documents(stream: Stream, where: str) -> Stream:
    """The same documents, each in one part, as a tokenizer must have them that looks beyond words.

    Raises:
        DatasetError: of the stream: a document is too long.
    """

    def joined() -> Iterator[tuple[int, str]]:
        held: list[str] = []
        current, size = -1, 0
        for document, part in stream():
            if document != current:
                if held:
                    yield current, "".join(held)
                held, current, size = [], document, 0
            held.append(part)
            size += len(part)
            if size > LONGEST:
                raise DatasetError(
                    f"expected documents of at most {LONGEST:,} characters in {where}; document {document} is longer",
                    "add documents=lines or documents=paragraphs, or write its tokens to a file for bin:FILE",
                )
        if held:
            yield current, "".join(held)

    return joined


def _pieces(file: TextIOWrapper) -> Iterator[str]:
    """Lines, and parts of long ones that end with a word."""
    while piece := file.readline(BLOCK):
        while len(piece) >= BLOCK and not piece[-1].isspace() and (more := file.read(1)):
            piece += more
        yield piece


def _file(pieces: Iterator[str]) -> Iterator[tuple[int, str]]:
    for piece in _blocks(pieces):
        yield 0, piece


def _blocks(pieces: Iterator[str]) -> Iterator[str]:
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= BLOCK:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


def _lines(pieces: Iterator[str]) -> Iterator[tuple[int, str]]:
    """Every line, but for those that say nothing."""
    document, begun = 0, False
    for piece in pieces:
        text = piece.removesuffix("\n")
        if begun or text.strip():
            yield document, text
            begun = True
        if begun and piece.endswith("\n"):
            document, begun = document + 1, False


def _paragraphs(pieces: Iterator[str]) -> Iterator[tuple[int, str]]:
    """What stands between empty lines."""
    held: list[str] = []
    document, size, between = 0, 0, ""
    at_start = True  # of a line
    for piece in pieces:
        whole = at_start and piece.endswith("\n")
        at_start = piece.endswith("\n")
        if whole and not piece.strip():
            if held:
                yield document, "".join(held)
            if held or between:
                document += 1
            held, size, between = [], 0, ""
            continue
        # The newline before an empty line belongs to no document, so each waits for what follows.
        held.append(between + piece.removesuffix("\n"))
        between = "\n" if at_start else ""
        size += len(piece)
        if size >= BLOCK:
            yield document, "".join(held)
            held, size = [], 0
    if held or between:
        yield document, "".join(held) + between


_READERS: dict[str, Callable[[Iterator[str]], Iterator[tuple[int, str]]]] = {
    "paragraphs": _paragraphs,
    "lines": _lines,
    "file": _file,
}
ENDS = tuple(_READERS)
