"""The built-in ``gpt``: a small causal transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from opsigcli.errors import ModelError
from opsigcli.query import integer
from opsigcli.specs import Spec


class Block(nn.Module):
    """Attention to earlier tokens, then a layer of width 4W; each added to its input after a LayerNorm."""

    attention_layers = ("qkv", "mix")

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, W) to (B, L, W)."""
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(batch, length, width))
        out: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return out


class GPT(nn.Module):
    """Tokens (B, L) to logits (B, L, V)."""

    def __init__(self, vocabulary: int, context: int, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for embedding in (self.token, self.place):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token that follows each one."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        out: Tensor = self.head(self.norm(self.blocks(self.token(tokens) + self.place(places))))
        return out


def build_gpt(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``gpt?layers=2&width=64&heads=4``: context and vocabulary are those of the data.

    Raises:
        ModelError: the inputs are no sequences of tokens, or the width is no multiple of the heads.
    """
    spec.only("layers", "width", "heads", "context")
    width, heads = integer(spec, "width", 64), integer(spec, "heads", 4)
    context = integer(spec, "context", input_shape[0] if len(input_shape) == 1 else 0)
    if len(input_shape) != 1 or context < input_shape[0]:
        raise ModelError(
            f"expected sequences of up to {context} tokens for {str(spec)!r}; the inputs have shape {input_shape}",
            "use --data text:FILE?context=64, and give the model as large a context",
        )
    if width % heads:
        raise ModelError(
            f"expected a width that {heads} heads can share, found {width}", "change width= or heads="
        )
    return GPT(outputs, context, integer(spec, "layers", 2), width, heads)
