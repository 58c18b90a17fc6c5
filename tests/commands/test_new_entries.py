"""A new data source, model or loss is one file and one line of a table: every command then works with it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig
from plugins import Shifted, pseudo_huber, toy_model
from safetensors.torch import load_file

from opsigcli.datasets import SOURCES
from opsigcli.models import MODELS
from opsigcli.objective.losses import LOSSES
from opsigcli.registry import Entry, Registry
from opsigcli.specs import parse


@pytest.fixture
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for table, target in ((SOURCES, "toy_source"), (MODELS, "toy_model"), (LOSSES, "TOY_LOSS")):
        monkeypatch.setitem(table.entries, "toy", Entry(f"plugins:{target}", "toy: of the tests", bare=True))


@pytest.mark.slow
@pytest.mark.usefixtures("_toys")
def test_a_source_a_model_and_a_loss_of_one_line_each_go_all_the_way(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "opsig.h5"
    words = ("--data", "toy?n=300", "--model", "toy?width=12", "--loss", "toy", "--steps", 60, "--lr", 2)
    trained = opsig("train", run, *words, "--save-every", 2, "--json")
    assert trained.code == 0, trained.err
    for command in (
        ("trace", run, "--virtual-step"),
        ("sharpness", "--every", 20, "--layers", "--spectrum", "--per-example"),
        ("mine", "--surrogates", 0),
        ("report",),
    ):
        done = opsig(*command, "--store", store)
        assert done.code == 0, done.err
    source = Shifted(300)
    model = toy_model(parse("toy?width=12"), source.input_shape, 6)
    with h5py.File(store) as file:
        assert file["example_ids"][()].tolist() == source.ids.tolist()
        for row in (0, 30):
            model.load_state_dict(load_file(run / f"step-{2 * row:06d}.safetensors"))
            inputs = torch.as_tensor(source.read(np.arange(300)))
            expected = pseudo_huber(model(inputs), torch.as_tensor(source.labels)).detach()
            np.testing.assert_allclose(file["losses"][row], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("_toys")
@pytest.mark.parametrize("table", [SOURCES, MODELS, LOSSES], ids=lambda table: table.noun)
def test_a_new_entry_is_among_the_names_that_an_unknown_one_is_answered_with(table: Registry) -> None:
    with pytest.raises(Exception, match=r"known: .*toy"):
        table.load("to")
