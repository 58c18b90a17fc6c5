"""Files of pickle.dump are read as data, whatever they are called; those without weights are left out and named."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Opsig
from torch import nn

from opsigcli.checkpoints.formats import recognise
from opsigcli.checkpoints.series import open_series
from opsigcli.errors import CheckpointError


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def arrays() -> dict[str, Any]:
    found = {name: tensor.numpy() for name, tensor in net().state_dict().items()}
    turned = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    return found | {
        "turned": turned,
        "half": np.ones(3, np.float16),
        "none": np.zeros((0, 2)),
        "yes": np.array([True]),
    }


FORMS: dict[str, Any] = {
    "tensors": lambda: dict(net().state_dict()),
    "state dict": lambda: net().state_dict(),
    "views": lambda: {"a": (t := torch.arange(12.0).reshape(3, 4)).t(), "b": t[1], "c": t.bfloat16()},
    "arrays": arrays,
    "detectron2": lambda: {"model": arrays(), "__author__": "me", "iteration": np.int64(7)},
    "wrapped": lambda: {"state_dict": net().state_dict(), "epoch": 3, "history": {"loss": [1.0, 0.5]}},
    "module": net,
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["w.pkl", "w", "w.weights", "w.pt", "w.bin"])
@pytest.mark.parametrize("form", FORMS)
def test_tensors_and_arrays_are_those_that_were_pickled(
    tmp_path: Path, form: str, name: str, protocol: int
) -> None:
    content = FORMS[form]()
    (tmp_path / name).write_bytes(pickle.dumps(content, protocol))
    reader = recognise(tmp_path / name)
    assert reader is not None
    found = reader.read(tmp_path / name)
    expected = content.state_dict() if form == "module" else content
    expected = next((expected[key] for key in ("model", "state_dict") if key in expected), expected)
    assert list(found) == list(expected)
    for key, value in expected.items():
        wanted = torch.tensor(value) if isinstance(value, np.ndarray) else value
        assert found[key].dtype == wanted.dtype
        assert torch.equal(found[key], wanted), key
    counts = reader.describe(tmp_path / name).counts
    assert counts == {"detectron2": {"step": 7}, "wrapped": {"epoch": 3}}.get(form, {})


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("content", ["words", "code", "text", "sparse", "big-endian"])
def test_a_pickle_without_weights_is_left_out_with_the_reason(tmp_path: Path, content: str) -> None:
    mark = tmp_path / "mark"
    made = {
        "words": {"vocabulary": {"a": 1}},
        "code": Payload(mark),
        "text": {"w": np.array(["a"])},
        "sparse": {"w": torch.ones(2).to_sparse()},
        "big-endian": {"w": np.arange(3.0).astype(">f4")},
    }
    (tmp_path / "odd_3.pkl").write_bytes(pickle.dumps(made[content]))
    for step in (1, 2):
        (tmp_path / f"odd_{step}.pkl").write_bytes(pickle.dumps(dict(net().state_dict())))
    series = open_series(tmp_path)
    assert series.steps == [1, 2]
    assert not series.failed
    assert [item.file for item in series.skipped] == ["odd_3.pkl"]
    assert not mark.exists()


def test_pickles_beside_checkpoints_of_another_kind_are_no_checkpoints(tmp_path: Path) -> None:
    for epoch in (1, 2):
        torch.save({"model": net().state_dict(), "epoch": epoch}, tmp_path / f"model_{epoch}.pt")
        (tmp_path / f"losses_epoch{epoch}.pkl").write_bytes(
            pickle.dumps({"loss": np.ones(3), "epoch": epoch})
        )
    assert [c.file for c in open_series(tmp_path)] == ["model_1.pt", "model_2.pt"]


@pytest.mark.parametrize("cut", [0.2, 0.6, 0.99])
def test_a_pickle_that_is_cut_off_is_no_checkpoint(tmp_path: Path, cut: float) -> None:
    whole = pickle.dumps(arrays(), 4)
    part = whole[: int(cut * len(whole))] + b"."
    (tmp_path / "w_1.pkl").write_bytes(part)
    with pytest.raises(CheckpointError):
        open_series(tmp_path)


def test_forged_arrays_are_refused(tmp_path: Path) -> None:
    good = pickle.dumps({"w": np.arange(6, dtype=np.float32)}, 4)
    for old, new in ((b"K\x06\x85", b"K\x07\x85"), (b"\x8c\x02f4", b"\x8c\x02f8")):
        assert old in good
        (tmp_path / "w_1.pkl").write_bytes(good.replace(old, new))
        with pytest.raises(CheckpointError):
            open_series(tmp_path)


def test_mappings_and_bytes_named_many_times_over_do_not_grow(tmp_path: Path) -> None:
    layer: Any = {"w": np.ones(1000, np.float32)}
    shared = layer["w"]
    for _ in range(12):
        layer = {f"k{i}": layer for i in range(20)}
    (tmp_path / "step_1.pkl").write_bytes(pickle.dumps(layer, 4))
    (tmp_path / "step_2.pkl").write_bytes(pickle.dumps({f"w{i}": shared for i in range(500)}, 4))
    series = open_series(tmp_path)
    assert series.steps == [2]
    assert len(series.read(0)) == 500
    turns = b"".join(b"cnumpy.core.numeric\n_frombuffer\n(h\x00h\x01K\x64\x85\x8c\x01CtR0" for _ in range(50))
    raw = b"\x80\x04\x95" + bytes(8) + b"B" + (400).to_bytes(4, "little") + bytes(400) + b"q\x000"
    kind = b"cnumpy\ndtype\n\x8c\x02f4\x85Rq\x010"
    (tmp_path / "step_3.pkl").write_bytes(raw + kind + turns + b"N.")
    assert open_series(tmp_path).steps == [2]
    assert any("more bytes than it has" in item.reason for item in open_series(tmp_path).skipped)


def test_pickled_runs_are_traced_with_their_own_losses(opsig: Opsig, tmp_path: Path) -> None:
    x, y = torch.randn(40, 5, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 3
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=y.numpy())
    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(5, 3)\n")
    (tmp_path / "ck").mkdir()
    truth = []
    for step in (10, 20):
        torch.manual_seed(step)
        model = nn.Linear(5, 3)
        found = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        (tmp_path / "ck" / f"params_{step}.pkl").write_bytes(pickle.dumps(found))
        truth.append(nn.functional.cross_entropy(model(x), y).item())
    words = ("--model", f"file:{tmp_path}/net.py:make", "--data", f"npz:{tmp_path}/d.npz")
    done = opsig("trace", tmp_path / "ck", *words, "--store", tmp_path / "s.h5", "--json")
    assert done.code == 0, done.err
    np.testing.assert_allclose(done.json["result"]["mean_losses"], truth, rtol=1e-6)
    assert opsig("sharpness", "--store", tmp_path / "s.h5").code == 0


def nemo(path: Path, *files: str) -> Path:
    """An archive as NeMo writes it: the settings, and weights under these names."""
    raw = io.BytesIO()
    torch.save(net().state_dict(), raw)
    with tarfile.open(path, "w:") as archive:
        for name in ("./model_config.yaml", *files):
            content = b"target: x\n" if name.endswith("yaml") else raw.getvalue()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_the_weights_in_an_archive_of_nemo_are_read(tmp_path: Path) -> None:
    for step in (100, 200):
        nemo(tmp_path / f"asr--step={step}.nemo", "./model_weights.ckpt")
    series = open_series(tmp_path)
    assert (series.steps, series.unit) == ([100, 200], "step")
    assert all(
        torch.equal(a, b) for a, b in zip(series.read(0).values(), net().state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    "files", [(), ("./mp_rank_00/model_weights.ckpt", "./mp_rank_01/model_weights.ckpt")]
)
def test_an_archive_of_nemo_with_weights_in_parts_is_named(tmp_path: Path, files: tuple[str, ...]) -> None:
    nemo(tmp_path / "gpt.nemo", *files)
    with pytest.raises(CheckpointError, match="NeMo") as refused:
        open_series(tmp_path)
    assert "tar -xf" in refused.value.hint


@pytest.mark.parametrize("ranks", [1, 2])
def test_runs_of_megatron_are_named_with_the_conversion(tmp_path: Path, ranks: int) -> None:
    for step in (1000, 2000):
        for rank in range(ranks):
            folder = tmp_path / f"iter_{step:07d}" / f"mp_rank_{rank:02d}"
            folder.mkdir(parents=True)
            content = {"iteration": step, "model": {"language_model": {"encoder": net().state_dict()}}}
            torch.save(content, folder / "model_optim_rng.pt")
            torch.save({}, folder / "distrib_optim.pt")
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("2000")
    for place in (tmp_path, tmp_path / "iter_0001000"):
        with pytest.raises(CheckpointError, match="Megatron-LM") as refused:
            open_series(place)
        assert "export_ckpt" in refused.value.hint


def test_data_beside_a_folder_of_checkpoints_does_not_stand_for_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones(3))
    (tmp_path / "pictures.zip").write_bytes(b"PK")
    with pytest.raises(CheckpointError) as refused:
        open_series(tmp_path)
    assert "convert it" in refused.value.hint
    (tmp_path / "ck").mkdir()
    for step in (1, 2):
        torch.save(net().state_dict(), tmp_path / f"ck/model_{step}.pt")
    with pytest.raises(CheckpointError) as refused:
        open_series(tmp_path)
    assert refused.value.hint == f"name that folder: {tmp_path / 'ck'}"
