"""What every source of the table keeps to, and every part of it. A new entry needs a case here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from opsigcli.datasets import SOURCES, base, open_source
from opsigcli.datasets.subset import Subset
from opsigcli.errors import DatasetError
from opsigcli.examples import IGNORED, ExampleSource
from opsigcli.objective.base import Objective
from opsigcli.registry import Entry

N = 12
CODE = """
import numpy as np
import torch
from torch.utils.data import Dataset

class Made(Dataset):
    classes = ["one", "two", "three"]

    def __init__(self, kind="floats"):
        self.kind = kind

    def __len__(self):
        return 12

    def __getitem__(self, row):
        rng = np.random.default_rng(row)
        if self.kind == "tokens":
            tokens = rng.integers(0, 3, 6)
            return tokens[:-1], tokens[1:]
        if self.kind == "pictures":
            return torch.as_tensor(rng.integers(0, 256, (3, 4, 5)), dtype=torch.uint8), row % 3
        return torch.as_tensor(rng.normal(size=4)), row % 3
"""


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def arrays(options: str, /, **named: Any) -> Callable[[Path], str]:
    """A case of ``npz:``."""

    def make(folder: Path) -> str:
        path = folder / "data.npz"
        np.savez(path, **named)
        return f"npz:{path}{options}"

    return make


def images(options: str, folder: Path) -> str:
    """A case of ``folder:``."""
    for number, pixels in enumerate(pictures(N, 6, 5, 3)):
        place = folder / "images" / "abc"[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return f"folder:{folder / 'images'}{options}"


def table(folder: Path) -> str:
    """A case of ``hfds:``."""
    import datasets

    features = datasets.Features(
        {
            "x": datasets.Sequence(datasets.Value("float32")),
            "label": datasets.ClassLabel(names=["u", "v", "w"]),
        }
    )
    made = datasets.Dataset.from_dict(
        {"x": numbers(0, N, 4).tolist(), "label": [i % 3 for i in range(N)]}, features=features
    )
    made.save_to_disk(str(folder / "table"))
    return f"hfds:{folder / 'table'}"


def packed(folder: Path) -> str:
    """A case of ``parquet:``, as scripts write pictures into it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images("", folder)
    files = [folder / "images" / "abc"[i % 3] / f"{i}.png" for i in range(N)]
    column = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    pq.write_table(
        pa.table({"image": column, "label": ["abc"[i % 3] for i in range(N)]}), folder / "t.parquet"
    )
    return f"parquet:{folder / 't.parquet'}"


def written(options: str, folder: Path) -> str:
    """A case of ``text:``."""
    (folder / "t.txt").write_text("a b c d e f g a b c\n\nb c a\n\n" + "d e a b f g " * 5)
    return f"text:{folder / 't.txt'}{options}"


def numbered(options: str) -> Callable[[Path], str]:
    """A case of ``bin:``."""

    def make(folder: Path) -> str:
        (folder / "d.bin").write_bytes(np.random.default_rng(0).integers(0, 7, 41).astype("<u2").tobytes())
        return f"bin:{folder / 'd.bin'}{options}"

    return make


def own(scheme: str, kind: str, folder: Path) -> str:
    """A case of ``py:`` or ``file:``."""
    (folder / "contract_data.py").write_text(CODE)
    place = "contract_data" if scheme == "py" else folder / "contract_data.py"
    return f"{scheme}:{place}:Made?kind={kind}"


def rows(what: str, folder: Path) -> str:
    """A case of ``csv:``."""
    images("", folder)
    lines = [f"images/{'abc'[i % 3]}/{i}.png,{'abc'[i % 3]},{i / 4},{i}" for i in range(N)]
    (folder / "t.csv").write_text("\n".join(["file,label,a,b", *lines]))
    return f"csv:{folder / 't.csv'}?label=label&{what}"


def archive(folder: Path) -> str:
    """A case of ``cifar:``, in CIFAR-100's binary layout."""
    place = folder / "cifar-100-binary"
    place.mkdir()
    for kind, count in (("fine", 100), ("coarse", 20)):
        (place / f"{kind}_label_names.txt").write_text("".join(f"{kind} {i}\n" for i in range(count)))
    records = np.concatenate([np.arange(2 * N).reshape(N, 2) % 20, pictures(N, 3072)], axis=1)
    for part in ("train", "test"):
        (place / f"{part}.bin").write_bytes(records.astype(np.uint8).tobytes())
    return f"cifar:{folder}?labels=coarse&size=6"


