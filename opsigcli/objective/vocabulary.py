"""Whether the tokens of a text can be those that a model was trained on: how many there are, and who numbered them."""

from __future__ import annotations

from opsigcli.errors import ObjectiveError
from opsigcli.examples import ExampleSource

PADDED = 128  # models have their number of outputs rounded up, most to a multiple of 64 or 128
ROOM, SHARE = 1024, 1.05  # or leave room for tokens to come
OWN = {
    "word": "the words of the text itself, numbered by how often they occur",
    "byte": "bytes",
}


def check_vocabulary(outputs: int, source: ExampleSource) -> str:
    """Refuse a text whose tokens are not those of the model.

    A model may have a few outputs more than there are tokens, as sizes are rounded up; with many more it was trained on
    the numbers of another tokenizer, under which every loss is wrong.

    Args:
        outputs: of the model for each place.
        source: all examples; those that know their vocabulary are looked at.

    Returns:
        What whoever reads the numbers should know; "" where they fit.

    Raises:
        ObjectiveError: the model has another vocabulary.
    """
    known, own = len(source.classes), source.transform.get("tokenizer")
    if "per" not in source.transform or not known or own is None or outputs == known:
        return ""
    if own in OWN:
        if known < outputs <= -(-known // PADDED) * PADDED:
            return f"the tokens are {OWN[own]}, {known:,} of them; the model has {outputs:,}: was it trained on these?"
        raise ObjectiveError(
            f"expected the tokens that the model was trained on, of which it has {outputs:,}; found {known:,} in "
            f"{source.spec}: {OWN[own]}",
            "give the model's own tokenizer: text:FILE?tokenizer=DIR, where DIR has its tokenizer.json; or its token "
            "numbers: bin:FILE"
            + (
                "; words are numbered alike in the same file with the same vocabulary= alone"
                if own == "word"
                else ""
            ),
        )
    if outputs > SHARE * known + ROOM:
        raise ObjectiveError(
            f"expected the tokenizer that the model was trained with, of about {outputs:,} tokens, as it has outputs; "
            f"found {known:,} tokens in {source.spec}",
            f"give its own with tokenizer=; if it has more outputs than tokens, add vocabulary={outputs} to --data",
        )
    if outputs < known:
        return f"the tokenizer has {known:,} tokens, the model {outputs:,} outputs: is it the model's own?"
    return ""
