"""A corpus of hostile checkpoint folders: each tries to run code, to write outside, to read what is not its own, or
to exhaust the machine. Every payload would create a file named ``ran`` in the folder it is given."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Maker = Callable[[Path, Path], None]  # folder of the checkpoints, folder for the mark of a payload that ran


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of ``mlp?hidden=4`` on inputs of (1, 2, 2) with two classes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"hidden1.weight": (4, 4), "hidden1.bias": (4,), "head.weight": (2, 4), "head.bias": (2,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def command(mark: Path) -> bytes:
    return f"touch {mark}/ran".encode()


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


class Runs:
    """Runs a command when unpickled."""

    def __init__(self, mark: Path, call: str = "os.system") -> None:
        self.mark, self.call = mark, call

    def __reduce__(self) -> tuple[Any, ...]:
        import os
        import subprocess

        shell = f"touch {self.mark}/ran"
        code = f"open({str(self.mark / 'ran')!r}, 'w')"
        return {
            "os.system": (os.system, (shell,)),
            "eval": (eval, (code,)),
            "exec": (exec, (code,)),
            "popen": (subprocess.Popen, (["touch", f"{self.mark}/ran"],)),
            "torch.load": (torch.load, (str(self.mark / "inner.pt"),)),
        }[self.call]


# Programs for the stack machine of pickle that end in the value of a payload; ``%s`` is the command.
def programs(mark: Path) -> dict[str, bytes]:
    """Payloads by the instruction that runs them, without the instructions around."""
    system, touch = b"cposix\nsystem\n", text(command(mark))
    return {
        "reduce": system + touch + b"\x85R",
        "stack-global": b"\x8c\x05posix\x8c\x06system\x93" + touch + b"\x85R",
        "stack-global by memo": b"\x8c\x06system\x94\x8c\x05posix\x94h\x01h\x00\x93" + touch + b"\x85R",
        "inst": b"(" + touch + b"iposix\nsystem\n",
        "obj": b"(" + system + touch + b"o",
        "newobj": system + touch + b"\x85\x81",
        "newobj with keywords": system + touch + b"\x85}\x92",
        "build": b"cargparse\nNamespace\n)\x81}" + text(b"__setstate__") + system + b"sb" + touch + b"b",
        "build on a module": b"ctorch.nn.modules.linear\nLinear\n)\x81" + system + touch + b"\x85R" + b"b",
        "extension": b"\x82\xf0" + touch + b"\x85R",
        "extension of four bytes": b"\x84\xf0\0\0\0" + touch + b"\x85R",
        "getattr chain": b"cbuiltins\ngetattr\ncbuiltins\n__import__\n" + text(b"posix") + b"\x85R"
        + text(b"system") + b"\x86R" + touch + b"\x85R",
        "dotted name": b"\x8c\x08builtins\x8c\x0deval.__call__\x93" + text(b"1") + b"\x85R",
        "codecs": b"c_codecs\nencode\n" + touch + text(b"rot13") + b"\x86R",
        "codecs with a module name": b"c_codecs\ndecode\n" + touch + text(b"../evil") + b"\x86R",
        "persistent id": b"(" + text(b"storage") + system + b"K\x00" + touch + b"K\x01tQ",
        "old persistent id": b"P" + command(mark) + b"\n",
        "numpy scalar of a class": b"cnumpy._core.multiarray\nscalar\n" + system + touch + b"\x86R",
        "ordered dict of calls": b"ccollections\nOrderedDict\n(" + system + touch + b"\x85R" + b"ltR",
        "pickle in pickle": b"cpickle\nloads\n" + text(b"cposix\nsystem\n(S'true'\ntR.") + b"\x85R",
    }  # fmt: skip


def zip_with(path: Path, pickled: bytes, records: dict[str, bytes] | None = None, **options: Any) -> None:
    """A zip of torch.save around a pickle."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/byteorder", b"little")
        archive.writestr("a/version", b"3\n")
        for name, data in (records or {}).items():
            archive.writestr(f"a/{name}", data)


