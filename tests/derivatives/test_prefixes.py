"""Gradients of tokens from the beginnings of their sequences, where the model sees nothing of what follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from opsigcli.datasets import open_source
from opsigcli.derivatives import gradient_sketch
from opsigcli.derivatives.gradient_sketch import gradient_sketches
from opsigcli.derivatives.prefixes import seen_tokens
from opsigcli.models.base import build
from opsigcli.objective.base import Objective

CONTEXT, WORDS = 12, 40
TEXT = f"babble?sentences=30&context={CONTEXT}&vocabulary={WORDS}"


class Sees(nn.Module):
    """A model whose every token sees the mean of some others: of all, of those in its block of four, or of those
    before it."""

    def __init__(self, which: str) -> None:
        super().__init__()
        self.embedding, self.last, self.which = nn.Embedding(WORDS, 8), nn.Linear(8, WORDS), which

    def forward(self, tokens: Tensor) -> Tensor:
        place = torch.arange(tokens.shape[1])
        seen = {"all": place[:, None] + place >= 0, "before": place[:, None] >= place}.get(
            self.which, place[:, None] // 4 >= place // 4
        )
        mixed = seen.to(self.embedding.weight) @ self.embedding(tokens) / seen.sum(1, keepdim=True)
        return self.last(mixed)


class OneLength(Sees):
    """It takes sequences of one length."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens.view(-1, CONTEXT))


def objective(model: nn.Module, per: str = "&per=token") -> Objective:
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.3)
    return Objective(model, open_source(TEXT + per), "lm", dtype=torch.float64, batch_size=8)


def gpt() -> nn.Module:
    torch.manual_seed(0)
    return build("gpt?layers=2&width=16&heads=2", input_shape=(CONTEXT,), outputs=WORDS)


def test_sketches_and_norms_are_those_of_whole_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = objective(gpt())
    positions = np.random.default_rng(0).permutation(len(texts.source))[:30]
    assert seen_tokens(texts, positions) is not None
    found = gradient_sketches(texts, positions, dimensions=64)
    monkeypatch.setattr(gradient_sketch, "seen_tokens", lambda *_: None)
    whole = gradient_sketches(texts, positions, dimensions=64)
    for part, wanted in zip(found, whole, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-4, atol=1e-5)
    for row in range(5):
        inputs, targets = texts.batch(positions[row : row + 1])
        parts = torch.autograd.grad(texts.loss_fn(texts.model(inputs), targets).sum(), texts.parameters)
        assert found.norms[row] == pytest.approx(
            float(torch.cat([p.flatten() for p in parts]).norm()), rel=1e-5
        )


@pytest.mark.parametrize(
    ("make", "causal"),
    [
        (lambda: Sees("before"), True),
        (lambda: Sees("all"), False),
        (lambda: Sees("blocks"), False),
        (lambda: OneLength("before"), False),
    ],
)
def test_models_that_see_what_follows_are_given_all_of_it(make: type, causal: bool) -> None:
    texts = objective(make())
    needed = seen_tokens(texts, np.arange(len(texts.source)))
    assert (needed is not None) == causal
    if needed is not None:
        assert (
            needed.tolist() == (texts.source.sequences.locate(np.arange(len(texts.source)))[2] + 1).tolist()
        )


def test_sequences_as_examples_are_whole() -> None:
    texts = objective(gpt(), per="")
    assert seen_tokens(texts, np.arange(5)) is None
