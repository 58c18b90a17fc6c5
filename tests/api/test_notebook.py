"""The notebook in examples/ runs, and progress is shown in a cell."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from opsigcli.api import notebook
from opsigcli.api.notebook import Notebook, progress_here
from opsigcli.progress import SILENT

PATH = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def _cells() -> list[dict[str, Any]]:
    return [cell for cell in json.loads(PATH.read_text())["cells"] if cell["cell_type"] == "code"]


def _outputs() -> str:
    return json.dumps([cell["outputs"] for cell in _cells()])


def test_the_notebook_was_run_from_its_beginning_without_errors_and_shows_pictures() -> None:
    cells = _cells()
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert '"error"' not in _outputs()
    assert _outputs().count("data:image/png;base64,") > 10
    assert "opposing outliers" in _outputs()


@pytest.mark.slow
def test_the_cells_of_the_notebook_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By nbclient where it is installed, as a notebook is run; else one after another in this process."""
    monkeypatch.chdir(tmp_path)
    if find_spec("nbclient") and find_spec("ipykernel"):
        import nbclient
        import nbformat

        nbclient.NotebookClient(nbformat.read(PATH, 4), timeout=600).execute()
        return
    names: dict[str, Any] = {}
    for cell in _cells():
        exec("".join(cell["source"]), names)
    assert len(names["found"].pairs) == 2
    assert [point.step for point in names["measured"].points] == [0, 10, 20, 30, 40]
    assert names["own"].steps.tolist() == [0, 10, 20]


class Shown:
    """What IPython's display would show."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def display(self, found: str, *, display_id: bool) -> Shown:
        self.texts.append(found)
        return self

    def update(self, found: str) -> None:
        self.texts[-1] = found

    HTML = staticmethod(str)


def test_a_bar_is_drawn_in_its_place_and_escapes_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=shown, get_ipython=lambda: None))
    with Notebook().task("trace", 3, "checkpoint") as task:
        task.advance(note="short")
    assert shown.texts == []
    monkeypatch.setattr(notebook, "SHORT", -1.0)
    monkeypatch.setattr(notebook, "SECONDS", -1.0)
    with Notebook().task("trace", 3, "checkpoint") as task:
        for step in range(3):
            task.advance(note=f"<b>{step}</b>")
    assert shown.texts == [
        '<progress value="3" max="3"></progress> <code>trace: 3/3 checkpoint &lt;b&gt;2&lt;/b&gt;</code>'
    ]


def test_progress_is_shown_in_notebooks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress_here() is SILENT
    for shell, kind in (
        (SimpleNamespace(kernel=1), Notebook),
        (SimpleNamespace(), type(SILENT)),
        (None, type(SILENT)),
    ):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert type(progress_here()) is kind
