"""Small runs of other frameworks, each with the losses that the framework itself has at its checkpoints.

Every function trains into a folder and returns step -> losses (N,) of the fixed examples, computed by the framework's
own way of loading. They are run in a process of their own: ``python foreign_runs.py NAME FOLDER``.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

N, CLASSES, SIZE = 24, 3, 8

NET = """
from torch import nn

def make(width=6):
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 3)
    )
"""


def examples() -> tuple[Any, Any]:
    """Inputs (N, 3, 8, 8) and labels (N,)."""
    import torch

    generator = torch.Generator().manual_seed(7)
    return torch.randn(N, 3, SIZE, SIZE, generator=generator), torch.arange(N) % CLASSES


def write_data(folder: Path) -> None:
    """The examples and the network as files, for ``--data npz:data.npz --model file:net.py:make``."""
    x, y = examples()
    np.savez(folder / "data.npz", x=x.numpy(), y=y.numpy())
    (folder / "net.py").write_text(NET)


def make_net() -> Any:
    """The network of ``net.py``."""
    space: dict[str, Any] = {}
    exec(NET, space)
    return space["make"]()


def losses_of(model: Any) -> Any:
    """Per-example losses of a model in eval mode."""
    import torch

    x, y = examples()
    with torch.no_grad():
        outputs = model.eval()(x)
    outputs = getattr(outputs, "logits", outputs)
    return torch.nn.functional.cross_entropy(outputs, y, reduction="none").numpy()


def lightning(folder: Path) -> dict[int, Any]:
    """Lightning's Trainer with ModelCheckpoint; the hyper-parameters hold a module."""
    import lightning
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Classifier(lightning.LightningModule):
        def __init__(self, criterion: Any, lr: float) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = make_net()
            self.criterion = criterion

        def training_step(self, batch: Any, _: int) -> Any:
            return self.criterion(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)

        def forward(self, x: Any) -> Any:
            return self.net(x)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*examples()), batch_size=8)
    saver = ModelCheckpoint(
        folder, every_n_train_steps=2, save_top_k=-1, save_last="link", filename="{epoch}-{step}"
    )
    trainer = lightning.Trainer(
        max_steps=6, callbacks=[saver], logger=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", devices=1,
    )  # fmt: skip
    trainer.fit(Classifier(torch.nn.CrossEntropyLoss(), 0.01), data)
    return {
        int(path.stem.rpartition("=")[2]): losses_of(
            Classifier.load_from_checkpoint(path, weights_only=False)
        )
        for path in folder.glob("epoch*.ckpt")
    }


def trainer(folder: Path) -> dict[int, Any]:
    """The Trainer of transformers with a small vision transformer."""
    import torch
    from transformers import AutoModelForImageClassification, Trainer, TrainingArguments, ViTConfig

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=SIZE,
        patch_size=4, num_labels=CLASSES,
    )  # fmt: skip
    torch.manual_seed(0)
    x, y = examples()
    rows = [{"pixel_values": x[i], "labels": int(y[i])} for i in range(N)]
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=6, save_steps=2, logging_steps=1, per_device_train_batch_size=8,
        learning_rate=0.01, report_to=[], use_cpu=True, disable_tqdm=True, save_safetensors=True,
        remove_unused_columns=False,
    ) if "save_safetensors" in TrainingArguments.__dataclass_fields__ else TrainingArguments(
        output_dir=str(folder), max_steps=6, save_steps=2, logging_steps=1, per_device_train_batch_size=8,
        learning_rate=0.01, report_to=[], use_cpu=True, disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    Trainer(AutoModelForImageClassification.from_config(config), arguments, train_dataset=rows).train()
    return {
        int(path.name.rpartition("-")[2]): losses_of(AutoModelForImageClassification.from_pretrained(path))
        for path in folder.glob("checkpoint-*")
    }


def timm(folder: Path) -> dict[int, Any]:
    """timm's CheckpointSaver, as its train script uses it, with a moving average beside the weights."""
    from argparse import Namespace

    import timm
    import timm.optim
    import torch
    from timm.utils import CheckpointSaver, ModelEmaV3

    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=CLASSES)
    optimizer = timm.optim.create_optimizer_v2(model, "sgd", lr=0.01, momentum=0.9)
    ema = ModelEmaV3(model, decay=0.5)
    saver = CheckpointSaver(
        model, optimizer, args=Namespace(model="test_resnet", lr=0.01), model_ema=ema, checkpoint_dir=str(folder),
        recovery_dir=str(folder), max_history=10,
    )  # fmt: skip
    x, y = examples()
    found = {}
    for epoch in range(3):
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        ema.update(model)
        saver.save_checkpoint(epoch, metric=np.float64(epoch))
        loaded = timm.create_model(
            "test_resnet",
            num_classes=CLASSES,
            checkpoint_path=_weights_only(folder / f"checkpoint-{epoch}.pth.tar"),
        )
        found[epoch] = losses_of(loaded)
    return found


