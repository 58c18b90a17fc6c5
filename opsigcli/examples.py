"""Data sets as the rooms above them see them: examples in a fixed order, with permanent ids."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from opsigcli.records import Bytes, Floats, Ints


OWN_MEANS = ("image", "colour")  # values of standardize= by which each input loses a mean of its own
IGNORED = -100  # a label that says not to measure the example, or the token; PyTorch's ignore_index
# What data may say of each token beside its number, by the names of transformers: 1 where it is read and 0 where it is
# padding, the sentence that it belongs to, and its place; and the tokens that a decoder reads, with their mask.
BESIDE = ("attention_mask", "token_type_ids", "position_ids", "decoder_input_ids", "decoder_attention_mask")


class TokenSequences(Protocol):
    """The sequences in which examples that are single tokens lie: one forward pass serves all tokens of a sequence."""

    whole: ExampleSource  # the sequences

    def locate(self, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """The sequences (S,) that hold the examples at ``positions``; of each its place among them and column (B,)."""


class Plane(NamedTuple):
    """Whole numbers that a model of text is given of each example."""

    name: str  # as transformers calls it: input_ids, one of ``BESIDE``, or labels
    width: int  # how many


@runtime_checkable
class ReadsPadded(Protocol):
    """A model of padded text: it takes token numbers (B, L), or where ``planes`` are set (B, P, M), of which the first
    ``width`` numbers of each plane count."""

    padding: int | None  # the number of the token that pads; None = there is none
    masks: bool  # where the data do not say what padding is, what ``pads`` finds is not read
    takes: frozenset[str]  # what may be said beside the tokens, by name
    defaults: tuple[
        str, ...
    ]  # of these, what changes the outputs if it is not said, and has a default all the same
    longest: int | None  # tokens that it has places for; None = any number
    reach: int | None  # tokens that it was made for, where it takes more; None = not said
    from_labels: bool  # what its decoder reads is made of the labels, where the data do not say it
    planes: tuple[Plane, ...]

    def pads(self, tokens: Tensor) -> Tensor:
        """(B, L) True where tokens are padding, by their number and place."""


@runtime_checkable
class TakesPictures(Protocol):
    """Data that can say what the model would be given of any picture."""

    def input_of(self, picture: Image, where: str) -> Floats:
        """A picture that is none of the examples, as the model is given those: (1, *input_shape)."""


@runtime_checkable
class TakesText(Protocol):
    """Data that can say what the model would be given of any text."""

    def tokens_of(self, text: str) -> Ints:
        """A text that is none of the examples, as the model is given those: (1, L)."""


@runtime_checkable
class ExampleSource(Protocol):
    """A dataset as the other rooms see it: fixed order, no shuffling, no augmentation.

    A *position* is a row of this source (0 … N−1); an *id* is the example's permanent number in the source,
    which does not change when a subset is taken. A class that inherits from this one has the defaults given here,
    which are those of examples with one class label each.
    """

    spec: str  # the spec that opens this source again
    ids: Ints  # (N,) permanent numbers
    labels: Ints  # (N,) class indices, by which groups are told apart; 0 where examples have no class
    input_shape: tuple[int, ...]  # shape of one input, (C, H, W) for images
    fingerprint: str  # sha256 over what the examples are
    transform: dict[str, Any]  # what was done to the inputs, with its resolved constants
    classes: tuple[str, ...] = ()  # class names; () when unknown
    names: Sequence[str] = ()  # (N,) relative paths, or places in texts; () where examples have none
    weights: Floats | None = None  # (N,) of each example in the mean loss; None = all alike
    beside: Mapping[str, Ints] = MappingProxyType({})  # (N, L) by name in ``BESIDE``, of tokens
    unread: tuple[str, ...] = ()  # names of what the data say of tokens besides, and which is not read
    filled: bool = (
        False  # rows of tokens had their own lengths; what is behind the last has number 0 and mask 0
    )
    normalisation: tuple[Floats, Floats] | None = (
        None  # mean and deviation: read is (pixels / 255 − mean) / deviation
    )
    sequences: TokenSequences | None = None  # where each example is a token of a sequence that others share
    known_pairs: tuple[tuple[Ints, Ints], ...] = ()  # ids of planted opposing groups; () for real data

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, positions: Ints) -> Floats | Ints:
        """The inputs at ``positions``: (B, *input_shape) float32, or int64 where they are tokens."""

    def read_targets(self, positions: Ints) -> Floats | Ints:
        """What the loss compares the outputs at ``positions`` with: labels (B,) or tokens (B, L) int64, or numbers
        (B, …) float32."""
        return self.labels[positions]

    def pixels(self, positions: Ints) -> Bytes | None:
        """The inputs as bytes, where ``normalisation`` makes of them what ``read`` gives."""
        return None

    def image(self, position: int) -> Bytes | None:
        """The example as a person would look at it: (H, W, 3) uint8, or None when it is no image."""
        return None

    @property
    def outputs(self) -> int:
        """How many outputs a model needs: classes, tokens of the vocabulary, or entries of a target."""
        return max(len(self.classes), int(self.labels.max()) + 1 if len(self) else 0)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(N,) False where nothing is to be measured: every label of the example is ``IGNORED``."""
        found: NDArray[np.bool_] = self.labels != IGNORED
        return found
