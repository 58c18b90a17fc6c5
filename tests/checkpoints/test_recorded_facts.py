"""What is recorded of a training is found wherever programs write it, as data, and told once with what to give."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from opsigcli.checkpoints.arguments import arguments
from opsigcli.checkpoints.fact_kinds import KINDS
from opsigcli.checkpoints.recorded_facts import Traced, batch_norm_fact, recorded_facts, traced_as
from opsigcli.checkpoints.series import Series, open_series
from opsigcli.checkpoints.yaml_scalars import yaml_scalars
from opsigcli.training_records import RecordedFact

WEIGHTS = nn.Linear(4, 3).state_dict()
# What timm's train.py keeps of a run with all of its defaults.
TIMM = {
    "aa": None, "reprob": 0.0, "remode": "pixel", "mixup": 0.0, "cutmix": 0.0, "cutmix_minmax": None, "mixup_prob": 1.0,
    "mixup_switch_prob": 0.5, "mixup_mode": "batch", "mixup_off_epoch": 0, "smoothing": 0.1, "drop": 0.0,
    "drop_path": None, "model_ema": False, "model_ema_decay": 0.9998, "amp": False, "amp_dtype": "float16",
    "no_aug": False, "hflip": 0.5, "vflip": 0.0, "color_jitter": 0.4, "scale": [0.08, 1.0], "clip_grad": None,
    "clip_mode": "norm", "weight_decay": 2e-5, "bce_loss": False, "jsd_loss": False, "drop_last": True,
}  # fmt: skip


def saved(folder: Path, **content: Any) -> Series:
    folder.mkdir(parents=True, exist_ok=True)
    for step in (0, 10):
        torch.save({"model": WEIGHTS, "step": step, **content}, folder / f"step_{step}.pt")
    return open_series(folder, examine=True)


def facts(series: Series, **traced: str) -> dict[str, RecordedFact]:
    return {fact.name: fact for fact in recorded_facts(series, Traced(**traced))}


def test_the_defaults_of_timm_are_smoothing_augmentation_and_decay(tmp_path: Path) -> None:
    found = facts(saved(tmp_path, args=Namespace(**TIMM)))
    assert {name: fact.value for name, fact in found.items()} == {
        "label smoothing": "0.1",
        "augmentation": "color_jitter 0.4, hflip 0.5",
        "weight decay": "2e-05",
    }
    assert found["label smoothing"].option == "--loss 'ce?label_smoothing=0.1'"
    assert found["label smoothing"].found_in == "step_10.pt: args.smoothing"


def test_settings_that_say_no_are_no_facts(tmp_path: Path) -> None:
    plain = TIMM | {"no_aug": True, "smoothing": 0.0, "weight_decay": 0.0}
    more = {
        "mixup": False,
        "augment": "none",
        "amp": "no",
        "precision": "32-true",
        "loss": "ce",
        "dropout": 0,
        "sam": False,
        "optimizer": "sample-sgd",
    }
    assert facts(saved(tmp_path, args=Namespace(**plain), hparams=more, loss=0.31, scaler={})) == {}


CASES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"config": {"dtype": "bfloat16"}}, "mixed precision", "bfloat16", "--precision bf16"),
    ({"scaler": {"scale": 65536.0}}, "mixed precision", "fp16", ""),
    ({"hparams": {"precision": "16-mixed"}}, "mixed precision", "16-mixed", ""),
    ({"config": {"grad_clip": 1.0}}, "gradient clipping", "1", ""),
    ({"hyper_parameters": {"net": {"attention_dropout": 0.1}}}, "dropout", "attention_dropout 0.1", ""),
    ({"hyper_parameters": {"stochastic_depth_prob": 0.2}}, "drop path", "stochastic_depth_prob 0.2", ""),
    ({"args": {"cutmix_alpha": 1.0, "use_mixup": True}}, "mixup", "cutmix_alpha 1, use_mixup", ""),
    ({"args": {"label-smoothing": "0.05"}}, "label smoothing", "0.05", "--loss 'ce?label_smoothing=0.05'"),
    ({"args": {"class_weights": [1, 2, 4]}}, "class weights", "1, 2, 4", "--loss 'ce?weight=1.0,2.0,4.0'"),
    ({"class_weights": torch.tensor([1.0, 2.0, 4.0])}, "class weights", "1, 2, 4",
     "--loss 'ce?weight=1.0,2.0,4.0'"),
    ({"args": {"criterion": "FocalLoss"}}, "loss", "FocalLoss", "--loss focal"),
    ({"args": {"loss": "my_own"}}, "loss", "my_own", ""),
    ({"args": {"use_ema": True}}, "moving average", "use_ema", ""),
    ({"args": {"aa": "rand-m9-mstd0.5", "reprob": 0.25}}, "augmentation", "aa rand-m9-mstd0.5, reprob 0.25", ""),
    ({"args": {"wd": 0.05}}, "weight decay", "0.05", ""),
    ({"args": {"use_sam": True}}, "sharpness-aware minimisation", "use_sam", ""),
    ({"config": {"optimizer": "SAM-SGD"}}, "sharpness-aware minimisation", "SAM-SGD", ""),
]  # fmt: skip


@pytest.mark.parametrize(("content", "name", "value", "option"), CASES)
def test_each_kind_is_found_in_a_checkpoint(
    tmp_path: Path, content: dict[str, Any], name: str, value: str, option: str
) -> None:
    found = facts(saved(tmp_path, **content))
    assert list(found) == [name]
    assert (found[name].value, found[name].option, found[name].matched) == (value, option, False)


def test_every_kind_of_fact_has_a_case() -> None:
    assert {kind.name for kind in KINDS} == {name for _, name, *_ in CASES}


def test_a_loss_that_was_saved_as_a_module_tells_its_options(tmp_path: Path) -> None:
    criterion = nn.CrossEntropyLoss(label_smoothing=0.2, weight=torch.tensor([1.0, 2.0, 3.5]))
    spec = "ce?label_smoothing=0.2&weight=1.0,2.0,3.5"
    series = saved(tmp_path, hyper_parameters={"loss_fn": criterion})
    found = facts(series)
    assert {name: fact.option for name, fact in found.items()} == dict.fromkeys(
        ("label smoothing", "class weights"), f"--loss '{spec}'"
    )
    assert all(fact.matched and not fact.option for fact in facts(series, loss=spec).values())
    half = facts(series, loss="ce?label_smoothing=0.2")
    assert (half["label smoothing"].matched, half["class weights"].option) == (True, f"--loss '{spec}'")


def test_weights_of_classes_among_those_of_the_model_are_read(tmp_path: Path) -> None:
    series = saved(tmp_path, model={**WEIGHTS, "criterion.weight": torch.tensor([1.0, 0.3, 2.0])})
    assert facts(series)["class weights"].option == "--loss 'ce?weight=1.0,0.300000012,2.0'"


def test_batch_norm_and_averages_are_found_by_the_names_of_tensors(tmp_path: Path) -> None:
    state = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
    series = saved(tmp_path, model=state, ema=state)
    found = facts(series)
    assert found["BatchNorm"].value == "1 layer"
    assert "a trace takes those of the data" in found["BatchNorm"].effect
    assert "--batch-norm batch" in batch_norm_fact(1, "the model", "stored").option
    assert "--weights ema" in found["moving average"].option
    assert "no step" in facts(series, weights="ema")["moving average"].effect


def test_files_of_settings_beside_the_checkpoints_are_read_and_told_once(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    series = saved(tmp_path / "run" / "checkpoints", args={"smoothing": 0.1})
    (tmp_path / "run" / "hparams.yaml").write_text(
        yaml.safe_dump({"smoothing": 0.1, "net": {"dropout": 0.3}})
    )
    (tmp_path / "run" / "checkpoints" / "args.json").write_text(json.dumps({"train": {"mixup": 0.2}}))
    found = facts(series)
    assert found["label smoothing"].found_in == "step_10.pt: args.smoothing, ../hparams.yaml: smoothing"
    assert found["dropout"].found_in == "../hparams.yaml"
    assert found["mixup"].value == "mixup 0.2"


def test_settings_above_a_folder_that_is_a_run_are_not_its_own(tmp_path: Path) -> None:
    series = saved(tmp_path / "experiment-1")
    (tmp_path / "args.yaml").write_text("smoothing: 0.1")
    assert facts(series) == {}


def test_yaml_gives_what_its_library_gives() -> None:
    yaml = pytest.importorskip("yaml")
    values = TIMM | {"text": "a: b # c", "betas": [0.9, 0.999], "lr": 0.001, "inner": {"deep": {"drop": 0.1}}}
    want = {name: value for name, value in values.items() if name != "inner"} | {"inner.deep.drop": 0.1}
    for style in (False, None):
        text = yaml.safe_dump(values, default_flow_style=style)
        found = yaml_scalars(text)
        if style is None:  # mappings within a line are passed over
            want.pop("inner.deep.drop")
            found = {name: value for name, value in found.items() if not name.startswith("inner")}
        assert found == want
    assert yaml_scalars("a: 1e-3\nb:\n- 1\n- x\nc: !!python/object:os.system\n# d: 1\ne: yes") == {
        "a": 0.001, "b": [1, "x"], "e": True
    }  # fmt: skip


def test_two_places_that_differ_are_two_facts_each_with_its_own_option(tmp_path: Path) -> None:
    series = saved(tmp_path, args={"smoothing": 0.1}, config={"label_smoothing": 0.2})
    found = recorded_facts(series, Traced())
    assert sorted(fact.option for fact in found) == [f"--loss 'ce?label_smoothing={s}'" for s in (0.1, 0.2)]


def test_the_arguments_of_the_trainer_are_read_without_running_anything(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = transformers.GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=11, n_positions=8)
    for step in (5, 10):
        folder = tmp_path / f"checkpoint-{step}"
        transformers.GPT2LMHeadModel(small).save_pretrained(folder)
        made = transformers.TrainingArguments(
            output_dir=str(tmp_path), label_smoothing_factor=0.1, use_cpu=True
        )
        torch.save(made, folder / "training_args.bin")
    series = open_series(tmp_path, examine=True)
    found = {fact.name: fact for fact in recorded_facts(series, traced_as(series))}
    assert found["label smoothing"].option == "--loss 'lm?label_smoothing=0.1'"
    assert "attn_pdrop 0.1" in found["dropout"].value
    assert found["gradient clipping"].value == "1"


def test_objects_that_hold_one_another_are_no_endless_work(tmp_path: Path) -> None:
    many: dict[str, Any] = {}
    many |= {f"k{i}": many for i in range(300)}
    deep: Any = [1]
    for _ in range(60):
        deep = [deep, deep]
    wide: Any = {"dropout": 0.1}
    for _ in range(40):
        wide = {"a": wide, "b": wide}
    began = time.process_time()
    series = saved(tmp_path, hparams={"many": many, "deep": deep, "wide": wide, "mixup": 0.2})
    assert "mixup" in facts(series)
    assert time.process_time() - began < 20


@pytest.mark.parametrize("content", [b"", b"\x80never opened", b"\xff\xfe" * 50, b"[" * 9000])
def test_broken_files_of_settings_are_passed_over(tmp_path: Path, content: bytes) -> None:
    series = saved(tmp_path)
    for name in ("training_args.bin", "args.yaml", "config.json", "hparams.yaml"):
        (tmp_path / name).write_bytes(content)
    assert [one.name for one in arguments(series) if one.found_in != "step_10.pt"] == []
