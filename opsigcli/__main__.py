"""``python -m opsigcli`` and the ``opsig`` entry point."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_CODES: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143}
_INPUT, _BUG = 3, 70  # exit statuses that ``errors`` names, which may not be there yet


def _end(number: int, _frame: FrameType | None) -> None:
    """End at once with the code that is documented: before a command has begun there is nothing to finish."""
    _leave(_CODES[number], "Interrupted", "interrupted before anything was begun; nothing was changed")


def _leave(code: int, kind: str, said: str, hint: str = "") -> NoReturn:
    import json

    if "--json" in sys.argv:
        error = {"code": code, "kind": kind, "message": said, "hint": hint}
        os.write(
            1, f"{json.dumps({'schema': 'opsig/error', 'schema_version': 1, 'error': error})}\n".encode()
        )
    os.write(2, f"error: {said}\n{f'hint: {hint}' if hint else ''}".rstrip().encode() + b"\n")
    os._exit(code)


# Mining has threads of its own, each with products of matrices: more threads inside of these wait for one another, at
# four times the CPU on busy cores, whatever share of the cores a batch system names in OMP_NUM_THREADS. NumPy reads it
# when it is first imported; torch has its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Before anything else is imported: an interrupt during an import would be a traceback, or be lost in it.
for _number in _CODES:
    signal.signal(_number, _end)


def main() -> None:
    """Run the command line and exit with its exit code."""
    try:
        from opsigcli.cli.app import run
    except ModuleNotFoundError as error:  # Python's own exit status would be that of a gate
        name = error.name or str(error)
        _leave(
            _INPUT,
            "OpsigError",
            f"expected the package {name}, which is not installed",
            f"pip install {name}",
        )
    except Exception as error:
        _leave(_BUG, "Bug", f"opsig cannot be started: {type(error).__name__}: {error}", "install it again")

    code = run()
    for number in _CODES:  # the result is out: there is nothing left to say
        signal.signal(number, lambda signaled, _: os._exit(_CODES[signaled]))
    raise SystemExit(code)


if __name__ == "__main__":
    main()
