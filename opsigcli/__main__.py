"""``python -m opsigcli`` and the ``opsig`` entry point."""

import os
import signal
import sys
from types import FrameType

_CODES: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143}


def _end(number: int, _frame: FrameType | None) -> None:
    """End at once with the code that is documented: before a command has begun there is nothing to finish."""
    said = "interrupted before anything was begun; nothing was changed"
    if "--json" in sys.argv:
        error = f'{{"code": {_CODES[number]}, "kind": "Interrupted", "message": "{said}", "hint": ""}}'
        os.write(1, f'{{"schema": "opsig/error", "schema_version": 1, "error": {error}}}\n'.encode())
    os.write(2, f"error: {said}\n".encode())
    os._exit(_CODES[number])


# Before anything else is imported: an interrupt during an import would be a traceback, or be lost in it.
for _number in _CODES:
    signal.signal(_number, _end)


def main() -> None:
    """Run the command line and exit with its exit code."""
    from opsigcli.cli.app import run

    code = run()
    for number in _CODES:  # the result is out: there is nothing left to say
        signal.signal(number, lambda signaled, _: os._exit(_CODES[signaled]))
    raise SystemExit(code)


if __name__ == "__main__":
    main()
