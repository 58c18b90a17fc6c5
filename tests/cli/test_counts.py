"""One of a kind is counted so in all that is printed: 1 checkpoint, and not 1 checkpoints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Opsig

WORDS = "checkpoint row column file unit gate point example value gradient tensor step pair spike"
ONE = re.compile(rf"(?<![\d.,/])1 (?:{'|'.join(f'{word}s' for word in WORDS.split())})\b")


def test_one_is_counted_so(opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPSIG_STORE", "s.h5")
    said = ""
    for line in (
        "train run --steps 1 --data planted?n=240 --model mlp?hidden=8",
        "trace run --dry-run",
        "trace run",
        "sharpness --steps 0:0 --dry-run",
        "sharpness --steps 0:0",
        "sharpness --steps 0:0 --fresh",
        "sharpness --quick --steps 1:1",
        "sharpness --quick --steps 1:1 --fresh",
        "mine --method losses",
        "export losses --steps 0:0 --examples 3",
        "export sharpness",
        "report --full",
        "report --markdown --fail-on trace.failed==0",
        "report -o page.html",
        "inspect run/step-000000.safetensors",
        "trace run/step-000000.safetensors --store one.h5",
        "report --full --store one.h5",
        "report s.h5 one.h5",
    ):
        result = opsig(*line.split())
        assert result.code in (0, 1), result.err
        said += result.out + result.err
    said += re.sub("<script.*?</script>|<[^>]*>", " ", (tmp_path / "page.html").read_text(), flags=re.DOTALL)
    assert "wrote 1 row of" in said
    assert not [said[max(0, m.start() - 60) : m.end() + 20] for m in ONE.finditer(said)]
