"""``opsig init``: a manifest is written when all fits, and only then; and specs of other libraries."""

from __future__ import annotations

import math
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch
from conftest import Opsig

from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.datasets import SOURCES, open_source
from opsigcli.errors import ModelError, OpsigError, UsageError
from opsigcli.models import MODELS
from opsigcli.models.base import build
from opsigcli.models.hints import fitting_specs
from opsigcli.objective.losses import LOSSES
from opsigcli.objective.losses.base import open_loss

MODEL = "mlp?hidden=4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two checkpoints with Adam's state, and data beside them."""
    made = tmp_path / "ckpts"
    made.mkdir()
    for step in (1, 2):
        parameters = [torch.nn.Parameter(value) for value in hostile.state(step).values()]
        optimizer = torch.optim.Adam(parameters, lr=0.125)
        sum(p.square().sum() for p in parameters).backward()
        optimizer.step()
        content = {"net": hostile.state(step), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(content, made / f"ckpt-{step}.pt")
    return made


def test_a_manifest_makes_options_needless(opsig: Opsig, folder: Path, tmp_path: Path) -> None:
    data = hostile.write_data(tmp_path)
    made = opsig("init", folder, "--model", MODEL, "--data", data, "--json")
    assert made.code == 0
    seen = made.json["result"]["look"]
    means = [score["mean_loss"] for score in seen["checkpoints"].values()]
    assert all(math.isfinite(mean) for mean in means)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (manifest.optimizer, manifest.hyper["lr"]) == ("adam", 0.125)
    assert [(row.file, row.step, row.lr) for row in manifest.checkpoints] == [
        ("ckpt-1.pt", 1, 0.125),
        ("ckpt-2.pt", 2, 0.125),
    ]
    traced = opsig("trace", folder, "--store", tmp_path / "s.h5", "--json")
    assert traced.json["result"]["mean_losses"] == pytest.approx(means)
    points = opsig("sharpness", "--store", tmp_path / "s.h5", "--json").json["result"]["points"]
    assert points[0]["threshold"] == pytest.approx(38 / 0.125)
    assert points[0]["ratio"] is not None
    assert opsig("init", folder, "--model", MODEL, "--data", data).code == 0  # it says the same
    again = opsig("init", folder, "--model", MODEL, "--data", f"{data}?limit=6")
    assert again.code == 2
    assert "--fresh" in again.err
    assert opsig("init", folder, "--model", MODEL, "--data", data, "--fresh").code == 0


@pytest.mark.parametrize("problem", ["model", "data", "weights", "loss"])
def test_nothing_is_written_when_something_does_not_fit(
    opsig: Opsig, folder: Path, tmp_path: Path, problem: str
) -> None:
    data, model = hostile.write_data(tmp_path), MODEL
    words: list[str] = []
    if problem == "model":
        words = ["--data", data]
    elif problem == "data":
        words = ["--model", model]
    elif problem == "weights":
        words = ["--model", "mlp?hidden=5", "--data", data]
    else:
        for path in folder.iterdir():
            state = {key: value * math.inf for key, value in hostile.state().items()}
            torch.save({"net": state, "step": int(path.stem[-1])}, path)
        words = ["--model", model, "--data", data]
    done = opsig("init", folder, *words)
    assert done.code in (2, 3)
    assert "hint:" in done.err
    assert not (folder / "opsig-run.toml").exists()


def test_code_in_a_manifest_of_ones_own_is_trusted_and_of_others_is_not(
    opsig: Opsig, folder: Path, tmp_path: Path
) -> None:
    data = hostile.write_data(tmp_path)
    net = tmp_path / "net.py"
    net.write_text(
        "from opsigcli.models.base import build\n"
        "def make():\n    return build('mlp?hidden=4', input_shape=(1, 2, 2), outputs=2)\n"
    )
    assert opsig("init", folder, "--model", f"file:{net}:make", "--data", data).code == 0
    assert opsig("trace", folder, "--store", tmp_path / "a.h5").code == 0
    manifest = folder / "opsig-run.toml"
    manifest.write_text(manifest.read_text().replace('signature = "', 'signature = "0'))
    refused = opsig("trace", folder, "--store", tmp_path / "b.h5")
    assert refused.code == 3
    assert "--trust-manifest" in refused.err


def test_a_dry_run_looks_at_a_sample_and_writes_nothing(opsig: Opsig, folder: Path, tmp_path: Path) -> None:
    data, store = hostile.write_data(tmp_path), tmp_path / "s.h5"
    words = ("trace", folder, "--model", MODEL, "--data", data, "--store", store)
    before = sorted(tmp_path.rglob("*"))
    done = opsig(*words, "--dry-run", "--json")
    assert sorted(tmp_path.rglob("*")) == before
    assert list(done.json["result"]["look"]["checkpoints"]) == ["ckpt-1.pt", "ckpt-2.pt"]
    plan = done.json["result"]
    assert done.json["schema"] == "opsig/plan"
    assert (plan["units"], plan["examples"], plan["forward_passes"]) == (2, 8, 16)
    assert plan["bytes_to_read"] == sum(path.stat().st_size for path in folder.iterdir())
    assert plan["estimated_seconds"] > 0
    assert "nothing was written" in opsig(*words, "--dry-run").out
    assert opsig(*words).code == 0
    assert opsig(*words, "--dry-run", "--json").json["result"]["units"] == 0
    before_bytes = store.read_bytes()
    sharp = opsig("sharpness", "--store", store, "--dry-run", "--json").json["result"]
    assert (sharp["units"], sharp["hessian_vector_products"]) == (2, 400)
    assert store.read_bytes() == before_bytes


# Models that fit, and specs.


@pytest.mark.parametrize(
    "name", ["resnet18", "squeezenet1_0", "mobilenet_v3_small", "vit_b_16", "regnet_y_400mf"]
)
def test_the_torchvision_model_is_found_by_its_tensors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import get_model

    monkeypatch.setattr("opsigcli.models.hints.SECONDS", 0.0)  # timm has a test of its own

    device = "cpu" if name.startswith("regnet") else "meta"  # regnet computes with values while it is built
    with torch.device(device):
        state = get_model(name, num_classes=7).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert f"torchvision:{name}?num_classes=7" in fitting_specs(shapes)
    shapes["extra"] = (3,)
    assert fitting_specs(shapes) == []


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_model_that_is_found_has_the_second_classifiers_of_the_checkpoint(
    name: str, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import get_model

    monkeypatch.setattr("opsigcli.models.hints.SECONDS", 0.0)
    with torch.device("meta"):
        state = get_model(name, num_classes=7, aux_logits=used, init_weights=False).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    (spec,) = fitting_specs(shapes)
    with torch.device("meta"):
        made = build(f"{spec}&init_weights=false", input_shape=(3, 80, 80), outputs=7).state_dict()
    assert {key: tuple(value.shape) for key, value in made.items()} == shapes


def test_the_timm_model_is_found_by_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    some = ["resnet18", "test_vit", "test_vit2", "vit_tiny_patch16_224"]  # all of them take a while
    monkeypatch.setattr(timm, "list_models", lambda: some)
    with torch.device("meta"):
        state = timm.create_model("test_vit", num_classes=5).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert "timm:test_vit?num_classes=5" in fitting_specs(shapes)


def test_a_timm_spec_builds_the_model_and_loads_nothing() -> None:
    pytest.importorskip("timm")
    model = build("timm:test_resnet?drop_rate=0.0", input_shape=(1, 32, 32), outputs=4)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 4)
    with pytest.raises(UsageError, match="loads weights"):
        build("timm:test_resnet?pretrained=true", input_shape=(3, 32, 32), outputs=4)
    with pytest.raises(UsageError, match="no model 'hf-hub:evil/repo'"):
        build("timm:hf-hub:evil/repo", input_shape=(3, 32, 32), outputs=4)
    with pytest.raises(UsageError) as caught:
        build("timm:test_resnt", input_shape=(3, 32, 32), outputs=4)
    assert "timm:test_resnet" in caught.value.hint


def test_an_hf_spec_runs_no_code_beside_the_config(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    config = '{"architectures": ["Evil"], "model_type": "bert", "auto_map": {"AutoModel": "evil.Evil"}}'
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="Evil"):
        build(f"hf:{tmp_path}", input_shape=(3,), outputs=2)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UsageError, match=r"config\.json"):
        build(f"hf:{tmp_path / 'absent'}", input_shape=(3,), outputs=2)


