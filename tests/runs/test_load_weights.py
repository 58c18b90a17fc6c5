"""The weights of checkpoints are put into a model in one way, whatever a command does with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Opsig
from safetensors.torch import load_file, save_file

from opsigcli.runs.load_weights import Loader

DATA, MODEL = "planted?n=200", "mlp?hidden=8"


@pytest.fixture
def with_an_extra_head(opsig: Opsig, tmp_path: Path) -> Path:
    """Checkpoints of a run, each with a head that the model does not have; the loss falls far between them."""
    words = ("--data", DATA, "--model", MODEL, "--lr", 0.5, "--steps", 60, "--save-every", 20)
    assert opsig("train", tmp_path / "run", *words).code == 0
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for path in sorted((tmp_path / "run").glob("step-*.safetensors")):
        save_file({**load_file(path), "probe.weight": torch.ones(3, 8)}, folder / path.name)
    return folder


@pytest.mark.parametrize(
    "words", [(), ("--precision", "bf16"), ("--virtual-step", "--optimizer", "gd", "--lr", 0.5)], ids=str
)
def test_every_kind_of_trace_takes_the_part_that_fits(
    opsig: Opsig, with_an_extra_head: Path, tmp_path: Path, words: tuple[object, ...]
) -> None:
    store = tmp_path / "s.h5"
    common = ("trace", with_an_extra_head, "--model", MODEL, "--data", DATA, "--store", store, *words)
    assert opsig(*common).code == 3
    done = opsig(*common, "--partial", "--json")
    assert done.code == 0, done.err
    assert "a part fits: 1 unexpected (probe.weight)" in "".join(done.json["warnings"])
    whole = ("trace", tmp_path / "run", "--store", tmp_path / "whole.h5", *words, "--json")
    assert done.json["result"]["mean_losses"] == opsig(*whole).json["result"]["mean_losses"]


@pytest.mark.slow
def test_what_follows_a_partial_trace_loads_as_the_trace_did(
    opsig: Opsig, with_an_extra_head: Path, tmp_path: Path
) -> None:
    words = ("--model", MODEL, "--data", DATA)
    assert opsig("init", with_an_extra_head, *words).code == 3
    assert opsig("init", with_an_extra_head, *words, "--partial").code == 0
    points = []
    for folder in (with_an_extra_head, tmp_path / "run"):
        store = tmp_path / f"{folder.name}.h5"
        assert opsig("trace", folder, "--store", store).code == 0
        done = opsig("sharpness", "--store", store, "--every", 2, "--json")
        assert done.code == 0, done.err
        points.append([point["eigenvalues"] for point in done.json["result"]["points"]])
        assert opsig("mine", "--store", store).code == 0
    assert points[0] == points[1]


def test_what_a_checkpoint_lacks_is_as_the_model_was_built_whatever_was_loaded_before() -> None:
    model = torch.nn.Linear(2, 1)
    built = {name: value.clone() for name, value in model.state_dict().items()}
    loader = Loader(model, partial=True)
    loader.load({"weight": torch.zeros(1, 2), "bias": torch.ones(1)}, "whole")
    loader.load({"weight": torch.ones(1, 2)}, "part")
    assert torch.equal(model.weight, torch.ones(1, 2))
    assert torch.equal(model.bias, built["bias"])
    assert loader.fits == ["a part fits: 1 missing (bias)"]
