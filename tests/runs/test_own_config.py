"""What a Hugging Face model is stands in its config.json: its content goes with the run, wherever the file lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig
from safetensors.torch import save_file

from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.models.hf_config import differing, identity
from opsigcli.store.reader import open_store

TOKENS = torch.randint(0, 40, (16, 8), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """``ck/checkpoint-1 … 3`` of a tiny GPT-2, and its data."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=40, n_positions=12, n_embd=8, n_layer=1, n_head=2, n_inner=12)
    for step in (1, 2, 3):
        torch.manual_seed(step)
        transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "ck" / f"checkpoint-{step}")
    np.savez(tmp_path / "d.npz", x=TOKENS[:, :-1].numpy(), y=TOKENS[:, 1:].numpy())
    return tmp_path


def change(folder: Path, **entries: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def words(run: Path, model: str) -> list[object]:
    return [
        *(run / "ck", "--model", model, "--data", f"npz:{run / 'd.npz'}", "--loss", "lm"),
        "--store",
        run / "s.h5",
    ]


def losses(run: Path) -> Any:
    with h5py.File(run / "s.h5") as file:
        return file["losses"][()]


def own_losses(folder: Path) -> Any:
    from transformers import GPT2LMHeadModel

    with torch.no_grad():
        logits = GPT2LMHeadModel.from_pretrained(folder).eval()(TOKENS[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.mT, TOKENS[:, 1:], reduction="none").mean(1).numpy()


def test_configs_of_one_function_are_told_from_those_of_others() -> None:
    first = {
        "architectures": ["A"],
        "n_head": 2,
        "transformers_version": "4.1",
        "_name_or_path": "a",
        "use_cache": True,
    }
    same = {"n_head": 2, "architectures": ["A"], "transformers_version": "5.0", "dtype": "float16"}
    same["problem_type"] = "single_label_classification"  # as the first pass of training writes it
    assert identity(json.dumps(first)) == identity(json.dumps(same))
    assert differing(json.dumps(first), json.dumps(same | {"n_head": 4, "n_layer": 1})) == [
        "n_head",
        "n_layer",
    ]


def test_the_checkpoints_give_the_config_and_a_run_is_the_same_wherever_it_lies(
    opsig: Opsig, run: Path
) -> None:
    assert opsig("trace", *words(run, "hf:")).code == 0
    for row, step in enumerate((1, 2, 3)):
        np.testing.assert_allclose(losses(run)[row], own_losses(run / "ck" / f"checkpoint-{step}"), atol=1e-6)
    shutil.rmtree(run / "ck/checkpoint-1")  # which had the config, and whose losses the store has
    change(run / "ck/checkpoint-2", transformers_version="9.9")
    for model in ("hf:", f"hf:{run}/ck/checkpoint-3"):
        done = opsig("trace", *words(run, model), "--json")
        assert done.code == 0, done.err
        assert [row["status"] for row in done.json["result"]["checkpoints"]] == ["kept"] * 3


def test_a_store_needs_no_config_beside_it(opsig: Opsig, run: Path) -> None:
    shutil.copytree(run / "ck/checkpoint-2", run / "elsewhere")
    assert opsig("trace", *words(run, f"hf:{run}/elsewhere")).code == 0
    shutil.rmtree(run / "elsewhere")
    for command in ("sharpness", "mine", "report"):
        done = opsig(command, "--store", run / "s.h5")
        assert done.code == 0, done.err
    change(run / "ck/checkpoint-2", n_head=1)
    done = opsig("sharpness", "--store", run / "s.h5", "--fresh", "--model", f"hf:{run}/ck/checkpoint-2")
    assert done.code == 2
    assert "n_head" in done.err


def test_another_config_is_another_run(opsig: Opsig, run: Path) -> None:
    assert opsig("trace", *words(run, "hf:")).code == 0
    for step in (1, 2, 3):
        change(run / f"ck/checkpoint-{step}", layer_norm_epsilon=0.1)
    done = opsig("trace", *words(run, "hf:"))
    assert done.code == 3
    assert "layer_norm_epsilon" in done.err


def test_checkpoints_of_several_configs_are_refused_and_others_than_the_model_are_said(
    opsig: Opsig, run: Path
) -> None:
    change(run / "ck/checkpoint-2", n_head=1)
    done = opsig("trace", *words(run, "hf:"))
    assert done.code == 3
    assert "n_head" in done.err
    done = opsig("trace", *words(run, f"hf:{run}/ck/checkpoint-1"))
    assert done.code == 0
    assert "checkpoint-2/config.json has other values of n_head" in done.err


def test_checkpoints_without_a_config_do_not_name_a_model(opsig: Opsig, run: Path) -> None:
    for step in (1, 2, 3):
        (run / f"ck/checkpoint-{step}/config.json").unlink()
    done = opsig("trace", *words(run, "hf:"))
    assert done.code == 2
    assert "--model hf:DIR" in done.err


def test_a_store_without_a_config_as_older_versions_wrote_it_goes_on(opsig: Opsig, run: Path) -> None:
    assert opsig("trace", *words(run, "hf:")).code == 0
    with h5py.File(run / "s.h5", "r+") as file:
        record = json.loads(file["run"].asstr()[()])
        del record["config"], record["base"], file["run"]
        file["run"] = json.dumps(record)
    done = opsig("trace", *words(run, "hf:"))
    assert done.code == 0, done.err


def test_a_manifest_keeps_the_config(opsig: Opsig, run: Path) -> None:
    shutil.copytree(run / "ck/checkpoint-2", run / "elsewhere")
    given = words(run, f"hf:{run}/elsewhere")[:-2]
    assert opsig("init", *given).code == 0
    shutil.rmtree(run / "elsewhere")
    found = read_manifest(run / "ck")
    assert found is not None
    assert json.loads(found.config)["n_head"] == 2
    done = opsig("trace", run / "ck", "--store", run / "s.h5")
    assert done.code == 0, done.err


def adapters(run: Path) -> list[object]:
    """Two adapters over ``ck/checkpoint-1``, and the words that trace them."""
    for step in (10, 20):
        folder = run / "adapters" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        torch.manual_seed(step)
        name = "base_model.model.transformer.h.0.attn.c_attn"
        tensors = {f"{name}.lora_A.weight": torch.randn(2, 8), f"{name}.lora_B.weight": torch.randn(24, 2)}
        save_file(tensors, folder / "adapter_model.safetensors")
        known = {
            "peft_type": "LORA",
            "r": 2,
            "lora_alpha": 4,
            "base_model_name_or_path": str(run / "ck/checkpoint-1"),
        }
        (folder / "adapter_config.json").write_text(json.dumps(known))
    return [run / "adapters", *words(run, f"hf:{run}/ck/checkpoint-1")[1:]]


def test_adapters_of_a_base_that_changed_are_another_function(opsig: Opsig, run: Path) -> None:
    given = adapters(run)
    assert opsig("trace", *given).code == 0
    with open_store(run / "s.h5") as store:
        assert len(store.run.base) == 64
    assert opsig("sharpness", "--store", run / "s.h5").code == 0
    shutil.copytree(run / "ck/checkpoint-1", run / "moved")
    shutil.copy(run / "ck/checkpoint-2/model.safetensors", run / "ck/checkpoint-1/model.safetensors")
    done = opsig("trace", *given)
    assert done.code == 3
    assert "base model" in done.err
    done = opsig("sharpness", "--store", run / "s.h5", "--fresh", "--every", 1)
    assert done.code != 0
    assert "base model" in done.err
    done = opsig("sharpness", "--store", run / "s.h5", "--fresh", "--model", f"hf:{run / 'moved'}")
    assert done.code == 0, done.err


def test_adapters_name_their_base(opsig: Opsig, run: Path) -> None:
    given = ["hf:" if str(word).startswith("hf:") else word for word in adapters(run)]
    done = opsig("trace", *given)
    assert done.code == 0, done.err
    assert f"merged into the weights in {run / 'ck/checkpoint-1'}" in done.err


def test_a_config_that_does_not_name_its_class_is_refused_with_what_to_write(opsig: Opsig, run: Path) -> None:
    """As the configuration alone is saved: only a model's own ``save_pretrained`` writes its class."""
    change(run / "ck" / "checkpoint-1", architectures=None)
    refused = opsig("trace", *words(run, f"hf:{run / 'ck' / 'checkpoint-1'}"))
    assert refused.code == 3
    assert "expected the model's class under 'architectures'" in refused.err
    assert '"architectures": ["GPT2LMHeadModel"]' in refused.err
