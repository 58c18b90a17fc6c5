"""Top Hessian eigenvalues against other tools: HVPs, wall time, verified error, peak memory.

    python tests/benchmarks/sharpness.py [--images FOLDER] [--nets mlp,bn,gn] [--counts 1,5] [--rounds 3]
        [--checkpoints 2] [--parts solve,memory,blocks,critical]

Needs pyhessian, hessian-eigenthings and curvlinops-for-pytorch beside opsig; what is not installed is left out. Every
method solves the same checkpoints in turn, round after round, on one thread; a row gives the median of the ratios of
its wall time to that of opsig in the same round, with the smallest and largest. Errors are relative to λ₁, against
SciPy in float64 on a plain double backward. Nets are trained by gradient descent on generated images, or on those of
--images. All methods run with the allocator settings of opsig's command line, which serve them too. What opsig
prepares once for all checkpoints of a run (the span of the inputs) is charged in equal parts to those measured here,
which are few. ``--parts critical`` needs none of the other tools: along a run of ten checkpoints it sets the critical
sharpness along the step of gradient descent beside the largest eigenvalue.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import LinearOperator, eigsh
from scipy.stats import spearmanr
from torch import Tensor, nn

from opsigcli.cli.allocator import keep_freed_memory
from opsigcli.curvature.critical_rate import critical_rate
from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.datasets import open_source
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.derivatives.input_subspace import InputSubspace, find_input_subspace
from opsigcli.derivatives.layers import layers
from opsigcli.examples import ExampleSource
from opsigcli.objective.base import Objective

TOLERANCE = 1e-3
CHECKPOINTS = 10  # of a run, for critical sharpness


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([norm(outside), norm(outside)])
        same = inside == outside and stride == 1
        self.skip = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(inside, outside, 1, stride), norm(outside))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(y)) + self.skip(x))


def resnet(norm: Callable[[int], nn.Module]) -> nn.Module:
    """A ResNet-8 with 78 thousand parameters."""
    blocks = [Block(16, 16, 1, norm), Block(16, 32, 2, norm), Block(32, 64, 2, norm)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), norm(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mlp() -> nn.Module:
    """A tanh network with 657 thousand parameters."""
    inner = [nn.Linear(3072, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 10)]
    return nn.Sequential(nn.Flatten(), *inner)


# name -> (network, examples, learning rate, checkpoints after these steps of gradient descent)
NETS: dict[str, tuple[Callable[[], nn.Module], int, float, tuple[int, ...]]] = {
    "mlp": (mlp, 2000, 0.05, (40, 80, 160, 320)),
    "bn": (lambda: resnet(nn.BatchNorm2d), 100, 0.05, (20, 80, 200)),
    "gn": (lambda: resnet(lambda c: nn.GroupNorm(4, c)), 100, 0.05, (20, 80, 200)),
}


class Generated(ExampleSource):
    """Images of ten classes: a smooth template for each, a brightness for each image, and noise."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(0)
        coarse = torch.tensor(rng.normal(size=(10, 3, 4, 4)).astype(np.float32))
        templates = F.interpolate(coarse, size=32, mode="bilinear").numpy()
        self.ids = np.arange(n)
        self.labels = rng.integers(0, 10, n)
        bright = rng.normal(size=(n, 1, 1, 1))
        self.inputs = 0.5 * templates[self.labels] + bright + 0.5 * rng.normal(size=(n, 3, 32, 32))
        self.inputs = (self.inputs / self.inputs.std()).astype(np.float32)
        self.spec, self.fingerprint, self.transform = "generated", "", {}
        self.classes = tuple("abcdefghij")
        self.input_shape = (3, 32, 32)

    def read(self, positions: np.ndarray) -> np.ndarray:
        return self.inputs[positions]


@dataclass
class Result:
    """What a method found, and what it cost."""

    values: np.ndarray
    products: int
    seconds: float = 0.0


Method = Callable[[Objective, int], Result]


def plain_product(objective: Objective, vector: np.ndarray) -> np.ndarray:
    """Double backward on a fresh graph, as the edge-of-stability code does it."""
    parameters = objective.parameters
    total = torch.zeros(len(vector), dtype=objective.dtype)
    v = torch.as_tensor(vector.reshape(-1)).to(objective.dtype)
    for inputs, targets in objective.batches():
        loss = objective.loss_fn(objective.model(inputs), targets).sum() / objective.n
        grads = torch.autograd.grad(loss, parameters, create_graph=True)
        dot = nn.utils.parameters_to_vector([g.contiguous() for g in grads]).mul(v).sum()
        parts = torch.autograd.grad(dot, parameters)
        total += nn.utils.parameters_to_vector([g.contiguous() for g in parts])
    return total.numpy()


