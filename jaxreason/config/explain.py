"""Mistakes in a configuration, in the words of the configuration and with the nearest right key."""

import dataclasses
import difflib
import re
from pathlib import Path

import yaml

from jaxreason.config.moved import GONE, MOVED
from jaxreason.config.whole import Config


def _sections() -> list[str]:
    return [section.name for section in dataclasses.fields(Config)]


def _keys() -> list[str]:
    defaults = Config()
    return [f"{name}.{f.name}" for name in _sections() for f in dataclasses.fields(getattr(defaults, name))]


def _unknown(name: str) -> str:
    """What to say of a key that does not exist: the right one nearest to it, or every section that has such a field."""
    if name in GONE:
        return f"{name}: no longer a configuration key; {GONE[name]}"
    near = [MOVED[name]] if name in MOVED else [key for key in _keys() if key.split(".")[1] == name]
    near = near or difflib.get_close_matches(name, _keys() + _sections(), n=1, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`jaxreason train --help` lists the keys"
    return f"{name}: no such configuration key; {hint}"


_TYPES = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text", "tuple": "a list"}


def explain(message: str) -> str:
    """One line from a parser's complaint, in the words of the configuration and not of the parser."""
    line = re.sub(r"\s*\n\s*", " ", message).strip()
    if bad := re.search(r"does not accept option '([\w.]+)'|Option '([\w.]+)' is not accepted", line):
        group = re.search(r"Group '([\w.]+)'", line)
        name = bad.group(1) or bad.group(2)
        return _unknown(f"{group.group(1)}.{name}" if group and not name.startswith(group.group(1)) else name)
    if bad := re.search(r"unrecognized arguments: (\S+)", line):
        argument = bad.group(1)
        name = argument.lstrip("-").split("=")[0]
        if not argument.startswith("--") and name in _keys():
            return f"{argument}: expected --{argument}"
        return _unknown(name)
    if bad := re.fullmatch(r'Parser key "([\w.]+)": Expected an? (.*?)\. Got value: (.*)', line):
        name, expected, got = bad.groups()
        if kind := re.fullmatch(r"<class '(\w+)'>", expected):
            expected = _TYPES.get(kind.group(1), kind.group(1))
        elif kind := re.fullmatch(r"typing\.Literal\[(.*)\]", expected):
            expected = "one of " + kind.group(1).replace("'", "")
        elif kind := re.fullmatch(r"tuple with (\d+) elements?", expected):
            expected = f"a list of {kind.group(1)}"
        return f"{name}: expected {expected}, got {got}"
    if bad := re.match(
        r'Parser key "([\w.]+)": Does not validate against any of the Union.*Literal\[(.*?)\].*: (.*)', line
    ):
        return f"{bad[1]}: expected {bad[2].strip(chr(39))} or a whole number, got {bad[3]}"
    if bad := re.match(r'Parser key "(\w+)": Unable to load config', line):
        return f"{bad.group(1)}: expected one of its fields, such as --{_first_key(bad.group(1))}=..."
    return line


def _first_key(section: str) -> str:
    return next((key for key in _keys() if key.startswith(f"{section}.")), section)


def refuse_unknown_keys(path: Path, content: dict) -> None:
    """Said here rather than by the parser, which names no file and does not look for the right section."""
    if {"experiment", "methods"} <= content.keys():
        raise ValueError(f"{path}: is a comparison, expected an experiment; run it by `jaxreason compare {path}`")
    for section, fields in content.items():
        if section in _keys():  # `grpo.epsilon: 0.1` at the top is as good as the section
            fields, section = {section.split(".")[1]: fields}, section.split(".")[0]
        if section not in _sections():
            near = difflib.get_close_matches(str(section), _sections(), n=1, cutoff=0.5)
            raise ValueError(
                f"{path}: {section}: no such section; did you mean {near[0]}?"
                if near
                else f"{path}: {_unknown(str(section))}"
            )
        if not isinstance(fields, dict):
            got = "nothing" if fields is None else repr(fields)
            raise ValueError(f"{path}: {section}: expected fields below it, such as {_first_key(section)}, got {got}")
        for key, value in fields.items():
            if f"{section}.{key}" not in _keys():
                raise ValueError(f"{path}: {_unknown(f'{section}.{key}')}")
            if value is None:
                raise ValueError(f"{path}: {section}.{key}: expected a value, got nothing; leave the key out")


def read_yaml(path: Path) -> dict:
    """A YAML file's sections. YAML keeps the last of two equal keys without a word; here they are a mistake."""

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = loader.construct_object(key_node, deep=deep)
            if key in seen:
                raise ValueError(f"{path}:{key_node.start_mark.line + 1}: key {key!r} stands twice")
            seen.add(key)
        return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        content = yaml.load(path.read_text(), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected sections of settings, got {type(content).__name__}; see configs/")
    return content
