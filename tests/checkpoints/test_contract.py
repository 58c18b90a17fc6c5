"""What holds for every checkpoint format in the table. A format without a maker of samples fails here."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
import torch
import torch.distributed.checkpoint
from conftest import Opsig

from opsigcli.checkpoints import digest
from opsigcli.checkpoints.formats import FORMATS, named, recognise, suffixes
from opsigcli.checkpoints.formats.foreign import FOREIGN
from opsigcli.checkpoints.formats.foreign import recognise as recognise_foreign
from opsigcli.checkpoints.series import open_series
from opsigcli.checkpoints.writer import save_weights
from opsigcli.errors import CheckpointError
from opsigcli.registry import Entry

STRANGE = torch.tensor(
    [0x7FC00001, -0x800000, 0x7F800000, 1, -(2**31)], dtype=torch.int32
)  # NaN, -inf, inf, tiny, -0
WEIGHTS = {
    "block.weight": torch.randn(4, 6, generator=torch.Generator().manual_seed(0)),
    "block.bias": STRANGE.view(torch.float32),
    "half": torch.randn(3, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16),
    "tracked": torch.tensor(2**40 + 1),
    "mask": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
}
MOMENTS = {
    "exp_avg": torch.randn(4, 6, generator=torch.Generator().manual_seed(2)),
    "step": torch.tensor(3.0),
}


@dataclass(frozen=True)
class Sample:
    """What a maker is to put into a checkpoint."""

    extra: Any = "nothing"  # an object beside the weights, where the format has room for one
    weights: dict[str, torch.Tensor] = field(default_factory=lambda: WEIGHTS)

    def optimizer(self, parameter: int | str) -> dict[str, Any]:
        return {"state": {parameter: dict(MOMENTS)}, "param_groups": [{"lr": 0.25, "params": [parameter]}]}


def make_safetensors(folder: Path, sample: Sample) -> Path:
    save_weights(folder / "step_3.safetensors", sample.weights, {"step": 3, "extra": sample.extra})
    return folder / "step_3.safetensors"


def make_torch(folder: Path, sample: Sample) -> Path:
    content = {"model": sample.weights, "optimizer": sample.optimizer(0), "extra": sample.extra}
    torch.save(content, folder / "step_3.pt")
    return folder / "step_3.pt"


def make_pickle(folder: Path, sample: Sample) -> Path:
    content = {"model": sample.weights, "optimizer": sample.optimizer(0), "extra": sample.extra}
    (folder / "step_3.pkl").write_bytes(pickle.dumps(content))
    return folder / "step_3.pkl"


def make_dcp(folder: Path, sample: Sample) -> Path:
    content = {"model": sample.weights, "optimizer": sample.optimizer("block"), "extra": sample.extra}
    with warnings.catch_warnings(action="ignore"):  # it says that there is no process group
        torch.distributed.checkpoint.save(content, checkpoint_id=folder / "step-3")
    return folder / "step-3"


def make_folder(folder: Path, sample: Sample) -> Path:
    path = folder / "checkpoint-3"
    path.mkdir()
    save_weights(path / "model.safetensors", sample.weights, {})
    torch.save(sample.optimizer(0) | {"extra": sample.extra}, path / "optimizer.pt")
    torch.save(sample.extra, path / "training_args.bin")
    return path


def make_adapter(folder: Path, sample: Sample) -> Path:
    path = folder / "checkpoint-3"
    path.mkdir()
    whole = {f"base_model.model.{name}": tensor for name, tensor in sample.weights.items()}
    save_weights(path / "adapter_model.safetensors", whole, {})
    (path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    torch.save(sample.optimizer(0) | {"extra": sample.extra}, path / "optimizer.pt")
    torch.save(sample.extra, path / "training_args.bin")
    return path


def make_speechbrain(folder: Path, sample: Sample) -> Path:
    path = folder / "CKPT+2024-03-01+12-00-00+00"
    path.mkdir()
    (path / "CKPT.yaml").write_text("# yamllint disable\nend-of-epoch: true\nunixtime: 1709294400.1\n")
    (path / "brain.ckpt").write_text("step: 3\navg_train_loss: 0.5\noptimizer_step: 3\n")
    (path / "counter.ckpt").write_text("1")
    torch.save(sample.weights, path / "model.ckpt")
    torch.save(sample.optimizer(0) | {"extra": sample.extra}, path / "optimizer.ckpt")
    torch.save({"count": 1, "glob_mean": torch.zeros(3), "extra": sample.extra}, path / "normalizer.ckpt")
    return path


MAKERS: dict[str, Callable[[Path, Sample], Path]] = {
    "safetensors": make_safetensors,
    "torch": make_torch,
    "pickle": make_pickle,
    "dcp": make_dcp,
    "adapter": make_adapter,
    "speechbrain": make_speechbrain,
    "folder": make_folder,
}
WITHOUT_OPTIMIZER = {"safetensors"}
every_format = pytest.mark.parametrize("name", list(FORMATS))


@pytest.fixture
def make(name: str, tmp_path: Path) -> Callable[..., Path]:
    return lambda **content: MAKERS[name](tmp_path, Sample(**content))


def bits(tensor: torch.Tensor) -> tuple[str, tuple[int, ...], bytes]:
    return (
        str(tensor.dtype),
        tuple(tensor.shape),
        tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(),
    )


def use(name: str, path: Path) -> None:
    """All that commands ask of a checkpoint."""
    reader = named(name)
    reader.describe(path)
    reader.read(path)
    reader.optimizer(path, tensors=True)
    digest.sha256(path)
    digest.size(path)


@every_format
def test_a_sample_is_recognised_by_its_format_and_by_no_other(name: str, make: Callable[..., Path]) -> None:
    path = make()
    assert [other for other in FORMATS if named(other).recognises(path)] == [name]
    assert named(name).name == name
    assert named(name).folder == path.is_dir()
    assert path.is_dir() or path.suffix in named(name).suffixes


@every_format
def test_the_header_says_what_is_read_and_numbers_are_the_same_to_the_bit(
    name: str, make: Callable[..., Path]
) -> None:
    path, reader = make(), named(name)
    (facts,) = reader.describe(path).candidates.values()
    expected = {key: bits(tensor) for key, tensor in WEIGHTS.items()}
    assert {key: (f"torch.{fact.dtype}", fact.shape) for key, fact in facts.items()} == {
        key: (dtype, shape) for key, (dtype, shape, _) in expected.items()
    }
    first, second = reader.read(path), reader.read(path)
    assert {key: bits(tensor) for key, tensor in first.items()} == expected
    for tensor in first.values():
        tensor.zero_()
    assert {key: bits(tensor) for key, tensor in second.items()} == expected


@every_format
def test_the_optimizer_is_read_with_its_state_or_there_is_none(name: str, make: Callable[..., Path]) -> None:
    path = make()
    found = named(name).optimizer(path, tensors=True)
    if name in WITHOUT_OPTIMIZER:
        assert found == {}
        return
    assert found["param_groups"][0]["lr"] == 0.25
    (state,) = found["state"].values()
    assert bits(state["exp_avg"]) == bits(MOMENTS["exp_avg"])
    assert float(state["step"]) == 3
    assert named(name).describe(path).lr == 0.25


@every_format
def test_a_series_finds_the_sample_and_its_step(name: str, make: Callable[..., Path]) -> None:
    series = open_series(make().parent)
    assert ([c.format for c in series], series.steps) == ([name], [3])
    assert series.read(0).keys() == WEIGHTS.keys()


@every_format
@pytest.mark.parametrize("place", range(20))
def test_a_truncated_checkpoint_is_refused_by_its_name(
    name: str, make: Callable[..., Path], place: int
) -> None:
    path = make()
    for file in named(name).files(path):
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) * place // 20])
        with pytest.raises(CheckpointError) as refused:
            use(name, path)
        assert str(path) in refused.value.message
        file.write_bytes(whole)


@every_format
def test_a_byte_of_the_weights_changes_the_digest(name: str, make: Callable[..., Path]) -> None:
    path = make()
    before, numbers = digest.sha256(path), bits(WEIGHTS["block.weight"])[2]
    (file,) = (file for file in named(name).files(path) if numbers in file.read_bytes())
    raw = bytearray(file.read_bytes())
    raw[raw.index(numbers) + 5] ^= 1
    file.write_bytes(raw)
    assert digest.sha256(path) != before
    assert digest.size(path) == sum(file.stat().st_size for file in named(name).files(path))


class Payload:
    """Makes a file when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@every_format
