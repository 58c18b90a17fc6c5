"""The whole way on real images, where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import Opsig

IMAGES = Path(os.environ.get("OPSIG_TEST_CIFAR", "none")) / "train"

pytestmark = [
    pytest.mark.cifar,
    pytest.mark.skipif(
        not IMAGES.is_dir(), reason="CIFAR images: OPSIG_TEST_CIFAR names no folder with train/"
    ),
]


@pytest.mark.slow
def test_a_tanh_mlp_on_real_images_reaches_the_edge_and_its_outliers_are_found(
    opsig: Opsig, tmp_path: Path
) -> None:
    run, store = tmp_path / "run", tmp_path / "opsig.h5"
    data = f"folder:{IMAGES}?limit=1000&standardize=channel"
    words = ("--model", "mlp?hidden=200,200&activation=tanh", "--data", data, "--lr", 0.08)
    assert opsig("train", run, *words, "--steps", 130, "--save-every", 5).code == 0
    assert opsig("trace", run, "--store", store).code == 0
    measured = opsig("sharpness", "--store", store, "--every", 4, "--json").json["result"]
    ratios = {point["step"]: point["ratio"] for point in measured["points"]}
    assert all(point["converged"] and point["threshold"] == 25.0 for point in measured["points"])
    # progressive sharpening: far below 2/η at first, past it well before the end, and it stays there
    assert ratios[0] < 0.6
    assert 50 <= measured["first_step_at_threshold"] <= 100
    assert min(ratio for step, ratio in ratios.items() if step >= 100) > 1
    mined = opsig("mine", "--store", store, "--surrogates", 0, "--json").json["result"]
    assert mined["pairs"]
    for pair in mined["pairs"]:
        assert pair["opposition"]["value"] > pair["opposition"]["null"] + 0.05
        assert pair["evidence"]["gradient_cosine"]["value"] < pair["evidence"]["gradient_cosine"]["null"]
    # On continuous axes members stay outliers; a pair that stands apart keeps all of its own.
    tails = [pair for pair in mined["pairs"] if "discrete" not in pair["traits"]]
    assert tails
    assert sum(len(pair[side]["ids"]) for pair in tails for side in ("first", "second")) <= 0.2 * 1000
    html = tmp_path / "report.html"
    assert opsig("report", "--html", "-o", html, "--store", store).code == 0
    beside = list((tmp_path / "report_files").glob("*.png"))  # of a large page
    assert html.read_text().count("data:image/png;base64,") + len(beside) > 20
