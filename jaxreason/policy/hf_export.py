"""Parameters as a Hugging Face checkpoint that transformers and vLLM open.

Leaves are fetched from the devices one layer at a time and written in parts; what was written is read again and
compared bit for bit before the folder gets its name.
"""

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import ml_dtypes
import numpy as np
from jax.experimental import multihost_utils
from safetensors import SafetensorError
from safetensors.numpy import save_file

from jaxreason.config import ModelConfig
from jaxreason.policy import api, hf_config, hf_names
from jaxreason.policy.hf_files import INDEX, WEIGHTS, Tensors
from jaxreason.policy.hf_names import Slab
from jaxreason.types import Params

TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt"),
    *("special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json"),
)
"""Files of a tokenizer. Copied, since saving one again changes what older readers see in it."""
GENERATION = "generation_config.json"
PART_BYTES = 2 * 10**9
"""Most bytes of a file of weights, which the host holds at a time; a larger tensor has a file of its own."""

Dtype = Literal["float32", "bfloat16"]
DTYPES: dict[str, Any] = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


def export(
    params: Params,
    config: ModelConfig,
    to: str | Path,
    *,
    tokenizer: str | Path,
    source: str | Path | None = None,
    dtype: Dtype = "bfloat16",
    special: dict[str, Any] | None = None,
    part_bytes: int = PART_BYTES,
    advance: Callable[[int], None] = lambda n: None,
) -> Path:
    """Write a checkpoint. With several hosts, all of them call this, and the first writes.

    Args:
      params: on any sharding.
      to: folder to make.
      tokenizer: folder whose tokenizer files are copied byte for byte.
      source: folder of the checkpoint that training began from, whose config.json is kept but for what the model is,
        and whose generation_config.json goes along with the end tokens of `special` added; None where there was none.
      dtype: of the tensors; a wider one is rounded to nearest.
      special: pad_token_id and the like; of eos_token_id (a list) every token ends a completion for readers of the
        checkpoint as well, beside those that the source names.
      advance: told how many more tensors are written; `hf_names.num_tensors(config)` in all.

    Raises:
      ValueError: the target holds something, no tokenizer, a shape that no class of transformers has, or files that
        read back otherwise than they were written.
    """
    to, tokenizer = Path(to).expanduser().absolute(), Path(tokenizer)
    refuse_target(to)
    copied = [tokenizer / name for name in TOKENIZER if (tokenizer / name).is_file()]
    if not copied:
        raise ValueError(f"{tokenizer}: expected the files of a tokenizer, got none")
    original = None if source is None else hf_config.read_json(Path(source) / "config.json")
    generation = None if source is None else Path(source) / GENERATION
    if generation is not None and not generation.is_file():
        generation = None
    if generation is not None and not special:
        copied.append(generation)
    settings = _generation(generation, special) if special else {}
    ends = {name: value for name, value in settings.items() if name == "eos_token_id"}
    described = hf_config.to_json(config, original, dtype, str(to / "config.json")) | (special or {}) | ends
    with exporting(to) as part:
        _write_tensors(params, config, part, dtype, part_bytes, advance)
        if part is not None:
            for file in copied:
                shutil.copyfile(file, part / file.name)
            write_json(part / "config.json", described)
            if settings:
                write_json(part / GENERATION, settings)
    return to


@contextlib.contextmanager
def exporting(to: Path) -> Iterator[Path | None]:
    """A folder to write into that gets the name `to` when all is written, and is removed if something breaks; None on
    all hosts but the first."""
    if jax.process_index():
        yield None
        return
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        yield part
        part.rename(to)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _generation(file: Path | None, special: dict[str, Any]) -> dict[str, Any]:
    """generation_config.json: the source's, where it has one, with the end tokens of `special` added to its own.

    transformers and vLLM stop at these tokens only; if one were missing that the policy was trained to end with, every
    answer would run on to the limit.
    """
    own = {} if file is None else hf_config.read_json(file)
    ends = [i for settings in (special, own) for i in _as_list(settings.get("eos_token_id"))]
    return special | own | ({"eos_token_id": list(dict.fromkeys(ends))} if ends else {})


