"""One frozen, hashable dataclass a section; `load` reads YAML and dotted overrides into one `Config`.

Names are TRL's where TRL has one. Lengths are tokens. What changes during a run is no field here: the learning rate
and alpha are computed from the step.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jsonargparse
import yaml

from jaxreason.config import doors
from jaxreason.config.agents import AgentsConfig, SamplingConfig
from jaxreason.config.data import DataConfig, EvaluationConfig, GradingConfig, WarmupConfig
from jaxreason.config.explain import explain, read_yaml, refuse_unknown_keys
from jaxreason.config.learning import BudgetConfig, GRPOConfig, OptimizerConfig, RewardConfig, of_each_role
from jaxreason.config.lora import LoraConfig
from jaxreason.config.mesh import DistributedConfig, MeshConfig
from jaxreason.config.model import HelperModelConfig, ModelConfig, TokenizerConfig
from jaxreason.config.moved import renamed
from jaxreason.config.run import MonitorConfig, RunConfig
from jaxreason.config.whole import DOORS, Config

__all__ = [
    "DOORS",
    "ROLES",
    "AgentsConfig",
    "BudgetConfig",
    "Config",
    "DataConfig",
    "DistributedConfig",
    "EvaluationConfig",
    "GRPOConfig",
    "GradingConfig",
    "HelperModelConfig",
    "LoraConfig",
    "MeshConfig",
    "ModelConfig",
    "MonitorConfig",
    "OptimizerConfig",
    "RewardConfig",
    "RunConfig",
    "SamplingConfig",
    "TokenizerConfig",
    "WarmupConfig",
    "given",
    "load",
    "of_each_role",
    "parser",
    "respell",
    "save",
    "to_dict",
]

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)

_DEFAULTS = Config()
ROLES = ("reason", "segment", "score", "annotate")
"""Role names in the order of their ids; `agents/roles.py` says what each is."""


def parser() -> jsonargparse.ArgumentParser:
    """A parser of every field, with a help line each, for the commands to extend."""
    result = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    result.add_class_arguments(Config)
    return result


@functools.cache
def _reader() -> jsonargparse.ArgumentParser:
    """The parser of `load`, made once: a comparison of hundreds of runs reads as many configurations."""
    result = parser()
    result.add_argument("--config", action="config")
    return result


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read an experiment.

    Args:
      path: YAML file; None for the defaults.
      overrides: `--section.field=value`, applied after the file. A door's file that the working directory does not
        have is looked for beside the configuration file.

    Raises:
      ValueError: unreadable file, unknown key (the nearest right one is named), wrong type, value out of range.
    """
    known, args = _reader(), []
    if path is not None:
        if not Path(path).is_file():
            raise ValueError(f"{path}: no such configuration file")
        content = read_yaml(Path(path))
        now = renamed(content)
        refuse_unknown_keys(Path(path), now)
        args = [f"--config={path if now is content else yaml.safe_dump(now)}"]
    try:
        parsed = known.parse_args([*args, *map(_listed, overrides)])
        sections = known.instantiate(parsed)
        config = Config(**{field.name: sections[field.name] for field in dataclasses.fields(Config)})
        return config if path is None else respell(config, lambda _, name: doors.beside(name, Path(path).parent))
    except (jsonargparse.ArgumentError, ValueError, TypeError) as error:
        raise ValueError(explain(str(error))) from None


def _listed(override: str) -> str:
    """What is given to a field that holds several, as a list: `a,b` as `[a,b]`, so that one value needs no brackets."""
    name, _, value = override.partition("=")
    section, _, field = name.removeprefix("--").partition(".")
    several = isinstance(getattr(getattr(_DEFAULTS, section, None), field, None), tuple)
    return f"{name}=[{value}]" if several and value and not value.startswith("[") else override


def respell(config: Config, spelling: Callable[[str, str], str]) -> Config:
    """The same experiment with its doors spelled in another way.

    Args:
      spelling: from the field that names a door, such as `data.task`, and its spelling to the new one. It is called
        with the names of what ships as well, and returns them as they are.
    """
    for key in DOORS:
        section, field = key.split(".")
        values = getattr(config, section)
        named = getattr(values, field)
        new = tuple(spelling(key, n) for n in named) if isinstance(named, tuple) else spelling(key, named)
        config = dataclasses.replace(config, **{section: dataclasses.replace(values, **{field: new})})
    return config


def given(path: str | Path | None, overrides: Sequence[str] = ()) -> frozenset[str]:
    """Which keys, as `section.field`, the file and the overrides that `load` accepted set, if only to the default."""
    names = {override.lstrip("-").split("=")[0] for override in overrides}
    for section, fields in (renamed(read_yaml(Path(path))) if path is not None else {}).items():
        names |= {f"{section}.{key}" for key in fields} if isinstance(fields, dict) else {section}
    return frozenset(names)


def to_dict(config: Config) -> dict:
    """The whole configuration as plain data (tuples become lists), as it is written to config.yaml."""
    return yaml.safe_load(yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False))


def save(config: Config, path: str | Path) -> None:
    """Write the resolved configuration; `load` reads it back equal."""
    Path(path).write_text(yaml.safe_dump(to_dict(config), sort_keys=False))


def _plain(value):
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value
