"""A run of a store, opened again."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from conftest import Opsig


def test_a_store_of_another_mean_is_told_by_every_command_that_computes_with_it(
    opsig: Opsig, tmp_path: Path
) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    words = ("--data", "babble?sentences=30&context=8", "--loss", "lm")
    model = ("--model", "file:" + str(tmp_path / "net.py") + ":net")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Embedding(64, 4), nn.Linear(4, 64))\n"
    )
    assert opsig("train", run, *words, *model, "--steps", 3, "--lr", 0.5).code == 0
    assert opsig("trace", run, "--store", store, "--trust-manifest").code == 0
    commands = (("sharpness", "--every", 4), ("mine", "--surrogates", 0))
    told = "made with another mean"
    for command in commands:
        result = opsig(*command, "--store", store, "--json", "--trust-manifest")
        assert result.code == 0, result.err
        assert not any(told in warning for warning in result.json["warnings"])
    with h5py.File(store, "a") as file:  # as an older version left it, or one that knew other weights
        had = "weights" in file
        if had:
            del file["weights"]
        else:
            file["weights"] = np.linspace(0.5, 1.5, file["losses"].shape[1])
        del file["gradients"]
    for command in commands:
        fresh = ("--fresh",) if command[0] == "sharpness" else ()
        result = opsig(*command, *fresh, "--store", store, "--json", "--trust-manifest")
        assert any(told in warning for warning in result.json["warnings"]), result.json["warnings"]
