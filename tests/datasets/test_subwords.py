"""``tokenizer=PATH``: the numbers that the library gives, names that tell tokens apart, and text that reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opsigcli.datasets import open_source, subwords
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import IGNORED

tokenizers = pytest.importorskip("tokenizers")
TEXT = "The cat sat on the mat.\nThe caf\u00e9 was closed; the cat left.\n\nIt\u2019s \U0001f40e time!\n" * 3


def bpe(folder: Path, text: str = TEXT, size: int = 300) -> Any:
    """A tokenizer like GPT-2's, in ``folder``, with files of both kinds."""
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator([text], vocab_size=size, min_frequency=1, special_tokens=["<|endoftext|>"])
    folder.mkdir(exist_ok=True)
    made.save_model(str(folder))
    made.save(str(folder / "tokenizer.json"))
    (folder / "t.txt").write_text(text, encoding="utf-8")
    return made


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.json"])
@pytest.mark.parametrize("per", ["token", "sequence"])
def test_text_has_the_numbers_that_the_library_gives(tmp_path: Path, files: str, per: str) -> None:
    made = bpe(tmp_path / "tok")
    if files == "vocab.json":
        (tmp_path / "tok" / "tokenizer.json").unlink()
    source = open_source(f"text:{tmp_path}/tok/t.txt?tokenizer={tmp_path}/tok&context=7&per={per}")
    whole = source.sequences.whole if source.sequences is not None else source
    every = np.arange(len(whole))
    told = whole.read_targets(every)
    numbers = made.encode(TEXT).ids
    assert [int(whole.read(every)[0, 0]), *told[told != IGNORED].tolist()] == numbers
    if per == "token":
        assert source.labels.tolist() == numbers[1:]
        assert [int(i) for i in source.ids] == list(range(1, len(numbers)))
        assert open_source(source.spec).fingerprint == source.fingerprint


def test_context_is_the_text_itself_with_the_token_marked(tmp_path: Path) -> None:
    made = bpe(tmp_path / "tok")
    source = open_source(f"text:{tmp_path}/tok/t.txt?tokenizer={tmp_path}/tok&context=64&per=token")
    offsets = made.encode(TEXT).offsets
    for position in (3, 11, 20):
        name = source.names[position].partition(": ")[2]
        start, end = offsets[position + 1]
        told = TEXT[start:end].strip(" ")
        assert name.endswith(f"[{told}]")
        assert name.replace("[", "").replace("]", "").lstrip("\u2026") in TEXT.replace("\n", "\\n")


def test_names_tell_all_tokens_apart_and_show_spaces_and_lines(tmp_path: Path) -> None:
    bpe(tmp_path / "tok")
    source = open_source(f"text:{tmp_path}/tok/t.txt?tokenizer={tmp_path}/tok/tokenizer.json")
    assert len(set(source.classes)) == len(source.classes)
    assert "<|endoftext|>" in source.classes
    assert "\\n" in source.classes
    assert "\u00b7the" in source.classes
    assert "\\xe2" in source.classes


def test_tokens_of_sentencepiece_and_of_wordpiece_read_as_text(tmp_path: Path) -> None:
    unigram = tokenizers.SentencePieceBPETokenizer()
    unigram.train_from_iterator(["the cat sat on the mat"] * 3, vocab_size=60, min_frequency=1)
    unigram.save(str(tmp_path / "s.json"))
    wordpiece = tokenizers.BertWordPieceTokenizer()
    wordpiece.train_from_iterator(["the cats sat on the mats"] * 3, vocab_size=60, min_frequency=1)
    wordpiece.save(str(tmp_path / "w.json"))
    (tmp_path / "t.txt").write_text("the cat sat on the mat")
    for file in ("s.json", "w.json"):
        read = subwords.Subwords(str(tmp_path / file))
        numbers = [
            read.number_of(token)
            for token in read._own.encode("the cat sat", add_special_tokens=False).tokens
        ]
        assert (
            read.vocabulary.text(number for number in numbers if number is not None).strip() == "the cat sat"
        )


