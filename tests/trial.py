"""One command in a process of its own, watched: how it ended, and what it started, wrote, showed and lost outside."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECRET = "a line that only the user may read, 5f0c2e"
BOUND = 60  # seconds of a command
MEMORY = 12 << 30  # bytes of address space
PROGRAMS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")
DEVICES = tuple(Path("/dev") / name for name in ("null", "zero", "full", "tty", "stdout", "stderr"))
FAKES = ("gs", "gswin64c", "xv", "convert", "magick", "djpeg", "netpbm", "ppmtogif")


@dataclass
class Place:
    """Where a case happens: what the command works in, and a folder beside it that is not its own."""

    root: Path
    work: Path = field(init=False)
    guard: Path = field(init=False)

    def __post_init__(self) -> None:
        self.work, self.guard = self.root / "work", self.root / "guard"

    def lay(self, template: Path) -> None:
        """Both as they are before a case."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(template, self.work, symlinks=True)
        self.guard.mkdir()
        for name in ("secret.txt", "opsig.h5", "x.tmp"):
            (self.guard / name).write_text(SECRET)


@dataclass(frozen=True)
class End:
    """How a command ended; ``code`` is None where it did not, and negative where a signal ended it."""

    code: int | None
    said: str
    programs: tuple[str, ...]  # started
    outside: tuple[str, ...]  # changed, or shown
    seconds: float


def attempt(place: Place, words: tuple[str, ...], bound: float = BOUND) -> End:
    """Run ``opsig *words`` in ``place.work``, in a fork of this process."""
    before, begin = _state(place.guard), time.monotonic()
    heard, said = place.root / "heard", place.root / "said"
    for path in (heard, said):
        path.write_bytes(b"")
    child = os.fork()
    if not child:
        _run(place, words, heard, said)
    code = _end_of(child, begin + bound)
    text = said.read_bytes().decode(errors="replace")
    after = _state(place.guard)
    outside = [str(name) for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    shown = [path.name for path in (said, *_made(place.work)) if SECRET.encode() in path.read_bytes()]
    programs = [*heard.read_text().splitlines(), *(n for n in outside if Path(n).name == "ran")]
    return End(
        code, text, tuple(programs), (*outside, *(f"shown in {s}" for s in shown)), time.monotonic() - begin
    )


def _run(place: Place, words: tuple[str, ...], heard: Path, said: Path) -> None:
    """In the child: never returns."""
    code = 70
    try:
        os.setsid()
        limit_memory()
        os.chdir(place.work)
        listening = os.open(heard, os.O_WRONLY | os.O_APPEND)
        out = os.open(said, os.O_WRONLY | os.O_APPEND)
        for number, handle in enumerate((os.open(os.devnull, os.O_RDONLY), out, out)):
            os.dup2(handle, number)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))

        def listen(event: str, values: tuple[Any, ...]) -> None:
            if event in PROGRAMS:
                os.write(listening, f"{event} {values!r}"[:200].replace("\n", " ").encode() + b"\n")

        sys.addaudithook(listen)
        from opsigcli.cli.app import run

        code = run(list(words))
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        os.write(2, f"Traceback: {error!r}\n".encode(errors="replace"))
    finally:
        os._exit(code)


def limit_memory() -> None:
    """What asks for more memory than there should be is told so, before the machine has none left."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_of(child: int, until: float) -> int | None:
    pause = 0.002
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(0.05, pause * 1.2)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _state(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Everything below a folder, and devices: modes, times and bytes."""
    found: dict[Path, tuple[int, int, bytes]] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        time_of = status.st_mtime_ns if stat.S_ISREG(status.st_mode) else 0
        found[path.relative_to(folder)] = (status.st_mode, time_of, data)
    # The superuser can take a device away for the whole machine.
    found |= {path: (path.lstat().st_mode, 0, b"") for path in DEVICES if os.path.lexists(path)}
    return found


def _made(work: Path) -> list[Path]:
    """Regular files of the work folder that a reader may be shown."""
    names = (".html", ".csv", ".json", ".jsonl", ".h5", ".toml", ".npz")
    return [p for p in work.rglob("*") if p.suffix in names and stat.S_ISREG(p.lstat().st_mode)]
