"""Sketches of per-example gradients against exact gradients from one backward pass per example."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from opsigcli.datasets.planted import Planted
from opsigcli.derivatives import micro_batch
from opsigcli.derivatives.factored_sketch import FactoredLayers, Factors
from opsigcli.derivatives.gradient_sketch import gradient_sketches
from opsigcli.examples import ExampleSource
from opsigcli.objective.base import Objective

POSITIONS = np.array([3, 250, 17, 99, 4, 230, 61, 120, 8, 77, 150, 33])


class Notes:
    """A progress task that remembers."""

    def __init__(self) -> None:
        self.done, self.notes = 0, set[str]()

    def advance(self, units: int = 1, note: str = "") -> None:
        self.done += units
        self.notes.add(note)


def exact_gradients(objective: Objective, positions: np.ndarray) -> np.ndarray:
    rows = []
    for position in positions:
        x, y = objective.batch(np.array([position]))
        loss = objective.loss_fn(objective.model(x), y)[0]
        parts = torch.autograd.grad(loss, objective.parameters, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in parts]).double().numpy())
    return np.stack(rows)


def cosine_matrix(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def mlp(loss: str = "ce", **keywords: object) -> Objective:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(300, 40), nn.Tanh(), nn.Linear(40, 6))
    return Objective(net, Planted(n=300), loss, **keywords)


def convolutional(*, batch_norm: bool) -> Objective:
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(8) if batch_norm else nn.GroupNorm(2, 8)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(512, 6))
    with torch.no_grad():
        net.train()(torch.randn(64, 3, 10, 10))  # running statistics that differ from their start
    return Objective(net, Planted(n=300), "ce")


def test_norms_are_exact() -> None:
    objective = mlp()
    found = gradient_sketches(objective, POSITIONS, dimensions=64)
    np.testing.assert_allclose(
        found.norms, np.linalg.norm(exact_gradients(objective, POSITIONS), axis=1), rtol=1e-5
    )


def inner_products(k: int = 64, draws: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of gradients: the exact ones, those of sketches of as many seeds, and the variance a projection may have."""
    objective = mlp()
    exact = exact_gradients(objective, POSITIONS)
    gram = exact @ exact.T
    sketches = [
        gradient_sketches(objective, POSITIONS, dimensions=k, seed=s).sketch.astype(np.float64)
        for s in range(draws)
    ]
    squares = np.diag(gram)
    return gram, np.stack([s @ s.T for s in sketches]), (np.outer(squares, squares) + gram**2) / k


def test_inner_products_are_unbiased_with_the_stated_variance() -> None:
    gram, grams, bound = inner_products()
    error = (grams.mean(axis=0) - gram) / np.sqrt(bound / len(grams))
    assert np.abs(error).max() < 4.5  # standard errors, over 78 entries
    # The variance of the estimate itself: within the bound, up to the noise of 300 draws.
    assert (grams.var(axis=0) / bound).max() < 1.4
    assert (grams.var(axis=0) / bound).mean() > 0.5  # and no better than a random projection can be


def test_cosines_are_close_to_exact_ones() -> None:
    objective = mlp()
    exact = cosine_matrix(exact_gradients(objective, POSITIONS))
    found = cosine_matrix(gradient_sketches(objective, POSITIONS, dimensions=4096).sketch.astype(np.float64))
    assert np.abs(found - exact).max() < 5 / np.sqrt(4096)


def test_an_example_has_the_same_sketch_whatever_else_is_asked_for() -> None:
    objective = mlp()
    every = gradient_sketches(objective, np.arange(300), dimensions=128, seed=5).sketch
    some = gradient_sketches(objective, POSITIONS, dimensions=128, seed=5).sketch
    np.testing.assert_allclose(every[POSITIONS], some, rtol=1e-4, atol=1e-6)