def good(folder: Path, count: int = 2) -> None:
    """Honest neighbours."""
    for step in range(count):
        torch.save(state(step), folder / f"step_{step}.pt")


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, change(name, data))


def safetensors_bytes(header: Any, data: bytes) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def dcp(folder: Path, step: int = 5) -> Path:
    import warnings

    import torch.distributed.checkpoint

    path = folder / f"step-{step}"
    with warnings.catch_warnings(action="ignore"):
        torch.distributed.checkpoint.save({"model": state(step), "step": step}, checkpoint_id=path)
    return path


class Evil(dict):  # type: ignore[type-arg]
    """A metadata of torch.distributed.checkpoint that runs code first."""


def _dcp_edited(folder: Path, edit: Callable[[Any], None]) -> None:
    path = dcp(folder) / ".metadata"
    loaded = pickle.loads(path.read_bytes())
    edit(loaded)
    path.write_bytes(pickle.dumps(loaded, 4))


def _first_info(metadata: Any) -> Any:
    return next(info for index, info in metadata.storage_data.items() if index.fqn.startswith("model."))


def corpus(mark_for_names: Path = Path("/tmp/mark")) -> dict[str, Maker]:
    """Every hostile folder by name."""
    found: dict[str, Maker] = {}

    def add(name: str) -> Callable[[Maker], Maker]:
        def keep(maker: Maker) -> Maker:
            found[name] = maker
            return maker

        return keep

    for name in programs(mark_for_names):
        for where in ("zip", "zip beside weights", "legacy", "bare", "dcp", "optimizer.pt"):
            found[f"{name}: {where}"] = _program_maker(name, where)
    for call in ("os.system", "eval", "exec", "popen", "torch.load"):
        for protocol in (2, 4, 5):
            found[f"object calling {call}, protocol {protocol}"] = _object_maker(call, protocol)

    @add("scripts and pickles that frameworks put beside weights")
    def _(folder: Path, mark: Path) -> None:
        path = folder / "checkpoint-5"
        path.mkdir()
        from safetensors.torch import save_file

        save_file(state(), path / "model.safetensors")
        for name in ("training_args.bin", "rng_state.pth", "rng_state_0.pth", "random_states_0.pkl", "scheduler.pt",
                     "scaler.pt", "custom_checkpoint_0.pkl"):  # fmt: skip
            (path / name).write_bytes(pickle.dumps(Runs(mark)))
        code = f"open({str(mark / 'ran')!r}, 'w')"
        for name in (
            "zero_to_fp32.py",
            "modeling_evil.py",
            "configuration_evil.py",
            "sitecustomize.py",
            "conftest.py",
        ):
            (path / name).write_text(code)
            (folder / name).write_text(code)
        auto = {"AutoConfig": "configuration_evil.C", "AutoModel": "modeling_evil.M"}
        (path / "config.json").write_text(
            json.dumps({"architectures": ["M"], "model_type": "evil", "auto_map": auto})
        )

    @add("a manifest that names code")
    def _(folder: Path, mark: Path) -> None:
        good(folder)
        (folder / "net.py").write_text(f"open({str(mark / 'ran')!r}, 'w')\ndef make(): pass")
        (folder / "opsig-run.toml").write_text(
            f'schema = 1\n[run]\nmodel = "file:{folder}/net.py:make"\ndata = "file:{folder}/net.py:make"\nloss = "ce"\n'
        )

    @add("a manifest that names files outside")
    def _(folder: Path, mark: Path) -> None:
        good(folder)
        rows = "".join(
            f'[[checkpoints]]\nfile = "{name}"\nstep = {n}\n'
            for n, name in enumerate(("../x.pt", "/etc/passwd"))
        )
        (folder / "opsig-run.toml").write_text(
            f'schema = 1\n[run]\nmodel = "mlp"\ndata = "planted"\nloss = "ce"\n{rows}'
        )

    for name in ("../../x.safetensors", "/etc/passwd", "..", "a/b.safetensors", "", "x\0y", ".hidden.safetensors",
                 "..\\x.safetensors", "~/x.safetensors", "file:///etc/passwd"):  # fmt: skip
        found[f"an index that names the shard {name!r}"] = _index_maker({"hidden1.weight": name})
    found["an index that is no mapping"] = _index_maker(["x"])
    found["an index of numbers"] = _index_maker({"w": 3})
    found["an index that nests without end"] = _index_maker(None)

    @add("a shard that is a link out of the folder")
    def _(folder: Path, mark: Path) -> None:
        from safetensors.torch import save_file

        save_file(state(), mark / "secret.safetensors")
        _index_maker({"hidden1.weight": "model-00001-of-00001.safetensors"})(folder, mark)
        (folder / "checkpoint-5" / "model-00001-of-00001.safetensors").symlink_to(mark / "secret.safetensors")

    for key in (
        "../../etc/passwd",
        "/etc/passwd",
        "<script>alert(1)</script>",
        "a\0b",
        "\x1b[2J",
        "é\u202e",
        "x" * 5000,
    ):
        found[f"a tensor named {key[:30]!r}"] = _name_maker(key)

    @add("file names with markup and control characters")
    def _(folder: Path, mark: Path) -> None:
        torch.save(state(), folder / "<img src=x onerror=alert(1)>step_1.pt")
        torch.save(state(1), folder / "[bold]step_2.pt")
        torch.save(state(2), folder / "\x1b]0;x\x07step_3.pt")

    # bombs and forged sizes
    huge = 1 << 40
    for name, pickled in {
        "a memo index beyond reason": b"\x80\x02}r\xff\xff\xff\x7f.",
        "a key of exponentially many tuples": b"\x80\x02})" + b"\x32\x86" * 300 + b"K\x01s.",
        "tuples nested without end": b"\x80\x02)" + b"\x85" * 20_000 + b".",
        "lists nested without end": b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".",
        "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
        "a dict that holds itself": b"\x80\x02}q\x00X\x01\0\0\0ah\x00s.",
        "text of four gigabytes": b"\x80\x02X\xff\xff\xff\xffabc.",
        "bytes of eight exabytes": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fabc.",
        "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
        "a negative long": b"\x80\x02\x8b\xff\xff\xff\xffabc.",
        "marks without end": b"\x80\x02" + b"(" * 20_000 + b".",
        "pops below the bottom": b"\x80\x02" + b"0" * 1000 + b".",
        "a module that holds itself": b"\x80\x02cx\nM\n)\x81q\x00}(X\x0b\0\0\0_parameters}X\x08\0\0\0_modules"
        b"}X\x01\0\0\0ah\x00sub.",
        "modules that branch without end": _branching(30),
        "an optimizer that holds itself": b"\x80\x02}q\x00(X\x09\0\0\0optimizerh\x00X\x0c\0\0\0param_groups]h\x00au.",
    }.items():
        found[name] = _pickle_maker(pickled)
    for name, (storage, offset, shape, stride) in {
        "a tensor of a terabyte by stride 0": (1, 0, (huge,), (0,)),
        "a tensor of negative size": (4, 0, (-4,), (1,)),
        "a tensor of negative stride": (4, 3, (4,), (-1,)),
        "a tensor beyond its storage": (4, 2, (4,), (1,)),
        "an offset beyond its storage": (4, 1 << 62, (1,), (1,)),
        "sizes that overflow": (4, 0, (1 << 33, 1 << 33), (1 << 33, 1)),
        "ten thousand dimensions": (1, 0, (1,) * 10_000, (1,) * 10_000),
        "a storage that claims a terabyte": (huge, 0, (huge,), (1,)),
        "a storage of negative size": (-1, 0, (1,), (1,)),
    }.items():
        found[name] = _tensor_maker(storage, offset, shape, stride)

    @add("twenty thousand names for one storage")
    def _(folder: Path, mark: Path) -> None:
        big = torch.zeros(1 << 16)
        torch.save({f"w{i}": big for i in range(20_000)}, folder / "step_1.pt")

    for name, change in {
        "a nested zip as pickle": _zipped,
        "an empty pickle": lambda data: b"",
        "a pickle of another file": lambda data: pickle.dumps(Runs(Path("/nowhere")), 2),
    }.items():
        found[name] = _rewrite_maker(change)

    @add("a zip behind a script")
    def _(folder: Path, mark: Path) -> None:
        torch.save(state(), folder / "step_1.pt")
        path = folder / "step_1.pt"
        path.write_bytes(b"#!/bin/sh\ntouch ran\n" + path.read_bytes())

    @add("two zips one after the other")
    def _(folder: Path, mark: Path) -> None:
        buffer = io.BytesIO()
        torch.save({"x": Runs(mark)}, buffer)
        torch.save(state(), folder / "step_1.pt")
        path = folder / "step_1.pt"
        path.write_bytes(buffer.getvalue() + path.read_bytes())

    @add("a zip with a comment that is a zip")
    def _(folder: Path, mark: Path) -> None:
        path = folder / "step_1.pt"
        torch.save(state(), path)
        inner = path.read_bytes()
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = inner[:60_000]

    @add("members that climb out")
    def _(folder: Path, mark: Path) -> None:
        with zipfile.ZipFile(folder / "step_1.pt", "w") as archive:
            archive.writestr("../../data.pkl", pickle.dumps({}, 2))
            archive.writestr("/etc/data.pkl", pickle.dumps({}, 2))

    @add("a compressed bomb")
    def _(folder: Path, mark: Path) -> None:
        zip_with(
            folder / "step_1.pt",
            b"\x80\x02}.",
            {"data/0": b"\0" * (50 << 20)},
            compression=zipfile.ZIP_DEFLATED,
        )

    @add("ten thousand members")
    def _(folder: Path, mark: Path) -> None:
        zip_with(folder / "step_1.pt", b"\x80\x02}.", {f"data/{i}": b"" for i in range(10_000)})

    for name, header in {
        "a header of eight exabytes": struct.pack("<Q", (1 << 63) - 1) + b"{}",
        "a header that nests without end": safetensors_bytes(b"[" * 200_000, b""),
        "overlapping tensors": safetensors_bytes(
            {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"}, b"\0" * 8
        ),
        "a terabyte of zeros": safetensors_bytes(
            {"w": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}}, b""
        ),
        "sizes that overflow in safetensors": safetensors_bytes(
            {"w": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 0]}}, b""
        ),
        "a shape of text": safetensors_bytes(
            {"w": {"dtype": "F32", "shape": "x", "data_offsets": [0, 0]}}, b""
        ),
        "metadata that is no text": safetensors_bytes({"__metadata__": {"step": {"a": 1}}}, b""),
        "a step of ten to the four hundred": safetensors_bytes(
            {
                "__metadata__": {"step": "1" + "0" * 400},
                "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            },
            b"\0" * 4,
        ),
    }.items():
        found[f"safetensors: {name}"] = _bytes_maker("step_1.safetensors", header)

    # torch.distributed.checkpoint
    @add("dcp: a metadata that runs code")
    def _(folder: Path, mark: Path) -> None:
        path = dcp(folder) / ".metadata"
        path.write_bytes(b"\x80\x04(" + programs(mark)["reduce"] + b"1" + path.read_bytes()[2:])

    @add("dcp: a chunk that runs code")
    def _(folder: Path, mark: Path) -> None:
        path = dcp(folder)
        buffer = io.BytesIO()
        torch.save(Runs(mark), buffer)
        data = next(path.glob("*.distcp"))
        begin = data.stat().st_size
        data.write_bytes(data.read_bytes() + buffer.getvalue())

        loaded = pickle.loads((path / ".metadata").read_bytes())
        info = _first_info(loaded)
        info.offset, info.length = begin, len(buffer.getvalue())
        for index, other in loaded.storage_data.items():
            if index.fqn == "step":
                other.offset, other.length = begin, len(buffer.getvalue())
        (path / ".metadata").write_bytes(pickle.dumps(loaded, 4))

    def moved(**values: Any) -> Maker:
        def edit(metadata: Any) -> None:
            for key, value in values.items():
                setattr(_first_info(metadata), key, value)

        return lambda folder, mark: _dcp_edited(folder, edit)

    for name, values in {
        "a file outside": {"relative_path": "../../../etc/passwd"},
        "an absolute file": {"relative_path": "/etc/passwd"},
        "a file that is no text": {"relative_path": 7},
        "an offset beyond the end": {"offset": 1 << 40},
        "a negative offset": {"offset": -8},
        "a length beyond the end": {"length": 1 << 40},
        "a length of zero": {"length": 0},
        "an offset that is text": {"offset": "0"},
        "a transform": {"transform_descriptors": ["zstd"]},
    }.items():
        found[f"dcp: {name}"] = moved(**values)

    def tensor_edit(change: Callable[[Any], None]) -> Maker:
        def edit(metadata: Any) -> None:
            change(metadata.state_dict_metadata["model.hidden1.weight"])

        return lambda folder, mark: _dcp_edited(folder, edit)

    def claim(item: Any) -> None:
        item.size = torch.Size([1 << 20, 1 << 20])

    def twice(item: Any) -> None:
        item.chunks = [*item.chunks, *item.chunks]

    def none(item: Any) -> None:
        item.chunks = []

    found["dcp: a tensor of terabytes"] = tensor_edit(claim)
    found["dcp: chunks that overlap"] = tensor_edit(twice)
    found["dcp: a tensor without chunks"] = tensor_edit(none)
    found["dcp: no metadata"] = lambda folder, mark: (dcp(folder) / ".metadata").unlink()
    found["dcp: an empty metadata"] = lambda folder, mark: (
        (dcp(folder) / ".metadata").write_bytes(b"") and None
    )

    @add("dcp: a data file that is a link out of the folder")
    def _(folder: Path, mark: Path) -> None:
        data = next(dcp(folder).glob("*.distcp"))
        data.rename(mark / "elsewhere.distcp")
        data.symlink_to(mark / "elsewhere.distcp")

    @add("a trainer state that is hostile")
    def _(folder: Path, mark: Path) -> None:
        from safetensors.torch import save_file

        for step, content in enumerate(
            ('{"global_step": 1e400}', '{"log_history": 3}', "[" * 100_000, "\xff", '{"a":')
        ):
            path = folder / f"checkpoint-{step}"
            path.mkdir()
            save_file(state(), path / "model.safetensors")
            (path / "trainer_state.json").write_text(content, encoding="latin-1")
            (path / "config.json").write_text('{"architectures": [{"a": 1}]}')

    return found


