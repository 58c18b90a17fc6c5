"""opsig as a library: the same numbers as the command line, read lazily, and nothing printed."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Opsig
from store_case import N, T, write_everything
from torch import Tensor, nn
from torch.utils.data import Dataset

import opsigcli
from opsigcli.errors import OpsigError, StoreError, UsageError
from opsigcli.options import COMMANDS
from opsigcli.parameters import parameters
from opsigcli.store.reader import open_store

ROOT = Path(__file__).parents[2]
VERBS = ("train", "trace", "mine", "sharpness", "report", "export")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_everything(tmp_path / "s.h5")
    return tmp_path / "s.h5"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A traced run."""
    words = {"data": "planted?n=200", "model": "mlp?hidden=8", "lr": 0.3, "steps": 4, "save_every": 2}
    opsigcli.train(tmp_path / "run", **words)
    opsigcli.trace(tmp_path / "run", store=tmp_path / "o.h5")
    return tmp_path / "o.h5"


def test_importing_brings_neither_torch_nor_numpy_and_every_name_is_there() -> None:
    code = (
        "import sys, opsigcli as opsig\n"
        "assert not {'torch', 'numpy', 'h5py'} & set(sys.modules)\n"
        "assert set(opsig.__all__) <= set(dir(opsig))\n"
        "opsig.open, opsig.Run\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert all(getattr(opsigcli, name) for name in opsigcli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = opsigcli.nothing


@pytest.mark.parametrize("verb", VERBS)
def test_a_function_has_the_options_of_its_command_with_their_defaults(verb: str) -> None:
    function = getattr(opsigcli, verb)
    known = inspect.signature(function).parameters
    for parameter in parameters(COMMANDS[verb]):
        assert parameter.name in known
        assert f"    {parameter.name}: " in (function.__doc__ or "")
        if not parameter.required:
            assert known[parameter.name].default == parameter.default
    assert set(known) == {p.name for p in parameters(COMMANDS[verb])} | {"progress"}


def test_the_functions_give_what_the_command_line_prints(opsig: Opsig, run: Path, capsys: Any) -> None:
    capsys.readouterr()
    measured = opsigcli.sharpness(store=run, every=2)
    mined = opsigcli.mine(store=run, method="losses", surrogates=0)
    reported = opsigcli.report(store=run, output=run.with_suffix(".html"))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    assert measured.complete
    found = opsig("sharpness", "--store", run, "--every", 2, "--json").json["result"]["points"]
    assert [p["eigenvalues"] for p in found] == [list(p.eigenvalues) for p in measured.points]
    assert len(mined.pairs) == len(opsigcli.open(run).pairs)
    quick = opsigcli.sharpness(store=run, quick=True)
    assert [point.step for point in quick.points] == [0, 2, 4]
    assert opsigcli.open(run).critical_sharpness == quick.points
    assert opsigcli.mine(store=run, dry_run=True).pairs == ()
    assert reported.html is not None
    assert reported.html.stat().st_size > 10_000
    assert reported.run.steps.tolist() == [0, 2, 4]
    assert '"schema": "opsig/sharpness"' in measured.to_json()


WRONG = [
    (lambda: opsigcli.trace("x", stor="y"), "no option 'stor'", "did you mean store"),
    (opsigcli.trace, "expected checkpoints", "Folder of checkpoints"),
    (lambda: opsigcli.mine(top="20"), "a whole number, found '20'", ""),
    (lambda: opsigcli.mine(top=True), "a whole number, found True", ""),
    (lambda: opsigcli.mine(top=0), "at least 1", ""),
    (lambda: opsigcli.sharpness(tolerance=float("nan")), "a number, found nan", ""),
    (lambda: opsigcli.sharpness(tolerance=1.0), "at most 0.1", ""),
    (lambda: opsigcli.sharpness(quick=1), "True or False", ""),
    (lambda: opsigcli.train("d", batch_size=0), "at least 1", ""),
    (lambda: opsigcli.mine(store=""), "a path", ""),
    (lambda: opsigcli.open("none.h5"), "found nothing there", "opsig trace"),
]


@pytest.mark.parametrize(("call", "said", "hint"), WRONG, ids=[said for _, said, _ in WRONG])
def test_a_mistake_is_an_error_that_says_what_was_expected_with_a_hint_below(
    call: Any, said: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OpsigError) as raised:
        call()
    assert said in raised.value.message
    assert hint in raised.value.hint
    assert raised.value.__notes__ == [f"hint: {raised.value.hint}"]
    assert not any(tmp_path.iterdir())


def test_too_many_arguments_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="takes 1 positional"):
        opsigcli.trace("a", "b")


