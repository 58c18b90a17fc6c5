"""The store's writer and reader: every shape, bounded memory, and the faster forms of a model."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from benchmarks.store import content as synthetic
from growth import growth, linux
from torch import Tensor, nn

from opsigcli.datasets import open_source
from opsigcli.objective import evaluate, forms
from opsigcli.objective.base import Objective
from opsigcli.objective.evaluate import Evaluator
from opsigcli.objective.fold import Folded
from opsigcli.objective.sizes import measure
from opsigcli.runs.build_objective import build_objective
from opsigcli.store import schema, writer
from opsigcli.store.reader import open_store


@pytest.mark.parametrize("checkpoints", [2, 3, 4, 5, 8, 9, 17])
@pytest.mark.parametrize("examples", [1, 6, 7, 20])
def test_what_is_written_is_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: int, examples: int
) -> None:
    monkeypatch.setattr(schema, "CHUNK", (4, 7))
    store = tmp_path / "s.h5"
    made = synthetic(examples, checkpoints)
    losses = np.random.default_rng(checkpoints).normal(size=(checkpoints, examples)).astype(np.float32)
    losses[0, 0] = np.nan
    virtual = losses * 2
    object.__setattr__(made, "rows", iter(losses))
    object.__setattr__(made, "virtual", iter(virtual))
    writer.write_trace(store, made)
    with h5py.File(store) as file:
        assert file["losses"].chunks == (min(4, checkpoints), min(7, examples))
        np.testing.assert_array_equal(file["losses"][()], losses)
        np.testing.assert_array_equal(file["loss_deltas"][()], losses[1:] - losses[:-1])
        np.testing.assert_array_equal(file["virtual_deltas"][()], virtual)
    with open_store(store) as opened:
        np.testing.assert_array_equal(opened.losses_at(1), losses[1])
        summary, infinite = opened.summary
        always = losses[:, 1:] if examples > 1 else losses  # measured at every checkpoint
        np.testing.assert_allclose(summary.mean_losses, always.mean(axis=1, dtype=np.float64), rtol=1e-6)
        assert infinite == [0]


@linux
def test_memory_of_the_writer_does_not_grow_with_the_number_of_checkpoints(tmp_path: Path) -> None:
    assert growth(tmp_path, "with open_store(store) as opened: opened.summary\n") < 0.03


class Branches(nn.Module):
    """Convolutions and norms in every arrangement: used twice, read twice, without running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.twice, self.after = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.side, self.plain = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6, affine=False)
        self.head, self.last = nn.Linear(6, 5), nn.BatchNorm1d(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = self.after(self.twice(self.twice(x)))
        side = self.side(x)
        x = self.plain(side) + side
        return self.last(self.head(x.mean((2, 3))))


def _unsettle(model: nn.Module) -> None:
    """Give every layer weights and statistics that are not those of the start."""
    torch.manual_seed(3)
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.data.uniform_(0.3, 1.7)


def test_folding_changes_no_output_and_follows_the_weights() -> None:
    model = Branches().double().eval()
    folded = Folded(model)
    _unsettle(model)
    inputs = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    folded.refresh()
    torch.testing.assert_close(folded(inputs), model(inputs), rtol=1e-12, atol=1e-12)
    kinds = [
        type(folded.module.get_submodule(str(n.target)))
        for n in folded.module.graph.nodes
        if n.op == "call_module"
    ]
    assert kinds.count(nn.BatchNorm2d) == 2  # after the one used twice, and beside a second reader
    assert nn.BatchNorm1d not in kinds


@pytest.mark.parametrize("model", [nn.Sequential(nn.Linear(2, 2)), nn.GRU(2, 2)])
def test_a_model_with_nothing_to_fold_is_left_alone(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"traced|no BatchNorm"):
        Folded(model.eval())


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (90, 12, 12, 3)).astype(np.uint8), rng.integers(0, 4, 90)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    return f"npz:{tmp_path / 'd.npz'}?standardize=channel"