def _weights_only(path: Path) -> str:
    """timm itself refuses the Namespace in its own files: hand it the weights alone."""
    import torch

    target = path.parent.parent / f"plain-{path.name}"
    torch.save({"state_dict": torch.load(path, weights_only=False)["state_dict"]}, target)
    return str(target)


def torchvision(folder: Path) -> dict[int, Any]:
    """What torchvision's reference script for classification saves."""
    from argparse import Namespace

    import torch
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.get_model("squeezenet1_1", num_classes=CLASSES)
    average = torch.optim.swa_utils.AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    x, y = examples()
    x = torch.nn.functional.interpolate(x, size=32)
    found = {}
    for epoch in range(3):
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        scheduler.step()
        average.update_parameters(model)
        checkpoint = {
            "model": model.state_dict(), "optimizer": optimizer.state_dict(), "lr_scheduler": scheduler.state_dict(),
            "epoch": epoch, "args": Namespace(model="squeezenet1_1", lr=0.01), "model_ema": average.state_dict(),
            "scaler": torch.amp.GradScaler("cpu", enabled=False).state_dict(),
        }  # fmt: skip
        torch.save(checkpoint, folder / f"model_{epoch}.pth")
        torch.save(checkpoint, folder / "checkpoint.pth")
        with torch.no_grad():
            found[epoch] = torch.nn.functional.cross_entropy(model.eval()(x), y, reduction="none").numpy()
    np.savez(folder.parent / "large.npz", x=x.numpy(), y=y.numpy())
    return found


def accelerate(folder: Path) -> dict[int, Any]:
    """Accelerate's save_state with automatic names."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    torch.manual_seed(0)
    settings = ProjectConfiguration(project_dir=str(folder), automatic_checkpoint_naming=True)
    accelerator = Accelerator(cpu=True, project_config=settings)
    net = make_net()
    model, optimizer = accelerator.prepare(net, torch.optim.AdamW(net.parameters(), lr=0.01))
    x, y = examples()
    found = {}
    for step in range(1, 7):
        model.train()
        optimizer.zero_grad()
        accelerator.backward(torch.nn.functional.cross_entropy(model(x), y))
        optimizer.step()
        if step % 2 == 0:
            accelerator.save_state()
            found[step] = losses_of(model)
    return found


def fsdp2(folder: Path) -> dict[int, Any]:
    """FSDP2 on two gloo processes, saved by torch.distributed.checkpoint in torchtitan's layout."""
    import torch.distributed.checkpoint.state_dict
    import torch.distributed.fsdp
    import torch.multiprocessing
    from torch.distributed.checkpoint import FileSystemReader, load

    # Forked, so that the ranks need not import torch again.
    torch.multiprocessing.start_processes(_rank, args=(str(folder),), nprocs=2, start_method="fork")

    found = {}
    for path in folder.glob("step-*"):
        model = make_net()
        state = {"model": model.state_dict()}
        load(state, storage_reader=FileSystemReader(path), no_dist=True)
        model.load_state_dict(state["model"])
        found[int(path.name.rpartition("-")[2])] = losses_of(model)
    return found


def _rank(rank: int, folder: str) -> None:
    import torch
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/../rendezvous", rank=rank, world_size=2)
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    torch.manual_seed(0)
    model = make_net()
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = examples()
    half = slice(rank * N // 2, (rank + 1) * N // 2)
    for step in range(1, 5):
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[half]), y[half]).backward()
        optimizer.step()
        if step % 2 == 0:
            weights, state = get_state_dict(model, optimizer)
            clock = {"step": torch.tensor(step, dtype=torch.int32), "ntokens_seen": 10 * step}
            dcp.save(
                {"model": weights, "optimizer": state, "train_state": clock},
                checkpoint_id=f"{folder}/step-{step}",
            )
    dist.destroy_process_group()


RUNS: dict[str, Callable[[Path], dict[int, Any]]] = {
    run.__name__: run for run in (lightning, trainer, timm, torchvision, accelerate, fsdp2)
}


def main() -> None:
    """Run one by name and keep its losses beside the checkpoints, in ``losses.npz``."""
    warnings.simplefilter("ignore")
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    place = SimpleNamespace(name=sys.argv[1], folder=Path(sys.argv[2]))
    (place.folder / "ckpts").mkdir(parents=True)
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    write_data(place.folder)
    found = RUNS[place.name](place.folder / "ckpts")
    np.savez(place.folder / "losses.npz", **{str(step): losses for step, losses in found.items()})


if __name__ == "__main__":
    main()
