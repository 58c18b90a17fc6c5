"""What pages are made with: templates, data within them, and the policy of what they may load."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.outcome import plain
from opsigcli.printable import escaped

if TYPE_CHECKING:
    from jinja2 import Environment


def environment_of() -> Environment:
    """Where the templates of pages are, and how they are filled in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("opsigcli.reporting", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["true_minus"] = lambda text: re.sub(r"(?<![\w-])-(?=[\d.])", "\u2212", str(text))
    return environment


def embedded(content: Mapping[str, Any]) -> str:
    """JSON that can stand in a page: it cannot end the script element that it is in."""
    data = escaped(
        json.dumps(plain(dict(content)), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    )
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    return data


def content_security_policy(css: str, js: str, *, beside: bool = False) -> str:
    """The policy that lets in this style sheet, this script and pictures inside the file, and nothing else.

    With a folder beside the page also scripts and pictures from where the page is.
    """
    own = " 'self' file:" if beside else ""
    style, script = (b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in (css, js))
    return (
        f"default-src 'none'; img-src data:{own}; style-src 'sha256-{style}'; script-src 'sha256-{script}'{own}; "
        "base-uri 'none'; form-action 'none'"
    )
