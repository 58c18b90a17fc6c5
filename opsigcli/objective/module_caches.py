"""What modules keep between forward passes in eval mode."""

from __future__ import annotations

from torch import nn


def clear_caches(model: nn.Module) -> None:
    """Make modules drop what they keep in eval mode, so that the next pass computes it from the weights.

    LeViT, TinyViT and others of timm keep attention biases made from their weights: with the weights of a checkpoint
    before, without a gradient, or with a graph that was freed since. LoRA layers add their product into a weight.
    Going into training mode, which such modules do in a method of their own, undoes that. The modes stay as they are.
    """
    for module in model.modules():
        if type(module).train is not nn.Module.train:
            modes = [(part, part.training) for part in module.modules()]
            module.train()
            for part, training in modes:
                part.training = training
