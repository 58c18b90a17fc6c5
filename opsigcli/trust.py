"""Whether code named by a file may run: a signature shows that this user wrote the file.

``py:`` and ``file:`` specs are code. Given on the command line they are the user's own words. Found in a manifest or a
store they are data, and data from elsewhere must not choose what runs here. So opsig signs the runs it writes with a
key that only this user can read; a run without that signature needs ``--trust-manifest``, or the spec given again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from opsigcli.errors import TrustError
from opsigcli.specs import Value, parse

CODE_SCHEMES = ("py", "file")


def is_code(spec: str) -> bool:
    """Whether opening the spec runs code that it names, itself or as a dataset's ``transform=``."""
    parsed = parse(spec)
    transform = parsed.options.get("transform", "")
    named = [
        parsed.scheme,
        *(_scheme(item) for item in (transform if isinstance(transform, list) else [transform])),
    ]
    return any(scheme in CODE_SCHEMES for scheme in named)


def sign(specs: Iterable[str]) -> str:
    """Signature over specs, hexadecimal; "" when no key can be kept on this machine."""
    key = _key()
    return (
        hmac.new(key, "\n".join(specs).encode(errors="surrogateescape"), hashlib.sha256).hexdigest()
        if key
        else ""
    )


def require_trust(
    inherited: Iterable[str], signed: Iterable[str], signature: str, where: str, *, trusted: bool
) -> None:
    """Refuse code that a file names, unless this user wrote the file.

    Args:
        inherited: the specs taken from the file.
        signed: all specs the file's signature is over.
        signature: as found in the file.
        where: the file, for the message.
        trusted: the user vouches for the file.

    Raises:
        TrustError: an inherited spec is code, ``signature`` is not this user's, and ``trusted`` is false.
    """
    code = [spec for spec in inherited if is_code(spec)]
    found, own = signature.encode(errors="replace"), sign(signed).encode()
    if not code or trusted or (found and hmac.compare_digest(found, own)):
        return
    raise TrustError(
        f"{where} names code to run ({', '.join(code)}), and it was not written by you on this machine",
        "look at that code, then add --trust-manifest, or give --model and --data again",
    )


def _scheme(value: Value) -> str:
    return str(value).partition(":")[0].strip()


def _key() -> bytes:
    """This user's secret key, made on first use; b"" when it can neither be read nor made."""
    try:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser())
    except RuntimeError:  # a user without a home
        return b""
    path = base / "opsig" / "key"
    with contextlib.suppress(OSError):
        return path.read_bytes()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""
