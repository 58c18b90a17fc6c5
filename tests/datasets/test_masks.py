"""Pictures with masks in folders: the loss of maps of classes is that of torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from PIL import Image

from opsigcli.datasets import open_source
from opsigcli.errors import OpsigError
from opsigcli.store.reader import open_store

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 4, 6, 3)).astype("u1")
CLASSES = RNG.integers(0, 3, (6, 4, 6)).astype("u1")


def saved(
    folder: Path, masks: np.ndarray = CLASSES, mode: str = "L", suffix: str = "", names: str = "images masks"
) -> Path:
    first, second = names.split()
    for place, (pixels, mask) in enumerate(zip(PIXELS, masks, strict=True)):
        for name in (first, second):
            (folder / name / f"part{place % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / first / f"part{place % 2}" / f"{place}.png")
        picture = Image.fromarray(mask)
        if mode == "P":
            picture.putpalette([5 * i % 256 for i in range(768)])
        picture.convert(mode).save(folder / second / f"part{place % 2}" / f"{place}{suffix}.png")
    return folder


ORDER = [0, 2, 4, 1, 3, 5]  # of the sorted files


@pytest.mark.parametrize(("mode", "suffix"), [("L", ""), ("P", ""), ("L", "_mask"), ("I;16", "")])
def test_masks_are_the_numbers_in_their_files(tmp_path: Path, mode: str, suffix: str) -> None:
    source = open_source(f"folder:{saved(tmp_path, mode=mode, suffix=suffix)}?masks=masks")
    rows = np.arange(len(source))
    np.testing.assert_array_equal(source.read_targets(rows), CLASSES[ORDER])
    np.testing.assert_allclose(
        source.read(rows), PIXELS[ORDER].transpose(0, 3, 1, 2) / np.float32(255), rtol=1e-6
    )
    assert open_source(source.spec).fingerprint == source.fingerprint


def test_masks_of_black_and_white_have_two_classes(tmp_path: Path) -> None:
    source = open_source(f"folder:{saved(tmp_path, (CLASSES > 1).astype('u1') * 255)}?masks=masks")
    np.testing.assert_array_equal(source.read_targets(np.arange(6)), CLASSES[ORDER] > 1)


def test_masks_are_resized_and_cropped_with_their_pictures_by_the_nearest_pixel(tmp_path: Path) -> None:
    source = open_source(f"folder:{saved(tmp_path)}?masks=masks&size=8&crop=4")
    masks = source.read_targets(np.arange(6))
    assert source.read(np.arange(6)).shape == (6, 3, 4, 4)
    whole = CLASSES[ORDER].repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(masks, whole[:, 2:6, 4:8])


def test_the_loss_is_that_of_torch_and_ignores_the_void(opsig: Opsig, tmp_path: Path) -> None:
    masks = np.where(RNG.random(CLASSES.shape) < 0.2, 255, CLASSES).astype("u1")
    data = f"folder:{saved(tmp_path / 'data', masks)}?masks=masks"
    (tmp_path / "net.py").write_text("from torch import nn\ndef make(): return nn.Conv2d(3, 3, 1)\n")
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, 3, 1)
    (tmp_path / "run").mkdir()
    for step in (1, 2):
        torch.save(net.state_dict(), tmp_path / "run" / f"step_{step}.pt")
    words = ["trace", tmp_path / "run", "--model", f"file:{tmp_path / 'net.py'}:make", "--data", data]
    refused = opsig(*words, "--store", tmp_path / "s.h5")
    assert refused.code == 3
    assert "ignore_index=255" in refused.err
    assert opsig(*words, "--loss", "ce?ignore_index=255", "--store", tmp_path / "s.h5").code == 0
    x, y = torch.tensor(PIXELS[ORDER]).permute(0, 3, 1, 2) / 255, torch.tensor(masks[ORDER]).long()
    with torch.no_grad():
        each = F.cross_entropy(net(x), y, ignore_index=255, reduction="none")
    wanted = each.flatten(1).sum(1) / (y != 255).flatten(1).sum(1)
    with open_store(tmp_path / "s.h5") as store:
        np.testing.assert_allclose(store.trace.losses[-1], wanted, rtol=1e-5)


def test_what_cannot_be_a_mask_is_refused_with_what_mends_it(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", names="imgs labels")
    with pytest.raises(OpsigError) as refused:
        open_source(f"folder:{folder}")
    assert "masks=labels" in refused.value.hint
    assert len(open_source(f"folder:{folder}?masks=labels")) == 6
    assert open_source(f"folder:{folder}?classes=imgs,labels").labels.tolist() == [0] * 6 + [1] * 6
    next((folder / "labels").rglob("3.png")).unlink()
    with pytest.raises(OpsigError, match="1 have none"):
        open_source(f"folder:{folder}?masks=labels")
    with pytest.raises(OpsigError, match="one channel"):
        open_source(f"folder:{saved(tmp_path / 'b', mode='RGB')}?masks=masks")
