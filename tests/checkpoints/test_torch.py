"""torch.save files: what they say about themselves, and the weights they hold."""

from __future__ import annotations

import pickle
import shutil
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.errors import CheckpointError
from opsigcli.runs.optimizer_state import optimizer_name


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in expected)


def saved(tmp_path: Path, content: Any, name: str = "model_1.pt", **options: Any) -> Path:
    path = tmp_path / name
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.bin", "a.ckpt", "a.pth.tar", "a.tar"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_raw_state_dict_is_read_back_to_the_bit_under_every_usual_name(
    tmp_path: Path, name: str, zipped: bool
) -> None:
    state = model().state_dict()
    path = saved(tmp_path, state, name, _use_new_zipfile_serialization=zipped)
    assert TorchFile().recognises(path)
    assert same(TorchFile().read(path), dict(state))


@pytest.mark.parametrize("zipped", [True, False])
def test_the_header_names_what_torch_load_finds(tmp_path: Path, zipped: bool) -> None:
    state = OrderedDict(model().state_dict())
    state |= {
        "half": torch.ones(2, dtype=torch.bfloat16),
        "view": torch.arange(12.0).reshape(3, 4).t(),
        "part": torch.arange(10)[2:7:2],
        "none": torch.zeros(0, 3),
        "scalar": torch.tensor(True),
        "param": nn.Parameter(torch.ones(2, 2)),
        "wide": torch.ones(3, dtype=torch.complex64),
    }
    path = saved(tmp_path, state, _use_new_zipfile_serialization=zipped)
    loaded = torch.load(path, weights_only=True)
    facts = TorchFile().describe(path).candidates[""]
    assert {k: (v.dtype, v.shape) for k, v in facts.items()} == {
        k: (str(v.dtype).removeprefix("torch."), tuple(v.shape)) for k, v in loaded.items()
    }
    assert same(TorchFile().read(path), dict(loaded))


def test_unsigned_and_eight_bit_float_tensors_are_described_and_read(tmp_path: Path) -> None:
    state = {"u": torch.tensor([1, 2], dtype=torch.uint16), "f": torch.ones(3).to(torch.float8_e4m3fn)}
    path = saved(tmp_path, state)
    facts = TorchFile().describe(path).candidates[""]
    assert {k: v.dtype for k, v in facts.items()} == {"u": "uint16", "f": "float8_e4m3fn"}
    assert {k: v.dtype for k, v in TorchFile().read(path).items()} == {k: v.dtype for k, v in state.items()}


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "net", "ema", "module", "params"])
def test_a_wrapper_with_one_set_of_weights_needs_no_key(tmp_path: Path, key: str) -> None:
    state = model().state_dict()
    path = saved(
        tmp_path, {"epoch": 3, key: state, "best": 0.5, "config": {"width": 4}, "rng": torch.ones(3)}
    )
    header = TorchFile().describe(path)
    assert list(header.candidates) == [key]
    assert header.counts == {"epoch": 3}
    assert same(TorchFile().read(path), dict(state))


def test_several_sets_of_weights_are_listed_and_the_key_chooses(tmp_path: Path) -> None:
    state = model().state_dict()
    ema = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    path = saved(tmp_path, {"model": state, "critic": ema})
    with pytest.raises(
        CheckpointError, match=r"found 2 in .*model \(9 tensors\), critic \(9 tensors\)"
    ) as caught:
        TorchFile().read(path)
    assert "--key model" in caught.value.hint
    assert same(TorchFile().read(path, "critic"), ema)
    with pytest.raises(CheckpointError, match="under the key 'modle'") as caught:
        TorchFile().read(path, "modle")
    assert caught.value.hint == "try --key model"


def test_a_key_may_name_a_part_of_the_weights(tmp_path: Path) -> None:
    state = model().state_dict()
    path = saved(tmp_path, {"state_dict": {f"net.{name}": tensor for name, tensor in state.items()}})
    assert same(TorchFile().read(path, "net"), dict(state))
    assert same(TorchFile().read(path, "state_dict.net"), dict(state))


def test_weights_one_level_deeper_are_found(tmp_path: Path) -> None:
    state = model().state_dict()
    path = saved(tmp_path, {"state": {"model": state, "schedulers": {"x": 1}}, "rng": [1, 2]})
    assert list(TorchFile().describe(path).candidates) == ["state.model"]
    assert same(TorchFile().read(path), dict(state))


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "_orig_mod.module._orig_mod.",
    ],
)
def test_prefixes_of_ddp_and_compile_are_taken_off_in_any_order(tmp_path: Path, prefix: str) -> None:
    state = model().state_dict()
    path = saved(tmp_path, {f"{prefix}{name}": tensor for name, tensor in state.items()})
    assert same(TorchFile().read(path), dict(state))


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")  # by what torch 2.10 imports
def test_prefixes_made_by_torch_itself_are_taken_off(tmp_path: Path) -> None:
    plain = model()
    state = dict(plain.state_dict())
    averaged = torch.optim.swa_utils.AveragedModel(plain)
    compiled = torch.compile(plain)  # nothing is compiled before the first call
    inner = nn.Sequential(torch.compile(nn.Linear(2, 2)), nn.Linear(2, 2))
    assert same(TorchFile().read(saved(tmp_path, averaged.state_dict(), "a.pt")), state)
    assert same(TorchFile().read(saved(tmp_path, compiled.state_dict(), "b.pt")), state)
    assert same(TorchFile().read(saved(tmp_path, nn.DataParallel(plain).state_dict(), "c.pt")), state)
    assert list(TorchFile().read(saved(tmp_path, inner.state_dict(), "d.pt"))) == [
        "0.weight", "0.bias", "1.weight", "1.bias",
    ]  # fmt: skip


