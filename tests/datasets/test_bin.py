"""``bin:FILE``: token files of nanoGPT, llm.c and Megatron, read as they are and refused where they are not."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opsigcli.datasets import open_source
from opsigcli.errors import DatasetError, OpsigError, UsageError
from opsigcli.examples import IGNORED, ExampleSource

TOKENS = np.random.default_rng(0).integers(0, 50, 203)


def write(folder: Path, dtype: str = "uint16", tokens: Any = TOKENS, head: bytes = b"") -> Path:
    """A file of tokens."""
    path = folder / "train.bin"
    path.write_bytes(head + np.asarray(tokens).astype(dtype).tobytes())
    return path


def told(source: ExampleSource) -> list[int]:
    """All that the sequences of a source predict, in order."""
    whole = source.sequences.whole if source.sequences is not None else source
    labels = whole.read_targets(np.arange(len(whole)))
    return labels[labels != IGNORED].tolist()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "int64"])
@pytest.mark.parametrize("per", ["token", "sequence"])
def test_every_token_but_the_first_is_predicted_once_in_order(tmp_path: Path, dtype: str, per: str) -> None:
    source = open_source(f"bin:{write(tmp_path, dtype)}?dtype={dtype}&context=8&per={per}")
    assert told(source) == TOKENS[1:].tolist()
    assert source.outputs == int(TOKENS.max()) + 1
    if per == "token":
        assert source.labels.tolist() == TOKENS[1:].tolist()
        assert source.ids.tolist() == list(range(1, len(TOKENS)))


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_with_a_stride_every_token_is_predicted_once_with_more_before_it(tmp_path: Path, stride: int) -> None:
    source = open_source(f"bin:{write(tmp_path)}?context=8&stride={stride}")
    assert told(source) == TOKENS[1:].tolist()
    every = np.arange(len(source))
    inputs, labels = source.read(every), source.read_targets(every)
    for row, first in enumerate(range(0, len(TOKENS) - 8 - stride, stride)):
        assert inputs[row].tolist() == TOKENS[first : first + 8].tolist()
        predicts = labels[row] != IGNORED
        assert predicts.sum() == (8 if row == 0 else stride)
        assert (np.flatnonzero(predicts) + 1 > 8 - stride).all() or row == 0
    with pytest.raises(UsageError, match="stride to be at most context"):
        open_source(f"bin:{write(tmp_path)}?context=8&stride=9")


def test_the_header_of_llm_c_says_type_and_count(tmp_path: Path) -> None:
    for magic, version, dtype in ((20240520, 1, "uint16"), (20240801, 7, "uint32")):
        head = struct.pack("<256i", magic, version, len(TOKENS), *[0] * 253)
        path = write(tmp_path, dtype, head=head)
        assert told(open_source(f"bin:{path}?context=8")) == TOKENS[1:].tolist()
        with pytest.raises(UsageError, match=f"expected dtype={dtype}"):
            open_source(f"bin:{path}?dtype=int64")
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises(DatasetError, match="as its header"):
            open_source(f"bin:{path}")
    other = write(tmp_path, head=struct.pack("<256i", 20240522, 1, 9, *[0] * 253))
    with pytest.raises(DatasetError, match="found an evaluation set of"):
        open_source(f"bin:{other}")


def test_an_index_of_megatron_says_type_and_documents(tmp_path: Path) -> None:
    path = write(tmp_path, "int32")
    lengths = np.array([3, 100, 100], dtype="<i4")
    pointers = np.array([0, 12, 412], dtype="<i8")
    index = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 4, 3, 3) + lengths.tobytes() + pointers.tobytes()
    path.with_suffix(".idx").write_bytes(index + np.array([0, 1, 3], dtype="<i8").tobytes())
    source = open_source(f"bin:{path}?context=8&per=token")
    assert source.labels.tolist() == TOKENS[1:].tolist()
    assert (int(source.ids[-1]) >> 32, int(source.ids[-1]) & 0xFFFFFFFF) == (1, 199)
    path.with_suffix(".idx").write_bytes(index[:30])
    with pytest.raises(DatasetError, match="cannot read the index"):
        open_source(f"bin:{path}")


@pytest.mark.parametrize(
    ("dtype", "options", "words", "hint"),
    [
        ("uint32", "", "as in a file of uint32", "add dtype=uint32"),
        ("int64", "", "as in a file of int64", "add dtype=int64"),
        ("int64", "?dtype=int32", "as in a file of int64", "add dtype=int64"),
        ("uint16", "?dtype=uint32", "a whole number of uint32 tokens", "dtype="),
        ("uint16", "?vocabulary=40", "expected tokens from 0 to 39", "dtype="),
        ("uint16", "?dtype=float32", "expected dtype to be one of", "dtype="),
    ],
)
def test_another_type_or_vocabulary_is_named(
    tmp_path: Path, dtype: str, options: str, words: str, hint: str
) -> None:
    with pytest.raises(OpsigError, match=words) as error:
        open_source(f"bin:{write(tmp_path, dtype)}{options}")
    assert hint in error.value.hint
    if hint.startswith("add "):
        fixed = options.replace("dtype=int32", "") or "?"
        assert told(open_source(f"bin:{tmp_path}/train.bin{fixed}{hint[4:]}")) == TOKENS[1:].tolist()


def test_an_odd_number_of_bytes_and_no_bytes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="whole number of uint16 tokens"):
        open_source(f"bin:{path}")
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match="whole number of uint16 tokens"):
        open_source(f"bin:{path}")
    with pytest.raises(DatasetError, match="cannot read the tokens"):
        open_source(f"bin:{tmp_path}/none.bin")


def test_characters_of_nanogpt_are_read_without_running_anything(tmp_path: Path) -> None:
    text = "the cat\nsat on the mat.\n"
    characters = sorted(set(text))
    number = {c: i for i, c in enumerate(characters)}
    path = write(tmp_path, tokens=[number[c] for c in text])
    meta = {"vocab_size": len(characters), "itos": dict(enumerate(characters)), "stoi": number}
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(meta))
    source = open_source(f"bin:{path}?context=8&per=token")
    assert source.names[7].partition(": ")[2] == "the cat\\n[s]"
    assert source.classes[number["\n"]] == "\\n"
    assert source.classes[number[" "]] == "\u00b7"

    class Bad:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    for bad in (Bad(), meta | {"itos": Bad()}, meta | {"vocab_size": 3}, [1], None):
        (tmp_path / "meta.pkl").write_bytes(b"junk" if bad is None else pickle.dumps(bad))
        with pytest.raises(DatasetError, match="characters by number"):
            open_source(f"bin:{path}?context=8")
        assert not (tmp_path / "ran").exists()
        assert told(open_source(f"bin:{path}?context=8&vocabulary=99")) == [number[c] for c in text[1:]]


def test_documents_end_at_their_token(tmp_path: Path) -> None:
    ends = write(tmp_path, tokens=[5, 6, 0, 7, 0, 8, 9])
    ids = open_source(f"bin:{ends}?context=4&per=token&eot=0").ids
    assert [(int(i) >> 32, int(i) & 0xFFFFFFFF) for i in ids] == [
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
    ]
    begins = write(tmp_path, tokens=[0, 5, 6, 0, 7, 8])
    ids = open_source(f"bin:{begins}?context=4&per=token&eot=0").ids
    assert [(int(i) >> 32, int(i) & 0xFFFFFFFF) for i in ids] == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_ids_stay_apart_beyond_32_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from opsigcli.datasets import bin_source

    monkeypatch.setattr(bin_source, "DOCUMENT_BITS", 5)
    firsts = bin_source._documents(TOKENS, None)
    assert firsts.tolist() == list(range(0, len(TOKENS), 32))


def test_a_part_of_a_file_has_the_vocabulary_of_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path, tokens=[*range(30), 99])
    assert open_source(f"bin:{path}?context=8&limit=1").outputs == 100
    assert open_source(f"bin:{path}?context=8&limit=1&vocabulary=128").outputs == 128


def test_a_part_of_a_file_is_read_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # of zeros, which take no room
    file_like = io.BytesIO(TOKENS.astype("<u2").tobytes())
    with path.open("r+b") as file:
        file.write(file_like.getvalue())
    tracemalloc.start()
    source = open_source(f"bin:{path}?context=64&per=token&limit=200")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < path.stat().st_size / 40  # neither what is in sequences, nor where all of them begin
    assert len(source) == 200
    assert source.labels[:64].tolist() == TOKENS[1:65].tolist()