def counted_eigsh(
    product: Callable[[np.ndarray], np.ndarray], size: int, dtype: str, count: int, **options
) -> Result:
    done = 0

    def matvec(v: np.ndarray) -> np.ndarray:
        nonlocal done
        done += 1
        return product(v)

    operator = LinearOperator((size, size), matvec=matvec, dtype=dtype)
    found = eigsh(operator, count, return_eigenvectors=False, **options)
    return Result(np.sort(found)[::-1], done)


def size_of(objective: Objective) -> int:
    return sum(p.numel() for p in objective.parameters)


@dataclass
class Series:
    """Checkpoints of one net, each with its five largest eigenvalues from float64."""

    objective: Objective
    weights: list[dict[str, Tensor]] = field(default_factory=list)
    truths: list[np.ndarray] = field(default_factory=list)


SPANS: dict[int, tuple[InputSubspace | None, float]] = {}  # by objective, with the seconds they took


def span_of(objective: Objective) -> tuple[InputSubspace | None, float]:
    if id(objective) not in SPANS:
        start = time.perf_counter()
        span = find_input_subspace(objective, objective.counted)
        SPANS[id(objective)] = span, time.perf_counter() - start
    return SPANS[id(objective)]


def own(objective: Objective, count: int) -> Result:
    operator = hessian_operator(objective, subspace=span_of(objective)[0])
    found = top_eigenvalues(operator, operator.size, count, tolerance=TOLERANCE)
    assert found.converged, found.reason
    return Result(found.eigenvalues, found.matvecs)


def recipe(objective: Objective, count: int) -> Result:
    """The edge-of-stability code: SciPy's eigsh with its defaults on the plain product."""
    return counted_eigsh(lambda v: plain_product(objective, v), size_of(objective), "float32", count)


def pyhessian(objective: Objective, count: int) -> Result:
    module = importlib.import_module("pyhessian.hessian")  # the package names its class alike
    done = 0
    plain = module.hessian_vector_product

    def counting(*arguments: object) -> object:
        nonlocal done
        done += 1
        return plain(*arguments)

    module.hessian_vector_product = counting
    try:
        data = next(iter(objective.batches()))
        solver = module.hessian(objective.model, nn.CrossEntropyLoss(), data=data, cuda=False)
        values, _ = solver.eigenvalues(maxIter=100, tol=TOLERANCE, top_n=count)
    finally:
        module.hessian_vector_product = plain
        for p in objective.parameters:
            p.grad = None
    return Result(np.array(values), done)


def eigenthings(objective: Objective, count: int) -> Result:
    from hessian_eigenthings.algorithms.lanczos import lanczos
    from hessian_eigenthings.loss_fns import supervised_loss
    from hessian_eigenthings.operators.hessian import HessianOperator

    operator = HessianOperator(
        objective.model, list(objective.batches()), supervised_loss(nn.CrossEntropyLoss())
    )
    steps = 20 if count == 1 else 40
    found = lanczos(operator, k=count, max_iter=steps, tol=TOLERANCE, which="LA", seed=0)
    return Result(np.sort(found.eigenvalues.numpy())[::-1], steps)


def curvlinops(objective: Objective, count: int) -> Result:
    from curvlinops import HessianLinearOperator

    operator = HessianLinearOperator(
        objective.model,
        nn.CrossEntropyLoss(),
        objective.parameters,
        list(objective.batches()),
        check_deterministic=False,
    ).to_scipy()
    return counted_eigsh(operator.matvec, operator.shape[0], "float32", count, which="LA", tol=TOLERANCE)


METHODS: dict[str, Method] = {
    "opsig": own,
    "PyHessian": pyhessian,
    "hessian-eigenthings": eigenthings,
    "edge-of-stability recipe": recipe,
    "curvlinops + eigsh": curvlinops,
}