LABELS = np.arange(N) % 3
WEIGHTS = np.arange(N) / 4
TOKENS = np.random.default_rng(0).integers(0, 5, (N, 7))
# The entry of the table, what is special, and a maker of data that returns the spec.
CASES: dict[tuple[str, str], Callable[[Path], str]] = {
    ("planted", "pictures"): lambda _: "planted?n=200",
    ("planted", "swapped"): lambda _: "planted?scenario=pictures4&n=200&swap=true",
    ("planted", "vectors"): lambda _: "planted?scenario=vec3&n=200",
    ("noise", "pictures"): lambda _: "noise?n=30&shape=3,4,5&classes=3",
    ("noise", "noisy labels"): lambda _: "noise?n=30&shape=4&classes=3&label_noise=0.3&label_noise_seed=2",
    ("modular", "numbers"): lambda _: "modular?p=5&share=0.6",
    ("two-layer-linear", "numbers"): lambda _: "two-layer-linear?d=2&copies=3&kappa=0.5",
    ("one-axis", "numbers"): lambda _: "one-axis?n=12&p=0.5",
    ("simplicity", "numbers"): lambda _: "simplicity?n=40",
    ("simplicity", "pictures"): lambda _: "simplicity?n=40&complex=digits",
    ("digits", "pictures"): lambda _: "digits?limit=40&mode=RGB",
    ("folder", "plain"): partial(images, ""),
    ("folder", "channels"): partial(images, "?standardize=channel&size=4"),
    ("npz", "floats"): arrays("", x=numbers(0, N, 4), y=LABELS, ids=np.arange(N)[::-1] * 10),
    ("npz", "weights"): arrays("", x=numbers(0, N, 4), y=LABELS, weights=WEIGHTS, classes=list("pqr")),
    ("npz", "pictures"): arrays("?mean=0.4,0.5,0.6&std=0.2,0.3,0.4", x=pictures(N, 5, 4, 3), y=LABELS),
    ("npz", "resized"): arrays("?size=4", x=pictures(N, 5, 4, 3), y=LABELS),
    ("npz", "each its own"): arrays("?standardize=image", x=pictures(N, 5, 4), y=LABELS),
    ("npz", "no colour"): arrays("?standardize=colour", x=pictures(N, 5, 4, 3), y=LABELS),
    ("npz", "numbers"): arrays("", x=numbers(0, N, 4), y=numbers(1, N, 2), weights=WEIGHTS),
    ("npz", "tokens"): arrays("", x=TOKENS[:, :-1], y=TOKENS[:, 1:], weights=WEIGHTS),
    ("npz", "single tokens"): arrays(
        "?per=token&limit=30",
        x=TOKENS[:, :-1],
        y=np.where(TOKENS[:, 1:] == 3, IGNORED, TOKENS[:, 1:]),
        weights=WEIGHTS + 0.5,
        attention_mask=np.ones((N, 6), dtype=np.int64),
    ),
    ("npz", "ignored"): arrays("", x=numbers(0, N, 4), y=np.where(np.arange(N) % 4, LABELS, IGNORED)),
    ("npz", "part"): arrays("?limit=5", x=numbers(0, N, 4), y=LABELS, weights=WEIGHTS),
    ("npz", "a split"): arrays(
        "?split=train",
        train_images=pictures(N, 5, 4, 3),
        train_labels=LABELS,
        test_images=pictures(2, 5, 4, 3),
    ),
    ("csv", "pictures"): partial(rows, "image=file"),
    ("csv", "numbers"): partial(rows, "columns=a,b&classes=b,c,a"),
    ("cifar", "binary"): archive,
    ("torchvision", "made"): lambda _: f"torchvision:FakeData?size={N}&image_size=3,8,8&num_classes=3",
    ("hfds", "rows"): table,
    ("parquet", "pictures"): packed,
    ("text", "sequences"): partial(written, "?context=4"),
    ("text", "tokens"): partial(written, "?context=4&per=token"),
    ("text", "bytes"): partial(written, "?context=8&tokenizer=byte&limit=5"),
    ("text", "strides"): partial(written, "?context=6&stride=2&per=token&documents=file"),
    ("text", "lines"): partial(written, "?context=6&documents=lines"),
    ("bin", "sequences"): numbered("?context=5"),
    ("bin", "tokens"): numbered("?context=5&stride=3&per=token&eot=2&vocabulary=9"),
    ("babble", "sequences"): lambda _: "babble?sentences=20&context=8",
    ("babble", "tokens"): lambda _: "babble?sentences=20&context=8&per=token&limit=60",
    ("py", "floats"): partial(own, "py", "floats"),
    ("py", "tokens"): partial(own, "py", "tokens"),
    ("file", "pictures"): partial(own, "file", "pictures"),
}


@pytest.fixture(params=CASES, ids=" ".join)
def whole(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ExampleSource]:
    monkeypatch.chdir(tmp_path)
    yield open_source(CASES[request.param](tmp_path))
    sys.modules.pop("contract_data", None)


