"""Derivatives keep to a bound on memory, whatever a model puts out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from problems import Rows, columns, dense_hessian, objective
from torch import nn

from opsigcli.derivatives import micro_batch
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.derivatives.micro_batch import fit_micro_batch
from opsigcli.objective.base import Objective

MIB = 1 << 20
# One product of a language model whose logits over all 128 sequences take 128 MiB, of which double backward needs
# several copies; the most resident memory over that before, in MiB.
PRODUCT = """
import numpy as np, torch
from opsigcli.derivatives import micro_batch
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.models.base import build
from opsigcli.objective.base import Objective
from opsigcli.examples import ExampleSource

class Tokens(ExampleSource):
    spec, fingerprint, transform, classes, input_shape = "tokens", "", {}, ("a",) * 4096, (64,)
    ids, labels = np.arange(128), np.zeros(128, dtype=np.int64)
    tokens = np.random.default_rng(0).integers(0, 4096, (128, 65))
    def read(self, positions): return self.tokens[positions, :-1]
    def read_targets(self, positions): return self.tokens[positions, 1:]

def resident(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

torch.set_num_threads(1)
micro_batch.IN_FLIGHT = 64 << 20
problem = Objective(build("gpt?layers=1&width=16", input_shape=(64,), outputs=4096), Tokens(), "lm")
vector = torch.ones(sum(p.numel() for p in problem.parameters))
hessian_operator(problem, positions=np.arange(2), graph_budget=0)(vector)
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
hessian_operator(problem, graph_budget=64 << 20)(vector)
print(resident("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_products_of_a_language_model_take_the_memory_they_may() -> None:
    words = [sys.executable, "-c", PRODUCT]
    # Freed blocks go back to the system at once, so that what is counted is what is held.
    surroundings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=surroundings)
    allowed = 128.0  # MiB: a batch in flight, and kept graphs
    assert float(done.stdout) < 1.5 * allowed


@pytest.mark.parametrize("twice", [True, False])
def test_a_batch_is_smaller_where_outputs_are_larger(twice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_batch, "IN_FLIGHT", MIB)
    sizes = []
    for outputs in (100, 1000, 10_000):
        problem = Objective(nn.Linear(4, outputs), Rows((4,), 600), "ce", batch_size=4096)
        fit_micro_batch(problem, problem.parameters, twice=twice)
        sizes.append(problem.batch_size)
    assert sizes[0] / sizes[1] == pytest.approx(10, rel=0.2)
    assert 1 <= sizes[2] < sizes[1] < sizes[0] < 4096


def test_an_example_that_does_not_fit_is_said_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_batch, "IN_FLIGHT", MIB)
    problem = Objective(nn.Linear(4, 10_000), Rows((4,), 20), "ce")
    assert fit_micro_batch(problem, problem.parameters) == ""
    problem = Objective(nn.Linear(4, 100_000), Rows((4,), 20), "ce")
    said = fit_micro_batch(problem, problem.parameters)
    assert problem.batch_size == 1
    assert "one example takes about" in said


def test_the_batch_size_asked_for_is_the_most_and_one_example_the_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = objective(batch_size=3)
    fit_micro_batch(problem, problem.parameters)
    assert problem.batch_size == 3
    monkeypatch.setattr(micro_batch, "IN_FLIGHT", 1)
    fit_micro_batch(problem, problem.parameters)
    assert problem.batch_size == 1


def test_statistics_of_the_batch_keep_the_batch_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_batch, "IN_FLIGHT", 1)
    problem = objective("batch norm", batch_size=7)
    problem.batch_statistics = True
    fit_micro_batch(problem, problem.parameters)
    assert problem.batch_size == 7


def test_a_batch_that_gets_smaller_after_graphs_were_kept_changes_no_product() -> None:
    problem = objective(batch_size=3)
    operator = hessian_operator(problem, graph_budget=1 << 30)
    operator(torch.ones(operator.size, dtype=torch.float64))
    limited = hessian_operator(problem, graph_budget=operator.kept_bytes // 2)
    limited(torch.ones(operator.size, dtype=torch.float64))
    problem.batch_size = 1
    for some in (operator, limited):
        torch.testing.assert_close(columns(some), dense_hessian(problem), rtol=1e-9, atol=1e-11)
