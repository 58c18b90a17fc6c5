"""``hf:DIR``: the model that a Hugging Face ``config.json`` describes, where transformers is installed."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.examples import Plane, ReadsPadded
from opsigcli.models.extras import need
from opsigcli.models.hf_config import as_folder, config_file, read_config
from opsigcli.query import integer
from opsigcli.specs import Spec
from opsigcli.usercode import guarded

# Ends of the names of classes whose tokens do not see those that follow, and which predict each next one.
_CAUSAL = ("LMHeadModel", "ForCausalLM")
# What forward takes and no data say: of losses, of how it computes.
_NO_DATA = (
    "self",
    "labels",
    "kwargs",
    "use_cache",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
)
_OF_PLACES = re.compile(r"wpe|position_embeddings?|embed_positions|pos_emb\w*")
# What forward reads as 0 where it is not said, though training may have had it.
_DEFAULTS = ("token_type_ids", "bbox", "langs")


def build_hf(spec: Spec, input_shape: tuple[int, ...], outputs: int, kept: str = "") -> nn.Module:
    """``hf:DIR?attention=eager&padding=0``, DIR a checkpoint folder with a config.json; nothing is downloaded.

    The class is the one that the config names under ``architectures``, taken from transformers itself: code beside
    the config is never run (``trust_remote_code`` is off). The model returns its logits. Inputs of models of text are
    token numbers, with what the data say beside them that forward takes (``examples.BESIDE``). What the decoder of an
    encoder and decoder reads is made of the labels, as transformers does it. Where there is no attention_mask, the
    config's pad_token_id is padding at both ends of a sequence, but not for causal language models, which often pad
    with a token that has another meaning; ``padding=ID`` names a token that pads (for these at the beginning; what
    follows the last token changes nothing), ``padding=none`` says that none does. Attention is computed without fused
    kernels by default, as these have no second derivatives. Where the content of the config.json was ``kept``, DIR need
    not be there.

    Raises:
        UsageError: there is no config.json at DIR, or ``padding`` is no token.
        ModelError: transformers is not installed, has no such class, or fails.
    """
    spec.only("attention", "padding")
    given = spec.options.get("padding")
    padding = None if given == "none" else integer(spec, "padding", None, minimum=0)
    text, folder = kept or read_config(spec), config_file(spec).parent
    name = _architecture(text, str(spec))
    transformers = need("transformers", "hf", str(spec))
    kind = getattr(transformers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise ModelError(
            f"expected a model class of transformers for {str(spec)!r}, found the architecture {name!r}",
            "code of the model's own is never run; give it yourself: --model py:pkg.mod:factory",
        )
    with guarded(ModelError, f"building {str(spec)!r}", "check the config.json"):
        with as_folder(text, folder.name) as place:
            config = transformers.AutoConfig.from_pretrained(
                str(place), trust_remote_code=False, local_files_only=True
            )
        config._attn_implementation = str(spec.options.get("attention", "eager"))
        if padding is not None:
            config.pad_token_id = padding
        model: Any = kind(config)
    model.names_in_checkpoints = _saved_names(model)
    model.ignored_in_checkpoints = _ignored(model)
    model.folder = str(folder)
    causal = name.endswith(_CAUSAL)
    adapted = _returning_logits(model, causal)
    if isinstance(adapted, ReadsPadded):
        adapted.padding = None if given == "none" else getattr(config, "pad_token_id", None)
        adapted.masks = adapted.padding is not None and (padding is not None or not causal)
        one_type = getattr(config, "type_vocab_size", 1) < 2
        adapted.defaults = tuple(
            name
            for name in _DEFAULTS
            if name in adapted.takes and not (one_type and name == "token_type_ids")
        )
        adapted.longest = _places(model)
        adapted.reach = _reach(model)
        adapted.from_labels = bool(getattr(config, "is_encoder_decoder", False))
    return adapted


def _places(model: nn.Module) -> int | None:
    """How many tokens a model has embeddings of places for; None where it has none."""
    found = [
        # As RoBERTa counts, from behind the token that pads, and BART, with an offset of its own.
        module.num_embeddings
        - (module.padding_idx + 1 if module.padding_idx is not None else 0)
        - int(getattr(module, "offset", 0))
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and _OF_PLACES.fullmatch(name.rpartition(".")[2])
    ]
    return min(found, default=None)


def _reach(model: Any) -> int | None:
    """How many tokens a model whose places are rotations was made for; None where it has no rotations."""
    if not any("rotary" in type(module).__name__.lower() for module in model.modules()):
        return None
    found = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) else None


def _saved_names(model: Any) -> dict[str, str]:
    """Name in a saved file -> name in the model, where transformers gives them two: newer versions of a model keep
    the file format of its first one."""
    try:
        revert_weight_conversion = import_module("transformers.core_model_loading").revert_weight_conversion
    except ImportError:  # before version 5 there was one name
        return {}
    # Copies, so that every tensor has an address of its own by which to know it again.
    copies = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    known = {tensor.data_ptr(): name for name, tensor in copies.items()}
    saved = revert_weight_conversion(model, copies)
    found = {name: known[t.data_ptr()] for name, t in saved.items() if t.data_ptr() in known}
    for name in copies:  # as the first BERT had it, after TensorFlow's
        for old, new in (("gamma", "weight"), ("beta", "bias")):
            if name.endswith(f"LayerNorm.{new}"):
                found[f"{name.removesuffix(new)}{old}"] = name
    return found


def _ignored(model: Any) -> tuple[str, ...]:
    """Patterns of names that transformers leaves out, as models do not save them any more."""
    buffers = [name for name, _ in model.named_buffers()]
    once = [
        rf"(^|\.){name}$" for name in ("position_ids", "inv_freq") if any(b.endswith(name) for b in buffers)
    ]
    return (*(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()), *once)


def _architecture(config: str, spec: str) -> str:
    try:
        found = json.loads(config).get("architectures")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"expected JSON in the config.json of {spec!r}, found something else") from error
    if not isinstance(found, list) or not found or not isinstance(found[0], str):
        raise ModelError(
            f"expected the model's class under 'architectures' in the config.json of {spec!r}, found {found!r}",
            'write it there, as save_pretrained of the model does: "architectures": ["GPT2LMHeadModel"]; or name the '
            "model yourself: --model py:pkg.mod:factory",
        )
    return found[0]


def _returning_logits(model: Any, causal: bool) -> nn.Module:
    """The same model, names and all, whose ``forward(inputs)`` gives a tensor.

    Raises:
        ModelError: the model, on its first pass, has no head for a task that gives logits.
    """
    base: Any = type(model)
    tokens = getattr(base, "main_input_name", "") == "input_ids"
    accepted = inspect.signature(base.forward).parameters

    class Logits(base):  # type: ignore[misc]
        def forward(self, inputs: Tensor) -> Tensor:
            given = self.beside(inputs.long()) if tokens else {}
            found = super().forward(given.pop("input_ids", inputs), return_dict=True, **given)
            if getattr(found, "logits", None) is None:
                parts = ", ".join(found) if isinstance(found, Mapping) else type(found).__name__
                raise ModelError(
                    f"expected a model with logits, which {base.__name__} does not give; it gives {parts}",
                    "name the class of the task that was trained in 'architectures' of config.json; or let a factory "
                    "of your own return what the loss needs as one tensor: --model file:net.py:factory",
                )
            logits: Tensor = found.logits
            return logits

    class OfText(Logits):
        padding: int | None = None
        masks = False
        takes = frozenset(accepted) - {*_NO_DATA}
        defaults: tuple[str, ...] = ()
        from_labels = False
        longest: int | None = None
        reach: int | None = None
        planes: tuple[Plane, ...] = ()

        def beside(self, inputs: Tensor) -> dict[str, Tensor]:
            """What transformers' own forward takes, of tokens (B, L) or planes (B, P, M)."""
            if inputs.ndim == 2:
                named = {"input_ids": inputs}
            else:
                named = {
                    p.name: plane[:, : p.width]
                    for p, plane in zip(self.planes, inputs.unbind(1), strict=True)
                }
            if self.masks and "attention_mask" in accepted and "attention_mask" not in named:
                named["attention_mask"] = (~self.pads(named["input_ids"])).long()
            if "labels" in named and hasattr(self, "prepare_decoder_input_ids_from_labels"):
                labels = named.pop("labels")
                named["decoder_input_ids"] = self.prepare_decoder_input_ids_from_labels(labels)
            return named

        def pads(self, tokens: Tensor) -> Tensor:
            """Runs of the token that pads at both ends; what is behind the last token changes nothing for a causal
            model, and may be to predict."""
            if self.padding is None:
                return torch.zeros_like(tokens, dtype=torch.bool)
            read = tokens != self.padding
            first, last = read.cumsum(1) > 0, read.flip(1).cumsum(1).flip(1) > 0
            return ~first if causal else ~(first & last)

    model.__class__ = OfText if tokens else Logits
    adapted: nn.Module = model
    return adapted
