"""What a model does in training alone is found in its modules, and in what two passes give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from opsigcli.models.training_only import (
    batch_norms,
    drawn_at_random,
    in_training,
    spectral_norms,
)
from opsigcli.stability.unheld import astray

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


class Functional(nn.Module):
    """Dropout that no module tells of."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.layer, self.chance = nn.Linear(6, 3), p

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 3)."""
        return self.layer(F.dropout(x, self.chance, self.training))


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (
            nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.25), nn.Dropout(0.25)),
            {"dropout": "Dropout 0.25 (2×)"},
        ),
        (nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.0)), {}),
        (nn.LSTM(6, 3, num_layers=2, dropout=0.5), {"dropout": "LSTM 0.5 (1×)"}),
        (nn.MultiheadAttention(6, 2, dropout=0.1), {"dropout": "MultiheadAttention 0.1 (1×)"}),
        (nn.Sequential(StochasticDepth(0.2, "row")), {"drop path": "StochasticDepth 0.2 (1×)"}),
        (
            nn.Sequential(nn.AlphaDropout(0.1), nn.Dropout2d(0.3)),
            {"dropout": "AlphaDropout 0.1 (1×), Dropout2d 0.3 (1×)"},
        ),
        (nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0), {}),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), {}),
    ],
    ids=range(8),
)
def test_modules_that_leave_something_out_are_counted(model: nn.Module, found: dict[str, str]) -> None:
    assert drawn_at_random(model) == found


def test_attention_and_drop_path_of_the_libraries_are_found() -> None:
    timm, transformers = pytest.importorskip("timm"), pytest.importorskip("transformers")
    net = timm.create_model("vit_tiny_patch16_224", drop_path_rate=0.1, drop_rate=0.2, depth=3)
    assert set(drawn_at_random(net)) == {"drop path", "dropout"}
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**small, vocab_size=11, attention_dropout=0.15)
    )
    assert "0.15" in drawn_at_random(llama)["dropout"]


def test_dropout_in_a_function_is_seen_by_two_passes_which_leave_the_model_alone() -> None:
    model = nn.Sequential(Functional(0.5), nn.BatchNorm1d(3)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    assert in_training(model, X).draws
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "model", [Functional(0.0), nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), nn.Linear(7, 3)]
)
def test_what_draws_nothing_or_fails_in_training_does_not_differ(model: nn.Module) -> None:
    assert not in_training(model.eval(), X).draws


def test_batch_norm_counts_where_it_keeps_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm2d(3, track_running_stats=False), nn.LayerNorm(3))
    assert batch_norms(model) == 1


class OwnNorm(nn.Module):
    """Takes the statistics of the batch in training, in no module of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.register_buffer("centre", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, 3) less their mean, or less the one that is kept."""
        found: Tensor = self.layer(x)
        return found - (found.mean(0) if self.training else self.centre)


def test_other_outputs_in_training_that_are_not_drawn_are_seen() -> None:
    assert in_training(OwnNorm().eval(), X).otherwise
    assert not in_training(OwnNorm().eval(), X).draws
    for model in (Functional(0.5), Functional(0.0), nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))):
        assert not in_training(model.eval(), X).otherwise


class Auxiliary(nn.Module):
    """A second head in training alone."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.main, self.beside, self.kind = nn.Linear(6, 3), nn.Linear(6, 3), kind

    def forward(self, x: Tensor) -> Any:
        """Logits (B, 3), or two of them."""
        if not self.training:
            return self.main(x)
        both = {"main": self.main(x), "beside": self.beside(x)}
        return both if self.kind is dict else tuple(both.values())


def test_outputs_of_training_alone_are_named() -> None:
    assert in_training(Auxiliary(tuple).eval(), X).instead == "tuple of 2"
    assert in_training(Auxiliary(dict).eval(), X).instead == "dict of 2"
    assert not in_training(nn.Linear(6, 3), X).instead
    assert not in_training(nn.Linear(7, 3), X).instead


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_spectral_norms_miss_what_their_vectors_have_not_found(
    norm: Callable[[nn.Module], nn.Module],
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(norm(nn.Linear(40, 30)), nn.ReLU(), nn.Linear(30, 2))
    for _ in range(200):
        model.train()(torch.randn(1, 40))
    (name, found), *rest = spectral_norms(model).items()
    assert name == "0.weight"
    assert abs(found) < 0.02
    assert not rest
    with torch.no_grad():
        next(value for name, value in model.named_buffers() if name.endswith("_u")).copy_(
            F.normalize(torch.randn(30), dim=0)
        )
    assert spectral_norms(model)["0.weight"] > 0.2
    assert astray(model).startswith("no ratio: the vectors of spectral norm in this checkpoint miss")
    assert not astray(nn.Linear(3, 2))