def _program_maker(name: str, where: str) -> Maker:
    def make(folder: Path, mark: Path) -> None:
        payload = programs(mark)[name]
        if where == "dcp":
            (dcp(folder) / ".metadata").write_bytes(b"\x80\x04" + payload + b".")
        elif where == "optimizer.pt":
            from safetensors.torch import save_file

            path = folder / "checkpoint-1"
            path.mkdir()
            save_file(state(), path / "model.safetensors")
            zip_with(path / "optimizer.pt", b"\x80\x02" + payload + b".")
        elif where == "bare":
            (folder / "step_1.pt").write_bytes(b"\x80\x02" + payload + b".")
        elif where == "legacy":
            head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
            (folder / "step_1.pt").write_bytes(head + b"\x80\x02" + payload + b"." + pickle.dumps([], 2))
        elif where == "zip":
            zip_with(folder / "step_1.pt", b"\x80\x02" + payload + b".")
        else:
            for step in (1, 2):
                path = folder / f"step_{step}.pt"
                torch.save({"x": 0, "model": state(step)}, path)
                # {"x": payload, "model": …}: the payload stands where the 0 was.
                rewritten(path, lambda n, d: d.replace(b"K\x00", payload, 1) if n.endswith("data.pkl") else d)

    return make


def _object_maker(call: str, protocol: int) -> Maker:
    def make(folder: Path, mark: Path) -> None:
        torch.save(Runs(mark), mark / "inner.pt")
        for step in (1, 2):
            content = {"model": state(step), "extra": Runs(mark, call), "step": step}
            torch.save(content, folder / f"step_{step}.pt", pickle_protocol=protocol)

    return make


