"""Text: packed sequences, padding, tokens as examples, and the lm loss."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig
from safetensors.torch import load_file

from opsigcli.datasets import open_source
from opsigcli.datasets.synthetic_text import babble
from opsigcli.runs.build_objective import build_objective
from opsigcli.store.reader import open_store
from opsigcli.token_ids import DOCUMENT_BITS

DATA, MODEL = "babble?sentences=60&context=16", "gpt?layers=2&width=16&heads=2"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT trained on generated text."""
    from opsigcli.cli.app import run as call

    folder = tmp_path_factory.mktemp("text") / "run"
    words = ["train", folder, "--data", DATA, "--model", MODEL, "--loss", "lm", "--optimizer", "adam"]
    words += ["--lr", 0.01, "--steps", 30, "--save-every", 10, "-q"]
    assert call([str(word) for word in words]) == 0
    return folder


def _naive(run: Path, step: int, double: bool = True) -> dict[int, float]:
    """Loss of every token by its id, one sequence at a time, in float64."""
    source = open_source(DATA)
    model = build_objective(MODEL, source, "lm", device="cpu", batch_size=4).model.double()
    model.load_state_dict(load_file(run / f"step-{step:06d}.safetensors"))
    found: dict[int, float] = {}
    for position in range(len(source)):
        tokens, labels = (f(np.array([position]))[0] for f in (source.read, source.read_targets))
        with torch.no_grad():
            logits = model(torch.as_tensor(tokens)[None])[0]
        for place, label in enumerate(labels):
            if label != -100:
                row = logits[place]
                found[int(source.ids[position]) + place] = (torch.logsumexp(row, 0) - row[int(label)]).item()
    return found


