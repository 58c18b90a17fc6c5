"""Layouts written by the libraries themselves, or, where a library cannot be installed beside today's torch, as it
documents them; and the kinds that are known by name and not opened."""

from __future__ import annotations

import collections
import datetime
import json
import os
import pickle
import re
import shlex
import sys
import types
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from conftest import Opsig
from torch import nn

from opsigcli.checkpoints.series import open_series
from opsigcli.errors import CheckpointError, ModelError
from opsigcli.models.weights import fit_weights
from opsigcli.optimizers.recognise import recognise
from opsigcli.runs.optimizer_state import optimizer_name


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def same(found: dict[str, torch.Tensor], expected: Any) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[k], expected[k]) for k in expected)


def save_dcp(content: dict[str, Any], path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # it says that there is no process group
        dcp.save(content, checkpoint_id=path)


class Detector(nn.Module):
    """A model of one's own, pickled whole as Ultralytics does."""

    def __init__(self) -> None:
        super().__init__()
        self.model = net()
        self.register_buffer("stride", torch.tensor([8.0, 16.0]))
        self.register_buffer("scratch", torch.ones(1), persistent=False)
        self.scale = nn.Parameter(torch.ones(2))
        self.names = {0: "cat"}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_the_weights_of_a_whole_pickled_module_are_recovered(
    tmp_path: Path, protocol: int, zipped: bool
) -> None:
    model = Detector()
    path = tmp_path / "epoch_3.pt"
    torch.save(model, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert same(open_series(path).read(0), model.state_dict())
    content = {
        "model": model,
        "ema": None,
        "epoch": 3,
        "date": datetime.datetime.now(),
        "train_args": {"lr": 0.1},
    }
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    series = open_series(path)
    assert (series.steps, series.unit) == ([3], "epoch")
    assert same(series.read(0), model.state_dict())


def test_all_tensors_of_a_pickled_resnet_are_recovered(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    model = resnet18(num_classes=2)
    torch.save(nn.DataParallel(model), tmp_path / "net.pth")
    found = open_series(tmp_path / "net.pth").read(0)
    assert len(found) == 122
    assert same(found, model.state_dict())


def test_nanogpt(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95))
    compiled = {f"_orig_mod.{key}": value for key, value in model.state_dict().items()}
    for step in (250, 500):
        checkpoint = {
            "model": compiled, "optimizer": optimizer.state_dict(), "model_args": {"n_layer": 2}, "iter_num": step,
            "best_val_loss": torch.tensor(1.5), "config": {"dataset": "shakespeare"},
        }  # fmt: skip
        torch.save(checkpoint, tmp_path / f"ckpt_{step}.pt")
    series = open_series(tmp_path)
    assert (series.steps, series.unit) == ([250, 500], "step")
    assert [c.lr for c in series] == [6e-4, 6e-4]
    assert same(series.read(0), model.state_dict())


def test_composer(opsig: Opsig, tmp_path: Path) -> None:
    """Files of Composer 0.32.1, which pins an older torch and so cannot be installed beside opsig."""
    folder = Path(__file__).parents[1] / "data" / "composer"
    expected = np.load(folder / "data.npz")
    series = open_series(folder)
    assert [(c.step, c.step_source, optimizer_name(c.header), c.lr) for c in series] == [
        (3, "content", "adam", 0.01),
        (6, "content", "adam", 0.01),
    ]
    for name, tensor in series.read(1).items():
        np.testing.assert_array_equal(tensor.numpy(), expected[f"w.{name}"])
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\n"
        "def make():\n    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))\n"
    )
    words = (
        "--model",
        f"file:{net}:make",
        "--data",
        f"npz:{folder / 'data.npz'}",
        "--store",
        tmp_path / "s.h5",
    )
    assert opsig("trace", folder, *words).code == 0
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_allclose(file["losses"][-1], expected["losses"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["argparse", "numpy", "defaultdict", "path", "protocol 4", "protocol 5"])
def test_what_weights_only_loading_refuses_is_read_as_data(tmp_path: Path, name: str) -> None:
    model = net()
    beside: Any = {
        "argparse": Namespace(lr=0.1, nested=Namespace(a=1)),
        "numpy": {"best": np.float64(0.5), "array": np.arange(3), "rng": np.random.get_state()},
        "defaultdict": collections.defaultdict(list, a=[1]),
        "path": tmp_path,
    }.get(name)
    protocol = int(name[-1]) if name.startswith("protocol") else 2
    path = tmp_path / "model_1.pth"
    torch.save(
        {"model": model.state_dict(), "epoch": np.int64(7), "beside": beside}, path, pickle_protocol=protocol
    )
    series = open_series(path)
    assert series.checkpoints[0].header.counts == {"epoch": 7}
    assert same(series.read(0), model.state_dict())


def test_rebuilt_tensors_have_their_types_strides_and_shared_storages(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "view": base.t(), "part": base[1:3, ::2], "whole": base, "half": torch.ones(3, dtype=torch.bfloat16),
        "flag": torch.tensor([True, False]), "none": torch.zeros(0, 3), "one": torch.tensor(7),
        "small": torch.ones(3).to(torch.float8_e4m3fn), "wide": torch.ones(2, dtype=torch.complex64),
        "short": torch.tensor([1, 2], dtype=torch.uint16), "many": torch.ones(1).expand(1000),
    }  # fmt: skip
    for zipped in (True, False):
        path = tmp_path / f"{int(zipped)}.pt"
        content = {"model": state, "args": Namespace()}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        found = open_series(path).read(0)
        assert list(found) == list(state)
        for key, value in state.items():
            assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape)
            assert torch.equal(found[key].to(torch.complex64), value.to(torch.complex64))


def test_sharded_safetensors_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50
    )
    model = transformers.BertForSequenceClassification(config)
    for step in (10, 20):
        folder = tmp_path / f"checkpoint-{step}"
        model.save_pretrained(folder, max_shard_size="8KB")
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "epoch": 1.0}))
        (folder / "training_args.bin").write_bytes(b"\x80never opened")
    assert len(list((tmp_path / "checkpoint-10").glob("*.safetensors"))) > 1
    series = open_series(tmp_path)
    assert [(c.step, c.step_source, c.format) for c in series] == [
        (10, "sidecar", "folder"),
        (20, "sidecar", "folder"),
    ]
    found = series.read(0)
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())
    assert series.sha256(0) == series.sha256(1)  # the same weights under two steps
    assert open_series(tmp_path / "checkpoint-10").read(0).keys() == found.keys()