def mixed(source: ExampleSource) -> np.ndarray:
    """Two thirds of the positions of a source, in an order of their own."""
    return np.random.default_rng(1).permutation(len(source))[: -(-2 * len(source) // 3)]


@pytest.fixture(params=["whole", "part", "part of a part"])
def source(request: pytest.FixtureRequest, whole: ExampleSource) -> ExampleSource:
    if request.param == "whole":
        return whole
    part = Subset(whole, mixed(whole))
    return part if request.param == "part" else Subset(part, mixed(part))


def same(first: Any, second: Any) -> bool:
    return first is second is None or np.array_equal(np.asarray(first), np.asarray(second))


def test_every_source_of_the_table_has_a_case() -> None:
    assert {name for name, _ in CASES} == set(SOURCES)


def test_a_source_says_what_it_is(source: ExampleSource) -> None:
    n = len(source)
    assert n > 0
    assert isinstance(source, ExampleSource)
    assert source.ids.dtype == source.labels.dtype == np.int64
    assert source.ids.shape == source.labels.shape == source.measured.shape == (n,)
    assert len(np.unique(source.ids)) == n
    assert source.measured.dtype == bool
    assert len(source.names) in (0, n)
    assert all(isinstance(name, str) for name in (*source.names, *source.classes, source.spec))
    assert len(set(source.names)) == len(source.names)
    assert len(source.fingerprint) == 64
    assert json.loads(json.dumps(source.transform)) == source.transform
    if source.weights is not None:
        assert source.weights.shape == (n,)
        assert (source.weights >= 0).all()
    if source.classes:
        assert source.labels.max() < len(source.classes) <= source.outputs


def test_the_spec_opens_the_same_examples_again_from_any_folder(
    whole: ExampleSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = open_source(whole.spec)
    for name in (
        "spec",
        "ids",
        "labels",
        "fingerprint",
        "transform",
        "classes",
        "names",
        "outputs",
        "weights",
    ):
        assert same(getattr(again, name), getattr(whole, name)), name
    everything = np.arange(len(whole))
    np.testing.assert_array_equal(again.read(everything), whole.read(everything))
    np.testing.assert_array_equal(again.read_targets(everything), whole.read_targets(everything))


@pytest.mark.parametrize("what", ["read", "read_targets", "pixels"])
def test_an_example_is_the_same_at_every_read_and_beside_any_others(source: ExampleSource, what: str) -> None:
    read = getattr(source, what)
    everything = read(np.arange(len(source)))
    if everything is None:
        assert read(np.arange(1)) is None
        return
    before = everything.copy()
    order = np.random.default_rng(0).permutation(len(source))
    np.testing.assert_array_equal(read(order), everything[order])
    np.testing.assert_array_equal(
        np.concatenate([read(order[i : i + 1]) for i in range(4)]), before[order[:4]]
    )
    assert read(order[:0]).shape == (0, *everything.shape[1:])
    read(order)[...] = 0  # what is given out is not what is kept
    np.testing.assert_array_equal(read(np.arange(len(source))), before)


def test_inputs_are_floats_or_tokens_of_the_shape_that_is_said(source: ExampleSource) -> None:
    inputs = source.read(np.arange(len(source)))
    assert inputs.shape == (len(source), *source.input_shape)
    assert inputs.dtype in (np.float32, np.int64)
    assert np.isfinite(inputs).all()


def test_targets_are_labels_or_tokens_or_numbers_and_fit_what_is_said_of_them(source: ExampleSource) -> None:
    targets = source.read_targets(np.arange(len(source)))
    assert len(targets) == len(source)
    if targets.dtype == np.float32:
        assert source.outputs == np.prod(targets.shape[1:])
        assert source.measured.all()
        return
    assert targets.dtype == np.int64
    assert targets.max() < source.outputs
    measured = (targets != IGNORED).reshape(len(targets), -1).any(axis=1)
    np.testing.assert_array_equal(source.measured, measured)
    if targets.ndim == 1:
        np.testing.assert_array_equal(targets, source.labels)


def test_bytes_are_what_the_inputs_are_made_of(source: ExampleSource) -> None:
    some = np.arange(min(5, len(source)))
    pixels = source.pixels(some)
    if pixels is None:
        return
    mean, deviation = source.normalisation or (0.0, 1.0)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose((pixels / 255 - mean) / deviation, source.read(some), rtol=1e-5, atol=1e-6)


def test_an_example_that_can_be_looked_at_is_a_picture_in_colours(source: ExampleSource) -> None:
    shown = [source.image(position) for position in range(3)]
    kinds = {None if image is None else (image.dtype, image.shape[2:]) for image in shown}
    assert kinds in ({None}, {(np.dtype(np.uint8), (3,))})


def test_a_token_lies_in_a_sequence_that_has_its_input_and_its_target(source: ExampleSource) -> None:
    if source.sequences is None:
        return
    positions = np.random.default_rng(0).permutation(len(source))[:7]
    rows, places, columns = source.sequences.locate(positions)
    whole = source.sequences.whole
    inputs, targets = whole.read(rows), whole.read_targets(rows)
    assert len(rows) <= len(whole)
    np.testing.assert_array_equal(inputs[places], source.read(positions))
    alone = source.read_targets(positions)
    assert ((alone != IGNORED).sum(axis=1) == 1).all()
    np.testing.assert_array_equal(alone[np.arange(7), columns], targets[places, columns])
    np.testing.assert_array_equal(alone[np.arange(7), columns], source.labels[positions])


def test_a_part_has_what_the_whole_has_at_its_positions(whole: ExampleSource) -> None:
    chosen = mixed(whole)
    part = Subset(whole, chosen)
    for name in ("ids", "labels", "measured"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[chosen])
    for name in ("spec", "classes", "outputs", "input_shape", "transform", "normalisation"):
        assert getattr(part, name) is getattr(whole, name) or getattr(part, name) == getattr(whole, name), (
            name
        )
    assert part.names == tuple(whole.names[p] for p in chosen if whole.names)
    assert same(part.weights, None if whole.weights is None else whole.weights[chosen])
    some = np.array([2, 0])
    for read in ("read", "read_targets", "pixels"):
        assert same(getattr(part, read)(some), getattr(whole, read)(chosen[some]))
    assert same(part.image(1), whole.image(int(chosen[1])))
    assert len(part.known_pairs) == len(whole.known_pairs)
    for side, own_side in zip(sum(whole.known_pairs, ()), sum(part.known_pairs, ()), strict=True):
        np.testing.assert_array_equal(np.sort(own_side), np.intersect1d(side, part.ids))


def test_parts_are_told_apart_by_their_fingerprints(whole: ExampleSource) -> None:
    parts = [Subset(whole, rows) for rows in (np.arange(3), np.arange(3), np.arange(4))]
    assert parts[0].fingerprint == parts[1].fingerprint
    assert len({whole.fingerprint, *(part.fingerprint for part in parts)}) == 3


def test_a_part_without_examples_has_the_shapes_of_the_whole(whole: ExampleSource) -> None:
    nothing = Subset(whole, np.arange(0))
    assert len(nothing) == 0
    assert nothing.read(np.arange(0)).shape == (0, *whole.input_shape)
    assert nothing.outputs == whole.outputs


def test_the_mean_loss_is_the_weighted_mean_over_the_examples_that_count(source: ExampleSource) -> None:
    everything = np.arange(len(source))
    inputs, targets = source.read(everything), source.read_targets(everything)
    torch.manual_seed(0)
    if inputs.dtype == np.int64:
        model, loss = nn.Embedding(source.outputs, source.outputs), "lm"
    else:
        model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(source.input_shape)), source.outputs))
        loss = "mse" if targets.dtype == np.float32 else "ce"
    objective = Objective(model, source, loss, batch_size=5, dtype=torch.float64)
    expected = []
    for row in np.flatnonzero(source.measured):
        x = torch.as_tensor(inputs[row : row + 1])
        z = model(x if loss == "lm" else x.double()).detach().numpy()[0]
        if loss == "mse":
            expected.append(np.mean((z - targets[row]) ** 2))
            continue
        log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
        if loss == "ce":
            expected.append(-log_p[targets[row]])
        else:
            kept = targets[row] != IGNORED
            expected.append(-log_p[np.flatnonzero(kept), targets[row][kept]].mean())
    weights = np.ones(len(source)) if source.weights is None else source.weights
    if loss == "lm":  # the mean over tokens, as of trainers
        weights = weights * (targets != IGNORED).sum(axis=1)
    mean = np.average(expected, weights=weights[source.measured])
    assert objective.mean_loss() == pytest.approx(mean, rel=1e-6)
    assert objective.mean_loss_and_gradient()[0] == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("case", [("folder", "channels"), ("npz", "resized"), ("py", "floats")], ids=" ".join)
def test_data_that_do_not_fit_memory_are_read_as_those_that_do(
    case: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = CASES[case](tmp_path)
    held = open_source(spec)
    monkeypatch.setattr(base, "MEMORY_BUDGET", 0)
    streamed = open_source(spec)
    sys.modules.pop("contract_data", None)
    rows = mixed(held)
    np.testing.assert_array_equal(streamed.read(rows), held.read(rows))
    assert streamed.read(rows[:0]).shape == (0, *held.input_shape)


def test_an_entry_that_gives_no_source_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES.entries, "odd", Entry("builtins:str", "odd"))
    with pytest.raises(DatasetError, match="a source of examples, found str"):
        open_source("odd:x")
