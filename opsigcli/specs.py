"""The grammar of specs: ``scheme:name?key=value&key=value``, or a bare built-in name.

Values are TOML scalars (``true``, ``3``, ``0.5``; also ``.5``), comma-separated lists of them (``200,200``), or plain
text.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field

from opsigcli.errors import UsageError

_FRACTION = re.compile(r"[+-]?(\d+\.|\.\d+)([eE][+-]?\d+)?")  # 1. and .5, which Python has and TOML has not
LONGEST = 1000  # characters of a value that may be more than text

Value = bool | int | float | str | list["bool | int | float | str"]


@dataclass(frozen=True)
class Spec:
    """A parsed spec. ``scheme`` is empty for a bare built-in name such as ``mlp?hidden=64``."""

    scheme: str
    name: str
    options: dict[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        head = f"{self.scheme}:{self.name}" if self.scheme else self.name
        query = "&".join(f"{key}={_text(value)}" for key, value in self.options.items())
        return f"{head}?{query}" if query else head

    def only(self, *known: str) -> Spec:
        """This spec, if every option is one of ``known``.

        Raises:
            UsageError: an option is not known; the message lists the ones that are.
        """
        from opsigcli.registry import unknown  # which knows specs

        for key in self.options:
            if key not in known:
                error = unknown(f"option of {self.scheme or self.name}", key, known)
                raise UsageError(f"in {str(self)!r}: {error.message}", error.hint)
        return self


def parse(text: str) -> Spec:
    """Parse one spec.

    Raises:
        UsageError: the text is empty, or a query part is not ``key=value``.
    """
    head, _, query = text.strip().partition("?")
    scheme, colon, name = head.partition(":")
    if not colon:
        scheme, name = "", head
    if not name:
        raise UsageError(
            f"expected a spec like 'scheme:name?key=value', found {text!r}",
            "examples: mlp?hidden=64,64  torchvision:resnet18  folder:images?size=32  py:pkg.mod:factory",
        )
    options: dict[str, Value] = {}
    for part in query.split("&") if query else []:
        key, equals, value = part.partition("=")
        if not equals or not key or key in options:
            problem = "twice" if key in options else "without '=value'"
            raise UsageError(
                f"in spec {text!r}: option {key!r} given {problem}", "write options as ?key=value&other=value"
            )
        options[key] = _value(value)
    return Spec(scheme, name, options)


def _value(text: str) -> Value:
    if "," in text:
        return [_scalar(item) for item in text.split(",") if item]
    return _scalar(text)


def _scalar(text: str) -> bool | int | float | str:
    if len(text) > LONGEST:
        return text
    try:
        found = tomllib.loads(f"v = {text}")
    except (
        ValueError,
        RecursionError,
    ):  # no TOML, a number of thousands of digits, or lists in lists without end
        return float(text) if _FRACTION.fullmatch(text) else text
    value = found["v"]
    return value if len(found) == 1 and isinstance(value, bool | int | float | str) else text


def _text(value: Value) -> str:
    if isinstance(value, list):
        return ",".join(_text(item) for item in value) + ("," if len(value) == 1 else "")
    return str(value).lower() if isinstance(value, bool) else str(value)