def test_one_seed_gives_one_projection_and_another_seed_another() -> None:
    objective = mlp()
    one, again, other = (
        gradient_sketches(objective, POSITIONS, dimensions=64, seed=s).sketch for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


def test_more_dimensions_than_parameters_still_work() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(300, 6))
    objective = Objective(net, Planted(n=300), "ce")
    found = gradient_sketches(objective, POSITIONS, dimensions=5000)
    exact = exact_gradients(objective, POSITIONS)
    np.testing.assert_allclose(np.linalg.norm(found.sketch, axis=1), np.linalg.norm(exact, axis=1), rtol=0.1)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_convolutions_and_norm_layers_agree_with_single_backward_passes(batch_norm: bool) -> None:
    objective, task = convolutional(batch_norm=batch_norm), Notes()
    found = gradient_sketches(objective, POSITIONS, dimensions=4096, progress_task=task)
    exact = exact_gradients(objective, POSITIONS)
    np.testing.assert_allclose(found.norms, np.linalg.norm(exact, axis=1), rtol=1e-4)
    assert np.abs(cosine_matrix(found.sketch.astype(np.float64)) - cosine_matrix(exact)).max() < 0.08
    assert task.done == len(POSITIONS)
    assert task.notes == {""}


def test_residuals_are_the_closed_forms_of_each_loss() -> None:
    for loss, closed in {
        "ce": lambda z, y: torch.softmax(z, 1) - y,
        "mse": lambda z, y: 2 * (z - y) / z.shape[1],
        "bce": lambda z, y: (torch.sigmoid(z) - y) / z.shape[1],
    }.items():
        objective = mlp(loss)
        x, labels = objective.batch(POSITIONS)
        expected = closed(objective.model(x).detach(), nn.functional.one_hot(labels, 6).float())
        found = gradient_sketches(objective, POSITIONS, dimensions=16).residuals
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-6)


class Branching(nn.Module):
    """A model that vmap cannot follow: it looks at a number."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(300, 6)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return self.linear(flat) if flat.sum().item() > -1e9 else flat[:, :6]


def test_a_model_that_defeats_vmap_is_differentiated_one_example_at_a_time_and_says_so() -> None:
    torch.manual_seed(0)
    objective, task = Objective(Branching(), Planted(n=300), "ce"), Notes()
    found = gradient_sketches(objective, POSITIONS, dimensions=256, progress_task=task)
    x, y = objective.batch(POSITIONS)
    residual = torch.softmax(objective.model(x).detach(), 1) - nn.functional.one_hot(y, 6)
    expected = residual.norm(dim=1) * (x.flatten(1).norm(dim=1).square() + 1).sqrt()  # ‖δ‖ ‖(x, 1)‖
    np.testing.assert_allclose(found.norms, expected.numpy(), rtol=1e-5)
    assert any("one example at a time" in note for note in task.notes)


class Masking(nn.Module):
    """A model that asks whether a mask hides nothing, as those of transformers do, or also does something else then."""

    def __init__(self, *, same: bool) -> None:
        super().__init__()
        self.linear, self.same = nn.Linear(300, 6), same

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        mask = flat > -1e9
        if mask.sum() == mask.numel():
            return self.linear(flat if self.same else 2 * flat)
        return self.linear(torch.where(mask, flat, 0))


@pytest.mark.parametrize("same", [True, False])
def test_a_question_that_vmap_cannot_answer_is_answered_with_no_where_that_changes_nothing(
    same: bool,
) -> None:
    torch.manual_seed(0)
    objective, task = Objective(Masking(same=same), Planted(n=300), "ce"), Notes()
    found = gradient_sketches(objective, POSITIONS, dimensions=256, progress_task=task)
    expected = np.linalg.norm(exact_gradients(objective, POSITIONS), axis=1)
    np.testing.assert_allclose(found.norms, expected, rtol=1e-5)
    assert any("one example at a time" in note for note in task.notes) is not same


def test_gradients_of_large_outputs_are_taken_of_few_examples_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objective, task = mlp(), Notes()
    whole = gradient_sketches(objective, POSITIONS, dimensions=64)
    monkeypatch.setattr(micro_batch, "IN_FLIGHT", 1)
    parts = gradient_sketches(objective, POSITIONS, dimensions=64, progress_task=task)
    assert objective.batch_size == 1
    for part, of_all in zip(parts, whole, strict=True):
        np.testing.assert_allclose(part, of_all, rtol=1e-4, atol=1e-6)


def test_frozen_parameters_are_left_out() -> None:
    objective = mlp()
    full = gradient_sketches(objective, POSITIONS, dimensions=64).norms
    for parameter in list(objective.model.parameters())[:2]:
        parameter.requires_grad_(False)
    head = gradient_sketches(objective, POSITIONS, dimensions=64)
    assert (head.norms < full).all()
    np.testing.assert_allclose(
        head.norms, np.linalg.norm(exact_gradients(objective, POSITIONS), axis=1), rtol=1e-5
    )


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    import opsigcli.derivatives.gradient_sketch as module

    objective = mlp()
    whole = gradient_sketches(objective, POSITIONS, dimensions=64)
    monkeypatch.setattr(
        module, "CHUNK_BYTES", 5 * 300 * 40 * 4
    )  # 5 examples: two whole chunks and a ragged one
    parts = gradient_sketches(objective, POSITIONS, dimensions=64)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


class Given(ExampleSource):
    """A source made of two arrays; what is not labelled has class 0."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        self.spec, self.ids, self.transform = "given", np.arange(len(inputs)), {}
        self.labels = np.zeros(len(inputs), dtype=np.int64)
        self.inputs, self.targets, self.input_shape = inputs, targets, inputs.shape[1:]

    def read(self, positions: np.ndarray) -> np.ndarray:
        return self.inputs[positions]

    def read_targets(self, positions: np.ndarray) -> np.ndarray:
        return self.targets[positions]


