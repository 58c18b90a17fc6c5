"""Adapters of PEFT are merged into their base model, as PEFT does it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Opsig
from safetensors.torch import save_file

from opsigcli.checkpoints.formats import named
from opsigcli.errors import CheckpointError, ModelError
from opsigcli.models.base import build
from opsigcli.runs.load_weights import Loader

TOKENS = torch.randint(0, 40, (3, 6), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model on disk: GPT-2, whose Conv1D keeps its inputs first."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=40, n_positions=12, n_embd=8, n_layer=2, n_head=2, n_inner=20)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def write(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    folder.mkdir()
    save_file(
        {f"base_model.model.{name}": t for name, t in tensors.items()}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, **config}))
    return folder


def factors(seed: int, out: int, inputs: int, rank: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rank, inputs, generator=g), torch.randn(out, rank, generator=g)


def loaded(base: Path, adapter: Path) -> tuple[torch.nn.Module, Loader]:
    model = build(f"hf:{base}", input_shape=(6,), outputs=40)
    loader = Loader(model, partial=False)
    loader.load(named("adapter").read(adapter), adapter.name)
    return model, loader


@pytest.mark.parametrize("root", [False, True])
def test_factors_of_a_transposed_matrix_are_scaled_and_added_to_the_base(
    base: Path, tmp_path: Path, root: bool
) -> None:
    (a, b), (a2, b2) = factors(1, 24, 8), factors(2, 20, 8, rank=4)
    names = [f"transformer.h.{i}.{m}" for i, m in ((0, "attn.c_attn"), (1, "mlp.c_fc"))]
    head = torch.randn(40, 8)
    adapter = write(
        tmp_path / "checkpoint-5",
        {
            f"{names[0]}.lora_A.weight": a, f"{names[0]}.lora_B.weight": b,
            f"{names[1]}.lora_A.weight": a2, f"{names[1]}.lora_B.weight": b2,
            "transformer.ln_f.weight": head[0], "transformer.ln_f.original_module.weight": head[1],
        },
        lora_alpha=6, fan_in_fan_out=root, use_rslora=root, rank_pattern={"mlp.c_fc": 4}, alpha_pattern={"c_fc": 32},
    )  # fmt: skip
    from transformers import GPT2LMHeadModel

    truth = GPT2LMHeadModel.from_pretrained(base).eval()
    with torch.no_grad():
        state = truth.state_dict()
        state[f"{names[0]}.weight"] += 6 / (math.sqrt(2) if root else 2) * (b @ a).T
        state[f"{names[1]}.weight"] += 32 / (2 if root else 4) * (b2 @ a2).T
        state["transformer.ln_f.weight"].copy_(head[0])
    model, loader = loaded(base, adapter)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(TOKENS), truth(TOKENS).logits)
    assert str(base) in loader.fits[0]
    # a second one over the same base does not see the first
    second = write(tmp_path / "checkpoint-6", {"transformer.ln_f.weight": head[1]})
    loader.load(named("adapter").read(second), "second")
    plain = GPT2LMHeadModel.from_pretrained(base).eval()
    with torch.no_grad():
        plain.state_dict()["transformer.ln_f.weight"].copy_(head[1])
        torch.testing.assert_close(model(TOKENS), plain(TOKENS).logits)


def test_an_adapter_of_one_of_two_tied_matrices_is_refused(base: Path, tmp_path: Path) -> None:
    a, b = factors(1, 8, 40)
    tensors = {"transformer.wte.lora_embedding_A": a, "transformer.wte.lora_embedding_B": b}
    with pytest.raises(ModelError, match="second name"):
        loaded(base, write(tmp_path / "checkpoint-5", tensors, lora_alpha=4))


def test_an_adapter_of_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    a, b = factors(1, 5, 8)
    tensors = {"transformer.h.0.attn.c_attn.lora_A.weight": a, "transformer.h.0.attn.c_attn.lora_B.weight": b}
    with pytest.raises(ModelError, match="of another shape"):
        loaded(base, write(tmp_path / "checkpoint-5", tensors, lora_alpha=4, fan_in_fan_out=True))


def test_a_copy_of_one_of_two_tied_matrices_is_refused_and_one_of_both_is_not(
    base: Path, tmp_path: Path
) -> None:
    whole = torch.randn(40, 8)
    with pytest.raises(ModelError, match="a copy of, one of the two only"):
        loaded(base, write(tmp_path / "checkpoint-5", {"transformer.wte.weight": whole}))
    both = {"transformer.wte.weight": whole, "lm_head.weight": whole + 1}
    with pytest.raises(ModelError, match="a copy of, one of the two only"):
        loaded(base, write(tmp_path / "checkpoint-7", both))
    both["lm_head.weight"] = whole.clone()
    model, _ = loaded(base, write(tmp_path / "checkpoint-6", both))
    torch.testing.assert_close(model.state_dict()["lm_head.weight"], whole)


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "IA3"},
        {"use_dora": True},
        {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": "olora"},
        {"alora_invocation_tokens": [1, 2]},
    ],
)
def test_other_adapters_are_named_with_the_command_that_merges_them(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    adapter = write(tmp_path / "checkpoint-5", {"x.weight": torch.ones(2)}, task_type="CAUSAL_LM", **config)
    with pytest.raises(CheckpointError) as refused:
        named("adapter").describe(adapter)
    assert "AutoPeftModelForCausalLM" in refused.value.hint


def test_an_adapter_without_its_base_is_refused_with_what_to_give(opsig: Opsig, tmp_path: Path) -> None:
    a, b = factors(1, 8, 16)
    for step in (10, 20):
        tensors = {"layers.0.lora_A.weight": a, "layers.0.lora_B.weight": b}
        write(tmp_path / f"checkpoint-{step}", tensors, lora_alpha=4)
    rows = opsig("inspect", tmp_path, "--json").json["result"]["checkpoints"]
    assert [(row["format"], row["step"]) for row in rows] == [("adapter", 10), ("adapter", 20)]
    done = opsig(
        "trace", tmp_path, "--model", "mlp?hidden=8", "--data", "planted?n=200", "--store", tmp_path / "s.h5"
    )
    assert done.code == 3
    assert "LoRA" in done.err
    assert "merge_and_unload" in done.err


def test_sharpness_of_merged_adapters_is_over_what_they_change_and_has_no_ratio(
    opsig: Opsig, base: Path, tmp_path: Path
) -> None:
    """The optimizer beside adapters is of the adapters: its groups say nothing of the weights they are merged into."""
    run = tmp_path / "run"
    run.mkdir()
    name = "transformer.h.0.attn.c_attn"
    for step in range(3):
        a, b = (0.1 * (step + 1) * part for part in factors(1, 24, 8))
        tensors = {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
        folder = write(run / f"checkpoint-{step}", tensors, lora_alpha=2, fan_in_fan_out=True)
        optimizer = torch.optim.SGD([a, b], lr=0.1)
        torch.save(optimizer.state_dict(), folder / "optimizer.pt")
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": []}))
    np.savez(tmp_path / "data.npz", x=TOKENS.numpy(), y=TOKENS.numpy())
    store = tmp_path / "s.h5"
    data = f"npz:{tmp_path / 'data.npz'}?shift=true"
    traced = opsig("trace", run, "--model", f"hf:{base}", "--data", data, "--loss", "lm", "--store", store)
    assert traced.code == 0, traced.err
    for more in ((), ("--optimizer", "sgd", "--lr", 0.1)):
        points = opsig("sharpness", "--store", store, "--json", *more).json["result"]["points"]
        assert {point["parameters"] for point in points} == {24 * 8}
        assert {point["ratio"] for point in points} == {None}
        assert "training moved adapters" in points[0]["reason"]
