"""The recorder as a callback of Lightning and of Hugging Face's Trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Opsig
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import opsigcli
from opsigcli.checkpoints.manifest import read_manifest

NET = "from torch import nn\n\ndef build():\n    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))\n"


def _traced(opsig: Opsig, folder: Path) -> opsigcli.Run:
    store = folder.with_suffix(".h5")
    done = opsig("trace", folder, "--store", store)
    assert done.code == 0, done.err
    assert opsig("sharpness", "--store", store).code == 0
    return opsigcli.open(store)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning_records_its_steps(opsig: Opsig, tmp_path: Path) -> None:
    from lightning.pytorch import LightningModule, Trainer

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)).astype(np.float32), np.arange(24) % 2
    np.savez(tmp_path / "d.npz", x=x, y=y)
    (tmp_path / "net.py").write_text(NET)

    class Net(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))

        def training_step(self, batch: Any, index: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Net()
    callback = opsigcli.LightningRecorder(
        tmp_path / "run",
        model=f"file:{tmp_path}/net.py:build",
        data=f"npz:{tmp_path}/d.npz",
        every=2,
        batch_size=12,
    )
    trainer = Trainer(
        max_epochs=3, callbacks=[callback], accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accumulate_grad_batches=1,
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=12))
    run = _traced(opsig, tmp_path / "run")
    assert run.steps.tolist() == [0, 2, 4, 6]
    own = nn.functional.cross_entropy(module.net(torch.from_numpy(x)), torch.from_numpy(y), reduction="none")
    np.testing.assert_allclose(run.losses[-1], own.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert [point.threshold for point in run.sharpness] == pytest.approx([20.0] * 4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_transformers_records_its_steps(opsig: Opsig, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    shape = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 6, "vocab_size": 5}
    config = GPT2Config(**shape, bos_token_id=0, eos_token_id=0, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0)
    model = GPT2LMHeadModel(config)
    config.architectures = ["GPT2LMHeadModel"]
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_text(json.dumps(config.to_dict()))
    tokens = np.random.default_rng(0).integers(0, 5, size=(8, 6))
    np.savez(tmp_path / "d.npz", x=tokens[:, :-1], y=tokens[:, 1:])
    rows = [{"input_ids": torch.tensor(row), "labels": torch.tensor(row)} for row in tokens]
    callback = opsigcli.TransformersRecorder(
        tmp_path / "run",
        model=f"hf:{tmp_path}/net",
        data=f"npz:{tmp_path}/d.npz",
        loss="lm",
        every=2,
        batch_size=4,
    )
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=4, per_device_train_batch_size=4, save_strategy="no",
        report_to=[], use_cpu=True, logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[callback]).train()
    run = _traced(opsig, tmp_path / "run")
    assert run.steps.tolist() == [0, 2, 4]
    manifest = read_manifest(tmp_path / "run")
    assert manifest is not None
    assert manifest.optimizer == "adamw"
    model.eval()
    own = [float(model(input_ids=row["input_ids"][None], labels=row["labels"][None]).loss) for row in rows]
    np.testing.assert_allclose(run.losses[-1], own, rtol=1e-4, atol=1e-5)
