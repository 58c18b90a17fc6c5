"""The store's format as data: every path in the file, its shape and what it means.

Plain HDF5 (not ``libver="latest"``, not SWMR: a killed writer leaves those unopenable). A store is never changed
in place: every write makes a new file beside it and puts that in place with ``os.replace``.
"""

from __future__ import annotations

FORMAT = "opsig"
FORMAT_VERSION = 1

# path -> (shape, dtype, meaning). T checkpoints, N examples, C classes, M candidates, K checkpoints compared.
LAYOUT: dict[str, tuple[str, str, str]] = {
    "run": ("", "JSON", "records.Run: model, data, loss, optimizer, transform"),
    "run_signature": (
        "",
        "text",
        "shows that this user wrote `run`; without it, code named there is not run",
    ),
    "steps": ("(T,)", "int64", "optimizer updates made at each checkpoint, increasing"),
    "files": ("(T,)", "text", "checkpoint file of each row, relative to run.checkpoints"),
    "sha256": ("(T,)", "text", "of each checkpoint file"),
    "lrs": ("(T,)", "float64", "learning rate at each checkpoint; NaN = unknown"),
    "example_ids": ("(N,)", "int64", "permanent number of each example in its source"),
    "example_names": ("(N,)", "text", "relative path of each example; absent where examples have none"),
    "labels": ("(N,)", "int64", "class index of each example"),
    "losses": ("(T, N)", "float32", "each example's own, nats; NaN = not measured, or not finite"),
    "complete": ("(T,)", "bool", "the row was measured"),
    "loss_deltas": ("(T-1, N)", "float32", "losses[t+1] - losses[t]; positive = got worse"),
    "measured": (
        "(N,)",
        "bool",
        "False = the label says to ignore the example; absent when all are measured",
    ),
    "weights": (
        "(N,)",
        "float64",
        "w of each example in the mean loss, sum of w * losses / sum of w, of mean 1; absent when all count alike",
    ),
    "virtual_deltas": ("(T, N)", "float32", "loss change of one virtual optimizer step from each checkpoint"),
    "virtual": (
        "group",
        "",
        "mean, interference D = 1 - |sum|/sum|.|, fraction_up, each (T,); up_ids, up_deltas, down_… (T, k)",
    ),
    "known_pairs": ("group", "int64", "ids of planted pairs: 0/first, 0/second, 1/first …"),
    "gradients": (
        "group",
        "",
        "sketches (K, M, k), norms (K, M), residuals (K, M, C), positions (M,), rows (K,)",
    ),
    "mining": ("", "JSON", "records.Mining without the top deltas"),
    "top": ("group", "", "up_ids, up_deltas, down_ids, down_deltas, each (T-1, k), -1 where there are fewer"),
    "groups": ("group", "int64", "ids of each mined group: pair-01-first, pair-01-second …"),
    "sharpness": ("", "JSON", "list of sharpness_records.SharpnessPoint"),
    "critical_sharpness": ("", "JSON", "list of sharpness_records.CriticalSharpness, of sharpness --quick"),
    "phases": ("", "JSON", "list of sharpness_records.Phase: what the sharpness did along the run"),
    "sharpness_examples": (
        "(n,)",
        "int64",
        "ids of the examples sharpness was measured on; absent when all were",
    ),
    "example_curvature": (
        "group",
        "float32",
        "steps (K,) and values (K, n): v1.H_i.v1 of each example along the top eigenvector",
    ),
    "seen": (
        "group",
        "",
        "feature -> (N,) float32 number, NaN = not looked at, or int64 category, -1 likewise; attributes unseen (why "
        "there are none) and fingerprint (of the data)",
    ),
    "thumbnails": (
        "group",
        "uint8",
        "ids (n,) and images (n, H, W, 3) of the examples a report shows; means (3p, H, W, 3): of each of p pairs "
        "the mean of the first group, of the second, and their difference",
    ),
    "training_log": (
        "",
        "JSON",
        "training_records.AgainstLog: the mean loss beside the one the run logged; absent without a log",
    ),
    "recorded_facts": (
        "",
        "JSON",
        "list of training_records.RecordedFact: what training did and the trace does not",
    ),
    "provenance": ("group", "JSON", "command -> records.Provenance"),
}

# Chunks such that one example over time and one checkpoint over examples both stay cheap.
CHUNK = (16, 16384)


def chunk(rows: int, columns: int) -> tuple[int, int]:
    """The chunk shape of a (rows, columns) matrix."""
    return (min(CHUNK[0], max(rows, 1)), min(CHUNK[1], max(columns, 1)))