def test_values_of_several_numbers_are_written_as_the_command_line_has_them() -> None:
    from opsigcli.api.filled import filled

    assert filled("sharpness", {"betas": (0.9, 0.99)}).betas == "0.9,0.99"
    assert filled("export", {"what": "losses", "examples": np.array([3, 5])}).examples == "3,5"
    assert filled("train", {"directory": "d", "batch_size": "full", "lr": 1}).batch_size is None
    assert filled("report", {"stores": "a.h5"}).stores == (Path("a.h5"),)
    assert filled("report", {"stores": ["a.h5", Path("b.h5")]}).stores == (Path("a.h5"), Path("b.h5"))
    assert filled("sharpness", {"lr": np.float32(0.5), "every": np.int64(3)}).every == 3


def test_the_store_of_the_environment_is_taken(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSIG_STORE", str(store))
    assert opsigcli.report().run.path == store
    assert opsigcli.open().path == store
    assert opsigcli.report(store=store).result["examples"] == N


def test_a_store_is_read_as_arrays_and_records(store: Path) -> None:
    found = opsigcli.open(store)
    with open_store(store) as opened:
        losses, deltas = opened.losses[:], opened.loss_deltas[:]
    np.testing.assert_array_equal(np.asarray(found.losses), losses)
    np.testing.assert_array_equal(found.deltas[:], deltas)
    np.testing.assert_array_equal(found.losses.at(1), losses[1])
    np.testing.assert_array_equal(found.losses.of([3, 0]), losses[:, [3, 0]])
    assert found.losses.shape == (T, N)
    assert found.deltas.steps.tolist() == [0, 1]
    assert list(found.names) == ["a", "b", "ü", "d"]
    assert (found.unit, found.ids.tolist(), found.labels.shape) == ("step", [0, 1, 2, 3], (N,))
    assert [point.step for point in found.sharpness] == [0, 1]
    assert found.pairs[0].verdict == "opposing"
    assert found.findings == ()
    assert found.results[0] == "mine"
    assert len(found.critical_sharpness) == len(found.phases) == 1
    other = opsigcli.open(store, result="mine --method losses")
    assert other.case().mining.method == "losses"  # type: ignore[union-attr]
    for wrong in (
        lambda: found.losses.at(7),
        lambda: found.losses.of(9),
        lambda: opsigcli.open(store, result="x"),
    ):
        with pytest.raises(UsageError):
            wrong()


def test_tables_are_those_of_pandas(store: Path) -> None:
    found = opsigcli.open(store)
    frame = found.losses.to_pandas()
    assert frame.shape == (T, N)
    assert frame.loc[1, 2] == found.losses[1, 2]
    assert found.sharpness.to_pandas()["threshold"].tolist()[1] == 4.0
    assert found.pairs.to_pandas()[["first_size", "opposition", "opposition_null"]].values.tolist() == [
        [2, 0.5, 0.1]
    ]
    assert found.to_pandas("losses", steps="1:", examples=[2])["step_1"].tolist() == [found.losses[1, 2]]
    assert found.to_pandas("pairs")["side"].tolist() == ["first"] * 2 + ["second"] * 2


def test_what_is_found_later_is_seen_and_another_trace_is_not_read_by_old_ids(tmp_path: Path) -> None:
    from benchmarks.store import content

    from opsigcli.store.writer import write_trace

    path = tmp_path / "s.h5"
    write_trace(path, content(N, T))
    found = opsigcli.open(path)
    losses = found.losses
    assert not found.pairs
    write_everything(path)
    assert len(found.pairs) == 1
    path.unlink()
    write_trace(path, replace(content(N, T), steps=[0, 5, 9]))
    with pytest.raises(StoreError, match="traced anew"):
        losses[0]
    assert found.losses.steps.tolist() == [0, 5, 9]


def test_a_damaged_store_is_refused(store: Path) -> None:
    data = bytearray(store.read_bytes())
    data[len(data) // 2] ^= 1
    store.write_bytes(data)
    with pytest.raises(StoreError):
        opsigcli.open(store)


def test_a_notebook_shows_pairs_with_pictures_and_lets_nothing_of_the_data_through(store: Path) -> None:
    shown = opsigcli.open(store)._repr_html_()
    assert shown.count('<img src="data:image/png;base64,') == 1
    assert "Pair 1" in shown
    assert "opposing" in shown
    assert "<script" not in shown
    assert 'src="http' not in shown


class Pictures(Dataset[tuple[Tensor, int]]):
    """Sixty vectors with a class each."""

    classes = ("<b>cat</b>", "dog")

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(60, 6, generator=generator)

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.x[index], int(self.x[index].sum() > 0)


def test_modules_and_data_sets_stand_in_place_of_specs(opsig: Opsig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, data = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)), Pictures()
    x, y = data.x, torch.tensor([data[i][1] for i in range(60)])
    folder, kept = tmp_path / "ckpts", []
    folder.mkdir()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    for step in range(4):
        torch.save(
            {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step},
            folder / f"step_{step}.pt",
        )
        kept.append(nn.functional.cross_entropy(net(x), y, reduction="none").detach().numpy())
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    store = tmp_path / "o.h5"
    opsigcli.trace(folder, model=net, data=data, store=store)
    found = opsigcli.open(store)
    np.testing.assert_allclose(found.losses[:], np.stack(kept), rtol=1e-5, atol=1e-6)
    assert found.classes == Pictures.classes
    points = opsigcli.sharpness(store=store, model=net, data=data).points
    assert [p.threshold for p in points] == pytest.approx([10.0] * 4)
    opsigcli.mine(store=store, model=net, data=data, surrogates=0)
    assert set(found.results) == {"sharpness", "mine --surrogates 0"}  # and not another choice of model
    assert all((value == before[name]).all() for name, value in net.state_dict().items())
    again = opsigcli.trace(folder, model=net, data=data, store=store)
    assert {row["status"] for row in again.result["checkpoints"]} == {"kept"}
    lost = opsig("sharpness", "--store", store, "--fresh")
    assert lost.code == 3
    assert "given again" in lost.err or "give it again" in lost.err


def test_a_subset_of_a_data_set_can_be_asked_for(tmp_path: Path) -> None:
    done = opsigcli.train(tmp_path / "run", model=nn.Linear(6, 2), data=Pictures(), steps=2)
    assert done.folder == tmp_path / "run"
    traced = opsigcli.trace(
        tmp_path / "run", model=nn.Linear(6, 2), data=Pictures(), examples=10, store=tmp_path / "o.h5"
    )
    assert traced.run.losses.shape == (3, 10)


def test_progress_is_told_to_whom_it_is_given(tmp_path: Path) -> None:
    from opsigcli.progress import NoProgress

    class Heard(NoProgress):
        def __init__(self) -> None:
            self.tasks: list[str] = []

        def task(self, name: str, total: int, unit: str = "it") -> Any:
            self.tasks.append(name)
            return super().task(name, total, unit)

    heard = Heard()
    opsigcli.train(tmp_path / "run", data="planted?n=200", model="mlp?hidden=4", steps=2, progress=heard)
    assert heard.tasks


def test_an_interrupt_is_one_for_the_program_too(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from opsigcli.commands import report
    from opsigcli.errors import Interrupted

    def stopped(*_: object) -> None:
        raise Interrupted(KeyboardInterrupt(), "interrupted: 3 points are kept")

    monkeypatch.setattr(report, "report", stopped)
    with pytest.raises(KeyboardInterrupt, match="3 points are kept"):
        opsigcli.report(store=run)


@pytest.mark.parametrize("module", ["calls", "run"])
def test_examples_in_the_documentation_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.chdir(tmp_path)
    opsigcli.train("run", data="planted?n=200", model="mlp?hidden=8", steps=4, save_every=2)
    opsigcli.trace("run")
    tried = doctest.testmod(import_module(f"opsigcli.api.{module}"), optionflags=doctest.ELLIPSIS)
    assert tried.failed == 0
    assert tried.attempted > 2


def test_the_lines_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    text = (ROOT / "README.md").read_text()
    first, loop = re.findall(r"```python\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(first, names)
    assert capsys.readouterr().out.startswith("(61, 5) ")
    monkeypatch.delitem(sys.modules, "nets", raising=False)  # an example has one
    (tmp_path / "nets.py").write_text("from torch import nn\n\ndef build():\n    return nn.Linear(3, 2)\n")
    x, y = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), np.arange(8) % 2
    np.savez(tmp_path / "train.npz", x=x, y=y)
    net = nn.Linear(3, 2)
    names |= {"torch": torch, "net": net, "optimizer": torch.optim.SGD(net.parameters(), lr=0.1)}
    names["batches"] = [(torch.from_numpy(x), torch.from_numpy(y))] * 3
    exec(loop, names)
    assert opsigcli.trace("run", store="r.h5").run.steps.tolist() == [0, 3]


def test_the_type_of_numbers_that_a_program_has_set_changes_nothing(tmp_path: Path) -> None:
    given = {"data": "planted?n=240", "model": "mlp?hidden=8", "steps": 2}
    opsigcli.train(tmp_path / "a", **given)
    torch.set_default_dtype(torch.float64)
    try:
        opsigcli.train(tmp_path / "b", **given)
        run = opsigcli.trace(tmp_path / "b", store=tmp_path / "b.h5").run
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    same = opsigcli.trace(tmp_path / "a", store=tmp_path / "a.h5").run
    assert np.array_equal(np.asarray(run.losses), np.asarray(same.losses))
