"""The files of the folder beside a page: with the page they are replaced as one, and nothing else there is touched."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from opsigcli.store.beside import Folder, cannot_write, opened

_NAMED = re.compile(r"^[a-z0-9-]+-([0-9a-f]{16})\.(?:png|js|json|csv)$")


@contextmanager
def beside_page(page: Path, folder: Path, files: Mapping[str, bytes]) -> Iterator[None]:
    """Put files into the folder of a page, let the page be written, and remove those of the page before.

    Files are named by their content, ``curves-0123456789abcdef.js``: until the new page is there, the old one finds its
    own. Only files whose name says their content are ever removed.

    Args:
        page: that is written within.
        folder: beside it; made where it is needed, and removed where it is empty.
        files: content by name.

    Raises:
        StoreError: the folder is a link or no folder, or a file cannot be written.
    """
    with _naming(folder):
        if files:
            folder.mkdir(exist_ok=True)
            with opened(folder) as place:
                for name, content in files.items():
                    with place.replacing(name) as (file, _):
                        file.write(content)
    yield  # what fails there is of the page
    with _naming(folder):
        if folder.is_dir() and not folder.is_symlink():
            with opened(folder) as place:
                old = [name for name in place.names() if name not in files and _says_content(place, name)]
                for name in old:
                    place.remove(name)
            if old and not files:
                with contextlib.suppress(OSError):  # somebody put files of their own there
                    folder.rmdir()


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """An error of the system as one that names the folder.

    Raises:
        StoreError: a system call failed.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from error


def _says_content(place: Folder, name: str) -> bool:
    """Whether a file is called by its content, as those of a page are."""
    digest = _NAMED.match(name)
    if digest is None:
        return False
    with contextlib.suppress(OSError), place.read(name) as file:
        return hashlib.sha256(file.read()).hexdigest().startswith(digest[1])
    return False
