"""Models from specs: shapes and parameters against a forward pass written by hand, and determinism."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from opsigcli.errors import ModelError, OpsigError, UsageError
from opsigcli.models import MODELS
from opsigcli.models.base import build

CODE = """
import torch
from torch import nn

class Head(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, 2)

def net(width=4, depth=1):
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)])

def a_number():
    return 3

def crash():
    return nn.Linear("wide", 2)

def lazy_layers():
    return nn.LazyLinear(2)

def lazy_import():
    from helper_of_mine import width
    return nn.Linear(width, 1)
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_net.py").write_text(CODE)
    (tmp_path / "helper_of_mine.py").write_text("width = 5")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("my_net", "helper_of_mine"):
        sys.modules.pop(name, None)


def test_every_model_of_the_table_can_be_imported_and_the_table_needs_no_torch() -> None:
    assert all(callable(MODELS.load(name)) for name in MODELS)
    code = "import sys, opsigcli.models as m\nassert list(m.MODELS)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


ACTIVATIONS = {"tanh": torch.tanh, "relu": F.relu, "gelu": F.gelu}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(7,), (5, 4, 3)])
def test_the_mlp_is_affine_maps_with_activations_between(activation: str, hidden: tuple[int, ...]) -> None:
    widths = ",".join(map(str, hidden))
    model = build(f"mlp?hidden={widths}&activation={activation}", input_shape=(3, 2, 2), outputs=4)
    x = torch.randn(6, 3, 2, 2)
    parameters = list(model.parameters())
    assert [tuple(p.shape) for p in parameters[::2]] == list(zip((*hidden, 4), (12, *hidden), strict=True))
    expected = x.reshape(6, 12)
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        expected = ACTIVATIONS[activation](expected @ weight.T + bias)
    expected = expected @ parameters[-2].T + parameters[-1]
    torch.testing.assert_close(model(x), expected)


def test_the_mlp_takes_vectors_and_defaults_to_two_tanh_layers_of_200() -> None:
    model = build("mlp", input_shape=(9,), outputs=3)
    assert [tuple(p.shape) for p in model.parameters()] == [
        (200, 9),
        (200,),
        (200, 200),
        (200,),
        (3, 200),
        (3,),
    ]
    assert sum(isinstance(part, nn.Tanh) for part in model) == 2
    without = build("mlp?bias=false", input_shape=(9,), outputs=3)
    assert all(p.ndim == 2 for p in without.parameters())


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_the_cnn_is_convolutions_with_pooling_between(norm: str) -> None:
    model = build(f"cnn?widths=4,6&norm={norm}", input_shape=(3, 7, 9), outputs=5).eval()
    x = torch.randn(4, 3, 7, 9)
    named = dict(model.named_modules())
    expected = x
    for stage in (1, 2):
        if stage == 2:
            expected = F.avg_pool2d(expected, 2)
        convolution = named[f"conv{stage}"]
        assert (convolution.bias is None) == (norm != "none")
        expected = F.conv2d(expected, convolution.weight, convolution.bias, padding=1)
        if norm == "batch":
            expected = expected / (1 + 1e-5) ** 0.5  # fresh running statistics: mean 0, variance 1
        if norm == "group":
            expected = F.group_norm(expected, 4 if stage == 1 else 2)
        expected = F.relu(expected)
    expected = expected.mean(dim=(2, 3)) @ named["head"].weight.T + named["head"].bias
    torch.testing.assert_close(model(x), expected)
    assert model(x).shape == (4, 5)


@pytest.mark.parametrize("spec", ["mlp?hidden=3", "cnn?widths=2", "torchvision:squeezenet1_1"])
def test_the_same_seed_gives_the_same_weights_and_leaves_the_random_state_alone(spec: str) -> None:
    torch.manual_seed(5)
    expected_next = torch.rand(3)
    torch.manual_seed(5)
    states = [build(spec, input_shape=(3, 8, 8), outputs=2, seed=seed).state_dict() for seed in (1, 1, 2)]
    torch.testing.assert_close(torch.rand(3), expected_next, rtol=0, atol=0)
    same = [all(torch.equal(a[key], b[key]) for key in a) for a, b in (states[:2], states[1:])]
    assert same == [True, False]


def test_the_initialisation_is_the_default_one_of_torch() -> None:
    model = build("mlp?hidden=3", input_shape=(4,), outputs=2, seed=11)
    torch.manual_seed(11)
    expected = nn.Linear(4, 3)
    torch.testing.assert_close(model[1].weight, expected.weight, rtol=0, atol=0)


