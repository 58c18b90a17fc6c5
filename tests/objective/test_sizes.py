"""Forward passes keep to a bound on memory, whatever a model puts out, and losses do not change by that."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import Rows
from torch import nn

from opsigcli.objective import forms, sizes
from opsigcli.objective.base import Objective
from opsigcli.objective.evaluate import Evaluator
from opsigcli.objective.losses import next_token
from opsigcli.objective.losses.base import open_loss

MIB = 1 << 20
# The losses of 16 sequences whose logits are 32 MiB each, as a trace takes them; the most resident memory over that
# before, in MiB.
LOSSES = """
import numpy as np, torch
from opsigcli.examples import ExampleSource
from opsigcli.models.base import build
from opsigcli.objective.base import Objective
from opsigcli.objective.evaluate import Evaluator
from opsigcli.objective.independence import refuse_coupling

class Tokens(ExampleSource):
    spec, fingerprint, transform, classes, input_shape = "tokens", "", {}, ("a",) * 16_384, (512,)
    ids, labels = np.arange(16), np.zeros(16, dtype=np.int64)
    tokens = np.random.default_rng(0).integers(0, 16_384, (16, 513))
    def read(self, positions): return self.tokens[positions, :-1]
    def read_targets(self, positions): return self.tokens[positions, 1:]

def resident(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

torch.set_num_threads(1)
model = build("gpt?layers=1&width=8&heads=1", input_shape=(512,), outputs=16_384)
model(torch.zeros(1, 8, dtype=torch.long))
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
problem = Objective(model, Tokens(), "lm")
refuse_coupling(problem, "here")
evaluator = Evaluator(problem)
evaluator.hold(np.arange(16))
evaluator.losses()
print(resident("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_losses_of_a_language_model_take_a_few_times_the_room_of_a_batch() -> None:
    words = [sys.executable, "-c", LOSSES]
    # Freed blocks go back to the system at once, so that what is counted is what is held.
    surroundings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=surroundings)
    # All logits at once would be 512 MiB, and their copies more.
    assert float(done.stdout) < 3.5 * sizes.ROOM / MIB


def test_a_batch_is_smaller_where_outputs_are_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "ROOM", MIB)
    found = [
        Objective(nn.Linear(4, outputs), Rows((4,), 600), "ce", batch_size=4096).batch_size
        for outputs in (100, 1000, 10_000, 1_000_000)
    ]
    assert found == [2621, 262, 26, 1]


def test_an_example_that_takes_far_more_than_a_batch_is_to_take_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizes, "ROOM", MIB)
    quiet, loud = (Objective(nn.Linear(4, n), Rows((4,), 20), "ce").notes for n in (MIB // 2, 2 * MIB))
    assert not any("a forward pass of one example" in note for note in quiet)
    assert any("a forward pass of one example" in note for note in loud)


def test_losses_do_not_depend_on_how_many_examples_pass_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 5000)
    whole = Objective(model, Rows((4,), 40), "ce")
    monkeypatch.setattr(sizes, "ROOM", 3 * 20_000)  # three examples
    monkeypatch.setattr(forms, "LEAST_BYTES", 1)
    monkeypatch.setattr(forms, "MOST_BYTES", 1)
    parts = Objective(model, Rows((4,), 40), "ce")
    evaluator = Evaluator(parts)
    evaluator.hold(np.arange(40))
    assert (whole.batch_size, parts.batch_size) == (256, 3)
    assert evaluator.batch_size == 2
    np.testing.assert_allclose(parts.losses(), whole.losses(), rtol=1e-6)
    np.testing.assert_allclose(evaluator.losses(), whole.losses(), rtol=1e-6)


@pytest.mark.parametrize("options", ["", "?label_smoothing=0.1", "?weight=1,2,3,4,5,6,7"])
def test_the_cross_entropy_of_a_text_is_the_same_in_pieces(
    options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 7, requires_grad=True)
    targets = torch.randint(0, 7, (3, 5))
    targets[1, 2:] = -100
    found = []
    for room in (1 << 20, 2 * 7, 1):
        monkeypatch.setattr(next_token, "ROOM", room)
        losses = open_loss(f"lm{options}").of_examples(logits, targets)
        found.append((losses, *torch.autograd.grad(losses.sum(), logits)))
    for pieces in found[1:]:
        for part, whole in zip(pieces, found[0], strict=True):
            assert torch.equal(part, whole)
    if not options:
        own = F.cross_entropy(logits[1], targets[1], reduction="mean")
        torch.testing.assert_close(found[2][0][1], own)
