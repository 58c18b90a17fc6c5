"""Gradients of tokens in the last layer, from one pass per sequence, against autograd of each token in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from opsigcli.datasets import open_source
from opsigcli.derivatives.token_sketch import TokenSketcher, last_layer
from opsigcli.models.base import build
from opsigcli.objective.base import Objective

TEXT = "babble?sentences=30&context=12&vocabulary=40&per=token"


class TiedGPT(nn.Module):
    """The built-in transformer, whose last layer has the embedding's weights."""

    def __init__(self, *, biased: bool = False) -> None:
        super().__init__()
        self.inside = build("gpt?layers=2&width=16&heads=2", input_shape=(12,), outputs=40)
        self.inside.head = nn.Linear(16, 40, bias=biased)
        self.inside.head.weight = self.inside.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.inside(tokens)


class Scaled(nn.Module):
    """Logits that are not what the last layer puts out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(40, 8), nn.Linear(8, 40)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(self.embedding(tokens)) / 2


class Flat(Scaled):
    """The last layer sees all tokens of a batch in one row."""

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(self.embedding(tokens).flatten(0, 1)).view(*tokens.shape, -1)


def texts(model: nn.Module | str, loss: str = "lm", batch_size: int = 4) -> Objective:
    torch.manual_seed(0)
    source = open_source(TEXT)
    built = build(model, input_shape=(12,), outputs=40) if isinstance(model, str) else model
    torch.manual_seed(1)
    with torch.no_grad():
        for p in built.parameters():
            p.add_(torch.randn_like(p), alpha=0.3)
    return Objective(built, source, loss, dtype=torch.float64, batch_size=batch_size)


def in_last_layer(objective: Objective, positions: np.ndarray) -> np.ndarray:
    """Every token's own backward pass, of which the last layer's part is kept; for a tied one that of a copy of it."""
    layer = last_layer(objective)
    assert layer is not None
    weight = nn.Parameter(layer.weight.detach().clone())
    parameters = [weight] if layer.bias is None else [weight, layer.bias]
    rows = []
    for position in positions:
        inputs, targets = objective.batch(np.array([position]))
        tied, layer.weight = layer.weight, weight
        try:
            loss = objective.loss_fn(objective.model(inputs), targets)[0]
            parts = torch.autograd.grad(loss, parameters)
        finally:
            layer.weight = tied
        rows.append(torch.cat([part.flatten() for part in parts]).numpy())
    return np.stack(rows)


def cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("loss", ["lm", "lm?label_smoothing=0.1"])
@pytest.mark.parametrize(
    "model",
    [
        pytest.param("gpt?layers=2&width=16&heads=2", id="gpt"),
        pytest.param(TiedGPT(), id="tied"),
        pytest.param(TiedGPT(biased=True), id="tied, with a bias"),
        pytest.param(Flat(), id="flat"),
    ],
)
def test_norms_and_residuals_are_those_of_each_tokens_own_backward_pass(
    model: nn.Module | str, loss: str
) -> None:
    objective = texts(model, loss)
    positions = np.array([100, 3, 4, 5, 77, 12, 60, 130, 131])
    layer = last_layer(objective)
    assert layer is not None
    found = TokenSketcher(objective, layer, 64, 0)(positions)
    exact = in_last_layer(objective, positions)
    np.testing.assert_allclose(found.norms, np.linalg.norm(exact, axis=1), rtol=1e-5)
    for row, position in enumerate(positions):
        inputs, targets = objective.batch(np.array([position]))
        logits = objective.model(inputs).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective.loss_fn(logits, targets).sum(), logits)
        np.testing.assert_allclose(found.residuals[row], gradient[0].sum(0), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("model", ["gpt?layers=2&width=16&heads=2", TiedGPT(biased=True)])
def test_inner_products_of_sketches_are_right_on_average_and_err_as_stated(model: nn.Module | str) -> None:
    objective, k, draws = texts(model), 64, 200
    positions = np.arange(0, 120, 12)
    exact = in_last_layer(objective, positions)
    gram, lengths = exact @ exact.T, np.linalg.norm(exact, axis=1)
    layer = last_layer(objective)
    assert layer is not None
    sketches = [TokenSketcher(objective, layer, k, s)(positions).sketch.astype(float) for s in range(draws)]
    error = np.stack([s @ s.T for s in sketches]) / np.outer(lengths, lengths) - cosines(exact)
    assert np.abs(gram / np.outer(lengths, lengths) - cosines(exact)).max() < 1e-12
    allowed = np.sqrt(11 / k)
    assert np.abs(error.mean(axis=0)).max() < 4 * allowed / np.sqrt(draws)
    assert np.sqrt(np.square(error).mean(axis=0)).max() < allowed


def test_sketches_of_a_token_do_not_depend_on_who_is_beside_it() -> None:
    objective = texts("gpt?layers=2&width=16&heads=2")
    layer = last_layer(objective)
    assert layer is not None
    sketcher = TokenSketcher(objective, layer, 32, 0)
    everything = sketcher(np.arange(140))
    some = np.array([17, 90, 91, 5, 139])
    objective.batch_size = 1
    for part, whole in zip(sketcher(some), everything, strict=True):
        np.testing.assert_allclose(part, whole[some], rtol=1e-6, atol=1e-9)


def test_of_many_logits_the_residuals_are_sketches_of_which_cosines_are_kept() -> None:
    objective = texts("gpt?layers=1&width=16&heads=2")
    layer = last_layer(objective)
    assert layer is not None
    positions = np.arange(60)
    exact = cosines(TokenSketcher(objective, layer, 64, 0)(positions).residuals)
    narrow = np.stack(
        [cosines(TokenSketcher(objective, layer, 16, s)(positions).residuals) for s in range(60)]
    )
    assert narrow.shape[1:] == exact.shape
    assert np.abs(narrow.mean(axis=0) - exact).mean() < 0.05


def test_a_model_whose_logits_are_no_layers_outputs_has_no_last_layer() -> None:
    assert last_layer(texts(Scaled())) is None


def test_a_frozen_last_layer_is_not_looked_at() -> None:
    model = Flat()
    model.last.weight.requires_grad_(False)
    assert last_layer(texts(model)) is None
