"""The built-in ``lstm``: a small recurrent network for text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.query import integer
from opsigcli.specs import Spec


class Layer(nn.Module):
    """One layer of long short-term memory, written out: the fused one has no derivatives of derivatives.

    ``i, f, o = σ(·), g = tanh(·)`` of ``W x_t + U h_{t−1} + b``; ``c_t = f c_{t−1} + i g``; ``h_t = o tanh c_t``.

    Reference: Hochreiter & Schmidhuber 1997, Long Short-Term Memory, with the forget gate of Gers et al. 2000.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read, self.recall = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, L, W) to (B, L, W)."""
        seen = self.read(inputs)
        hidden = cell = torch.zeros_like(inputs[:, 0])
        found = []
        for place in range(inputs.shape[1]):
            into, keep, out, new = (seen[:, place] + self.recall(hidden)).chunk(4, dim=-1)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(into) * torch.tanh(new)
            hidden = torch.sigmoid(out) * torch.tanh(cell)
            found.append(hidden)
        return torch.stack(found, dim=1)


class LSTM(nn.Module):
    """Tokens (B, L) to logits (B, L, V)."""

    def __init__(self, vocabulary: int, layers: int, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.layers = nn.Sequential(*(Layer(width) for _ in range(layers)))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token that follows each one.

        Raises:
            ModelError: the inputs are no sequences of tokens.
        """
        if tokens.ndim != 2:
            raise ModelError(
                f"expected sequences of tokens, found inputs of shape {tuple(tokens.shape[1:])}",
                "use --data text:FILE?context=64",
            )
        out: Tensor = self.head(self.layers(self.token(tokens)))
        return out


def build_lstm(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``lstm?layers=1&width=64``: the vocabulary is that of the data, and sequences may have any length.

    Raises:
        ModelError: the inputs are no sequences of tokens.
    """
    spec.only("layers", "width")
    if len(input_shape) != 1:
        raise ModelError(
            f"expected sequences of tokens for {str(spec)!r}; the inputs have shape {input_shape}",
            "use --data text:FILE?context=64",
        )
    return LSTM(outputs, integer(spec, "layers", 1), integer(spec, "width", 64))
