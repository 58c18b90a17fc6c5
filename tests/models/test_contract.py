"""What every model of the table keeps to. A new entry needs a case here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from opsigcli.errors import ModelError, OpsigError, UsageError
from opsigcli.models import MODELS
from opsigcli.models.base import build
from opsigcli.models.checks import agree_twice
from opsigcli.models.weights import fit_weights

B, OUTPUTS = 3, 5
CODE = """
from torch import nn

def make(width=6):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.Dropout(0.5), nn.Linear(width, 5))
"""


def hugging_face(folder: Path) -> str:
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 6, "vocab_size": OUTPUTS}
    facts = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", **shape}
    (folder / "config.json").write_text(json.dumps(facts))
    return f"hf:{folder}"


def own(scheme: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "contract_net.py").write_text(CODE)
        return "py:contract_net:make" if scheme == "py" else f"file:{folder / 'contract_net.py'}:make"

    return make


@dataclass(frozen=True)
class Case:
    """A spec, inputs that it fits, and a shape that it does not."""

    spec: str | Callable[[Path], str]
    shape: tuple[int, ...]
    unfit: tuple[int, ...]
    tokens: bool = False
    outputs: int = OUTPUTS

    def inputs(self, shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        if self.tokens:
            return torch.randint(0, OUTPUTS, (B, *shape), generator=generator)
        return torch.randn(B, *shape, generator=generator)


CASES = {
    "mlp": Case("mlp", (2, 3), (7,)),
    "cnn": Case("cnn", (3, 8, 8), (1, 8, 8)),
    "gpt": Case("gpt", (6,), (7,), tokens=True),
    "resnet": Case("resnet", (3, 8, 8), (1, 8, 8)),
    "vgg": Case("vgg", (3, 8, 8), (1, 8, 8)),
    "vit": Case("vit", (3, 16, 16), (3, 24, 24)),
    "vgg11": Case("vgg11?width=2", (3, 32, 32), (1, 32, 32)),
    "lstm": Case("lstm?width=8", (6,), (6, 2), tokens=True),
    "two-layer-linear": Case("two-layer-linear", (7,), (8,), outputs=1),
    "one-axis": Case("one-axis", (1,), (1, 2, 3), outputs=2),
    "torchvision": Case("torchvision:squeezenet1_1", (3, 48, 48), (1, 48, 48)),
    "timm": Case("timm:test_efficientnet", (3, 32, 32), (1, 32, 32)),
    "hf": Case(hugging_face, (6,), (7,), tokens=True),
    "py": Case(own("py"), (12,), (11,)),
    "file": Case(own("file"), (12,), (11,)),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def spec(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    yield case.spec if isinstance(case.spec, str) else case.spec(tmp_path)
    sys.modules.pop("contract_net", None)


def made(spec: str, case: Case, seed: int = 0) -> nn.Module:
    return build(spec, input_shape=case.shape, outputs=case.outputs, seed=seed)


def test_every_model_of_the_table_has_a_case() -> None:
    assert set(CASES) == set(MODELS)


def test_a_model_is_the_same_for_the_same_seed_and_leaves_the_random_state_alone(
    spec: str, case: Case
) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, same, other = (made(spec, case, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert list(one) == list(same) == list(other)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_model_gives_every_example_its_outputs_whatever_is_beside_it(spec: str, case: Case) -> None:
    model = made(spec, case)
    outputs = agree_twice(model, case.inputs(case.shape))
    assert outputs.shape == ((B, *case.shape, OUTPUTS) if case.tokens else (B, case.outputs))
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(model.eval()(case.inputs(case.shape)), outputs, rtol=0, atol=0)


def test_a_models_weights_fit_the_same_model_built_again(spec: str, case: Case) -> None:
    first, second = made(spec, case, 0).eval(), made(spec, case, 1).eval()
    names = [name for name, _ in first.named_parameters()]
    assert names == [name for name, _ in second.named_parameters()]
    assert fit_weights(second, first.state_dict(), where="here") == ""
    inputs = case.inputs(case.shape)
    torch.testing.assert_close(second(inputs), first(inputs), rtol=0, atol=0)


def test_every_parameter_has_a_gradient(spec: str, case: Case) -> None:
    model = made(spec, case).eval()
    model(case.inputs(case.shape)).square().sum().backward()
    assert all(
        p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad
    )


def test_inputs_of_another_shape_are_refused_in_words(spec: str, case: Case) -> None:
    with pytest.raises(ModelError) as caught:
        agree_twice(made(spec, case), case.inputs(case.unfit))
    assert caught.value.hint


def test_an_unknown_option_is_refused_in_words(spec: str, case: Case) -> None:
    with pytest.raises(OpsigError) as caught:
        made(f"{spec}{'&' if '?' in spec else '?'}no_such_option=1", case)
    assert "no_such_option" in caught.value.message


@pytest.mark.parametrize("name", list(MODELS))
def test_the_form_of_a_spec_is_that_of_its_entry(name: str) -> None:
    other = f"{name}:x" if MODELS.entries[name].bare else name
    with pytest.raises(UsageError, match=f"expected {name}"):
        build(other, input_shape=(4,), outputs=2)


@pytest.mark.parametrize(("spec", "meant"), [("net.py:make", "file:net.py:make"), ("net.py", "file:net.py:")])
def test_a_file_by_its_name_alone_is_answered_with_the_spec_of_it(spec: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(spec, input_shape=(12,), outputs=5)
    assert meant in caught.value.hint


def test_a_model_of_transformers_without_logits_is_told_what_it_gives(tmp_path: Path) -> None:
    facts = {
        "architectures": ["BertForQuestionAnswering"], "model_type": "bert", "vocab_size": 9, "hidden_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 6,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="it gives start_logits, end_logits") as caught:
        agree_twice(build(f"hf:{tmp_path}", input_shape=(4,), outputs=9), torch.ones(2, 4, dtype=torch.int64))
    assert "a factory of your own" in caught.value.hint
