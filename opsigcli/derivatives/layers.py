"""Which parameters belong to which layer, and what kind of layer that is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from opsigcli.objective.base import Objective

NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.modules.instancenorm._InstanceNorm,
)
ATTENTION = ("attn", "attention", "qkv", "q_proj", "k_proj", "v_proj")  # in the name of a module or its class
EMBEDDING = ("embed", "position", "cls_token", "class_token", "wte", "wpe")


@dataclass(frozen=True)
class Layer:
    """The trainable parameters that one module owns directly, or those of all modules of a kind."""

    name: str  # path of the module; "" is the model itself
    kind: str  # embedding, attention, convolution, mlp, norm or other
    places: tuple[int, ...]  # in objective.parameters


def layers(objective: Objective) -> list[Layer]:
    """The layers in the model's order. A shared parameter belongs to the first module that has it.

    Linear layers outside attention are of kind *mlp*; a module counts as attention or embedding by its class, or by
    its name or that of a module around it. A block whose projections stand beside its MLP names them itself, in
    ``attention_layers``.
    """
    places = {id(p): i for i, p in enumerate(objective.parameters)}
    found: list[Layer] = []
    seen: set[int] = set()
    for path, module in objective.model.named_modules():
        own = {name: places[id(p)] for name, p in module.named_parameters(recurse=False) if id(p) in places}
        own = {name: place for name, place in own.items() if place not in seen}
        seen.update(own.values())
        loose = own if _kind(objective.model, path, module) == "other" else {}
        named = {name: place for name, place in loose.items() if any(word in name for word in EMBEDDING)}
        found += [Layer(f"{path}.{n}".lstrip("."), "embedding", (p,)) for n, p in named.items()]
        rest = tuple(place for name, place in own.items() if name not in named)
        if rest:
            found.append(Layer(path, _kind(objective.model, path, module), rest))
    return found


def kinds(found: list[Layer]) -> list[Layer]:
    """All layers of a kind as one, in the order in which the kinds appear."""
    names = dict.fromkeys(layer.kind for layer in found)
    return [
        Layer(kind, kind, tuple(sorted(p for layer in found if layer.kind == kind for p in layer.places)))
        for kind in names
    ]


def _kind(model: nn.Module, path: str, module: nn.Module) -> str:
    if isinstance(module, NORMS) or "norm" in type(module).__name__.lower():
        return "norm"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    parts = path.split(".")
    around = [model.get_submodule(".".join(parts[:i])) for i in range(1, len(parts) + 1)]
    words = [*parts, *(type(m).__name__ for m in around)]
    named = any(word in text.lower() for text in words for word in ATTENTION)
    if named or any(
        part in getattr(m, "attention_layers", ()) for m, part in zip(around, parts[1:], strict=False)
    ):
        return "attention"
    if any("embed" in text.lower() for text in words):
        return "embedding"
    if isinstance(module, nn.modules.conv._ConvNd):
        return "convolution"
    return "mlp" if isinstance(module, nn.Linear) else "other"
