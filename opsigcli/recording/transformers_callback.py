"""A recorder as a callback of Hugging Face's Trainer: ``Trainer(callbacks=[opsig.TransformersRecorder("run", …)])``."""

from __future__ import annotations

from os import PathLike
from typing import Any

from transformers import TrainerCallback

from opsigcli.recording.recorder import Recorder


class TransformersRecorder(TrainerCallback):
    """Records the steps of the trainer, as ``Recorder`` does.

    The trainer tells its loss where it logs it: for checkpoints around a spike log every step (``logging_steps=1``).

    Args:
        folder: where checkpoints and the manifest go.
        options: of ``Recorder``; ``model`` is mostly ``hf:DIR``, DIR with the model's config.json.
    """

    def __init__(self, folder: str | PathLike[str], **options: Any) -> None:
        self.folder, self.options = folder, options
        self.recorder: Recorder | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Begin, from the step that the trainer goes on from."""
        optimizer = getattr(given["optimizer"], "optimizer", given["optimizer"])  # accelerate wraps it
        options = {"step": state.global_step, **self.options}
        self.recorder = Recorder(self.folder, given["model"], optimizer, **options)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Count the update."""
        if self.recorder is not None:
            self.recorder.step(updates=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
        """See the loss that is logged."""
        if self.recorder is not None and logs and "loss" in logs:
            self.recorder.see(float(logs["loss"]))

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Save the last step."""
        if self.recorder is not None:
            self.recorder.close()