def series(name: str, images: str | None, last: int) -> Series:
    build, n, lr, steps = NETS[name]
    steps = steps[-last:]
    source = open_source(f"folder:{images}?limit={n}&standardize=channel") if images else Generated(n)
    torch.manual_seed(0)
    objective = Objective(build(), source, "ce", batch_size=n)
    found = Series(objective)
    wide = Objective(build(), source, "ce", batch_size=n, dtype=torch.float64)
    for step in range(1, max(steps) + 1):
        objective.model.train()
        _, gradient = objective.mean_loss_and_gradient()
        objective.model.eval()
        with torch.no_grad():
            for p, g in zip(objective.parameters, gradient, strict=True):
                p.sub_(g, alpha=lr)
        if step in steps:
            wide.load(objective.model.state_dict())
            found.weights.append({key: value.clone() for key, value in objective.model.state_dict().items()})
            truth = counted_eigsh(
                lambda v: plain_product(wide, v), size_of(wide), "float64", 5, which="LA", tol=1e-6, ncv=24
            )
            found.truths.append(truth.values)
    return found


@dataclass
class Row:
    products: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    failure: str = ""


def compare(run: Series, count: int, rounds: int) -> dict[str, Row]:
    rows = {name: Row() for name in METHODS}
    prepared = span_of(run.objective)[1] / len(run.weights)
    for _ in range(rounds):
        for weights, truth in zip(run.weights, run.truths, strict=True):
            run.objective.load(weights)
            seconds = {}
            for name, method in METHODS.items():
                row = rows[name]
                if row.failure:
                    continue
                start = time.perf_counter()
                try:
                    found = method(run.objective, count)
                except Exception as error:  # whatever another tool does on this net
                    row.failure = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:60]}"
                    continue
                seconds[name] = time.perf_counter() - start + (prepared if method is own else 0)
                row.seconds.append(seconds[name])
                row.ratios.append(seconds[name] / seconds["opsig"])
                row.products.append(found.products)
                row.errors.append(float(np.abs(found.values - truth[:count]).max() / abs(truth[0])))
    return rows


