"""A repository in the cache of the Hugging Face Hub, laid out as ``huggingface_hub`` lays it out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path


class Repository:
    """``models--ORG--NAME`` in a cache folder."""

    def __init__(self, cache: Path, name: str) -> None:
        self.folder = cache / f"models--{name.replace('/', '--')}"
        for part in ("blobs", "refs", "snapshots"):
            (self.folder / part).mkdir(parents=True)

    def commit(self, ref: str | None, files: Mapping[str, bytes]) -> Path:
        """A revision with these files, and its ref; without a ref, as when a commit is asked for by its number."""
        known = hashlib.sha1("".join([str(ref), *map(str, files.items())]).encode()).hexdigest()
        snapshot = self.folder / "snapshots" / known
        for name, content in files.items():
            blob = self.folder / "blobs" / hashlib.sha256(content).hexdigest()
            blob.write_bytes(content)
            (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
            up = "/".join([".."] * (2 + name.count("/")))
            (snapshot / name).symlink_to(f"{up}/blobs/{blob.name}")
        if ref is not None:
            self.refer(ref, known)
        return snapshot

    def refer(self, ref: str, commit: str) -> None:
        """A ref to a commit, be anything of it there or not."""
        (self.folder / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / "refs" / ref).write_text(commit)
