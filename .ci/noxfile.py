"""The tests over Pythons, with the oldest and the newest torch that are claimed: ``nox -f .ci/noxfile.py``.

What a Python or a torch can change is tried: the package, the command line, the Python API, checkpoints of every
format, stores, exports, and one case from training to report; ``-- tests`` runs what is named in its place. Each
environment takes about 5 GB where torch comes with CUDA: ``-s 'tests-3.13(newest)'`` makes one alone.
"""

import nox

nox.options.default_venv_backend = "uv|virtualenv"
TORCH = {"oldest": ("torch==2.10.*", "torchvision==0.25.*"), "newest": ("torch", "torchvision")}
ROOMS = (
    "package",
    "cli",
    "api",
    "checkpoints/test_contract.py",
    "checkpoints/test_torch.py",
    "store",
    "exporting",
)


@nox.session(python=["3.11", "3.12", "3.13"])
@nox.parametrize("torch", list(TORCH), ids=list(TORCH))
def tests(session: nox.Session, torch: str) -> None:
    """The quick tests of what differs between environments, or those that are named, and a whole case."""
    session.chdir("..")
    session.install(".[test]", *TORCH[torch])
    session.run(
        "python", "-m", "pytest", "-m", "not slow", *(session.posargs or [f"tests/{room}" for room in ROOMS])
    )
    session.run("sh", "examples/planted.sh", session.create_tmp())