class TokenScores(nn.Module):
    """Logits of the next token from the last two."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(vocabulary, 8), nn.Linear(8, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        seen = self.embedding(tokens)
        scores: Tensor = self.head(torch.tanh(seen + seen.roll(1, dims=-2)))
        return scores


def problem(loss: str, weights: np.ndarray | None = None) -> tuple[Objective, np.ndarray]:
    rng = np.random.default_rng(4)
    torch.manual_seed(3)
    x = rng.standard_normal((12, 5)).astype(np.float32)
    if loss == "lm":
        tokens, following = rng.integers(0, 7, (2, 12, 6))
        following[3:5, 2:] = -100
        source = Given(tokens, following)
        source.weights = weights
        return Objective(TokenScores(7), source, loss), np.arange(12)
    targets = {
        "ce": rng.integers(0, 3, 12),
        "mse": rng.standard_normal((12, 3)).astype(np.float32),
        "bce": rng.integers(0, 2, (12, 3)).astype(np.float32),
    }[loss]
    source = Given(x, targets)
    source.weights = weights
    return Objective(nn.Sequential(nn.Linear(5, 3)), source, loss), np.arange(12)


@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 12)], ids=["alike", "weighted"])
@pytest.mark.parametrize("loss", ["ce", "mse", "bce", "lm"])
def test_residuals_are_the_gradient_of_a_bias_on_the_outputs_in_float64(
    loss: str, weights: np.ndarray | None
) -> None:
    objective, positions = problem(loss, weights)
    found = gradient_sketches(objective, positions).residuals
    model = objective.model.double()
    for position in positions:
        inputs, targets = objective.batch(np.array([position]))
        with torch.no_grad():
            outputs = model(inputs.double() if inputs.is_floating_point() else inputs)
        bias = torch.zeros(outputs.shape[-1], dtype=torch.float64, requires_grad=True)
        wanted = targets.double() if targets.is_floating_point() else targets
        objective.loss_fn(outputs + bias, wanted).sum().backward()
        np.testing.assert_allclose(found[position], bias.grad, atol=1e-6)


def test_residuals_have_their_closed_forms() -> None:
    objective, positions = problem("mse")
    inputs, targets = objective.batch(positions)
    outputs = objective.model(inputs).detach()
    found = gradient_sketches(objective, positions).residuals
    np.testing.assert_allclose(found, 2 * (outputs - targets) / 3, atol=1e-6)
    objective, positions = problem("bce")
    inputs, targets = objective.batch(positions)
    probabilities = torch.sigmoid(objective.model(inputs).detach())
    found = gradient_sketches(objective, positions).residuals
    np.testing.assert_allclose(found, (probabilities - targets) / 3, atol=1e-6)


def test_residuals_of_a_large_vocabulary_are_sketched_and_keep_their_cosines() -> None:
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    tokens, following = rng.integers(0, 5000, (2, 12, 4))
    following[:6] = following[0]  # the same words to predict: residuals alike
    objective = Objective(TokenScores(5000), Given(tokens, following), "lm")
    found = gradient_sketches(objective, np.arange(12)).residuals
    assert found.shape == (12, 2048)
    with torch.no_grad():
        scores = objective.model(torch.as_tensor(tokens)).double()
    exact = torch.softmax(scores, -1) - torch.nn.functional.one_hot(torch.as_tensor(following), 5000)
    expected = cosine_matrix(exact.sum(1).numpy())
    assert expected[0, 1] > 0.9
    assert expected[0, 8] < 0.1
    assert np.abs(cosine_matrix(found) - expected).max() < 5 / np.sqrt(2048)


class Mixed(nn.Module):
    """Layers with factors, and all that has none: shared, called twice, grouped, a bare parameter, in-place work."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2, padding="same")
        self.dilated = nn.Conv2d(8, 6, 3, dilation=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.twice = nn.Linear(25, 25)
        self.tokens = nn.Linear(25, 12)
        self.tied = nn.Linear(12, 25)
        self.scale = nn.Parameter(torch.full((25,), 1.5))
        self.head = nn.Linear(6 * 25, 6)
        self.unused = nn.Linear(4, 4)
        self.tied.weight = nn.Parameter(self.tied.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.first(x), inplace=True)
        x = self.norm(self.dilated(self.grouped(x))).flatten(2)
        x = self.twice(torch.tanh(self.twice(x))) * self.scale
        x = torch.tanh(self.tokens(x)) @ self.tied.weight.T + self.tied(
            torch.tanh(self.tokens.weight @ x.mT).mT
        )
        return self.head(x.flatten(1))


def mixed() -> Objective:
    torch.manual_seed(2)
    net = Mixed()
    with torch.no_grad():
        net.train()(torch.randn(64, 3, 10, 10))
    return Objective(net, Planted(n=300), "ce")


def test_layers_are_factored_only_where_autograd_agrees() -> None:
    layers = FactoredLayers(mixed(), 64, 0)
    # tokens' and tied's weights are used outside their layers as well.
    assert layers.weights == {"first.weight", "dilated.weight", "head.weight"}


class Windows(nn.Module):
    """Looks at the halves of an image as if they were examples, at its places before its examples, and at a table."""

    def __init__(self) -> None:
        super().__init__()
        self.windows, self.gate = nn.Conv2d(3, 4, 3), nn.Parameter(torch.zeros(1))
        self.places, self.table = nn.Linear(150, 4), nn.Linear(5, 4)
        self.head = nn.Linear(4 * 4 + 300, 6)

    def forward(self, x: Tensor) -> Tensor:
        halves = torch.stack(x.chunk(2, dim=2), dim=1).flatten(0, 1)
        seen = self.windows(halves).mean((2, 3)).unflatten(0, (len(x), 2)).flatten(1)
        placed = self.places(x.flatten(1).unflatten(1, (2, 150)).transpose(0, 1)).sum(0)
        shared = self.table(torch.linspace(-1, 1, 5)[None]) * x.mean((1, 2, 3))[:, None]
        return self.head(torch.cat([self.gate * seen, placed, shared, x.flatten(1)], dim=1))


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_a_layer_that_sees_others_than_examples_is_not_factored(
    gate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    import opsigcli.derivatives.gradient_sketch as module

    monkeypatch.setattr(module, "LARGE", 0)
    torch.manual_seed(2)
    net = Windows()
    torch.nn.init.constant_(net.gate, gate)
    objective = Objective(net, Planted(n=300), "ce")
    assert FactoredLayers(objective, 64, 0).weights == {"head.weight"}
    norms = gradient_sketches(objective, POSITIONS, dimensions=64).norms
    np.testing.assert_allclose(
        norms, np.linalg.norm(exact_gradients(objective, POSITIONS), axis=1), rtol=1e-4
    )


def test_factored_layers_have_exact_norms_and_cosines_close_to_exact_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import opsigcli.derivatives.gradient_sketch as module

    monkeypatch.setattr(module, "LARGE", 0)
    for objective in (mixed(), mlp(), convolutional(batch_norm=True)):
        exact = exact_gradients(objective, POSITIONS)
        found = gradient_sketches(objective, POSITIONS, dimensions=4096)
        np.testing.assert_allclose(found.norms, np.linalg.norm(exact, axis=1), rtol=1e-4)
        assert np.abs(cosine_matrix(found.sketch.astype(np.float64)) - cosine_matrix(exact)).max() < 0.1


def test_factored_sketches_are_unbiased_with_at_most_three_times_the_variance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import opsigcli.derivatives.gradient_sketch as module

    monkeypatch.setattr(module, "LARGE", 0)
    gram, grams, bound = inner_products()
    assert np.abs((grams.mean(axis=0) - gram) / (grams.std(axis=0) / np.sqrt(300))).max() < 4.5
    assert (grams.var(axis=0) / bound).max() < 3 * 1.4  # the noise of 300 draws
    assert (grams.var(axis=0) / bound).mean() < 3


@pytest.mark.parametrize("shape", [(3, 1, 40, 30), (2, 50, 4, 3)])
def test_squared_norms_are_the_same_both_ways(shape: tuple[int, int, int, int]) -> None:
    count, places, width, channels = shape
    factors = Factors(torch.randn(count, places, width), torch.randn(count, places, channels))
    expected = factors.weight_gradient().flatten(1).norm(dim=1).square()
    torch.testing.assert_close(factors.squared_norms().float(), expected)


class Detached(nn.Module):
    """A layer whose output no gradient reaches, beside one that works; and a model that cannot be run with hooks."""

    def __init__(self, *, broken: bool) -> None:
        super().__init__()
        self.aside, self.head, self.broken = nn.Linear(300, 6), nn.Linear(300, 6), broken

    def forward(self, x: Tensor) -> Tensor:
        if self.broken and self.head._forward_hooks:
            raise RuntimeError("no hooks here")
        x = x.flatten(1)
        return self.head(x) + self.aside(x).detach()


@pytest.mark.parametrize("broken", [False, True])
def test_a_model_that_cannot_be_watched_is_differentiated_otherwise(
    monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    import opsigcli.derivatives.gradient_sketch as module

    monkeypatch.setattr(module, "LARGE", 0)
    objective = Objective(Detached(broken=broken), Planted(n=300), "ce")
    assert FactoredLayers(objective, 64, 0).weights == (set() if broken else {"head.weight"})
    found = gradient_sketches(objective, POSITIONS, dimensions=64)
    np.testing.assert_allclose(
        found.norms, np.linalg.norm(exact_gradients(objective, POSITIONS), axis=1), rtol=1e-4
    )