def test_sharded_files_of_accelerate_and_a_missing_shard(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    model = net()
    accelerate.Accelerator(cpu=True).save_model(model, tmp_path, max_shard_size=400)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    found = open_series(tmp_path).read(0)
    assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())
    next(iter(tmp_path.glob("*.safetensors"))).unlink()
    with pytest.raises(CheckpointError, match=r"is incomplete: .* which is not there"):
        open_series(tmp_path)


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_all_parts_of_weights_are_read_without_their_index_and_some_are_refused(
    tmp_path: Path, ending: str
) -> None:
    from safetensors.torch import save_file

    whole = {key: value.clone() for key, value in net().state_dict().items()}
    names = list(whole)
    for step in (10, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for number, own in enumerate((names[:1], names[1:]), start=1):
            file = (
                folder
                / f"{'model' if ending == 'safetensors' else 'pytorch_model'}-{number:05d}-of-00002.{ending}"
            )
            part = {name: whole[name] for name in own}
            save_file(part, file) if ending == "safetensors" else torch.save(part, file)
    series = open_series(tmp_path)
    assert series.steps == [10, 20]
    found = series.read(0)
    assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in whole.items()}
    next((tmp_path / "checkpoint-10").glob("*-00001-of-*")).unlink()
    (failed,) = open_series(tmp_path).failed
    assert f"model-00001-of-00002.{ending}" in failed.error.message
    assert "is incomplete" in failed.error.message