@pytest.mark.parametrize("model", ["cnn?norm=batch&widths=8,8", "cnn?norm=group&widths=8,8", "mlp?hidden=9"])
def test_every_faster_form_agrees_with_eager_float64(
    pictures: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(pictures)
    objective = build_objective(model, source, "ce", device="cpu", batch_size=90)
    _unsettle(objective.model)
    evaluator = Evaluator(objective, batch_size=16)
    evaluator.hold(np.arange(90))
    found = evaluator.losses()
    monkeypatch.setattr(evaluate, "RESIDENT_BYTES", 90 * 12 * 12 * 3)  # bytes fit, floats do not
    small = Evaluator(objective, batch_size=16)
    small.hold(np.arange(90))
    assert small._inputs is not None
    assert small._inputs.dtype == torch.uint8
    bytes_kept = small.losses()
    objective.model.double()
    with torch.no_grad():
        z = objective.model(torch.as_tensor(source.read(np.arange(90))).double())
        exact = torch.logsumexp(z, 1) - z[torch.arange(90), torch.as_tensor(source.labels)]
    np.testing.assert_allclose(found, exact.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bytes_kept, exact.numpy(), rtol=1e-5, atol=1e-5)


class Viewing(nn.Module):
    """As many a script has it: a view that activations laid out channels-last do not allow."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, width, 5), nn.Linear(width * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.max_pool2d(self.conv(x), 2).view(-1, 96))


def test_a_model_that_bears_no_channels_last_is_evaluated_as_it_is(pictures: str) -> None:
    objective = Objective(Viewing(), open_source(pictures), "ce")
    evaluator = Evaluator(objective)
    evaluator.hold(np.arange(90))
    assert objective.model.get_submodule("conv").weight.is_contiguous()
    np.testing.assert_allclose(evaluator.losses(), objective.losses(), rtol=1e-6)


@pytest.mark.parametrize(("norm", "turned"), [("batch", True), ("none", True), ("group", False)])
def test_convolutions_are_laid_out_channels_last_but_beside_group_norms(
    pictures: str, norm: str, turned: bool
) -> None:
    objective = build_objective(
        f"cnn?norm={norm}&widths=8,8", open_source(pictures), "ce", device="cpu", batch_size=90
    )
    Evaluator(objective)
    weight = objective.model.get_submodule("conv2").weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == turned
    assert all(p.requires_grad and not p.is_inference() for p in objective.parameters)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_convolutions_on_a_gpu_take_tf32_only_when_asked(precision: str) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with evaluate.reduced(precision, "cuda"):
        during = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    assert during == (precision == "tf32",) * 2
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_folding_waits_for_enough_examples(pictures: str) -> None:
    objective = build_objective(
        "cnn?norm=batch&widths=8,8", open_source(pictures), "ce", device="cpu", batch_size=90
    )
    sizes = measure(objective.model, objective.read(objective.counted[:1]))
    assert sizes.largest == 8 * 12 * 12 * 4
    folded = forms.fold(objective.model, sizes, 90)
    assert folded is not None
    enough = int(np.ceil(forms.WORTH_FOLDING * folded.weights / sum(sizes.outputs[n] for n in folded.norms)))
    assert forms.fold(objective.model, sizes, enough) is not None
    assert forms.fold(objective.model, sizes, enough - 1) is None


def test_folding_that_loses_digits_is_not_used(pictures: str) -> None:
    objective = build_objective(
        "cnn?norm=batch&widths=8,8", open_source(pictures), "ce", device="cpu", batch_size=90
    )
    with torch.no_grad():
        norm = objective.model.get_submodule("norm1")
        norm.running_mean.fill_(1e6)
        norm.bias.fill_(0.5)
    evaluator = Evaluator(objective, batch_size=16)
    evaluator.hold(np.arange(90))
    np.testing.assert_allclose(evaluator.losses(), objective.losses(), rtol=1e-5, atol=1e-6)
