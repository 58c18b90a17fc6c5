"""Which known models have exactly the tensors of a checkpoint. A hint for a person to accept, never more."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn

Shapes = Mapping[str, tuple[int, ...]]
SECONDS = 20.0  # that a search may take
_AUXILIARY = ("googlenet", "inception_v3")  # they have a second classifier, or two, for training


def fitting_specs(shapes: Shapes, suggested: str = "") -> list[str]:
    """Specs of torchvision's and timm's classification models whose state has these names and shapes.

    Candidates are built on the meta device, without memory for weights. For torchvision the documented number of
    parameters tells beforehand which are worth building; for timm, where it is installed, the names of the first and
    the last layer do, and the search ends after ``SECONDS``.

    Args:
        shapes: tensor name -> shape, of the weights without wrappers' prefixes.
        suggested: a spec that the checkpoint itself names; tried first.
    """
    classes = _outputs(shapes)
    if not classes:
        return []
    found = list(_suggested(suggested, shapes, classes))
    found += [spec for spec in _torchvision(shapes, classes) if spec not in found]
    if not found:
        found += _timm(shapes, classes)
    return found


def _outputs(shapes: Shapes) -> int:
    """Size of the last bias or matrix, which is a classifier's number of outputs."""
    sizes = [shape[0] for name, shape in shapes.items() if name.endswith(("weight", "bias")) and shape]
    return sizes[-1] if sizes else 0


def _suggested(spec: str, shapes: Shapes, classes: int) -> Iterator[str]:
    scheme, _, name = spec.partition(":")
    if scheme == "timm" and name and _fits(_timm_maker(name, classes), shapes):
        yield f"timm:{name}?num_classes={classes}"


def _torchvision(shapes: Shapes, classes: int) -> Iterator[str]:
    from torchvision import models

    total = sum(_count(shape) for name, shape in shapes.items() if not _is_buffer(name))
    width = next((s[1] for s in reversed(list(shapes.values())) if len(s) >= 2 and s[0] == classes), 0)
    for name in models.list_models(module=models):
        documented = next(iter(models.get_model_weights(name))).meta.get("num_params", 0)
        # The documented models have 1000 outputs; each output fewer is a row of the last layer fewer.
        if name in _AUXILIARY:
            for used in (True, False):
                maker = _torchvision_maker(name, classes, aux_logits=used, init_weights=False)
                if _fits(maker, shapes):
                    yield f"torchvision:{name}?num_classes={classes}" + ("" if used else "&aux_logits=false")
        elif documented == total + (1000 - classes) * (width + 1) and _fits(
            _torchvision_maker(name, classes), shapes
        ):
            yield f"torchvision:{name}?num_classes={classes}"


def _timm(shapes: Shapes, classes: int) -> list[str]:
    try:
        timm: Any = import_module("timm")
    except ImportError:
        return []
    until = time.monotonic() + SECONDS
    sizes = {str(size) for shape in shapes.values() for size in shape}
    alike = [name for name in timm.list_models() if _same_ends(timm.get_pretrained_cfg(name), shapes)]
    found: list[str] = []
    for name in sorted(alike, key=lambda name: -_promise(timm.model_entrypoint(name), sizes)):
        if time.monotonic() > until or len(found) == 3:
            break
        if _fits(_timm_maker(name, classes), shapes):
            found.append(f"timm:{name}?num_classes={classes}")
            until = min(until, time.monotonic() + 2)  # look a little further for others that fit as well
    return found


def _same_ends(facts: Any, shapes: Shapes) -> bool:
    """Whether the checkpoint has the first and the last layer by the names that timm documents for a model."""
    ends = [facts.first_conv, facts.classifier] if facts else []
    named = [end for entry in ends for end in (entry if isinstance(entry, tuple | list) else [entry]) if end]
    return bool(named) and all(f"{end}.weight" in shapes for end in named)


def _promise(entry: Callable[..., Any], sizes: set[str]) -> float:
    """Share of the numbers in a builder's source that are sizes of the checkpoint: the order to try builders in."""
    numbers = re.findall(r"=\s*(\d+)", inspect.getsource(entry))
    return sum(number in sizes for number in numbers) / (len(numbers) + 1)


def _torchvision_maker(name: str, classes: int, **more: bool) -> Callable[[], Any]:
    from torchvision import models

    return lambda: models.get_model(name, weights=None, num_classes=classes, **more)


def _timm_maker(name: str, classes: int) -> Callable[[], Any]:
    def make() -> Any:
        timm: Any = import_module("timm")
        if name not in timm.list_models():  # "hf-hub:" and the like would download
            raise LookupError(name)
        return timm.create_model(name, pretrained=False, num_classes=classes)

    return make


def _fits(make: Callable[[], Any], shapes: Shapes) -> bool:
    """Whether the model has exactly these tensors. Some models compute with values while they are built: those are
    built with memory."""
    for device in ("meta", "cpu"):
        try:
            with torch.device(device), torch.random.fork_rng(devices=[]):
                model = make()
        except (ImportError, LookupError):
            return False
        except Exception:  # noqa: S112 - whatever a builder raises, it is no hint
            continue
        return isinstance(model, nn.Module) and _shapes(model) == dict(shapes)
    return False


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in model.state_dict().items() if isinstance(t, torch.Tensor)}


def _is_buffer(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked", "relative_position_index"))


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