def test_dcp_of_one_process_with_and_without_a_model_key(tmp_path: Path) -> None:
    model = net()
    clock = {"step": torch.tensor(5, dtype=torch.int32), "ntokens_seen": 10}
    save_dcp({"model": model.state_dict(), "train_state": clock}, tmp_path / "step-5")
    flat = {
        **model.state_dict(),
        "train_state": clock | {"step": torch.tensor(6)},
        "dataloader": {"n": torch.ones(2)},
    }
    save_dcp(flat, tmp_path / "step-6")
    series = open_series(tmp_path)
    assert [(c.step, c.step_source) for c in series] == [(5, "content"), (6, "content")]
    assert same(series.read(0), model.state_dict())
    assert all(torch.equal(series.read(1)[k], v) for k, v in model.state_dict().items())
    (tmp_path / "step-6" / ".metadata").unlink()
    assert [f.file for f in open_series(tmp_path).failed] == ["step-6"]
    assert "is incomplete: expected .metadata" in open_series(tmp_path).failed[0].error.message


def test_a_flattened_optimizer_of_torchtitan_is_read_by_parameter(tmp_path: Path) -> None:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.25)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    flat = get_optimizer_state_dict(
        model, optimizer, options=StateDictOptions(flatten_optimizer_state_dict=True)
    )
    save_dcp(
        {**model.state_dict(), "optimizer": flat, "train_state": {"step": torch.tensor(1)}},
        tmp_path / "step-1",
    )
    series = open_series(tmp_path)
    assert (series.checkpoints[0].lr, optimizer_name(series.checkpoints[0].header)) == (0.25, "adamw")
    state = series.optimizer(0, tensors=True)["state"]
    assert torch.equal(state["weight"]["exp_avg_sq"], optimizer.state[model.weight]["exp_avg_sq"])


@pytest.mark.parametrize("around", [{"rho": 0.2}, {"alpha": 0.5, "slow": True}])
def test_an_optimizer_around_another_one_is_not_taken_for_that(
    tmp_path: Path, around: dict[str, Any]
) -> None:
    model = nn.Linear(3, 2)
    inside = torch.optim.SGD(model.parameters(), lr=0.25)
    for step, more in enumerate(({}, around)):
        saved = {"base_optimizer": inside.state_dict(), **more, "k": 5}
        torch.save(
            {"model": model.state_dict(), "optimizer": saved, "step": step}, tmp_path / f"step_{step}.pt"
        )
    bare, built_on = (checkpoint.header.optimizer for checkpoint in open_series(tmp_path).checkpoints)
    assert recognise([bare.group], bare.state_keys).name == "sgd"
    found = recognise([built_on.group], built_on.state_keys)
    assert not found.name
    assert f"sgd does not have the key {next(iter(around))!r}" in found.reason


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize(
    ("beside", "rule"),
    [
        ({"slow_state": {0: {"slow_buffer": torch.ones(2, 3)}}}, "lookahead"),
        ({"fp32_master_params": [torch.ones(2, 3)]}, "sgd"),
        ({"loss_scale": 1024.0}, "sgd"),
    ],
)
def test_memories_beside_the_state_are_those_of_another_rule(
    tmp_path: Path, beside: dict[str, Any], rule: str, root: bool
) -> None:
    model = nn.Linear(3, 2)
    saved = torch.optim.SGD(model.parameters(), lr=0.25).state_dict() | beside
    content = {"model": model.state_dict(), "step": 1}
    torch.save(content | (saved if root else {"optimizer": saved}), tmp_path / "step_1.pt")
    (one,) = (checkpoint.header.optimizer for checkpoint in open_series(tmp_path).checkpoints)
    assert recognise([one.group], one.state_keys).rule == rule


# Kinds that are refused, each with one command.


def make_gguf(folder: Path) -> None:
    (folder / "model.gguf").write_bytes(b"GGUF\x03\0\0\0" + b"\0" * 16)