def _pickle_maker(pickled: bytes) -> Maker:
    def make(folder: Path, mark: Path) -> None:
        zip_with(folder / "step_1.pt", pickled)
        (folder / "step_2.pt").write_bytes(pickled)

    return make


def _bytes_maker(name: str, data: bytes) -> Maker:
    def make(folder: Path, mark: Path) -> None:
        (folder / name).write_bytes(data)

    return make


def _tensor_maker(count: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Maker:
    def make(folder: Path, mark: Path) -> None:
        storage = (
            b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + _int(count) + b"tQ"
        )
        numbers = b"".join(b"(" + b"".join(map(_int, values)) + b"t" for values in (shape, stride))
        call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _int(offset) + numbers + b"\x89}tR"
        pickled = b"\x80\x02}X\x01\0\0\0w" + call + b"s."
        zip_with(folder / "step_1.pt", pickled, {"data/0": b"\0" * 16})
        named = pickled.replace(b"}X\x01\0\0\0w", b"}X\x01\0\0\0acargparse\nNamespace\n)\x81sX\x01\0\0\0w")
        zip_with(folder / "step_2.pt", named, {"data/0": b"\0" * 16})

    return make


def _int(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def _name_maker(key: str) -> Maker:
    def make(folder: Path, mark: Path) -> None:
        from safetensors.torch import save_file

        for step in (1, 2):
            torch.save({key: torch.ones(2)}, folder / f"step_{step}.pt")
            torch.save({key: {key: torch.ones(2)}, "other": state()}, folder / f"step_{step + 2}.pt")
        save_file({key: torch.ones(3)}, folder / "step_9.safetensors")

    return make


def _index_maker(names: Any) -> Maker:
    def make(folder: Path, mark: Path) -> None:
        path = folder / "checkpoint-5"
        path.mkdir()
        content = json.dumps({"weight_map": names}) if names is not None else '{"weight_map":' * 50_000
        (path / "model.safetensors.index.json").write_text(content)

    return make


def _rewrite_maker(change: Callable[[bytes], bytes]) -> Maker:
    def make(folder: Path, mark: Path) -> None:
        torch.save(state(), folder / "step_1.pt")
        rewritten(folder / "step_1.pt", lambda n, d: change(d) if n.endswith("data.pkl") else d)

    return make


def _zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", data)
    return buffer.getvalue()


def _branching(depth: int) -> bytes:
    """Modules of which each holds the next twice: 2**depth paths."""
    body = b""
    for level in range(depth):
        inner = (
            b"}"
            if not level
            else b"}(X\x01\0\0\0a" + b"h" + bytes([level - 1]) + b"X\x01\0\0\0bh" + bytes([level - 1]) + b"u"
        )
        body += (
            b"cx\nM\n)\x81q"
            + bytes([level])
            + b"}(X\x0b\0\0\0_parameters}X\x08\0\0\0_modules"
            + inner
            + b"ub"
        )
    return b"\x80\x02" + body + b"."


def write_data(folder: Path) -> str:
    """Data that the honest weights fit."""
    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 1, 2, 2)
    np.savez(folder / "data.npz", x=x, y=np.arange(8) % 2)
    return f"npz:{folder / 'data.npz'}"