def test_models_of_text_take_token_numbers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=40,
        num_labels=3,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    model = build(f"hf:{tmp_path}", input_shape=(6,), outputs=3).eval()
    tokens = torch.randint(0, 40, (2, 6))
    expected = transformers.BertForSequenceClassification.from_pretrained(tmp_path)
    model.load_state_dict(expected.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(
            model(tokens.float()), expected.eval()(tokens).logits, atol=1e-5, rtol=1e-5
        )


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_datasets_are_sources(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "score": datasets.Value("float32"),
        }
    )
    images = [np.full((4, 4, 3), 10 * i, dtype=np.uint8) for i in range(5)]
    from PIL import Image

    rows = {"image": [Image.fromarray(i) for i in images], "label": [0, 1, 0, 1, 1], "score": [0.5] * 5}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "d")
    source = open_source(f"hfds:{tmp_path / 'd'}")
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [0, 1, 0, 1, 1]
    np.testing.assert_allclose(source.read(np.array([2]))[0], np.full((3, 4, 4), 20 / 255), rtol=1e-6)
    again = open_source(source.spec)
    assert again.fingerprint == source.fingerprint
    assert open_source(f"hfds:{tmp_path / 'd'}?target=score").read_targets(np.arange(1)).dtype == np.float32
    with pytest.raises(UsageError, match="no column 'imag'"):
        open_source(f"hfds:{tmp_path / 'd'}?input=imag")


