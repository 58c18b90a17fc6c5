"""Folders with a LoRA adapter of PEFT: what is added to the weights of a base model, and what takes their place."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.base import Header, TensorFacts
from opsigcli.checkpoints.choose import choose
from opsigcli.checkpoints.formats.weights_folder import WeightsFolder, facts_beside, file_reader, read_json
from opsigcli.errors import CheckpointError
from opsigcli.state_dict import StateDict

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<which>[AB])(?:\.default)?(?:\.weight)?"
)
# Settings under which the base with its adapter is another function than W + scale · B A.
_ODD = (
    "use_dora", "lora_bias", "use_qalora", "use_bdlora", "arrow_config", "corda_config", "lora_ga_config",
    "kasa_config", "monteclora_config", "alora_invocation_tokens", "layer_replication",
)  # fmt: skip
_OF_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_TASKS = ("CausalLM", "SequenceClassification", "TokenClassification", "Seq2SeqLM", "QuestionAnswering")


class AdapterFolder(WeightsFolder):
    """One folder with an adapter: of a matrix W it holds A (r, in) and B (out, r), which give W + (alpha / r) B A.

    Reference:
        Hu et al. 2021, arXiv 2106.09685, section 4.1; Kalajdzievski 2023, arXiv 2312.03732 (alpha / sqrt(r)).
    """

    name = "adapter"
    folder = True
    parts: tuple[str, ...] = (CONFIG, *_FILES)

    def recognises(self, path: Path) -> bool:
        """Folders with the settings and the weights of an adapter."""
        whole = (path / CONFIG).is_file() and any((path / name).is_file() for name in _FILES)
        return whole and not super().recognises(path)

    def describe(self, path: Path) -> Header:
        """The tensors that the adapter changes, and the files beside it.

        Raises:
            CheckpointError: it is no LoRA adapter, or one of a kind that opsig does not merge.
        """
        config, stored = _config(path), _stored(path)
        facts = {name: _facts(parts, stored) for name, parts in _targets(path, stored).items()}
        counts, lr, optimizer, said = facts_beside(path)
        base = config.get("base_model_name_or_path")
        known = isinstance(base, str) and bool(base) and (Path(base) / "config.json").is_file()
        notes = (f"a LoRA adapter of {base}" if isinstance(base, str) and base else "a LoRA adapter",)
        hint = f"hf:{base}" if known else ""
        return Header({"": facts}, {}, lr, optimizer, (*notes, *said), beside=counts, model=hint)

    def read(self, path: Path, key: str | None = None, weights: str = "") -> dict[str, torch.Tensor]:
        """By name in the base: what is added to it (``StateDict.added``), and whole tensors in place of its own."""
        config, stored = _config(path), _stored(path)
        targets = _targets(path, stored)
        _, names = choose(path, {"": targets.keys()}, key, weights if weights != "model" else "")
        (file,) = self.files(path)
        tensors = file_reader(file).read_named(file, {name: name for name in stored})
        found = {plain: _merged(config, targets[name], tensors) for plain, name in names.items()}
        return StateDict(found, added=frozenset(n for n, own in names.items() if len(targets[own]) == 2))

    def files(self, path: Path) -> list[Path]:
        """The adapter's own file of weights."""
        return [next(path / name for name in _FILES if (path / name).is_file())]


def _config(path: Path) -> Mapping[str, Any]:
    config = read_json(path / CONFIG)
    kind = str(config.get("peft_type", "of no type")).upper()
    odd = [name for name in _ODD if config.get(name)]
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(_OF_THE_BASE):
        odd.append(f"init_lora_weights {start!r}, which takes a part of the base's weights out of them")
    if kind != "LORA" or odd:
        what = f"LoRA with {odd[0]}" if kind == "LORA" else kind
        task = str(config.get("task_type") or "").replace("_", "").upper()
        ending = {"SEQCLS": "SequenceClassification", "TOKENCLS": "TokenClassification"}.get(task)
        ending = ending or next((name for name in _TASKS if name.upper() == task), "")
        kind_of = f"AutoPeftModel{'For' + ending if ending else ''}"
        raise CheckpointError(
            f"expected an adapter of the kind LoRA, found {what} in {path}",
            f'merge it: python -c "from peft import {kind_of} as A; '
            "A.from_pretrained('ADAPTER').merge_and_unload().save_pretrained('MERGED')\"",
        )
    return config


def _stored(path: Path) -> Mapping[str, TensorFacts]:
    file = AdapterFolder().files(path)[0]
    found: Mapping[str, TensorFacts] = next(iter(file_reader(file).describe(file).candidates.values()))
    return found


def _targets(path: Path, stored: Mapping[str, TensorFacts]) -> dict[str, tuple[str, ...]]:
    """Name in the base model -> names here: of a whole tensor, or of the factors A and B.

    Raises:
        CheckpointError: a factor has no other one, or there are numbers that mean something else.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in stored:
        if ".original_module." in name:  # what modules_to_save replaced
            continue
        match = _FACTOR.fullmatch(name)
        if match is None and "lora_" in name:
            raise CheckpointError(
                f"expected factors lora_A and lora_B, found {name!r} in {path}", "merge it with peft itself"
            )
        if match is None:
            found[_plain(name)] = (name,)
        elif match["which"] == "A":
            other = name.replace("lora_A", "lora_B").replace("lora_embedding_A", "lora_embedding_B")
            if other not in stored:
                raise CheckpointError(
                    f"expected {other!r} beside {name!r} in {path}, found none", "save the adapter again"
                )
            found[f"{_plain(match['module'])}.weight"] = (name, other)
    return found


def _plain(name: str) -> str:
    """A name in the base model, without what PEFT puts before and into it."""
    short = name.removeprefix("base_model.model.")
    return (
        short.replace(".base_layer.", ".")
        .replace(".modules_to_save.default.", ".")
        .replace(".modules_to_save.", ".")
    )


def _facts(parts: tuple[str, ...], stored: Mapping[str, TensorFacts]) -> TensorFacts:
    if len(parts) == 1:
        return stored[parts[0]]
    a, b = (stored[name] for name in parts)
    shape = (b.shape[0], *a.shape[1:])
    return TensorFacts("float32", shape[::-1] if _embeds(parts) else shape)


def _embeds(parts: tuple[str, ...]) -> bool:
    """Whether the factors are of an embedding, whose matrix has a row for each token."""
    return "lora_embedding_A" in parts[0]


def _merged(
    config: Mapping[str, Any], parts: tuple[str, ...], tensors: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """A whole tensor; or scale · B A, (out, in) whatever way round the base keeps it."""
    if len(parts) == 1:
        return tensors[parts[0]]
    a, b = (tensors[name].float() for name in parts)
    match = _FACTOR.fullmatch(parts[0])
    alpha = _of_module(
        config, "alpha_pattern", _plain(match["module"]) if match else "", config.get("lora_alpha", 8)
    )
    rank = a.shape[0]
    scale = float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    product = (b.flatten(1) @ a.flatten(1)).reshape(b.shape[0], *a.shape[1:]) * scale
    return product.T.contiguous() if _embeds(parts) else product


def _of_module(config: Mapping[str, Any], name: str, module: str, usual: Any) -> Any:
    """A setting of one module, which patterns of names may give."""
    patterns = config.get(name) or {}
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), usual)
