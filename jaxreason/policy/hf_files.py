"""The files of a Hugging Face checkpoint: found on this machine or fetched from the hub, and opened.

Only safetensors are read: a pickle runs code when it is opened. No code of a checkpoint is ever run.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxreason.policy.hf_config import read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
FETCHED = ("*.safetensors", "*.json", "*.jinja", "merges.txt", "tokenizer.model")
"""What is fetched from the hub: weights, configuration, tokenizer and its templates."""
SHAPE = ("config.json",)
"""What is fetched where only the model's shape is asked for."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve(path_or_id: str | Path, revision: str | None = None, fetched: Sequence[str] = FETCHED) -> Path:
    """The folder of a checkpoint.

    Args:
      path_or_id: a folder, or an id of the Hugging Face hub such as Qwen/Qwen3-0.6B, which is fetched once and then
        found in the hub's cache.
      revision: branch, tag or commit, of a hub id only; None for the newest.
      fetched: patterns of the files to fetch from the hub.

    Raises:
      ValueError: no such folder, no such repository or revision, or it can't be fetched now.
    """
    folder = Path(path_or_id).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(str(path_or_id)):
        raise ValueError(
            f"{path_or_id}: expected the folder of a checkpoint, or an id of the Hugging Face hub such as "
            "Qwen/Qwen3-0.6B; got neither"
        )
    import huggingface_hub  # takes a second
    from huggingface_hub import errors

    try:
        found = huggingface_hub.snapshot_download(
            str(path_or_id), revision=revision, allow_patterns=list(fetched), ignore_patterns=["*/*"]
        )
    except errors.GatedRepoError:
        raise ValueError(
            f"{path_or_id}: its owner asks for an agreement first; accept it on huggingface.co, then `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise ValueError(f"{path_or_id}: no revision {revision!r} on the Hugging Face hub; choose another") from None
    except errors.RepositoryNotFoundError:
        raise ValueError(
            f"{path_or_id}: no such folder, and no such repository on the Hugging Face hub that you may read; "
            "mind the spelling, or `hf auth login`"
        ) from None
    except Exception as error:  # the network, in its many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path_or_id}: no such folder, and it can't be fetched from the Hugging Face hub ({reason[:160]}); "
            f"where there is a network: `hf download {path_or_id}`, then give the folder it prints"
        ) from None
    return Path(found)


class Tensors:
    """The tensors of a checkpoint, or of some files of it, read slice by slice. A context manager."""

    def __init__(self, folder: Path, files: Sequence[Path] | None = None):
        self.folder = folder
        self._open: list[Any] = []
        self._where: dict[str, tuple[Any, str]] = {}  # name -> (open file, its name)
        try:
            for file in _weight_files(folder) if files is None else files:
                self._add(file)
        except BaseException:
            self.close()
            raise

    def _add(self, file: Path) -> None:
        try:
            # Not mapped into memory: its pages would count as ours.
            opened: Any = safe_open(file, framework="numpy", backend="pread")
            opened.__enter__()
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{file}: expected a whole safetensors file, got: {' '.join(str(error).split())}; download it again"
            ) from None
        self._open.append(opened)
        for name in opened.keys():
            if name in self._where:
                raise ValueError(f"{file}: tensor {name} is in {self._where[name][1]} too; expected it once")
            self._where[name] = (opened, file.name)

    def describe(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name -> (shape, type as safetensors writes it)."""
        found = {}
        for name, (file, _) in self._where.items():
            part = file.get_slice(name)
            found[name] = (tuple(part.get_shape()), part.get_dtype())
        return found

    def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """A slice of a tensor, contiguous.

        Raises:
          ValueError: the file changed or is damaged.
        """
        opened, file = self._where[name]
        try:
            return np.ascontiguousarray(opened.get_slice(name)[index])
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{self.folder / file}: {name} can't be read: {error}; download it again") from None

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._open.pop().__exit__(None, None, None)

    def __enter__(self) -> "Tensors":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        placed = read_json(folder / INDEX).get("weight_map")
        if not isinstance(placed, dict) or not placed or not all(isinstance(name, str) for name in placed.values()):
            raise ValueError(f"{folder / INDEX}: weight_map: expected tensors and their files; download it again")
        files = sorted(set(placed.values()))
        absent = [name for name in files if not (folder / name).is_file()]
        if any(Path(name).name != name for name in files):
            raise ValueError(f"{folder / INDEX}: weight_map: expected files of this folder, got a path out of it")
        if absent:
            raise ValueError(f"{folder}: {len(absent)} of {len(files)} files are missing: {', '.join(absent[:4])}")
        return [folder / name for name in files]
    if pickles := sorted(file.name for pattern in PICKLES for file in folder.glob(pattern)):
        raise ValueError(
            f"{folder}: expected {WEIGHTS}, got {pickles[0]}, a pickle, which could run any code when it is opened; "
            "take a revision with safetensors, or convert it with transformers' save_pretrained where that is safe"
        )
    raise ValueError(f"{folder}: expected the folder of a checkpoint with {WEIGHTS} or {INDEX}, got neither")
