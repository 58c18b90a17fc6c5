"""A recorder as a callback of Lightning: ``Trainer(callbacks=[opsig.LightningRecorder("run", …)])``."""

from __future__ import annotations

from os import PathLike
from typing import Any

from lightning.pytorch import Callback

from opsigcli.recording.recorder import Recorder


class LightningRecorder(Callback):
    """Records the steps of the trainer's first optimizer, as ``Recorder`` does.

    Args:
        folder: where checkpoints and the manifest go.
        options: of ``Recorder``; ``model`` builds the module, or what is its only attribute with weights.
    """

    def __init__(self, folder: str | PathLike[str], **options: Any) -> None:
        self.folder, self.options = folder, options
        self.recorder: Recorder | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, from the step that the trainer goes on from."""
        options = {"step": trainer.global_step, **self.options}
        self.recorder = Recorder(self.folder, pl_module, trainer.optimizers[0], **options)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the update, if this batch ended one."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if self.recorder is not None:
            self.recorder.step(loss, updates=trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the last step."""
        self._close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Keep what there is."""
        self._close()

    def _close(self) -> None:
        if self.recorder is not None:
            self.recorder.close()
