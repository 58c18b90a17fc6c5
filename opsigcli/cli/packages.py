"""Packages that are not installed, or do not go together, named with what installs them."""

from __future__ import annotations

from opsigcli.errors import OpsigError

# Import name -> what pip installs, where they differ.
_NAMES = {"PIL": "pillow", "google": "protobuf", "sklearn": "scikit-learn", "yaml": "pyyaml"}
# A torchvision pins the torch that it was built for: left alone, pip fetches the newest of both. The version is the one
# that pip knows: torch.__version__ of a wheel of PyPI has "+cu128" behind it, which pip finds nowhere.
BESIDE_TORCH = (
    "pip install {package} "
    '"torch==$(python -c \'from importlib.metadata import version; print(version("torch"))\')"'
)


def lacking_package(error: BaseException) -> OpsigError | None:
    """The error that names the package which is not there, or not the one for this torch; None for other errors."""
    if isinstance(error, RuntimeError) and "torchvision::" in str(error):
        return OpsigError(
            f"expected a torchvision that was built for the torch that is installed: {error}",
            BESIDE_TORCH.format(package="torchvision"),
        )
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package in ("", "opsigcli"):
        return None
    name = _NAMES.get(package, package)
    install = (BESIDE_TORCH if name == "torchvision" else "pip install {package}").format(package=name)
    return OpsigError(f"expected the package {name}, which is not installed", install)
