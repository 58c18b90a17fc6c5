"""Models by spec: built-ins that take their sizes from the data, torchvision's, and the user's own.

``MODELS`` is the table, and needs no torch to be listed; ``base.build`` builds a spec. To add a kind of model: one
file, one line.
"""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

MODELS = Registry(
    "model",
    {
        "mlp": Entry(
            "opsigcli.models.mlp:build_mlp",
            "mlp?hidden=200,200&activation=tanh&bias=true: fully connected layers",
            bare=True,
        ),
        "cnn": Entry(
            "opsigcli.models.cnn:build_cnn",
            "cnn?widths=16,32,64&norm=none&activation=relu: 3x3 convolutions",
            bare=True,
        ),
        "gpt": Entry(
            "opsigcli.models.gpt:build_gpt", "gpt?layers=2&width=64&heads=4: a causal transformer", bare=True
        ),
        "resnet": Entry(
            "opsigcli.models.resnet:build_resnet",
            "resnet?width=8&blocks=1&norm=batch: residual, 8 layers; ResNet-20 has blocks=3&width=16",
            bare=True,
        ),
        "vgg": Entry(
            "opsigcli.models.vgg:build_vgg",
            "vgg?widths=16,32,64&norm=none: two 3x3 convolutions per width",
            bare=True,
        ),
        "vit": Entry(
            "opsigcli.models.vit:build_vit",
            "vit?patch=8&width=48&blocks=2&heads=4: a vision transformer",
            bare=True,
        ),
        "vgg11": Entry(
            "opsigcli.models.vgg11:build_vgg11",
            "vgg11?width=64&norm=none: VGG-11, for pictures of 32 pixels and more",
            bare=True,
        ),
        "lstm": Entry(
            "opsigcli.models.lstm:build_lstm", "lstm?layers=1&width=64: long short-term memory", bare=True
        ),
        "two-layer-linear": Entry(
            "opsigcli.models.closed_forms:build_two_layer_linear",
            "two-layer-linear?c=1&a=0.8&b=0.6: known in closed form, for the data of that name",
            bare=True,
        ),
        "one-axis": Entry(
            "opsigcli.models.closed_forms:build_one_axis",
            "one-axis?w=0.1: known in closed form, for the data of that name",
            bare=True,
        ),
        "torchvision": Entry(
            "opsigcli.models.torchvision_model:build_torchvision", "torchvision:resnet18?num_classes=10"
        ),
        "timm": Entry("opsigcli.models.timm_model:build_timm", "timm:resnet18?num_classes=10 (extra: timm)"),
        "hf": Entry(
            "opsigcli.models.hf_model:build_hf",
            "hf:DIR: as DIR/config.json says, never its code (extra: hf)",
            path="folder",
        ),
        "py": Entry(
            "opsigcli.models.python_model:build_python", "py:pkg.mod:factory?key=value: your own module"
        ),
        "file": Entry(
            "opsigcli.models.python_model:build_python", "file:path.py:factory?key=value: your own module"
        ),
    },
    group="opsig.models",
    unlisted={"given": Entry("opsigcli.models.given_model:build_given", "given:NAME: an object of Python")},
)
