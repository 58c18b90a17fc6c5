"""The tests over Pythons, with the oldest and the newest torch that are claimed: ``nox -f .ci/noxfile.py``.

``nox -f .ci/noxfile.py -s 'tests-3.11(torch="oldest")' -- tests/package tests/cli`` runs a part of it. Each environment
takes about 5 GB where torch comes with CUDA.
"""

import nox

nox.options.default_venv_backend = "uv|virtualenv"
TORCH = {"oldest": ("torch==2.10.*", "torchvision==0.25.*"), "newest": ("torch", "torchvision")}


@nox.session(python=["3.11", "3.12", "3.13"])
@nox.parametrize("torch", list(TORCH), ids=list(TORCH))
def tests(session: nox.Session, torch: str) -> None:
    """The quick tests, or those that are named, and a whole case from training to report."""
    session.chdir("..")
    session.install(*TORCH[torch])
    session.install(".[test]", *TORCH[torch])
    session.run("python", "-m", "pytest", "-n", "auto", "-m", "not slow", *session.posargs)
    session.run("sh", "examples/planted.sh", session.create_tmp())