def test_torchvision_models_take_their_outputs_from_the_data_unless_told() -> None:
    resnet = build("torchvision:resnet18", input_shape=(3, 32, 32), outputs=7)
    assert isinstance(resnet, torchvision.models.ResNet)
    assert resnet.fc.out_features == 7
    told = build("torchvision:resnet18?num_classes=12&weights=none", input_shape=(3, 32, 32), outputs=7)
    assert told.fc.out_features == 12


def test_a_factory_is_called_with_exactly_the_keywords_of_the_query(code: Path) -> None:
    for scheme in ("py:my_net", "file:my_net.py"):
        model = build(f"{scheme}:net?width=6&depth=2", input_shape=(99,), outputs=99)
        assert [tuple(p.shape) for p in model.parameters()] == [(6, 6), (6,), (6, 6), (6,)]
    assert build("py:my_net:Head?width=3", input_shape=(3,), outputs=2).linear.in_features == 3
    assert build("py:my_net:lazy_import", input_shape=(3,), outputs=2).in_features == 5


def test_two_files_of_one_name_are_two_modules(code: Path) -> None:
    (code / "other").mkdir()
    (code / "other" / "my_net.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(1, 1)")
    first = build("file:my_net.py:net", input_shape=(4,), outputs=4)
    second = build("file:other/my_net.py:net", input_shape=(4,), outputs=4)
    assert (type(first), type(second)) == (nn.Sequential, nn.Linear)


@pytest.mark.parametrize(
    ("spec", "kind", "message", "hint"),
    [
        ("mpl", UsageError, "unknown model 'mpl'", "'mlp'"),
        ("resnet18", UsageError, "unknown model 'resnet18'", "torchvision:resnet18"),
        ("timmm:x", UsageError, "unknown model 'timmm'", ""),
        ("mlp:3", UsageError, "expected mlp?hidden", "leave out"),
        ("torchvision", UsageError, "expected torchvision:resnet18", "add what follows"),
        ("torchvision:resnet19", UsageError, "no classification model 'resnet19'", "torchvision:resnet18"),
        ("torchvision:fcn_resnet50", UsageError, "a model of segmentation", "of(x)['out']"),
        ("torchvision:ssd300_vgg16", UsageError, "no classification model", ""),
        ("torchvision:resnet18?depth=3", ModelError, "unexpected keyword argument 'depth'", "--model"),
        ("torchvision:resnet18?weights=BEST", ModelError, "BEST", "--model"),
        ("mlp?hiden=3", UsageError, "unknown option of mlp 'hiden'", "'hidden'"),
        ("mlp?hidden=0", UsageError, "hidden to be whole numbers of at least 1", ""),
        ("mlp?hidden=20,wide", UsageError, "hidden to be whole numbers", ""),
        ("mlp?activation=swish", UsageError, "activation to be one of tanh, relu, gelu", ""),
        ("mlp?bias=1", UsageError, "bias to be true or false", ""),
        ("cnn?norm=layer", UsageError, "norm to be one of none, batch, group", ""),
        (
            "cnn?widths=1,1,1,1,1",
            ModelError,
            "at least 16 pixels a side for 5 stages; the inputs are 8x8",
            "widths",
        ),
        ("py:my_net:a_number", ModelError, "torch.nn.Module; found int", "factory"),
        ("py:my_net:lazy_layers", ModelError, "it has lazy layers", "one input"),
        ("py:my_net:crash", ModelError, "calling 'py:my_net:crash' failed: TypeError", ""),
        ("py:my_net:net?wide=3", UsageError, "unexpected keyword argument 'wide'", "width=4"),
        ("py:my_net:nett", ModelError, "expected 'nett' in module 'my_net'", "'net'"),
        ("py:my_nett:net", ModelError, "No module named 'my_nett'", "file:path.py:factory"),
        ("file:gone.py:net", ModelError, "gone.py; there is none", "file:"),
    ],
)
def test_a_spec_that_builds_no_model_is_refused_in_words(
    code: Path, spec: str, kind: type[OpsigError], message: str, hint: str
) -> None:
    with pytest.raises(OpsigError) as caught:
        build(spec, input_shape=(3, 8, 8), outputs=2)
    assert type(caught.value) is kind
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_sizes_that_no_model_can_have_are_refused() -> None:
    with pytest.raises(ModelError, match=r"images \(C, H, W\) for 'cnn'; the inputs have shape \(64,\)"):
        build("cnn", input_shape=(64,), outputs=2)
    with pytest.raises(ModelError, match="at least one output"):
        build("mlp", input_shape=(64,), outputs=0)