def test_a_tokenizer_that_cuts_texts_short_or_pads_them_does_neither_here(tmp_path: Path) -> None:
    made = bpe(tmp_path / "tok")
    numbers = made.encode(TEXT).ids
    made.enable_truncation(5)
    made.enable_padding(length=200)
    made.save(str(tmp_path / "tok" / "tokenizer.json"))
    source = open_source(f"text:{tmp_path}/tok/t.txt?tokenizer={tmp_path}/tok&per=token")
    assert source.labels.tolist() == numbers[1:]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "there is nothing at"),
        (lambda folder: folder.mkdir(), "tokenizer.json, or vocab.json and merges.txt"),
        (
            lambda folder: (folder.mkdir(), (folder / "tokenizer.model").write_bytes(b"x")),
            "found tokenizer.model",
        ),
        (
            lambda folder: (folder.mkdir(), (folder / "tokenizer.json").write_text("{}")),
            "reading the tokenizer",
        ),
        (
            lambda folder: (folder.mkdir(), (folder / "tokenizer.json").write_bytes(b"\xff")),
            "reading the tokenizer",
        ),
    ],
)
def test_what_is_no_tokenizer_is_named(tmp_path: Path, make: Any, words: str) -> None:
    make(tmp_path / "tok")
    (tmp_path / "t.txt").write_text("a b c")
    with pytest.raises((DatasetError, UsageError), match=words) as error:
        open_source(f"text:{tmp_path}/t.txt?tokenizer={tmp_path}/tok")
    assert error.value.hint


def test_without_the_library_the_way_to_get_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bpe(tmp_path / "tok")
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(DatasetError, match="expected tokenizers to be installed") as error:
        open_source(f"text:{tmp_path}/tok/t.txt?tokenizer={tmp_path}/tok")
    assert error.value.hint == "pip install 'opsig[tokenizers]'"


def test_tokens_of_arrays_are_named_by_a_tokenizer(tmp_path: Path) -> None:
    made = bpe(tmp_path / "tok")
    numbers = np.array(made.encode(TEXT).ids)
    x = np.stack([numbers[:8], numbers[8:16]])
    y = np.stack([numbers[1:9], numbers[9:17]])
    y[1, 3:] = IGNORED
    np.savez(tmp_path / "d.npz", x=x, y=y)
    source = open_source(f"npz:{tmp_path}/d.npz?per=token&tokenizer={tmp_path}/tok")
    assert source.labels.tolist() == [*y[0], *y[1, :3]]
    assert [(int(i) >> 32, int(i) & 0xFFFFFFFF) for i in source.ids] == [
        *((0, place) for place in range(1, 9)),
        *((1, place) for place in range(1, 4)),
    ]
    assert source.names[1].startswith("document 0, token 2: The")
    assert source.classes[source.labels[0]] == json.loads(json.dumps(source.classes))[numbers[1]]


def test_labels_of_their_own_places_keep_them(tmp_path: Path) -> None:
    x = np.array([[5, 0, 7, 8], [1, 2, 0, 3]])
    y = np.array([[IGNORED, 6, IGNORED, IGNORED], [IGNORED, IGNORED, 4, IGNORED]])
    np.savez(tmp_path / "d.npz", x=x, y=y)
    source = open_source(f"npz:{tmp_path}/d.npz?per=token")
    assert source.labels.tolist() == [6, 4]
    assert [(int(i) >> 32, int(i) & 0xFFFFFFFF) for i in source.ids] == [(0, 1), (1, 2)]
    assert tuple(source.names) == ("document 0, token 1: 5 [6]", "document 1, token 2: 1 2 [4]")


def test_per_token_of_what_has_no_labels_for_its_tokens_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((3, 4)), y=np.arange(3))
    with pytest.raises(UsageError, match="for per=token") as error:
        open_source(f"npz:{tmp_path}/d.npz?per=token")
    assert "--tokens" in error.value.hint
