"""The command line: start-up, help, manual, streams."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Opsig

from opsigcli import __version__
from opsigcli.cli import manual
from opsigcli.options import COMMANDS

MAN = Path(__file__).parents[2] / "man"
HEAVY = ("torch", "torchvision", "scipy", "h5py", "networkx")


def _heavy_modules(*words: str) -> set[str]:
    """The heavy modules that ``opsig words`` imports, in a process of its own."""
    code = (
        "import sys; from opsigcli.cli.app import run; code = run(sys.argv[1:]); "
        f"print('HEAVY', *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split("HEAVY")[1].split())


@pytest.mark.parametrize("words", [("--help",), ("--version",), *((verb, "--help") for verb in COMMANDS)])
def test_help_and_version_import_nothing_heavy(words: tuple[str, ...]) -> None:
    assert not _heavy_modules(*words)


def test_report_on_a_finished_store_does_not_import_torch(finished: Path, tmp_path: Path) -> None:
    store = str(finished / "opsig.h5")
    html = tmp_path / "r.html"
    for words in (("report", "--store", store), ("report", "--html", "-o", str(html), "--store", store)):
        assert not _heavy_modules(*words) & {"torch", "torchvision", "scipy"}
    assert html.stat().st_size > 10_000


@pytest.mark.slow
def test_mining_again_with_a_finding_needs_no_torch(case: Path) -> None:
    done = _heavy_modules("mine", "--store", str(case / "opsig.h5"), "--top", "19", "--surrogates", "9")
    assert not done & {"torch", "torchvision", "networkx"}


def test_version_is_the_packages(opsig: Opsig) -> None:
    assert opsig("--version").out == f"opsig {__version__}\n"


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "opsigcli", "--version"], capture_output=True, text=True)
    assert done.stdout == f"opsig {__version__}\n"


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_ends_with_examples_and_fits_80_columns(opsig: Opsig, verb: str) -> None:
    text = opsig(verb, "--help").out
    assert "Examples:" in text.split("Options:")[1]
    assert text.rstrip().splitlines()[-1].startswith("    ")
    assert max(map(len, text.splitlines())) <= 80
    for option in ("--json", "--quiet", "--verbose"):
        assert option in text


def test_no_command_shows_help_and_is_a_usage_error(opsig: Opsig) -> None:
    result = opsig()
    assert result.code == 2
    assert "Commands:" in result.out


def test_the_manual_is_the_command_tree() -> None:
    pages = manual.pages()
    assert {path.name for path in MAN.iterdir()} == set(pages)
    for name, page in pages.items():
        assert (MAN / name).read_text() == page, f"write it again: python -m opsigcli.cli.manual man ({name})"


def test_the_page_on_many_workers_has_the_numbers_and_names_of_the_code() -> None:
    from opsigcli.objective.evaluate import LARGEST_SHARD
    from opsigcli.tracing.sharding import LAUNCHERS

    page = (MAN / "opsig-scaling.7").read_text().replace("\\-", "-")
    assert f"{LARGEST_SHARD:,} examples" in page
    assert all(name in page for pair in LAUNCHERS for name in pair)


def test_the_page_on_manifests_names_every_field_and_its_example_is_read(tmp_path: Path) -> None:
    from dataclasses import fields

    from opsigcli.checkpoints.manifest import Manifest, Row, read_manifest

    page = (MAN / "opsig-manifest.5").read_text()
    plain = page.replace("\\-", "-")
    named = {field.name for record in (Manifest, Row) for field in fields(record)}
    assert not {name for name in named if not re.search(rf"\b{name}\b", plain)}
    example = plain.split(".nf\n")[1].split("\n.fi")[0]
    (tmp_path / "opsig-run.toml").write_text(example)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.checkpoints == (Row("step-000000.safetensors", 0),)
    assert manifest.hyper == {"lr": 0.1, "momentum": 0.9}


def test_results_go_to_stdout_and_words_to_stderr(opsig: Opsig, case: Path) -> None:
    result = opsig("sharpness", "--store", case / "opsig.h5", "--every", 20)
    assert "threshold" in result.out
    assert "sharpness: 7/7" not in result.out
    assert opsig("sharpness", "--store", case / "opsig.h5", "--every", 20, "--quiet").out == ""


def test_colours_are_for_terminals_alone(case: Path) -> None:
    words = [sys.executable, "-m", "opsigcli", "report", "--store", str(case / "opsig.h5")]
    for variable in ({}, {"GITHUB_ACTIONS": "1", "NO_COLOR": "1"}):
        done = subprocess.run(words, capture_output=True, text=True, env={"PATH": "", **variable})
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
