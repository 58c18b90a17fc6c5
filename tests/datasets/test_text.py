"""Text in streams: the same tokens as from the whole text, and memory that does not grow with it."""

from __future__ import annotations

import random
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from opsigcli.datasets import documents as documents_module
from opsigcli.datasets import open_source, per_token
from opsigcli.datasets.documents import read_documents
from opsigcli.datasets.tokens import PIECES, of_words
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import IGNORED
from opsigcli.token_ids import DOCUMENT_BITS


def write(folder: Path, seed: int, documents: int = 9) -> tuple[Path, list[list[str]]]:
    """A text of random documents, empty ones and lines of spaces among them, and the pieces of each document."""
    dice = random.Random(seed)
    words = ["a", "bee", "cat,", "döner", "\u00e9t\u00e9!", "x" * 30, "tab\tbed", "(no)"]
    parts = []
    for _ in range(documents):
        lines = [
            " ".join(dice.choices(words, k=dice.randint(1, 9))) + dice.choice(["", " "])
            for _ in range(dice.randint(1, 5))
        ]
        parts.append("\n".join(lines))
    text = parts[0]
    for part in parts[1:]:
        text += dice.choice(["\n\n", "\n \n", "\n\n\n", "\n  \n\n"]) + part
    text += dice.choice(["", "\n", "\n\n"])
    path = folder / f"t{seed}.txt"
    path.write_text(text, encoding="utf-8")
    return path, [PIECES.findall(d) for d in re.split(r"\n\s*\n", text) if d.strip()]


@pytest.mark.parametrize("block", [4, 37, 1 << 20])
@pytest.mark.parametrize("seed", range(4))
def test_blocks_of_documents_join_to_what_splitting_the_whole_text_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, block: int
) -> None:
    path, expected = write(tmp_path, seed)
    monkeypatch.setattr(documents_module, "BLOCK", block)
    found: dict[int, list[str]] = {}
    for document, part in read_documents(str(path), "paragraphs"):
        found.setdefault(document, []).extend(PIECES.findall(part))
    assert list(found.values()) == expected
    assert list(found) == list(range(len(expected)))


@pytest.mark.parametrize("per", ["token", "sequence"])
@pytest.mark.parametrize("limit", [None, 1, 5, 40, 10_000])
@pytest.mark.parametrize("kind", ["word", "byte"])
def test_examples_equal_a_naive_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per: str, limit: int | None, kind: str
) -> None:
    path, documents = write(tmp_path, 7)
    monkeypatch.setattr(documents_module, "BLOCK", 23)
    context = 5
    wish = f"&limit={limit}" if limit else ""
    source = open_source(f"text:{path}?context={context}&per={per}&tokenizer={kind}{wish}")
    if kind == "byte":
        whole = re.split(r"\n\s*\n", path.read_text(encoding="utf-8"))
        coded = [list(d.encode()) for d in whole if d.strip()]
    else:
        number = {word: place for place, word in enumerate(c.replace("\\n", "\n") for c in source.classes)}
        coded = [[number[piece] for piece in d] for d in documents]
    total = 0
    expected = {}
    for d, codes in enumerate(coded):
        for s in range(0, len(codes) - 1, context):
            seen, told = codes[s : s + context], codes[s + 1 : s + 1 + context]
            seen, labels = seen + [0] * (context - len(seen)), told + [IGNORED] * (context - len(told))
            total += len(told) if per == "token" else 1
            for column in range(len(told)) if per == "token" else [None]:
                own = (
                    labels
                    if column is None
                    else [x if i == column else IGNORED for i, x in enumerate(labels)]
                )
                expected[(d << DOCUMENT_BITS) | (s + (column or 0) + 1)] = (seen, own)
    assert len(source) == min(total, limit or total)
    assert set(source.ids.tolist()) <= expected.keys()
    assert (np.diff(source.ids) > 0).all()
    everything = np.arange(len(source))
    for example, seen, labels in zip(
        source.ids.tolist(), source.read(everything), source.read_targets(everything), strict=True
    ):
        assert (seen.tolist(), labels.tolist()) == expected[example]
    if limit is None:
        assert source.ids.tolist() == sorted(expected)
        assert "examples" not in source.transform
    elif limit < total:
        assert source.transform["examples"] == f"{limit} of {total}"


def test_a_subset_of_tokens_is_whole_sequences_spread_over_the_text(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(" ".join(f"w{i}" for i in range(1001)))
    source = open_source(f"text:{tmp_path / 't.txt'}?context=10&per=token&limit=40")
    firsts = np.unique((source.ids - 1) // 10)
    assert len(firsts) == 4
    assert firsts[0] == 0
    assert firsts[-1] == 99
    assert source.sequences is not None
    assert len(source.sequences.whole) == 4


def test_too_many_tokens_are_refused_with_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(per_token, "MOST_TOKENS", 50)
    path, _ = write(tmp_path, 1)
    with pytest.raises(UsageError, match="at most 50 tokens") as error:
        open_source(f"text:{path}?per=token")
    assert "--examples" in error.value.hint
    assert len(open_source(f"text:{path}?per=token&limit=50")) == 50


def test_text_that_changes_between_two_passes_is_refused() -> None:
    texts = iter(["one two three four", "one two three"])

    def stream() -> object:
        return iter([(0, next(texts))])

    coder = of_words(stream, 10)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="changed while it was read"):
        coder.cut(stream, np.array([0]), np.array([4]), 4)  # type: ignore[arg-type]


def test_a_text_that_is_not_there_and_one_too_short_say_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot read the text"):
        open_source(f"text:{tmp_path / 'no.txt'}")
    (tmp_path / "one.txt").write_text("word\n\n")
    with pytest.raises(DatasetError, match="at least two tokens"):
        open_source(f"text:{tmp_path / 'one.txt'}")


def test_a_subset_of_a_long_text_takes_little_memory(tmp_path: Path) -> None:
    count = 8_000_000
    (tmp_path / "t.txt").write_bytes((b"x" * 3999 + b"\n") * (count // 4000))
    spec = f"text:{tmp_path / 't.txt'}?tokenizer=byte&context=64&per=token&limit=1000"
    open_source(spec)  # what is imported at the first call is not counted
    tracemalloc.start()
    source = open_source(spec)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(source) == 1000
    assert source.transform["examples"] == f"1000 of {count - 1}"
    assert peak < 2 * count  # one array of an int64 for each token would take 8 * count