def test_token_losses_equal_a_naive_float64_loop(opsig: Opsig, run: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    result = opsig("trace", run, "--store", store, "--tokens", "--batch-size", 7, "--json")
    assert result.code == 0, result.err
    assert not result.json["warnings"]
    with open_store(store) as opened:
        trace = opened.trace
    for row, step in enumerate((0, 10, 20, 30)):
        expected = _naive(run, step)
        assert list(trace.example_ids) == sorted(expected)
        found = [expected[int(i)] for i in trace.example_ids]
        np.testing.assert_allclose(trace.losses[row], found, rtol=1e-4, atol=1e-5)
    assert trace.mean_losses[-1] < trace.mean_losses[0]


def test_the_loss_of_a_sequence_is_the_mean_over_its_tokens(opsig: Opsig, run: Path, tmp_path: Path) -> None:
    for name, words in (("sequences", ()), ("tokens", ("--tokens",))):
        assert opsig("trace", run, "--store", tmp_path / f"{name}.h5", *words).code == 0
    source, by_token = open_source(DATA), open_source(f"{DATA}&per=token")
    sequences, places, _ = by_token.sequences.locate(np.arange(len(by_token)))
    assert len(sequences) == len(source)
    with h5py.File(tmp_path / "sequences.h5") as a, h5py.File(tmp_path / "tokens.h5") as b:
        assert b["losses"].shape[1] == len(by_token) > 4 * len(source)
        sums = [np.bincount(places, row) / np.bincount(places) for row in b["losses"][()]]
        np.testing.assert_allclose(a["losses"][()], np.array(sums), rtol=1e-5, atol=1e-6)


def test_a_token_alone_has_the_loss_it_has_in_its_sequence(run: Path) -> None:
    from opsigcli.objective.evaluate import Evaluator

    source = open_source(f"{DATA}&per=token")
    objective = build_objective(MODEL, source, "lm", device="cpu", batch_size=8)
    evaluator = Evaluator(objective, batch_size=3)
    positions = np.arange(5, len(source), 7)
    evaluator.hold(positions)
    np.testing.assert_allclose(evaluator.losses(), objective.losses(positions), rtol=1e-5, atol=1e-6)


def test_a_subset_of_tokens_keeps_their_ids_and_losses(opsig: Opsig, run: Path, tmp_path: Path) -> None:
    assert opsig("trace", run, "--store", tmp_path / "all.h5", "--tokens").code == 0
    told = opsig("trace", run, "--store", tmp_path / "some.h5", "--tokens", "--examples", 40)
    assert told.code == 0
    with h5py.File(tmp_path / "all.h5") as whole, h5py.File(tmp_path / "some.h5") as some:
        assert some["losses"].shape == (4, 40)
        where = np.searchsorted(whole["example_ids"][()], some["example_ids"][()])
        np.testing.assert_array_equal(whole["example_ids"][()][where], some["example_ids"][()])
        np.testing.assert_allclose(whole["losses"][()][:, where], some["losses"][()], rtol=1e-5, atol=1e-6)
    with open_store(tmp_path / "some.h5") as store:
        assert "limit=40" in store.run.data
    words = f"40 of {len(open_source(f'{DATA}&per=token'))}"
    assert f"a subset of the examples was traced, {words}" in told.err
    assert f"a subset, {words}" in " ".join(
        opsig("report", "--full", "--store", tmp_path / "some.h5").out.split()
    )


def test_mine_names_tokens_in_their_context(opsig: Opsig, run: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    assert opsig("trace", run, "--store", store, "--tokens", "--examples", 200).code == 0
    result = opsig("mine", "--store", store, "--json", "--candidates", 50)
    assert result.code == 0, result.err
    with open_store(store) as opened:
        trace, classes = opened.trace, opened.run.classes
    place = list(trace.example_ids).index(result.json["result"]["top"][0]["up_ids"][0])
    assert f"[{classes[trace.labels[place]]}]" in trace.names[place]
    assert trace.names[place].startswith(f"document {trace.example_ids[place] >> DOCUMENT_BITS}, token ")


def test_sequences_hold_every_token_once_and_cross_no_document(tmp_path: Path) -> None:
    text = "one two three four five six seven\n\nred green blue"
    (tmp_path / "t.txt").write_text(text)
    source = open_source(f"text:{tmp_path / 't.txt'}?context=4&per=token")
    words = source.classes
    assert [words[t] for t in source.labels] == [
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "green",
        "blue",
    ]
    assert [(int(i) >> 32, int(i) & 0xFFFFFFFF) for i in source.ids] == [(0, k) for k in range(1, 7)] + [
        (1, 1),
        (1, 2),
    ]
    assert source.names[2] == "document 0, token 3: one two three [four]"
    np.testing.assert_array_equal((source.read_targets(np.arange(8)) != -100).sum(axis=1), 1)
    by_byte = open_source(f"text:{tmp_path / 't.txt'}?context=8&tokenizer=byte&per=token")
    first = b"one two three four five six seven"
    assert by_byte.labels[: len(first) - 1].tolist() == list(first[1:])


def test_babble_is_the_same_for_the_same_seed() -> None:
    assert babble(20, 3) == babble(20, 3) != babble(20, 4)
    assert (
        open_source(DATA).fingerprint
        == open_source(DATA).fingerprint
        != open_source(f"{DATA}&seed=1").fingerprint
    )


def test_hugging_face_style_outputs_and_ignored_labels(opsig: Opsig, tmp_path: Path) -> None:
    code = tmp_path / "hf.py"
    code.write_text(
        "import torch\nfrom types import SimpleNamespace\nfrom torch import nn\n"
        "class Model(nn.Module):\n    def __init__(self):\n"
        "        super().__init__(); self.e = nn.Embedding(11, 8); self.h = nn.Linear(8, 11)\n"
        "    def forward(self, input_ids):\n"
        "        return SimpleNamespace(logits=self.h(self.e(input_ids)), loss=None)\n"
        "class Data:\n"
        "    def __init__(self):\n        g = torch.Generator().manual_seed(0)\n"
        "        self.x = torch.randint(0, 11, (6, 5), generator=g); self.y = self.x.roll(-1, 1)\n"
        "        self.y[:, -1] = -100; self.y[2, 1:] = -100; self.y[4] = -100\n"
        "    def __len__(self):\n        return 6\n"
        "    def __getitem__(self, i):\n        return self.x[i], self.y[i]\n"
    )
    namespace: dict[str, object] = {}
    exec(compile(code.read_text(), str(code), "exec"), namespace)
    model, data = namespace["Model"]().double(), namespace["Data"]()  # type: ignore[operator]
    expected, tokens = np.full((2, 6), np.nan), np.zeros(6)
    for step in (0, 1):
        torch.manual_seed(step)
        state = {k: torch.randn_like(v).float() for k, v in model.state_dict().items()}
        torch.save(state, tmp_path / f"step_{step}.pt")
        model.load_state_dict(state)
        for i in range(6):
            x, y = data[i]
            logits = model(x[None]).logits[0]
            each = [
                (torch.logsumexp(z, 0) - z[t]).item() for z, t in zip(logits, y, strict=True) if t != -100
            ]
            expected[step, i] = np.mean(each) if each else np.nan
            tokens[i] = len(each)
    store = tmp_path / "s.h5"
    words = ("--model", f"file:{code}:Model", "--data", f"file:{code}:Data", "--loss", "lm")
    result = opsig("trace", tmp_path, "--store", store, *words, "--json")
    assert result.code == 0, result.err
    assert result.json["result"]["measured"] == 5
    assert result.json["result"]["not_finite_steps"] == []
    with h5py.File(store) as file:
        np.testing.assert_allclose(file["losses"][()], expected, rtol=1e-5, atol=1e-6)
        assert file["measured"][()].tolist() == [True, True, True, True, False, True]
    means = np.nansum(expected * tokens, axis=1) / tokens.sum()  # over tokens, as trainers take it
    np.testing.assert_allclose(result.json["result"]["mean_losses"], means, rtol=1e-5)


def test_a_loss_that_is_none_for_tokens_says_so(opsig: Opsig, tmp_path: Path) -> None:
    result = opsig("train", tmp_path / "r", "--data", DATA, "--model", MODEL, "--steps", 1)
    assert result.code == 3
    assert "--loss lm" in result.err