def test_no_code_in_a_sample_runs(name: str, make: Callable[..., Path], tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    use(name, make(extra=Payload(mark)))
    assert not mark.exists()


def touched(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


FOREIGN_SAMPLES: dict[str, Callable[[Path], Path]] = {
    "a DeepSpeed ZeRO checkpoint": lambda at: (
        touched(at / "global_step5" / "mp_rank_00_model_states.pt").parent
    ),
    "a GPT-NeoX checkpoint": lambda at: (
        touched(at / "global_step5" / "layer_00-model_00-model_states.pt").parent
    ),
    "a Megatron-LM checkpoint": lambda at: (
        touched(at / "iter_0001000" / "mp_rank_00" / "model_optim_rng.pt").parent.parent
    ),
    "a NeMo archive of weights in several files": lambda at: touched(at / "net.nemo"),
    "a Flax checkpoint (msgpack)": lambda at: touched(at / "checkpoint_100", b"\x82\xa1"),
    "an ONNX program": lambda at: touched(at / "net.onnx"),
    "numpy arrays (.npz)": lambda at: touched(at / "net.npz"),
    "a file compressed by gzip": lambda at: touched(at / "step_10.pt.gz"),
    "a file compressed by xz": lambda at: touched(at / "step_10.pt.xz"),
    "a file compressed by bzip2": lambda at: touched(at / "step_10.pt.bz2"),
    "a file compressed by zstd": lambda at: touched(at / "step_10.pt.zst"),
    "an archive": lambda at: touched(at / "run.zip"),
    "a torch.export program (.pt2)": lambda at: touched(at / "net.pt2"),
    "an Orbax (JAX) checkpoint": lambda at: touched(at / "5" / "_CHECKPOINT_METADATA").parent,
    "a GGUF file (quantized, for llama.cpp)": lambda at: touched(at / "net.bin", b"GGUF"),
    "a Keras model": lambda at: touched(at / "net.keras"),
    "Keras weights in HDF5": lambda at: touched(at / "net.weights.h5"),
    "PaddlePaddle parameters": lambda at: touched(at / "net.pdparams", pickle.dumps({"fc": [0.0]}, 4)),
    "a TensorFlow checkpoint": lambda at: touched(at / "saved" / "saved_model.pb").parent,
}


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.what)
def test_a_foreign_checkpoint_is_recognised_by_one_kind_and_no_format(kind: Any, tmp_path: Path) -> None:
    path = FOREIGN_SAMPLES[kind.what](tmp_path)
    assert [other for other in FOREIGN if other.recognises(path)] == [kind]
    assert recognise_foreign(path) is kind
    assert recognise(path) is None
    assert str(tmp_path) in kind.convert(path)


def test_a_format_is_added_by_one_line_of_the_table(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(FORMATS.entries, "toy", Entry("toy_format:ToyFile", "one .toy file of weights"))
    (tmp_path / "run").mkdir()
    for step in (1, 2, 10):
        with (tmp_path / "run" / f"{step}.toy").open("wb") as file:
            np.savez(file, **{name: tensor.numpy() for name, tensor in hostile.state(step).items()})
    rows = opsig("inspect", "run", "--json").json["result"]["checkpoints"]
    assert [(row["format"], row["step"], row["parameters"]) for row in rows] == [
        ("toy", n, 30) for n in (1, 2, 10)
    ]
    data = hostile.write_data(tmp_path)
    assert opsig("trace", "run", "--model", "mlp?hidden=4", "--data", data).code == 0
    points = opsig("sharpness", "--json").json["result"]["points"]
    assert [point["step"] for point in points] == [1, 2, 10]


def test_every_suffix_is_named_once() -> None:
    assert len(set(suffixes())) == len(suffixes()) > 5