def _as_list(value: Any) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]


def refuse_target(to: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
      ValueError: naming it.
    """
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise ValueError(f"{to}: is there already; move it away or choose another folder")


def _write_tensors(params: Params, config: ModelConfig, folder: Path | None, dtype, part_bytes, advance) -> None:
    # Made first, so that a tree that does not fit the config is told before anything is written.
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    expected = api.shapes(config)
    if structure != jax.tree.structure(expected) or any(
        x.shape != y.shape for (_, x), y in zip(leaves, jax.tree.leaves(expected), strict=True)
    ):
        raise ValueError("params: expected the tree of this model's config, got another; were they trained with it?")
    slabs = [(s, leaf) for path, leaf in leaves for s in hf_names.slabs(hf_names.keys(path), leaf.shape, config)]
    slabs.sort(key=lambda pair: pair[0].layer)
    parts = _partition(slabs, np.dtype(DTYPES[dtype]).itemsize, part_bytes)
    placed, total = {}, 0
    for number, chosen in enumerate(parts, start=1):
        name = WEIGHTS if len(parts) == 1 else f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        held: dict[str, np.ndarray] = {}
        for slab, leaf in chosen:
            held |= _fetch(slab, leaf, dtype)
            advance(len(slab.names))
        placed |= dict.fromkeys(held, name)
        total += sum(tensor.nbytes for tensor in held.values())
        if folder is not None:
            write_part(folder / name, held)
    if folder is not None and len(parts) > 1:
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(placed.items()))})


def _partition(slabs: Sequence[tuple[Slab, jax.Array]], width: int, most: int) -> list[list[tuple[Slab, jax.Array]]]:
    """Slabs in order, in parts of at most so many bytes each."""
    parts, size = [[]], 0
    for slab, leaf in slabs:
        its = len(slab.names) * int(np.prod(slab.stored)) * width
        if parts[-1] and size + its > most:
            parts.append([])
            size = 0
        parts[-1].append((slab, leaf))
        size += its
    return parts


def _fetch(slab: Slab, leaf: jax.Array, dtype: str) -> dict[str, np.ndarray]:
    """The tensors of a slab on the host. C-contiguous: other layouts safetensors writes as garbage, without a word."""
    array = _pick(leaf, slab.at, dtype=dtype, swapped=slab.swapped)
    if not array.is_fully_addressable:
        array = multihost_utils.process_allgather(array, tiled=True)
    host = np.asarray(array)
    tensors = host if slab.experts else host[None]
    return {name: np.ascontiguousarray(tensor) for name, tensor in zip(slab.names, tensors, strict=True)}


@functools.partial(jax.jit, static_argnames=("dtype", "swapped"))
def _pick(leaf: jax.Array, at, *, dtype: str, swapped: bool) -> jax.Array:
    part = leaf if at is None else jax.lax.dynamic_index_in_dim(leaf, at, keepdims=False)
    part = part.astype(DTYPES[dtype])
    return part.swapaxes(-1, -2) if swapped else part


def write_part(file: Path, held: dict[str, np.ndarray]) -> None:
    """Write a file of tensors, C-contiguous ones, and read it again."""
    try:
        save_file(held, file, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{file}: cannot be written: {error}; free some space and give the command again") from None
    file.chmod(file.parent.stat().st_mode & 0o666)  # safetensors makes files for their owner alone
    with Tensors(file.parent, [file]) as stored:
        described = stored.describe()
        for name, tensor in held.items():
            whole = tuple(slice(0, size) for size in tensor.shape)
            same = described.get(name, ((), ""))[0] == tensor.shape
            if not same or not np.array_equal(_bits(stored.read(name, whole)), _bits(tensor)):
                raise ValueError(f"{file}: {name} reads back otherwise than it was written; is the disk sound?")


def _bits(tensor: np.ndarray) -> np.ndarray:
    return tensor.view(f"u{tensor.dtype.itemsize}")


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a file as transformers writes its own."""
    file.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
