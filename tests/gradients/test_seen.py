"""What can be seen in the examples: the small table that tracing leaves in the store, and the pictures of spikes."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Opsig

from opsigcli.datasets import open_source
from opsigcli.gradients import seen as seen_module
from opsigcli.gradients.seen import see
from opsigcli.gradients.thumbnails import more_pictures
from opsigcli.mining.visible import COLOURS, DOMINANT, visible_features
from opsigcli.progress import NoProgress
from opsigcli.records import Thumbnails
from opsigcli.store.lock import locked
from opsigcli.store.reader import open_store
from opsigcli.store.writer import write_seen


def pictures(tmp_path: Path, x: np.ndarray, query: str = "") -> str:
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(len(x)) % 2)
    return f"npz:{tmp_path / 'd.npz'}{query}"


def test_brightness_contrast_and_the_rim_are_those_of_a_loop() -> None:
    images = np.random.default_rng(0).uniform(0, 1, (5, 3, 17, 20))
    found = visible_features(images)
    for i, image in enumerate(images):
        grey = image.mean(axis=0)
        rim = [
            image[:, row, column]
            for row in range(17)
            for column in range(20)
            if min(row, column, 16 - row, 19 - column) < 2
        ]
        red, green, blue = np.mean(rim, axis=0)
        assert found["brightness"][i] == pytest.approx(grey.mean(), rel=1e-5)
        assert found["contrast"][i] == pytest.approx(grey.std(), rel=1e-5)
        assert found["background brightness"][i] == pytest.approx((red + green + blue) / 3)
        assert found["background red against green"][i] == pytest.approx(red - green)
        assert found["background yellow against blue"][i] == pytest.approx((red + green) / 2 - blue)


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((0.5, 0.5, 0.5), "grey"),
        ((0.9, 0.1, 0.1), "red"),
        ((0.8, 0.8, 0.1), "yellow"),
        ((0.1, 0.7, 0.1), "green"),
        ((0.1, 0.7, 0.7), "cyan"),
        ((0.1, 0.1, 0.9), "blue"),
        ((0.9, 0.1, 0.9), "magenta"),
    ],
)
def test_the_dominant_colour_is_that_of_most_pixels(colour: tuple[float, ...], name: str) -> None:
    image = np.full((1, 3, 6, 6), 0.5)
    image[0, :, :4] = np.array(colour)[:, None, None]
    assert COLOURS[visible_features(image)[DOMINANT][0]] == name


def test_pictures_of_one_channel_have_no_colour() -> None:
    assert set(visible_features(np.zeros((2, 1, 5, 5)))) == {
        "brightness",
        "contrast",
        "background brightness",
    }


@pytest.mark.parametrize("query", ["", "?standardize=channel", "?standardize=image"])
def test_what_is_seen_does_not_depend_on_what_is_done_to_the_inputs(tmp_path: Path, query: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3), dtype=np.uint8)
    found, why = see(open_source(pictures(tmp_path, x, query)), NoProgress())
    assert why == ""
    np.testing.assert_allclose(found["brightness"], x.mean(axis=(1, 2, 3)) / 255, rtol=1e-5)
    assert found[DOMINANT].dtype == np.int64


def test_pictures_in_other_units_are_not_stretched_one_by_one(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(0, 1, (12, 3, 9, 9)).astype(np.float32)
    x += np.linspace(-2, 2, 12, dtype=np.float32)[:, None, None, None]
    found, _ = see(open_source(pictures(tmp_path, x)), NoProgress())
    np.testing.assert_allclose(found["brightness"], x.mean(axis=(1, 2, 3)), atol=1e-5)
    assert DOMINANT not in found  # colours are of pictures from 0 to 1


def test_tables_have_their_columns_those_that_vary_most(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(0, 1, (30, 100)).astype(np.float32)
    x[:, 50:] *= 10
    found, why = see(open_source(pictures(tmp_path, x)), NoProgress())
    assert why == ""
    assert len(found) == 64
    assert {f"column {k}" for k in range(50, 100)} <= set(found)
    np.testing.assert_array_equal(found["column 70"], x[:, 70])


def test_single_tokens_have_the_one_before_their_place_and_their_document() -> None:
    source = open_source("babble?sentences=20&context=8&per=token")
    found, _ = see(source, NoProgress())
    assert set(found) == {"document", "position in the document", "token seen", "position"}
    assert source.sequences is not None
    rows, places, columns = source.sequences.locate(np.arange(len(source)))
    inputs, targets = source.sequences.whole.read(rows), source.sequences.whole.read_targets(rows)
    np.testing.assert_array_equal(found["token seen"], inputs[places, columns])
    np.testing.assert_array_equal(targets[places, columns], source.labels)
    np.testing.assert_array_equal(found["position"], columns)
    assert source.names[40].startswith(
        f"document {found['document'][40]}, token {found['position in the document'][40]:.0f}:"
    )


def test_sequences_have_rarity_and_variety() -> None:
    source = open_source("babble?sentences=20&context=8")
    found, _ = see(source, NoProgress())
    targets = source.read_targets(np.arange(3))
    assert found["distinct tokens"][:3].tolist() == [len(set(row[row >= 0].tolist())) for row in targets]
    assert np.isfinite(found["rarity of its tokens"]).all()


def test_inputs_of_another_kind_are_said_to_have_no_feature(tmp_path: Path) -> None:
    found, why = see(open_source(pictures(tmp_path, np.zeros((4, 2, 3, 4, 5), np.float32))), NoProgress())
    assert found == {}
    assert "2 \u00d7 3 \u00d7 4 \u00d7 5" in why


def test_of_many_examples_some_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_module, "MOST", 10)
    x = np.random.default_rng(0).integers(0, 256, (40, 9, 9, 3), dtype=np.uint8)
    found, _ = see(open_source(pictures(tmp_path, x)), NoProgress())
    looked = np.isfinite(found["brightness"])
    assert looked.sum() == 10
    assert ((found[DOMINANT] >= 0) == looked).all()
    np.testing.assert_allclose(found["brightness"][looked], x[looked].mean(axis=(1, 2, 3)) / 255, rtol=1e-5)


def test_more_pictures_join_those_that_are_kept(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    source = open_source(pictures(tmp_path, x))
    kept = Thumbnails(np.array([2]), (x[2],), ())
    both = more_pictures(source, [5, 2, 0], kept)
    assert both is not None
    assert both.ids.tolist() == [2, 5, 0]
    np.testing.assert_array_equal(np.stack(both.images), x[[2, 5, 0]])
    assert more_pictures(source, [2], kept) is None
    assert more_pictures(open_source("planted?scenario=vec3&n=300"), [1], None) is None


def test_a_report_after_a_trace_alone_names_the_cause_from_the_store(opsig: Opsig, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (160, 6, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(160) % 2, classes=np.array(["day", "night"]))
    run, store = tmp_path / "run", tmp_path / "o.h5"
    words = ("--data", f"npz:{tmp_path / 'd.npz'}", "--model", "mlp?hidden=8")
    assert opsig("train", run, *words, "--steps", 40).code == 0
    assert opsig("trace", run, "--store", store).code == 0
    with h5py.File(store, "r+") as file:  # a spike of bright nights, of known size
        bright, night = x.mean(axis=(1, 2, 3)), np.arange(160) % 2 == 1
        steep = night & (bright > np.median(bright[night]))
        file["losses"][...] = np.linspace(1, 0.5, 41)[:, None] + rng.uniform(0, 0.01, (41, 160))
        file["losses"][30] = file["losses"][30] + np.where(steep, 2.0, 0.02)
        file["loss_deltas"][...] = np.diff(file["losses"][()], axis=0)
    (tmp_path / "d.npz").unlink()
    shutil.rmtree(run)
    (spike,) = opsig("report", "--full", "--store", store, "--json").json["result"]["spikes"]
    assert spike["cause"]["named"] == ["night"]
    split = spike["cause"]["features"][0]
    assert split["of"] == "night"
    assert "brightness" in split["feature"]
    assert split["p_value"] <= 0.01
    shown = opsig("report", "--full", "--store", store).out
    assert "night holds" in shown


def test_a_trace_looks_once_and_again_where_the_data_are_others(opsig: Opsig, tmp_path: Path) -> None:
    store = tmp_path / "o.h5"
    run = tmp_path / "run"
    words = ("--data", "planted?n=300", "--model", "mlp?hidden=8")
    assert opsig("train", run, *words, "--steps", 12).code == 0
    assert opsig("trace", run, "--store", store).code == 0
    before = store.read_bytes()
    assert opsig("trace", run, "--store", store).code == 0
    with open_store(store) as opened:
        assert opened.seen is not None
        assert len(opened.seen[0]["brightness"]) == 300
    assert store.stat().st_size == pytest.approx(len(before), rel=0.2)
    with locked(store):
        write_seen(store, {"brightness": np.zeros(300, np.float32)}, "", "another", None, None)
    with open_store(store) as opened:
        assert opened.seen is None  # of other data
    assert opsig("trace", run, "--store", store).code == 0
    with open_store(store) as opened:
        assert opened.seen is not None
        assert opened.seen[0]["brightness"].any()
