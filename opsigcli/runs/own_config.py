"""The ``config.json`` of a run's model: found beside its checkpoints, and kept with the run.

A model ``hf:DIR`` is what the content of its config.json says. That content goes with the run, so that it opens when
DIR is gone, and is the same run wherever DIR lies.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from opsigcli.checkpoints.base import some
from opsigcli.checkpoints.series import Series
from opsigcli.errors import CheckpointError, UsageError
from opsigcli.models.hf_config import CONFIG, config_file, differing, read_config
from opsigcli.runs.load_adapter import base_digest
from opsigcli.specs import Spec, parse

if TYPE_CHECKING:
    from opsigcli.records import Run

ALONE = "hf:"


def in_full(spec: str | None, series: Series) -> str | None:
    """The spec of a model, with the folder of a checkpoint that has a config.json where it is ``hf:`` and no folder.

    Raises:
        UsageError: no checkpoint has one.
        CheckpointError: the checkpoints have configs of several models.
    """
    head, mark, query = (spec or "").partition("?")
    if head != ALONE:
        return spec
    if series.manifest is not None and series.manifest.model.startswith(ALONE):
        known, _, own = series.manifest.model.partition("?")
        if own == query:
            return f"{known}{mark}{query}"
    places = configs(series)
    base = next((c.header.model for c in series if c.header.model.startswith(ALONE)), "")
    if not places and not base:
        raise UsageError(
            f"expected a {CONFIG} beside the checkpoints for --model {spec}, found none in {series.folder}",
            "name the folder that has it: --model hf:DIR",
        )
    if places:
        first, *others = places
        texts = {file: read_config(Spec("hf", str(file.parent))) for file in places}
        if odd := next((file for file in others if differing(texts[first], texts[file])), None):
            raise CheckpointError(
                f"expected checkpoints of one model, found others in {some(differing(texts[first], texts[odd]))}: "
                f"{first} and {odd}",
                "say which is meant, if it is one of them: --model hf:DIR",
            )
        base = f"{ALONE}{first.parent}"
    return f"{base}{mark}{query}"


def configs(series: Series) -> list[Path]:
    """The ``config.json`` files beside the weights, of the checkpoints or of their folder."""
    folders = [c.path if c.path.is_dir() else c.path.parent for c in series]
    files = (folder / CONFIG for folder in dict.fromkeys([*folders, series.folder]))
    return [file for file in files if file.is_file()]


def with_config(run: Run, series: Series, warnings: list[str]) -> Run:
    """The run with the content of its model's config.json, and with the digest of the base model that adapters change.

    Raises:
        UsageError: there is no config.json, and none was kept.
        CheckpointError: the base model cannot be read.
    """
    spec = parse(run.model)
    if spec.scheme != "hf":
        return run
    adapted = any(checkpoint.format == "adapter" for checkpoint in series)
    base = base_digest(config_file(spec).parent) if adapted else ""
    return replace(run, config=config_of(run.model, series, warnings), base=base)


def config_of(model: str, series: Series, warnings: list[str]) -> str:
    """The content of the config.json of a model ``hf:DIR``; "" of others.

    Where the folder is gone, the content is the manifest's. Configs beside the checkpoints that are of another function
    are warned of.

    Raises:
        UsageError: there is no config.json, and none was kept.
    """
    spec = parse(model)
    if spec.scheme != "hf":
        return ""
    manifest = series.manifest
    kept = manifest.config if manifest is not None and manifest.model == model else ""
    config = kept if kept and not config_file(spec).is_file() else read_config(spec)
    for file in configs(series):
        if odd := differing(config, read_config(Spec("hf", str(file.parent)))):
            warnings.append(f"{file} has other values of {some(odd)} than the config.json of --model {model}")
            break
    return config
