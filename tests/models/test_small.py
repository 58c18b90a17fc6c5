"""The small residual, VGG and transformer models."""

from __future__ import annotations

import pytest
import torch

from opsigcli.errors import OpsigError
from opsigcli.models.base import build
from opsigcli.models.checks import agree_twice

SHAPE = (3, 16, 16)


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        # stem 232; blocks 2·(576 + 16), 1152 + 2304 + 64 + 160, 4608 + 9216 + 128 + 576; head 330
        ("resnet", 19_954),
        ("resnet?norm=group", 19_954),
        ("vgg?widths=4,8", (3 * 4 + 4 * 4 + 4 * 8 + 8 * 8) * 9 + 4 + 4 + 8 + 8 + 90),
        # embedding 3·64·8 + 8, 4 positions of 8; a block 4·8·8 + 4·8 + 2·4·8·8 + 40 + 32; last norm 16; head 90
        ("vit?width=8&blocks=1", 1544 + 32 + 288 + 552 + 32 + 16 + 90),
    ],
)
def test_models_have_the_parameters_their_sizes_say(spec: str, parameters: int) -> None:
    model = build(spec, input_shape=SHAPE, outputs=10)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert agree_twice(model, torch.randn(4, *SHAPE)).shape == (4, 10)


def test_norms_are_what_was_asked_for() -> None:
    kinds = {"batch": torch.nn.BatchNorm2d, "group": torch.nn.GroupNorm}
    for name, kind in kinds.items():
        found = [
            m
            for m in build(f"resnet?norm={name}", input_shape=SHAPE, outputs=2).modules()
            if isinstance(m, kind)
        ]
        assert len(found) == 9


@pytest.mark.parametrize(
    "spec", ["vit?patch=5", "vit?width=10&heads=4", "resnet?norm=layer", "vgg?widths=1,1,1,1,1"]
)
def test_sizes_that_do_not_fit_are_refused(spec: str) -> None:
    with pytest.raises(OpsigError):
        build(spec, input_shape=SHAPE, outputs=2)


@pytest.mark.parametrize("spec", ["vit", "resnet", "vgg"])
def test_vectors_are_refused(spec: str) -> None:
    with pytest.raises(OpsigError, match="expected images"):
        build(spec, input_shape=(12,), outputs=2)
