"""The built-in ``vit``: a small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.models.resnet import require_images
from opsigcli.query import integer
from opsigcli.specs import Spec


class _Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a layer norm and beside a shortcut."""

    attention_layers = ("qkv", "out")

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        b, length, width = inputs.shape
        parts = self.qkv(self.norm1(inputs)).reshape(b, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        # Written out: the fused kernel has no vectorised per-example gradient.
        weight = torch.softmax(query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5, dim=-1)
        mixed = (weight @ value).transpose(1, 2).reshape(b, length, width)
        hidden = inputs + self.out(mixed)
        result: Tensor = hidden + self.mlp(self.norm2(hidden))
        return result


class _ViT(nn.Module):
    """Patches, learned positions, blocks, the mean over patches, a head."""

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, patch: int, width: int, blocks: int, heads: int
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(input_shape[0], width, patch, patch)
        count = (input_shape[1] // patch) * (input_shape[2] // patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, count, width))
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs).flatten(2).transpose(1, 2) + self.positions
        result: Tensor = self.head(self.norm(self.blocks(tokens)).mean(dim=1))
        return result


def build_vit(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``vit?patch=8&width=48&blocks=2&heads=4``: a vision transformer that averages over its patches.

    Raises:
        ModelError: the inputs are no images whose sides the patch divides, or the heads do not divide the width.
    """
    spec.only("patch", "width", "blocks", "heads")
    patch, width = integer(spec, "patch", 8), integer(spec, "width", 48)
    blocks, heads = integer(spec, "blocks", 2), integer(spec, "heads", 4)
    require_images(spec, input_shape, patch)
    if input_shape[1] % patch or input_shape[2] % patch or width % heads:
        raise ModelError(
            f"expected patches of {patch} pixels to tile the images, and {heads} heads to divide the width {width}; "
            f"the inputs are {input_shape[1]}x{input_shape[2]}",
            "change patch=, width= or heads=",
        )
    return _ViT(input_shape, outputs, patch, width, blocks, heads)