def peak_memory(objective: Objective, method: Method) -> float:
    """MiB that one top-1 solve adds to the process, measured in a child of its own."""
    ctypes.CDLL(None).malloc_trim(0)  # what is kept for reuse would hide what a solve needs
    read, write = os.pipe()
    if os.fork() == 0:
        code = 1
        try:
            own_files = Path("/proc/self")
            before = int((own_files / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
            (own_files / "clear_refs").write_text("5")  # start the peak anew
            method(objective, 1)
            lines = (own_files / "status").read_text().splitlines()
            peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
            os.write(write, str((peak - before) / 1024).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    os.wait()
    text = os.read(read, 64)
    os.close(read)
    return float(text) if text else float("nan")


def cost_of_a_product(objective: Objective, subspace: InputSubspace | None) -> tuple[float, float, float]:
    """Median, least and largest HVP time in units of the gradient's, interleaved."""
    operator = hessian_operator(objective, subspace=subspace)
    v = torch.randn(operator.size)
    v /= v.norm()
    operator(v)
    ratios = []
    for _ in range(9):
        start = time.perf_counter()
        objective.mean_loss_and_gradient()
        middle = time.perf_counter()
        operator(v)
        ratios.append((time.perf_counter() - middle) / (middle - start))
    return float(np.median(ratios)), min(ratios), max(ratios)


def blocks(objective: Objective) -> tuple[float, float, int, int]:
    """All layers' block eigenvalues: own seconds, curvlinops' seconds, own products, its products."""
    from curvlinops import HessianLinearOperator

    span = span_of(objective)[0]
    start = time.perf_counter()
    operator = hessian_operator(objective, subspace=span)
    products = 0
    values = []
    for layer in layers(objective):
        block = operator.block(layer.places)
        found = top_eigenvalues(block, block.size, 1, tolerance=TOLERANCE)
        products += found.matvecs
        values.append(found.eigenvalues[0])
    middle = time.perf_counter()
    data = list(objective.batches())
    parameters = objective.parameters
    others = 0
    for layer, value in zip(layers(objective), values, strict=True):
        some = [parameters[i] for i in layer.places]
        linear = HessianLinearOperator(
            objective.model, nn.CrossEntropyLoss(), some, data, check_deterministic=False
        ).to_scipy()
        found = counted_eigsh(linear.matvec, linear.shape[0], "float32", 1, which="LA", tol=TOLERANCE)
        others += found.products
        assert abs(found.values[0] - value) <= 2e-3 * abs(value), (layer.name, found.values, value)
    return middle - start, time.perf_counter() - middle, products, others


def critical(name: str, images: str | None) -> str:
    """Critical sharpness along the steps of a run of gradient descent, over the largest eigenvalue."""
    build, n, lr, steps = NETS[name]
    source = open_source(f"folder:{images}?limit={n}&standardize=channel") if images else Generated(n)
    torch.manual_seed(0)
    objective = Objective(build(), source, "ce", batch_size=n)
    looked = set(np.linspace(max(steps) / CHECKPOINTS, max(steps), CHECKPOINTS).astype(int).tolist())
    lines, tops, found, passes = [], [], [], []
    for step in range(1, max(steps) + 1):
        objective.model.train()
        _, gradient = objective.mean_loss_and_gradient()
        objective.model.eval()
        step_along(objective, gradient, -lr)
        if step not in looked:
            continue
        tops.append(float(own(objective, 1).values[0]))
        _, gradient = objective.mean_loss_and_gradient()
        start = [p.detach().clone() for p in objective.parameters]

        def loss(s: float, start: list[Tensor] = start, gradient: list[Tensor] = gradient) -> float:
            with torch.no_grad():
                for p, at in zip(objective.parameters, start, strict=True):
                    p.copy_(at)
            step_along(objective, gradient, -lr * s)
            return objective.mean_loss()

        rate = critical_rate(loss, rounding=2.0**-23)
        loss(0.0)
        passes.append(rate.passes)
        found.append(2 / (lr * rate.value) if rate.found else float("nan"))
        lines.append(f"  step {step}: {found[-1]:.4g} against {tops[-1]:.4g}")
    good = np.isfinite(found)
    ratios = (np.array(found) / np.array(tops))[good]
    order = spearmanr(np.array(found)[good], np.array(tops)[good]).statistic
    return "\n".join(
        [
            f"{name} critical sharpness, 2/lr {2 / lr:g}: {np.median(ratios):.2f} of the largest eigenvalue "
            f"({ratios.min():.2f} to {ratios.max():.2f}), rank correlation {order:.2f}, {good.sum()} of {len(good)} "
            f"found, {np.median(passes):.0f} passes ({min(passes)}-{max(passes)})",
            *lines,
        ]
    )


@torch.no_grad()
def step_along(objective: Objective, direction: list[Tensor], size: float) -> None:
    for p, d in zip(objective.parameters, direction, strict=True):
        p.add_(d, alpha=size)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", help="folder of images, one subfolder per class")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--counts", default="1,5")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--checkpoints", type=int, default=10, help="most checkpoints of a net, the last ones"
    )
    parser.add_argument("--parts", default="solve,memory,blocks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.filterwarnings("ignore")  # of the other tools
    for net in options.nets.split(","):
        if "critical" in options.parts:
            print(critical(net, options.images), flush=True)
        if options.parts == "critical":
            continue
        report(net, series(net, options.images, options.checkpoints), options)


def report(net: str, run: Series, options: argparse.Namespace) -> None:
    span, seconds = span_of(run.objective)
    for name, used in {"": None, "in the span of the inputs ": span}.items():
        if used is not None or not name:
            middle, low, high = cost_of_a_product(run.objective, used)
            print(f"{net}: an HVP {name}costs {middle:.2f} gradients ({low:.2f} to {high:.2f})", flush=True)
    if span is not None:
        print(f"{net}: the span takes {seconds:.2f} s, once", flush=True)
    for count in map(int, options.counts.split(",") if "solve" in options.parts else []):
        print(f"{net} top-{count}: median HVPs, time in units of opsig's (spread), worst error", flush=True)
        for name, row in compare(run, count, options.rounds).items():
            if row.failure:
                print(f"  {name:26s} fails: {row.failure}", flush=True)
                continue
            spread = f"{np.median(row.ratios):5.2f} ({min(row.ratios):.2f} to {max(row.ratios):.2f})"
            products = f"{np.median(row.products):.0f} ({min(row.products)}-{max(row.products)})"
            typical = f"{np.median(row.seconds):6.2f} s"
            error = f"error {max(row.errors):.1e}"
            print(f"  {name:26s} {products:>12s} HVPs {spread} {typical} {error}", flush=True)
    if "memory" in options.parts:
        memory = {name: peak_memory(run.objective, method) for name, method in METHODS.items()}
        print(f"{net} peak MiB, top-1: " + ", ".join(f"{name} {value:.0f}" for name, value in memory.items()))
    if "blocks" in options.parts:
        try:
            mine, theirs, few, many = blocks(run.objective)
        except Exception as error:  # whatever another tool does on this net
            print(f"{net} blocks: curvlinops fails: {type(error).__name__}: {str(error)[:80]}", flush=True)
        else:
            print(
                f"{net} all layers' blocks: {mine:.2f} s ({few} products), curvlinops {theirs:.2f} s "
                f"({many}): {theirs / mine:.1f} times",
                flush=True,
            )


if __name__ == "__main__":
    main()
