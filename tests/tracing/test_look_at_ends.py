"""Every trace says how its ends do beside a guess, and names what the likeliest cause is where they do not."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from PIL import Image
from torch import nn

from opsigcli.look_records import Look
from opsigcli.runs.permuted import permuted
from opsigcli.store.reader import open_store

CODE = """
from torch import nn
def build(c=11, width=12): return nn.Sequential(nn.Flatten(), nn.Linear(width, c))
"""


def pictures(folder: Path, names: list[str], each: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of 2 by 2 in one colour pattern for each class, in folders; inputs and places in ``names``."""
    rng, x, y = np.random.default_rng(0), [], []
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        base = rng.integers(0, 256, (2, 2, 3))
        for i in range(each):
            pixels = np.clip(base + rng.normal(0, 9, base.shape), 0, 255).astype("u1")
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
            x.append(pixels.transpose(2, 0, 1) / np.float32(255))
            y.append(label)
    return torch.tensor(np.array(x, dtype="f4")), torch.tensor(y)


def train(
    folder: Path, x: torch.Tensor, y: torch.Tensor, loss: Any, outputs: int, lr: float = 1.0
) -> nn.Module:
    """Two checkpoints, the second after training."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), outputs))
    folder.mkdir()
    (folder.parent / "net.py").write_text(CODE)
    rule = torch.optim.SGD(net.parameters(), lr=lr)
    for step in range(401):
        if step in (0, 400):
            torch.save(net.state_dict(), folder / f"step_{step}.pt")
        if step == 400:
            break
        rule.zero_grad()
        loss(net(x), y).backward()
        rule.step()
    return net.eval()


def trace(opsig: Opsig, folder: Path, data: str, *more: str, model: str = "build") -> Any:
    words = ("--model", f"file:{folder / 'net.py'}:{model}", "--data", data, "--store", folder / "s.h5")
    return opsig("trace", folder / "run", *words, *more, "--json")


def advised(warning: str) -> str:
    return shlex.split(warning[warning.index("give --data") :])[2]


NAMES = [str(n) for n in range(1, 12)]
ORDERS = {
    "numbers by value": (NAMES, "natural"),
    "by a list of another order": (["dog", "cat", "ant", "eel", "bee"], "dog,cat,ant,eel,bee"),
    "two that are swapped": (["ant", "cat", "bee", "dog", "eel"], "ant,cat,bee,dog,eel"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_of_classes_that_is_not_that_of_training_is_named_and_mended(
    opsig: Opsig, tmp_path: Path, name: str
) -> None:
    names, order = ORDERS[name]
    x, y = pictures(tmp_path / "im", names, each=10)
    net = train(tmp_path / "run", x, y, F.cross_entropy, len(names))
    model = f"build?c={len(names)}"
    wrong = trace(opsig, tmp_path, f"folder:{tmp_path / 'im'}", model=model)
    assert wrong.code == 0, wrong.err
    first = wrong.json["warnings"][0]
    assert "order of classes is not that of training" in first
    assert f"classes={order}" in first
    with open_store(tmp_path / "s.h5") as store:
        assert store.look is not None
        assert store.look.permutation is not None
        assert store.look.permutation.relabelled > 0.95
    (tmp_path / "s.h5").unlink()
    right = trace(opsig, tmp_path, advised(first), model=model)
    assert not right.json["warnings"]
    with torch.no_grad():
        truth = F.cross_entropy(net(x), y, reduction="none").numpy()
    with open_store(tmp_path / "s.h5") as store:
        order = np.argsort(
            [names[label] for label in y], kind="stable"
        )  # files are in the order of their names
        np.testing.assert_allclose(store.trace.losses[1], truth[order], rtol=1e-4, atol=1e-6)
        assert store.look is not None
        assert store.look.permutation is None
        assert store.look.last.right == pytest.approx(1)


@pytest.mark.parametrize("file", ["config.json", "class_to_idx.json", "classes.txt"])
def test_an_order_that_the_run_wrote_down_is_kept_to(opsig: Opsig, tmp_path: Path, file: str) -> None:
    names = ["Dog", "cat", "ant_lion", "eel", "bee"]
    x, y = pictures(tmp_path / "im", names)
    net = train(tmp_path / "run", x, y, F.cross_entropy, 5)
    written = [name.replace("_", " ") for name in names] if file == "config.json" else names
    text = {
        "config.json": json.dumps({"id2label": dict(enumerate(written))}),
        "class_to_idx.json": json.dumps({name: i for i, name in enumerate(written)}),
        "classes.txt": "\n".join(written),
    }[file]
    (tmp_path / "run" / file).write_text(text)
    refused = trace(opsig, tmp_path, f"folder:{tmp_path / 'im'}", model="build?c=5")
    assert refused.code == 3
    assert file in refused.json["error"]["message"]
    right = trace(opsig, tmp_path, advised(refused.json["error"]["hint"]), model="build?c=5")
    assert right.code == 0, right.err
    assert not right.json["warnings"]
    with torch.no_grad():
        truth = F.cross_entropy(net(x), y, reduction="none").numpy()
    order = np.argsort([names[label] for label in y], kind="stable")  # files are in the order of their names
    with open_store(tmp_path / "s.h5") as store:
        np.testing.assert_allclose(store.trace.losses[1], truth[order], rtol=1e-4, atol=1e-6)


def test_the_report_says_it_and_json_has_it(opsig: Opsig, tmp_path: Path) -> None:
    x, y = pictures(tmp_path / "im", NAMES)
    train(tmp_path / "run", x, y, F.cross_entropy, len(NAMES))
    trace(opsig, tmp_path, f"folder:{tmp_path / 'im'}")
    shown = opsig("report", "--full", "--store", tmp_path / "s.h5")
    assert "order of classes is not that of training" in " ".join((shown.out + shown.err).split())
    found = opsig("report", "--full", "--store", tmp_path / "s.h5", "--json").json["result"]["look"]
    assert found["permutation"]["natural"] is True
    assert found["uniform"]["mean_loss"] == pytest.approx(math.log(11))


def test_other_labels_than_those_of_training_are_no_better_than_a_guess(opsig: Opsig, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = torch.randn(90, 12, generator=torch.Generator().manual_seed(0)), torch.arange(90) % 3
    train(tmp_path / "run", x, y, F.cross_entropy, 3)
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=rng.permutation(y.numpy()))
    found = trace(opsig, tmp_path, f"npz:{tmp_path / 'd.npz'}", model="build?c=3")
    assert "no better than a guess" in found.json["warnings"][0]


def regression(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x[:, :2] * 3) + 1


# Loss, outputs, targets of inputs, torch's own loss, and the losses of a uniform and of the best constant guess.
SCORES: dict[str, Any] = {
    "ce": (3, lambda x: x[:, :3].argmax(1), F.cross_entropy),
    "bce": (2, lambda x: (x[:, :2] > 0.5).float(), F.binary_cross_entropy_with_logits),
    "mse": (2, regression, F.mse_loss),
}


@pytest.mark.parametrize("loss", SCORES)
def test_scores_and_guesses_are_those_of_torch(opsig: Opsig, tmp_path: Path, loss: str) -> None:
    outputs, of, own = SCORES[loss]
    x = torch.randn(60, 12, generator=torch.Generator().manual_seed(1))
    y = of(x)
    net = train(tmp_path / "run", x, y, own, outputs, lr=0.1)
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=y.numpy())
    data = f"npz:{tmp_path / 'd.npz'}"
    look = trace(opsig, tmp_path, data, "--loss", loss, model=f"build?c={outputs}").json["result"]["look"]
    last = look["checkpoints"]["step_400.pt"]
    with torch.no_grad():
        z = net(x)
    assert last["mean_loss"] == pytest.approx(float(own(z, y)), rel=1e-4)
    if loss == "ce":
        often = torch.bincount(y, minlength=3) / len(y)
        assert last["right"] == pytest.approx(float((z.argmax(1) == y).float().mean()))
        assert look["prior"]["mean_loss"] == pytest.approx(float(own(often.log().expand(60, 3), y)), rel=1e-5)
        assert look["uniform"]["mean_loss"] == pytest.approx(math.log(3), rel=1e-6)
    if loss == "bce":
        often = y.mean(0)
        assert last["right"] == pytest.approx(float(((z > 0) == (y > 0.5)).float().mean()))
        assert look["prior"]["mean_loss"] == pytest.approx(
            float(own(often.logit().expand(60, 2), y)), rel=1e-5
        )
        assert look["uniform"]["mean_loss"] == pytest.approx(math.log(2), rel=1e-6)
    if loss == "mse":
        explained = 1 - float(((z - y) ** 2).sum() / ((y - y.mean(0)) ** 2).sum())
        assert look["prior"]["mean_loss"] == pytest.approx(float(y.var(0, unbiased=False).mean()), rel=1e-5)
        assert last["explained"] == pytest.approx(explained, rel=1e-3)


def test_a_trace_that_has_nothing_new_looks_no_second_time(opsig: Opsig, tmp_path: Path) -> None:
    x, y = torch.randn(60, 12), torch.arange(60) % 3
    train(tmp_path / "run", x, y, F.cross_entropy, 3)
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=y.numpy())
    first = trace(opsig, tmp_path, f"npz:{tmp_path / 'd.npz'}", model="build?c=3").json["result"]["look"]
    written = (tmp_path / "s.h5").stat().st_mtime_ns
    assert (
        trace(opsig, tmp_path, f"npz:{tmp_path / 'd.npz'}", model="build?c=3").json["result"]["look"] == first
    )
    assert (tmp_path / "s.h5").stat().st_mtime_ns == written


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("cycle", [2, 3, 20])
def test_a_permutation_is_found_of_a_model_that_is_right_less_than_half_of_the_time(
    seed: int, cycle: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 20, 1000)
    answers = np.where(rng.random(1000) < 0.45, truth, rng.integers(0, 20, 1000))
    labels = np.where(truth < cycle, (truth + 1) % cycle, truth)
    found = permuted(labels, answers, np.ones(1000), (), "npz:d")
    assert found is not None
    assert found.answered == {str((c + 1) % cycle): str(c) for c in range(cycle)}


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("classes", [2, 10, 30])
def test_a_weak_model_is_no_permutation(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 600)
    confused = rng.permutation(classes)  # what each class is taken for, nearly as often as for itself
    answers = np.where(rng.random(600) < 0.3, labels, rng.integers(0, classes, 600))
    answers = np.where(rng.random(600) < 0.25, confused[labels], answers)
    assert permuted(labels, answers, np.ones(600), (), "npz:d") is None


@pytest.mark.parametrize("seed", range(20))
def test_random_answers_are_no_permutation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 12))
    labels, answers = rng.integers(0, classes, (2, int(rng.integers(10, 400))))
    assert permuted(labels, answers, np.ones(len(labels)), (), "npz:d") is None


def test_a_class_that_is_confused_with_another_is_no_permutation() -> None:
    labels = np.repeat(np.arange(4), 30)
    answers = np.where(labels == 1, 2, labels)
    assert permuted(labels, answers, np.ones(120), (), "npz:d") is None


def test_a_large_loss_with_right_answers_is_no_guess() -> None:
    from opsigcli.look_records import Score

    look = Look(100, 100, {}, 10, Score(2.3, 0.1), Score(2.3, 0.1), {"a": Score(4.0, 0.7)}, ())
    assert not look.a_guess


def test_a_checkpoint_that_is_gone_by_then_costs_no_trace(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opsigcli.errors import CheckpointError
    from opsigcli.tracing import beside

    def gone(*_: object) -> None:
        raise CheckpointError("expected a checkpoint; it is gone", "")

    x, y = torch.randn(60, 12), torch.arange(60) % 3
    train(tmp_path / "run", x, y, F.cross_entropy, 3)
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=y.numpy())
    monkeypatch.setattr(beside, "look_at", gone)
    found = trace(opsig, tmp_path, f"npz:{tmp_path / 'd.npz'}", model="build?c=3")
    assert found.code == 0
    assert any("it is gone" in line for line in found.json["warnings"])
    assert found.json["result"]["look"] is None


def test_another_run_in_the_same_store_is_looked_at_anew(opsig: Opsig, tmp_path: Path) -> None:
    x, y = torch.randn(60, 12), torch.arange(60) % 3
    train(tmp_path / "run", x, y, F.cross_entropy, 3)
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=y.numpy())
    data = f"npz:{tmp_path / 'd.npz'}"
    first = trace(opsig, tmp_path, data, model="build?c=3").json["result"]["look"]
    np.savez(tmp_path / "d.npz", x=x.numpy()[::-1], y=y.numpy())
    second = trace(opsig, tmp_path, data, "--fresh", model="build?c=3").json["result"]["look"]
    assert second["checkpoints"] != first["checkpoints"]


def test_pictures_in_colour_for_a_model_of_grey_ones_are_refused_with_the_option_that_makes_them_grey(
    opsig: Opsig, tmp_path: Path
) -> None:
    pictures(tmp_path / "im", ["ant", "bee"])
    (tmp_path / "run").mkdir()
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef grey(): return nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2))\n"
    )
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2))
    for step in (1, 2):
        torch.save(net.state_dict(), tmp_path / "run" / f"step_{step}.pt")
    refused = trace(opsig, tmp_path, f"folder:{tmp_path / 'im'}", model="grey")
    assert refused.code == 3
    assert "mode=L" in refused.json["error"]["hint"]
    assert trace(opsig, tmp_path, f"folder:{tmp_path / 'im'}?mode=L", model="grey").code == 0


@pytest.mark.parametrize("file", ["preprocessor_config.json", "config.json"])
def test_a_normalisation_that_the_run_wrote_down_is_named(opsig: Opsig, tmp_path: Path, file: str) -> None:
    names = ["ant", "bee", "cat"]
    x, y = pictures(tmp_path / "im", names, each=10)
    mean, std = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    x = (x - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    net = train(tmp_path / "run", x, y, F.cross_entropy, 3)
    written = {
        "preprocessor_config.json": {"image_mean": mean, "image_std": std, "rescale_factor": 1 / 255},
        "config.json": {"architecture": "resnet18", "pretrained_cfg": {"mean": mean, "std": std}},
    }[file]
    (tmp_path / "run" / file).write_text(json.dumps(written))
    close = f"folder:{tmp_path / 'im'}?mean=0.485,0.456,0.406&std=0.229,0.224,0.225"
    first = next(
        line for line in trace(opsig, tmp_path, close, model="build?c=3").json["warnings"] if file in line
    )
    (tmp_path / "s.h5").unlink()
    right = trace(opsig, tmp_path, advised(first), model="build?c=3")
    assert not right.json["warnings"]
    with open_store(tmp_path / "s.h5") as store, torch.no_grad():
        truth = F.cross_entropy(net(x), y, reduction="none").numpy()
        np.testing.assert_allclose(store.trace.losses[1], truth, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("passes", "first_untried"), [(4000, None), (24 * 6, "inputs from -1 to 1"), (1, "the norm")]
)
def test_the_search_for_a_normalisation_is_bounded_by_work_and_says_what_it_left_out(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: int, first_untried: str | None
) -> None:
    from opsigcli.runs import normalisations

    names = ["ant", "bee", "cat"]
    x, y = pictures(tmp_path / "im", names, each=30)
    train(tmp_path / "run", x, torch.randint(0, 3, y.shape), F.cross_entropy, 3, lr=1e-3)  # nothing is learnt
    work = 2 * sum(3 * 12 + 3 for _ in range(passes))
    monkeypatch.setattr(normalisations, "OPERATIONS", work)
    found = trace(opsig, tmp_path, f"folder:{tmp_path / 'im'}", model="build?c=3").json
    untried = found["result"]["look"]["untried"]
    said = [line for line in found["warnings"] if "not tried were" in line]
    assert bool(untried) == bool(said) == (first_untried is not None)
    if first_untried is not None:
        assert untried[0].startswith(first_untried)


def test_data_of_one_label_are_held_against_a_guess_that_does_not_know_it() -> None:
    from opsigcli.look_records import Score

    uniform, knows = Score(1.1, 1 / 3), Score(0.0, 1.0)
    fine = Look(71, 71, {}, 3, uniform, knows, {"a": Score(0.03, 1.0)}, ())
    assert not fine.a_guess
    assert Look(71, 71, {}, 3, uniform, knows, {"a": Score(1.3, 0.3)}, ()).a_guess
    constant = Score(0.0, None)  # targets that are all one number
    assert not Look(71, 71, {}, None, None, constant, {"a": Score(0.03, None)}, ()).a_guess


@pytest.mark.parametrize("form", ["column", "one-hot"])
def test_labels_in_columns_and_rows_are_looked_at(opsig: Opsig, tmp_path: Path, form: str) -> None:
    """They are no labels of tokens, of which some could be padding."""
    x = torch.randn(90, 12, generator=torch.Generator().manual_seed(0))
    y = x[:, :3].argmax(1)
    train(tmp_path / "run", x, y, F.cross_entropy, 3)
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=(y[:, None] if form == "column" else F.one_hot(y, 3)).numpy())
    found = trace(opsig, tmp_path, f"npz:{tmp_path / 'd.npz'}", model="build?c=3")
    assert found.json["warnings"] == []
    said = opsig("report", "--full", "--json", "--store", tmp_path / "s.h5").json["result"]["look"]
    assert said["checkpoints"]["step_400.pt"]["right"] > 0.9
    words = ("--model", f"file:{tmp_path / 'net.py'}:build?c=3", "--data", f"npz:{tmp_path / 'd.npz'}")
    assert opsig("init", tmp_path / "run", *words).code == 0


def test_a_loss_next_to_nothing_does_not_tell_normalisations_apart(opsig: Opsig, tmp_path: Path) -> None:
    """Where all is right, inputs spread farther than in training have lower losses still, as do channels reversed."""
    rng, x, y = np.random.default_rng(0), [], []
    for label, name in enumerate("abc"):
        (tmp_path / "im" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(rng.normal(60 + 60 * label, 8, (2, 2, 3)), 0, 255).astype("u1")
            Image.fromarray(pixels).save(tmp_path / "im" / name / f"{i}.png")
            x.append(pixels.transpose(2, 0, 1) / np.float32(255))
            y.append(label)
    inputs = torch.tensor((np.array(x, dtype="f4") - 0.5) / 0.5)
    train(tmp_path / "run", inputs, torch.tensor(y), F.cross_entropy, 3)
    for file in (tmp_path / "run").glob("*.pt"):  # as after a long training
        torch.save({key: 100 * value for key, value in torch.load(file).items()}, file)
    trace(opsig, tmp_path, f"folder:{tmp_path / 'im'}", model="build?c=3")
    better = opsig("report", "--full", "--json", "--store", tmp_path / "s.h5").json["result"]["look"][
        "better"
    ]
    assert better["mean_loss"] < 0.01
    assert "BGR" not in better["name"]
    assert "inputs from -1 to 1" in (better["name"], *better["others"])


@pytest.mark.parametrize("kind", ["f4", "i8"])
def test_one_hot_rows_are_answered_as_their_classes_are(opsig: Opsig, tmp_path: Path, kind: str) -> None:
    """Numbers that are probabilities had no share of right answers, and a permutation of classes was not seen."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (3 * np.eye(4)[y] + rng.normal(size=(90, 4))).astype("f4")
    (tmp_path / "run").parent.mkdir(exist_ok=True)
    train(tmp_path / "run", torch.tensor(x), torch.tensor(y), F.cross_entropy, 3, lr=0.1)
    model = f"file:{tmp_path}/net.py:build?c=3&width=4"
    for order, permuted_so in (((0, 1, 2), False), ((1, 2, 0), True)):
        np.savez(tmp_path / "d.npz", x=x, y=np.eye(3, dtype=kind)[np.array(order)[y]])
        words = ("--model", model, "--data", f"npz:{tmp_path}/d.npz", "--store", tmp_path / "s.h5", "--fresh")
        done = opsig("trace", tmp_path / "run", *words, "--json").json
        score = list(done["result"]["look"]["checkpoints"].values())[-1]
        assert (score["right"] < 0.2) is permuted_so
        assert (score["right"] > 0.8) is not permuted_so
        assert any("labels are permuted" in line for line in done["warnings"]) is permuted_so
