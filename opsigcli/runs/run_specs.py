"""The specs of a run: made absolute, signed by who wrote them, and trusted or refused when they come from elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from opsigcli.checkpoints.manifest import Manifest
from opsigcli.datasets import SOURCES
from opsigcli.errors import UsageError
from opsigcli.examples import ExampleSource
from opsigcli.models import MODELS
from opsigcli.models.hf_config import differing, read_config
from opsigcli.records import Run
from opsigcli.specs import parse
from opsigcli.trust import require_trust, sign
from opsigcli.usercode import absolute_path, absolute_spec

if TYPE_CHECKING:
    from opsigcli.store.reader import Store

SPECS = ("model", "data", "loss")  # of a run, that may name code


class SpecOptions(Protocol):
    """The options of a command that opens the run of a store."""

    @property
    def model(self) -> str | None:
        """Spec in place of the store's; None is the store's."""

    @property
    def data(self) -> str | None:
        """The same for the examples."""

    @property
    def trust_manifest(self) -> bool:
        """Run code that the store names, whoever wrote it."""


def absolute_model(spec_text: str) -> str:
    """A model spec whose paths are absolute, so that it builds the same model from any folder."""
    spec = parse(spec_text)
    if MODELS.names_path(spec):
        return str(replace(spec, name=absolute_path(spec.name)))
    return absolute_spec(spec_text)


def same_spec(name: str, given: str, found: str) -> bool:
    """Whether two specs name the same model, data or loss, be their paths relative or absolute.

    Raises:
        UsageError: one is not in the grammar.
    """
    return given == found or ABSOLUTE[name](given) == ABSOLUTE[name](found)


def absolute_data(spec_text: str) -> str:
    """A data spec whose paths are absolute."""
    spec = parse(spec_text)
    if SOURCES.names_path(spec):
        spec = replace(spec, name=absolute_path(spec.name))
    return absolute_spec(str(spec))


ABSOLUTE = {"model": absolute_model, "data": absolute_data, "loss": absolute_spec}  # by what the spec is of


def specs(run: Run | Manifest) -> list[str]:
    """The specs of a run that may name code, in the order they are signed."""
    return [getattr(run, name) for name in SPECS]


def trusted_run(store: Store, options: SpecOptions) -> Run:
    """The run of a store, with the specs that the options give again.

    Raises:
        TrustError: the store names code and this user did not write it.
        UsageError: the model given is another one.
    """
    run = store.run
    chosen = {"model": options.model, "data": options.data}
    given = {name: ABSOLUTE[name](spec) for name, spec in chosen.items() if spec is not None}
    inherited = [spec for name, spec in vars(run).items() if name in SPECS and name not in given]
    require_trust(
        inherited, specs(run), store.signature, f"the store {store.path}", trusted=options.trust_manifest
    )
    if "model" in given and run.config and parse(given["model"]).scheme == "hf":
        if odd := differing(run.config, read_config(parse(given["model"]))):
            raise UsageError(
                f"expected the model that was traced, found other values of {', '.join(odd[:5])} in {given['model']}",
                "leave out --model: the store has the config.json of the trace",
            )
    elif "model" in given:
        run = replace(run, config="")
    return replace(run, model=given.get("model", run.model), data=given.get("data", run.data))


def signed_manifest(source: ExampleSource, **rest: Any) -> Manifest:
    """The manifest of a run on these examples, signed by this user; ``rest`` says how the run was made."""
    manifest = Manifest(
        data=source.spec,
        input_shape=source.input_shape,
        classes=source.classes,
        fingerprint=source.fingerprint,
        transform=source.transform,
        **rest,
    )
    return replace(manifest, signature=sign(specs(manifest)))