def test_a_name_that_only_some_tensors_begin_with_is_no_prefix(tmp_path: Path) -> None:
    state = {"module.weight": torch.ones(2), "head.weight": torch.ones(2)}
    assert list(TorchFile().read(saved(tmp_path, state))) == list(state)


def test_counts_among_the_weights_are_no_weights(tmp_path: Path) -> None:
    state = {**model().state_dict(), "epoch": 4, "step": torch.tensor(80)}
    path = saved(tmp_path, state)
    assert TorchFile().describe(path).counts == {"epoch": 4, "step": 80}
    assert same(TorchFile().read(path), dict(model().state_dict()))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.25), "sgd"),
        (lambda p: torch.optim.SGD(p, lr=0.25, momentum=0.9), "momentum"),
        (lambda p: torch.optim.Adam(p, lr=0.25), "adam"),
        (lambda p: torch.optim.AdamW(p, lr=0.25), "adamw"),
        (lambda p: torch.optim.RMSprop(p, lr=0.25), "rmsprop"),
        (lambda p: torch.optim.Adagrad(p, lr=0.25), "adagrad"),
    ],
)
def test_optimizer_and_learning_rate_are_read_from_its_state(tmp_path: Path, make: Any, kind: str) -> None:
    net = model()
    path = saved(tmp_path, {"model": net.state_dict(), "optimizer": make(net.parameters()).state_dict()})
    header = TorchFile().describe(path)
    assert (optimizer_name(header), header.lr) == (kind, 0.25)
    assert list(header.candidates) == ["model"]


def test_adams_own_count_of_updates_is_a_step(tmp_path: Path) -> None:
    net = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=torch.tensor(0.125))
    for _ in range(7):
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    path = saved(tmp_path, {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 2})
    header = TorchFile().describe(path)
    assert header.counts == {"epoch": 2, "step": 7}
    assert header.lr == 0.125


def test_weights_read_do_not_change_when_the_file_is_written_over(tmp_path: Path) -> None:
    path = saved(tmp_path, {"w": torch.ones(100_000)})
    weights = TorchFile().read(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(weights["w"], torch.ones(100_000))


def test_no_library_unpickles_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("unpickled")

    optimizer = torch.optim.Adam(model().parameters())
    paths = [
        saved(tmp_path, {"w": torch.ones(2), "optimizer": optimizer.state_dict()}, f"{zipped}.pt",
              _use_new_zipfile_serialization=zipped)
        for zipped in (True, False)
    ]  # fmt: skip
    monkeypatch.setattr(torch, "load", refuse)
    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for path in paths:
        assert torch.equal(TorchFile().read(path)["w"], torch.ones(2))
        assert TorchFile().optimizer(path, tensors=True)["param_groups"]


@pytest.mark.parametrize("zipped", [True, False])
def test_conjugate_and_negative_views_are_read_as_what_they_stand_for(tmp_path: Path, zipped: bool) -> None:
    numbers = torch.complex(torch.arange(4.0), torch.ones(4))
    state = {
        "conjugate": numbers.conj(),
        "negative": numbers.clone().conj().imag,
        "both": numbers.conj()[1:3],
    }
    path = saved(tmp_path, state, _use_new_zipfile_serialization=zipped)
    assert same(TorchFile().read(path), torch.load(path, weights_only=True))


def test_tensors_read_from_one_storage_have_memory_of_their_own(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    weights = TorchFile().read(saved(tmp_path, {"a": whole, "b": whole[4:], "c": torch.ones(2)}))
    weights["a"].zero_()
    assert torch.equal(weights["b"], whole[4:])
    assert weights["b"].untyped_storage().nbytes() == 4 * 8


def test_other_peoples_bin_and_tar_files_are_not_taken_for_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "tokens.bin").write_bytes(b"\x01\x02\x03\x04" * 10)
    (tmp_path / "notes.txt").write_text("hello")
    shutil.make_archive(str(tmp_path / "logs"), "tar", tmp_path, "notes.txt")
    assert not any(TorchFile().recognises(tmp_path / n) for n in ("tokens.bin", "logs.tar", "notes.txt"))


def test_numbers_that_are_not_those_written_are_refused_with_the_tensor_that_has_them(tmp_path: Path) -> None:
    """torch.load takes them: a copy that failed half way had another loss, and exit status 0."""
    path = saved(tmp_path, {"a": torch.zeros(8), "b": torch.full((8,), 3.25), "step": 3})
    raw = bytearray(path.read_bytes())
    raw[raw.index(struct.pack("<8f", *[3.25] * 8)) + 5] ^= 1
    path.write_bytes(raw)
    assert not torch.equal(torch.load(path, weights_only=True)["b"], torch.full((8,), 3.25))
    with pytest.raises(CheckpointError, match="its tensor 'b' is damaged"):
        TorchFile().read(path)


def test_files_saved_without_checksums_are_read(tmp_path: Path) -> None:
    state = dict(model().state_dict())
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path, state)
    finally:
        torch.serialization.set_crc32_options(before)
    assert same(TorchFile().read(path), state)