@pytest.mark.parametrize(
    ("spec", "extra"), [("timm:resnet18", "timm"), ("hf:{folder}", "hf"), ("hfds:cifar10", "hf")]
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, extra: str
) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["Bert"]}')
    for name in ("timm", "transformers", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    text = spec.format(folder=tmp_path)
    with pytest.raises(OpsigError) as caught:
        open_source(text) if text.startswith("hfds") else build(text, input_shape=(3, 8, 8), outputs=2)
    assert caught.value.hint == f"pip install 'opsig[{extra}]'"


class Point(EntryPoint):
    """An entry point as an installed package declares it."""

    dist = None  # type: ignore[assignment]


def test_installed_packages_add_models_datasets_and_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "opsig.models": [Point("mine", "plugins:plugin_model", "opsig.models")],
        "opsig.datasets": [Point("ours", "opsigcli.datasets.npz:open_npz", "opsig.datasets")],
        "opsig.losses": [Point("odd", "plugins:plugin_loss", "opsig.losses")],
    }
    monkeypatch.setattr("opsigcli.registry.entry_points", lambda group: points[group])
    assert build("mine", input_shape=(2, 2), outputs=3)(torch.zeros(1, 2, 2)).shape == (1, 3)
    assert build("mine:any", input_shape=(2, 2), outputs=3) is not None
    assert "ours" in SOURCES.plugins()
    assert open_loss("odd").of_examples(torch.ones(2, 3), torch.zeros(2)).tolist() == [3, 3]
    with pytest.raises(UsageError, match="mine"):
        MODELS.load("absent")
    with pytest.raises(UsageError, match="odd"):
        LOSSES.load("absent")


def test_a_loss_of_ones_own_is_used_and_stored_absolute(
    opsig: Opsig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = hostile.write_data(tmp_path)
    (tmp_path / "mine.py").write_text(
        "def loss(outputs, targets, scale=1):\n    return scale * outputs.square().sum(1)\n"
    )
    monkeypatch.chdir(tmp_path)
    words = (
        "trace",
        folder,
        "--model",
        MODEL,
        "--data",
        data,
        "--loss",
        "file:mine.py:loss?scale=2",
        "--store",
    )
    done = opsig(*words, tmp_path / "a.h5", "--json")
    assert done.code == 0, done.err
    assert done.json["inputs"]["run"]["loss"] == f"file:{tmp_path}/mine.py:loss?scale=2"