def make_keras(folder: Path) -> None:
    (folder / "model.keras").write_bytes(b"PK\x03\x04")


def make_orbax(folder: Path) -> None:
    (folder / "100").mkdir()
    (folder / "100" / "_CHECKPOINT_METADATA").write_text("{}")


def make_deepspeed(folder: Path) -> None:
    (folder / "global_step8").mkdir()
    (folder / "global_step8" / "mp_rank_00_model_states.pt").write_bytes(b"\x80never opened")
    (folder / "global_step8" / "zero_pp_rank_0_mp_rank_00_optim_states.pt").write_bytes(b"\x80never opened")
    (folder / "zero_to_fp32.py").write_text("raise SystemExit('never run')")
    (folder / "latest").write_text("global_step8")


def make_tensorflow(folder: Path) -> None:
    (folder / "ckpt-1.index").write_bytes(b"x")
    (folder / "ckpt-1.data-00000-of-00001").write_bytes(b"x")


def make_export(folder: Path) -> None:
    program = torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(program, folder / "model.pt2")


def make_script(folder: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), folder / "model_1.pt")


@pytest.mark.parametrize(
    ("make", "kind", "command"),
    [
        (make_gguf, "GGUF", "gguf_file="),
        (make_keras, "Keras", "keras.saving"),
        (make_orbax, "Orbax", "PyTreeCheckpointer"),
        (make_deepspeed, "DeepSpeed ZeRO", "zero_to_fp32"),
        (make_tensorflow, "TensorFlow", "load_checkpoint"),
        (make_export, "torch.export", "torch.export.load"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_other_kinds_are_recognised_and_refused_with_one_command(
    opsig: Opsig, tmp_path: Path, make: Any, kind: str, command: str
) -> None:
    make(tmp_path)
    done = opsig("inspect", tmp_path)
    assert done.code == 3
    assert kind in done.err
    assert command in done.err
    assert "hint: convert it:" in done.err


def test_names_that_a_shell_could_run_are_left_out_of_commands(opsig: Opsig, tmp_path: Path) -> None:
    (tmp_path / "x'; touch ran #.gguf").write_bytes(b"GGUF")
    done = opsig("inspect", tmp_path)
    hint = done.err[done.err.index("hint:") :]
    assert "touch ran" not in hint
    assert "PATH" in hint


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused_with_one_command(opsig: Opsig, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(net().eval(), torch.ones(1, 3, 4, 4)), tmp_path / "model_1.pt")
    done = opsig("inspect", tmp_path)
    assert done.code == 3
    assert "TorchScript" in done.err
    assert "torch.jit.load" in done.err


@pytest.mark.parametrize("make", [make_script, make_export])
@pytest.mark.filterwarnings("ignore")
def test_the_command_for_an_exported_program_gives_weights_that_open(
    opsig: Opsig, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    command = re.search(r'import torch; [^"]+', opsig("inspect", tmp_path).err)
    assert command is not None
    monkeypatch.chdir(tmp_path)
    exec(command[0], {})
    rows = opsig("inspect", "weights.pt", "--order", "name", "--json").json["result"]["checkpoints"]
    assert [row["weights"]["(whole file)"]["parameters"] for row in rows] == [6]


def test_one_process_part_of_a_sharded_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    import torch.distributed as dist
    from torch.distributed.tensor import DTensor, Replicate

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
        part = DTensor.from_local(torch.ones(4), mesh, [Replicate()])
        torch.save({"model": {"w": part}}, tmp_path / "rank0.pt")
    finally:
        dist.destroy_process_group()
    with pytest.raises(CheckpointError, match="DTensor") as caught:
        open_series(tmp_path / "rank0.pt")
    assert "full_state_dict" in caught.value.hint


def test_a_final_model_among_checkpoints_does_not_hide_them(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for step in (1, 2):
        save_file({"w": torch.full((2,), float(step))}, tmp_path / f"step_{step}.safetensors")
    save_file({"w": torch.full((2,), 2.0)}, tmp_path / "model.safetensors")
    assert open_series(tmp_path).steps == [1, 2]
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"step_{step}.safetensors").rename(tmp_path / f"checkpoint-{step}" / "model.safetensors")
    assert [c.file for c in open_series(tmp_path)] == ["checkpoint-1", "checkpoint-2"]
    assert open_series(tmp_path / "checkpoint-2").steps == [2]


def test_a_folder_below_that_holds_the_checkpoints_is_named(opsig: Opsig, tmp_path: Path) -> None:
    inner = tmp_path / "lightning_logs" / "version_0" / "checkpoints"
    inner.mkdir(parents=True)
    torch.save({"w": torch.ones(2)}, inner / "epoch=1-step=2.ckpt")
    done = opsig("inspect", tmp_path)
    assert done.code == 3
    assert str(inner) in done.err.replace("\n", "")


# Fit.


def test_the_attribute_before_all_names_is_taken_off_and_said() -> None:
    model = net()
    weights = {f"net.{key}": value + 1 for key, value in model.state_dict().items()}
    fit = fit_weights(model, weights, where="x")
    assert "'net.'" in fit
    assert all(torch.equal(value, weights[f"net.{key}"]) for key, value in model.state_dict().items())


def test_tensors_beside_the_attribute_ask_for_a_key() -> None:
    weights = {f"net.{key}": value for key, value in net().state_dict().items()} | {
        "criterion.weight": torch.ones(2)
    }
    with pytest.raises(ModelError) as caught:
        fit_weights(net(), weights, where="x")
    assert "--key net" in caught.value.hint


def test_partial_takes_what_fits_and_says_what_does_not() -> None:
    model, other = net(), net()
    weights = {key: value + 1 for key, value in other.state_dict().items() if key != "3.bias"}
    weights |= {"3.weight": torch.ones(5, 16), "head.weight": torch.ones(1)}
    with pytest.raises(ModelError) as caught:
        fit_weights(model, weights, where="x")
    assert "--partial" in caught.value.hint
    fit = fit_weights(model, weights, where="x", partial=True)
    assert fit == (
        "a part fits: 1 missing (3.bias), 1 unexpected (head.weight), 1 of another shape (3.weight)"
    )
    assert torch.equal(model.state_dict()["0.weight"], other.state_dict()["0.weight"] + 1)
    assert torch.equal(model.state_dict()["3.weight"], other.state_dict()["3.weight"])
    with pytest.raises(ModelError):
        fit_weights(model, {"other": torch.ones(1)}, where="x", partial=True)


def test_partial_is_printed_stored_and_no_run_of_the_whole(opsig: Opsig, tmp_path: Path) -> None:
    from opsigcli.datasets import open_source
    from opsigcli.models.base import build
    from opsigcli.store.reader import open_store

    source = "planted?n=200"
    opened = open_source(source)
    state = dict(
        build("mlp?hidden=4", input_shape=opened.input_shape, outputs=len(opened.classes)).state_dict()
    )
    state.pop("head.bias")
    for step in (1, 2):
        torch.save({**state, "hidden1.bias": torch.full((4,), float(step))}, tmp_path / f"step_{step}.pt")
    words = ("trace", tmp_path, "--model", "mlp?hidden=4", "--data", source, "--store", tmp_path / "s.h5")
    assert opsig(*words).code == 3
    done = opsig(*words, "--partial")
    assert done.code == 0
    assert "a part fits: 1 missing (head.bias)" in done.err
    with open_store(tmp_path / "s.h5") as store:
        assert store.run.partial
        assert store.run.fit == "a part fits: 1 missing (head.bias)"
    torch.save({**state, "head.bias": torch.zeros(len(opened.classes))}, tmp_path / "step_3.pt")
    assert "partial" in opsig(*words).err


def test_order_by_time_is_there_for_the_asking(opsig: Opsig, tmp_path: Path) -> None:
    for when, name in ((3, "a.pt"), (2, "b.pt"), (1, "c.pt")):
        torch.save({"w": torch.full((1,), float(when))}, tmp_path / name)
        os.utime(tmp_path / name, (when, when))
    shown = opsig("inspect", tmp_path, "--json").json
    assert "expected step numbers" in shown["warnings"][0]
    rows = opsig("inspect", tmp_path, "--order", "mtime", "--json").json["result"]["checkpoints"]
    assert [row["file"] for row in rows] == ["c.pt", "b.pt", "a.pt"]
    assert opsig("inspect", tmp_path, "--order", "size").code == 2


class OfJax:
    """An array of JAX, as it is pickled: a function of its own around what numpy says."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __reduce__(self) -> Any:
        function, arguments, state = self.values.__reduce__()
        return _reconstruct_array, (function, arguments, state, {"weak_type": False})


def _reconstruct_array(function: Any, arguments: Any, state: Any, _: Any) -> Any:
    made = function(*arguments)
    made.__setstate__(state)
    return made


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("jax", [False, True])
@pytest.mark.filterwarnings("ignore")  # the command leaves a file to be closed at its end
def test_pickled_trees_of_haiku_are_named_and_the_command_gives_weights_that_open(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, jax: bool
) -> None:
    modules = [types.ModuleType(name) for name in ("jax", "jax._src", "jax._src.array")]
    for module in modules:
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(modules[-1], "_reconstruct_array", _reconstruct_array, raising=False)
    monkeypatch.setattr(_reconstruct_array, "__module__", "jax._src.array")
    array = OfJax if jax else np.asarray
    tree = {"mlp/~/linear_0": {"w": array(np.arange(6.0).reshape(2, 3)), "b": array(np.ones(3))}}
    for step in (1, 2):
        content = {"params": tree, "state": {}, "step": step} if whole else tree
        (tmp_path / f"p_{step}.pkl").write_bytes(pickle.dumps(content))
    done = opsig("inspect", tmp_path)
    assert done.code == 3
    assert "Haiku" in done.err
    command = done.err[done.err.index("python -c") :].splitlines()[0]
    monkeypatch.chdir(tmp_path)
    exec(shlex.split(command.partition("  #")[0])[2], {})
    found = safetensors.torch.load_file("weights.safetensors")
    assert torch.equal(found["mlp/~/linear_0.w"], torch.arange(6.0).reshape(2, 3).double())
    assert opsig("inspect", tmp_path / "weights.safetensors").code == 0


def test_folders_of_speechbrain_are_a_series_and_one_of_them_is_one(opsig: Opsig, tmp_path: Path) -> None:
    for hour, epoch in (("12", 1), ("13", 2), ("14", 10)):
        path = tmp_path / "save" / f"CKPT+2024-03-01+{hour}-00-00+00"
        path.mkdir(parents=True)
        (path / "CKPT.yaml").write_text(
            f"WER: 3.2\nend-of-epoch: true\nepoch: {epoch}\nunixtime: 1709294400.5\n"
        )
        (path / "brain.ckpt").write_text(f"avg_train_loss: 0.5\nstep: {epoch * 100}\n")
        (path / "dataloader-TRAIN.ckpt").write_text("7")
        model = nn.Linear(2, 3)
        torch.save(model.state_dict(), path / "model.ckpt")
        torch.save(torch.optim.SGD(model.parameters(), lr=0.25).state_dict(), path / "optimizer.ckpt")
        torch.save({"glob_mean": torch.zeros(3)}, path / "normalizer.ckpt")
    series = open_series(tmp_path / "save")
    assert [(c.step, c.lr) for c in series] == [(100, 0.25), (200, 0.25), (1000, 0.25)]
    assert same(series.read(2), model.state_dict())
    assert len(open_series(path)) == 1
    beside = opsig("inspect", tmp_path)
    assert beside.code == 3
    assert str(tmp_path / "save") in beside.err
