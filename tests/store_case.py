"""A small store with everything that the layout knows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from benchmarks.store import content

from opsigcli.look_records import Look, Score
from opsigcli.mining_records import (
    REST,
    Evidence,
    Group,
    GroupKey,
    Mining,
    Pair,
    Spike,
    TopDeltas,
)
from opsigcli.probe_records import Probe, ProbeTrace
from opsigcli.records import Provenance, Thumbnails
from opsigcli.result_records import Causal, CausalArm
from opsigcli.sharpness_records import (
    CriticalSharpness,
    GroupCurvature,
    HessianSpectrum,
    LayerCurvature,
    Phase,
    SharpnessPoint,
    StepCheck,
)
from opsigcli.store import writer
from opsigcli.store.probes import write_probes
from opsigcli.training_records import AgainstLog, RecordedFact

T, N = 3, 4
NAN = float("nan")


def content_of(store: Path) -> dict[str, str]:
    """Everything in a store, by name."""
    found = {}
    with h5py.File(store) as file:

        def add(name: str, node: h5py.Group | h5py.Dataset) -> None:
            values = np.asarray(node[()]).tolist() if isinstance(node, h5py.Dataset) else None
            found[name] = repr((sorted(node.attrs.items()), values))

        file.visititems(add)
    return found


def gradients() -> dict[str, np.ndarray]:
    single = np.float32
    return {
        "sketches": np.zeros((2, 3, 5), dtype=single),
        "norms": np.ones((2, 3), dtype=single),
        "residuals": np.zeros((2, 3, 2), dtype=single),
        "positions": np.arange(3),
        "rows": np.array([0, 2]),
        "weights": np.ones(3),
        "feature-brightness": np.zeros(3),
        "feature-token seen": np.zeros((3, 7), dtype=np.int64),
        "swings-aa": np.zeros((2, 6)),
        "curvature-aa": np.zeros(20),
        "growth-aa": np.zeros(3),
        "eigen-aa": np.zeros((1, 2, 6 + N)),
        "joined-aa": np.array([[0, 1, 3]]),
    }


def points() -> list[SharpnessPoint]:
    layer = LayerCurvature("head", "mlp", 8, (1.0,), 2.0, 0.0, True)
    evidence = Evidence(0.5, NAN, 0.1, "share")
    group = GroupCurvature(GroupKey(1, "first"), 0.5, evidence, evidence, NAN)
    spectrum = HessianSpectrum(
        (0.0, 1.0), (1.0, NAN), (0.0, 0.0), 0.1, 2, 3, 0.5, 1, (1, 2), 3.0, 0.1, 1.0, 0.0, 1.0, 40
    )
    return [
        SharpnessPoint(0, (2.0, NAN), (0.0, 0.5), True, 5, None, None),
        SharpnessPoint(
            1, (2.0,), (0.0,), True, 5, 4.0, 0.5, layers=(layer,), kinds=(layer,), groups=(group,),
            spectrum=spectrum, notes=("as said",), step_check=StepCheck("confirmed", bound=0.1),
        ),
    ]  # fmt: skip


def mining() -> Mining:
    ids = np.arange(N)
    sides = Group(ids[:2], {"class 0": 2}, 1), Group(ids[2:], {"class 0": 2})
    pair = Pair(
        *sides, Evidence(0.5, 0.1, 0.01), {"loss_swing": Evidence(NAN)}, "opposing", ("why",), 1, ("active",)
    )
    deltas = np.ones(2, dtype=np.float32)
    top = tuple(TopDeltas(step, step + 1, ids[:2], deltas, ids[2:], -deltas) for step in range(T - 1))
    spike = Spike(0, 1, 0.5, {GroupKey(1, "first"): 0.75, REST: 0.25}, "catapult")
    return Mining("full", (pair,), top, (spike,), (0, 2), N, ("a note",), {"f1": 1.0}, {"pair 1": 0.5},
                  (("cat",), ("dog",)), Provenance("mine", {"top": 20}, "0"))  # fmt: skip


def write_everything(store: Path) -> None:
    """A store with every part of the layout: written once, and copied from then on."""
    store.unlink(missing_ok=True)
    store.write_bytes(_everything())


@cache
def _everything() -> bytes:
    with TemporaryDirectory() as folder:
        write_anew(Path(folder) / "s.h5")
        return (Path(folder) / "s.h5").read_bytes()


def write_anew(store: Path) -> None:
    """Every part of the layout, by its writer."""
    ids = np.arange(N)
    matrix = np.random.default_rng(0).normal(size=(T, N)).astype(np.float32)
    trace = replace(
        content(N, T), names=("a", "b", "ü", "d"), known_pairs=((ids[:2], ids[2:]),),
        measured=np.ones(N, dtype=bool), weights=np.ones(N),
    )  # fmt: skip
    made = Provenance("sharpness", {"notes": ["a note"], "mean": "over examples"}, "0")
    picture = np.full((2, 2, 3), 7, dtype=np.uint8)
    for options in ({"virtual_batches": 2}, {}):
        stepped = replace(trace.provenance, options=options)
        new = replace(trace, rows=iter(matrix), virtual=iter(matrix), stepped=stepped)
        writer.write_trace(store, new)
    writer.write_gradients(store, "key", gradients())
    pictures = Thumbnails(ids[:1], (picture,), (picture,) * 3)
    arm = CausalArm("the mined groups", 4, 4, 2.0, 1.0, 0.5, 0.1)
    causal = Causal(0, 60, (arm,), "as said", mining().digest)
    losses = replace(mining(), method="losses", provenance=Provenance("mine", {"method": "losses"}, "0"))
    for found in (losses, mining()):
        writer.write_mining(store, found, pictures)
    writer.add_causal(store, causal)
    seen = {"brightness": np.zeros(N, dtype=np.float32), "colour": np.zeros(N, dtype=np.int64)}
    writer.write_seen(store, seen, "", trace.run.fingerprint, np.arange(N), None)
    probe = Probe("colour:skyblue", "the colour skyblue", "0" * 32)
    answers = np.array([[0.25, 0.75], [NAN, NAN], [1.0, 0.0]], dtype=np.float32)
    write_probes(
        store, [ProbeTrace(probe, np.zeros((1, 3, 2, 2), np.float32), np.arange(2), answers, picture)]
    )
    curves = {1: np.zeros(2, dtype=np.float32)}
    phases = (Phase("progressive sharpening", 0, 1, "λ rises"),)
    critical = CriticalSharpness(1, 2.0, 1.0, 4.0, 0.5, 0.01, "next checkpoint", 6, 0)
    for options in ({"precision": "float64"}, made.options):
        of = replace(made, options=options)
        writer.write_sharpness(store, writer.SharpnessContent(points(), phases, curves, ids[:2], of))
        writer.write_critical(store, [critical], replace(of, command="sharpness --quick"))
    fact = RecordedFact("dropout", "0.1", "args.yaml: dropout", "units were left out")
    log = AgainstLog("log.csv", "loss", (1,), (1.0,), (1.5,), (NAN,), "below", "x")
    score = Score(1.0, 0.5)
    look = Look(2, 2, {"a": 1, "b": 1}, 2, score, score, {"f.pt": score}, ())
    writer.write_training(store, log, (fact,), look, {"broken.pt": "it ends half-way"})
