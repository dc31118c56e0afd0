"""The released checkpoint that a run starts from: found, its shape taken over, recognised again later.

A run keeps the files that say how the model is talked to (tokenizer, chat template, end tokens), never a copy of the
weights: those are read again from the checkpoint, whose fingerprint the run records.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

import jax

from jaxreason.config import Config, HelperModelConfig, ModelConfig
from jaxreason.parallel.rules import abstract
from jaxreason.policy import api, huggingface
from jaxreason.run.files import write_json_atomic
from jaxreason.run.folder import MODEL
from jaxreason.run.progress import Display
from jaxreason.types import Params

PROBES, PROBE_BYTES = 64, 4096
"""Places of each weight file that enter the fingerprint: reading all of it would take minutes."""
CHOSEN = ("path", "revision", "dtype", "param_dtype", "remat", "logp_chunk", "initializer_range")
"""Fields of the model's section that a checkpoint doesn't set, or that mean nothing beside one."""


@dataclasses.dataclass(frozen=True)
class BaseModel:
    """A checkpoint on this machine."""

    name: str
    """model.path as it was given"""
    revision: str
    folder: Path
    fingerprint: str
    """of its configuration, its tokenizer's files and its weights"""


def find(config: Config, given: Collection[str] = (), *, weights: bool = True) -> tuple[Config, BaseModel | None]:
    """Take over the shape of the checkpoint in model.path; without one the configuration stays as it is.

    Args:
      given: keys that the user wrote, such as `model.hidden_size`. Others count as written if they are not at their
        default.
      weights: whether more than config.json is fetched from a hub.

    Raises:
      ValueError: no such checkpoint, one of another kind, or a field of the shape that disagrees with it.
    """
    if not config.model.path:
        if config.model.revision:
            raise ValueError(
                f"model.revision: expected a model.path that it is a revision of, got {config.model.revision} alone"
            )
        return config, None
    fetched = huggingface.FETCHED if weights else huggingface.SHAPE
    folder = huggingface.resolve(config.model.path, config.model.revision or None, fetched)
    model = huggingface.model_config(folder, config.model)
    default = ModelConfig()
    for field in dataclasses.fields(ModelConfig):
        asked, found = getattr(config.model, field.name), getattr(model, field.name)
        written = f"model.{field.name}" in given or asked != getattr(default, field.name)
        if field.name not in CHOSEN and written and asked != found:
            raise ValueError(
                f"model.{field.name}: expected {found}, as in {folder / 'config.json'}, got {asked}; leave it out"
            )
    base = BaseModel(config.model.path, config.model.revision, folder, fingerprint(folder))
    return dataclasses.replace(config, model=model), base


def find_helpers(config: Config, given: Collection[str] = ()) -> tuple[Config, BaseModel | None]:
    """`find` for the policy that plays the helpers, where that is one of their own: helper_model.path.

    Raises:
      ValueError: as `find`; or helper_model is set and nobody would read it.
    """
    if not config.agents.separate:
        if config.helper_model != HelperModelConfig():
            raise ValueError(
                "helper_model: expected agents.helper_policy=separate beside it, got shared, which does not read it; "
                "set the one or leave out the other"
            )
        return config, None
    own = [name.removeprefix("helper_") for name in given if name.startswith("helper_model.")]
    try:
        found, base = find(config.for_helpers, own)
    except ValueError as error:
        names = "|".join(field.name for field in dataclasses.fields(ModelConfig))
        raise ValueError(re.sub(rf"\bmodel\.(?=({names})\b)", "helper_model.", str(error))) from None
    fields = {field.name: getattr(found.model, field.name) for field in dataclasses.fields(ModelConfig)}
    return dataclasses.replace(config, helper_model=HelperModelConfig(**fields)), base


def keep_files(base: BaseModel, to: Path) -> None:
    """Copy the small files that prompts and ends depend on, so that a run can be used without the checkpoint."""
    to.mkdir(parents=True, exist_ok=True)
    for name in (*huggingface.TOKENIZER, "generation_config.json"):
        if (base.folder / name).is_file():
            part = to / f".{name}.{os.getpid()}.part"
            shutil.copyfile(base.folder / name, part)
            part.replace(to / name)


def record(base: BaseModel, run: Path) -> None:
    """Write down which checkpoint a run starts from.

    Raises:
      ValueError: the run began from another one.
    """
    if (held := recorded(run)) is not None and held.fingerprint != base.fingerprint:
        raise ValueError(
            f"{run}: began from {held.name} with fingerprint {held.fingerprint}, and {base.folder} now has "
            f"{base.fingerprint}; restore the checkpoint, set model.revision, or set another run.output_dir"
        )
    content = {"path": base.name, "revision": base.revision, "folder": str(base.folder.resolve())}
    write_json_atomic(run / MODEL, content | {"fingerprint": base.fingerprint})


def recorded(run: Path) -> BaseModel | None:
    """The checkpoint that a run began from, wherever it is now; None for one that began from nothing."""
    file = run / MODEL
    if not file.is_file():
        return None
    try:
        held = json.loads(file.read_text())
        return BaseModel(held["path"], held["revision"], Path(held["folder"]), held["fingerprint"])
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(f"{file}: expected what a run wrote there, got something else; delete the run") from None


def fingerprint(folder: Path) -> str:
    """Sixteen letters that change with a checkpoint.

    Of each weight file its size, its header and PROBES pieces count, so weights that were trained on differ in it; a
    single changed byte may not.
    """
    digest = hashlib.sha256()
    for name in ("config.json", "generation_config.json", *huggingface.TOKENIZER):
        if (folder / name).is_file():
            digest.update(f"{name}\0".encode() + (folder / name).read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as opened:
            header = int.from_bytes(opened.read(8), "little")
            digest.update(opened.read(min(header, size)))
            for probe in range(PROBES):
                opened.seek((size - PROBE_BYTES) * probe // (PROBES - 1) if size > PROBE_BYTES else 0)
                digest.update(opened.read(PROBE_BYTES))
    return digest.hexdigest()[:16]


def load(base: BaseModel, config: ModelConfig, display: Display) -> Params:
    """Its weights, as config.param_dtype, where parameters stand on the mesh in force."""
    shapes = abstract(api.shapes(config))
    shardings = jax.tree.map(lambda x: x.sharding, shapes)
    with display.bar(f"load {base.name}", huggingface.num_tensors(config), every=0) as advance:
        return huggingface.load(base.folder, config, shardings, advance=advance)
