"""The table of formats of checkpoints that can be read: one file each, and the readers they share."""

from __future__ import annotations

from pathlib import Path

from opsigcli.checkpoints.base import CheckpointFormat
from opsigcli.registry import Entry, Registry

# In the order in which they are asked whether a path is theirs.
FORMATS = Registry(
    "checkpoint format",
    {
        "safetensors": Entry(
            "opsigcli.checkpoints.formats.safetensors_file:SafetensorsFile",
            "one .safetensors file of weights",
        ),
        "torch": Entry(
            "opsigcli.checkpoints.formats.torch_file:TorchFile",
            "a torch.save file: .pt .pth .bin .ckpt .tar; code in it is never run",
        ),
        "pickle": Entry(
            "opsigcli.checkpoints.formats.pickle_file:PickleFile",
            "a file of pickle.dump with tensors or numpy arrays by name; code in it is never run",
        ),
        "dcp": Entry(
            "opsigcli.checkpoints.formats.dcp_folder:DcpFolder",
            "a folder of torch.distributed.checkpoint: .metadata and .distcp files (FSDP2, torchtitan)",
        ),
        "adapter": Entry(
            "opsigcli.checkpoints.formats.adapter_folder:AdapterFolder",
            "a folder with a LoRA adapter of PEFT, which is merged into the base model that --model hf:BASE names",
        ),
        "speechbrain": Entry(
            "opsigcli.checkpoints.formats.speechbrain_folder:SpeechBrainFolder",
            "a folder CKPT+… of SpeechBrain with model.ckpt and CKPT.yaml",
        ),
        "folder": Entry(
            "opsigcli.checkpoints.formats.weights_folder:WeightsFolder",
            "a folder with model.safetensors or pytorch_model.bin, in one file or sharded with an index",
        ),
    },
)


def formats(unsafe: bool = False) -> list[CheckpointFormat]:
    """Every format, in the order in which they are asked.

    Args:
        unsafe: let code of files run that cannot be read otherwise.
    """
    return [named(name, unsafe) for name in FORMATS]


def named(name: str, unsafe: bool = False) -> CheckpointFormat:
    """The format of that name.

    Raises:
        UsageError: it is not in the table.
    """
    found: CheckpointFormat = FORMATS.load(name)()
    return found.unsafe() if unsafe else found


def recognise(path: Path, unsafe: bool = False) -> CheckpointFormat | None:
    """The format of the checkpoint at ``path``; None where it looks like none."""
    return next((found for found in formats(unsafe) if found.recognises(path)), None)


def suffixes() -> tuple[str, ...]:
    """What names of checkpoint files end in, over all formats, each of them once."""
    return tuple(dict.fromkeys(suffix for found in formats() for suffix in found.suffixes))
