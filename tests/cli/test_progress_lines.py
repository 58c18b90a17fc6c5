"""Without a terminal, a long task says how far it is and how much time is left."""

from __future__ import annotations

import time

import pytest

from opsigcli.cli.console import Terminal


@pytest.mark.parametrize(
    ("seconds", "done", "left"), [(20.0, 25, "60 s"), (600.0, 25, "30 min"), (60_000.0, 50, "16.7 h")]
)
def test_a_line_says_how_much_time_is_left(
    seconds: float, done: int, left: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Terminal().task("gradients", 100, "example") as task:
        now[0] = seconds
        task.advance(done)
        task.advance(100 - done)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"gradients: {done}/100, ")
    assert lines[0].endswith(f", {left} left")
    assert lines[1].startswith("gradients: 100/100, ")
    assert "left" not in lines[1]
