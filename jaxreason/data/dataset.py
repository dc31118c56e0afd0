"""Problems on disk and the endless stream of batches a run draws from them.

Problems go through a tensorflow-datasets builder into ArrayRecord files (no TensorFlow involved) and come back through
Grain by random access. The position of a run is one integer, the step: every host builds the same batch and takes its
rows, so a resumed run may have another number of hosts.

Grain and tensorflow-datasets are imported where they are used; the first brings JAX along.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxreason.data import difficulty
from jaxreason.data.problems import Problem, to_json

_FIELDS = tuple(field.name for field in dataclasses.fields(Problem))
_MARKER = "content.json"


def prepare(problems: Sequence[Problem], folder: str | Path) -> Path:
    """Write problems, in order, as an ArrayRecord dataset below a folder; returns the dataset's own folder.

    That is named after its content, so the same problems are written once and changed ones never mix with old ones.
    It appears whole or not at all: a killed process leaves nothing that is taken for data, and of two at once the
    first to finish wins. Call it on one host of a shared disk.

    Raises:
      ValueError: no problems.
    """
    if not problems:
        raise ValueError(f"{folder}: expected at least one problem to prepare, got none")
    content = hashlib.sha256("\n".join(map(to_json, problems)).encode()).hexdigest()
    target = Path(folder) / content[:16]
    if _is_whole(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=target.parent) as scratch:
        built = _build(problems, Path(scratch))
        (built / _MARKER).write_text(json.dumps({"content": content, "num_problems": len(problems)}))
        try:
            built.rename(target)
        except OSError:
            # Either another process was first, or somebody left a damaged folder under this name.
            if not _is_whole(target):
                target.rename(Path(scratch, "damaged"))
                built.rename(target)
    return target


def read(folder: str | Path) -> list[Problem]:
    """The problems that `prepare` wrote, in that order.

    Args:
      folder: as `prepare` was given it or returned it.

    Raises:
      ValueError: not such a folder, or one that several sets of problems were prepared in.
    """
    folder = Path(folder)
    if not _is_whole(folder):
        inside = sorted(child for child in folder.iterdir() if _is_whole(child)) if folder.is_dir() else []
        if len(inside) > 1:
            raise ValueError(f"{folder}: expected one dataset, got {len(inside)}; name one, such as {inside[0]}")
        folder = inside[0] if inside else folder
    source, _ = _open(folder)
    return [_to_problem(row) for row in source]


@dataclasses.dataclass(frozen=True)
class ProblemStream:
    """Batches of problems by step, without end. Made by `open_stream`."""

    num_problems: int
    batch_size: int
    fingerprint: str
    """of the data, its order and the batch size; a run resumed on another one would silently see other problems"""
    _rows: Any = dataclasses.field(repr=False, compare=False)  # grain.MapDataset of Problem

    def batch(self, step: int) -> list[Problem]:
        """The problems of a step, the same whenever and wherever it is asked for.

        The rows of successive steps go through all problems once an epoch, in a new order each; a batch may hold the
        end of one epoch and the start of the next.

        Raises:
          ValueError: a negative step.
        """
        if step < 0:
            raise ValueError(f"step: expected at least 0, got {step}")
        return self.rows(step * self.batch_size, self.batch_size)

    def rows(self, first: int, count: int) -> list[Problem]:
        """So many rows of the endless stream, from one on."""
        return [self._rows[i] for i in range(first, first + count)]


def open_stream(
    folder: str | Path, *, seed: int, batch_size: int, shuffle: bool = True, curriculum: str = "none"
) -> ProblemStream:
    """Open what `prepare` wrote.

    Args:
      folder: as `prepare` returned it.
      seed: of the order, 0..2^32-1.
      batch_size: problems a step.
      shuffle: a new order each epoch; False keeps the order written.
      curriculum: in what order an epoch is gone through, see `difficulty.in_order`; `none`: by `shuffle`.

    Raises:
      ValueError: not a prepared folder, a seed out of range, fewer problems than a batch, or a curriculum over problems
        without pass rates.
    """
    import grain

    source, content = _open(Path(folder))
    if not 0 <= seed < 2**32:
        raise ValueError(f"run.seed: expected 0..2^32-1, got {seed}")
    if not 1 <= batch_size <= len(source):
        raise ValueError(
            f"data.prompts_per_step: expected 1..{len(source)}, the problems there are, got {batch_size}; "
            "lower it or add problems"
        )
    rows = grain.MapDataset.source(source)
    if curriculum == "none":
        rows = rows.seed(seed)
        rows = (rows.shuffle() if shuffle else rows).repeat(None).map(_to_problem)
    else:
        rows = _Course(rows.map(_to_problem), curriculum, seed)
    identity = json.dumps([content, seed, batch_size, shuffle] + ([] if curriculum == "none" else [curriculum]))
    return ProblemStream(len(source), batch_size, hashlib.sha256(identity.encode()).hexdigest()[:16], rows)


class _Course:
    """Problems in the order of a curriculum, without end: row i of epoch e is e * (number of problems) + i."""

    def __init__(self, problems: Any, curriculum: str, seed: int):
        self._problems = problems
        rates = difficulty.pass_rates([problems[i] for i in range(len(problems))])
        self._order = functools.lru_cache(2)(lambda epoch: difficulty.in_order(rates, curriculum, f"{seed} {epoch}"))

    def __getitem__(self, row: int) -> Problem:
        epoch, place = divmod(row, len(self._problems))
        return self._problems[self._order(epoch)[place]]


def _open(folder: Path) -> tuple[Any, str]:
    """The rows of a dataset by index, and the hash of its content."""
    import tensorflow_datasets as tfds

    if not _is_whole(folder):
        raise ValueError(f"{folder}: expected a folder made by `jaxreason data prepare`, got none; prepare it again")
    source = tfds.builder_from_directory(folder).as_data_source("train")  # pyright: ignore[reportCallIssue]
    marker = json.loads((folder / _MARKER).read_text())
    if len(source) != marker["num_problems"]:
        raise ValueError(f"{folder}: expected {marker['num_problems']} problems, got {len(source)}; delete the folder")
    return source, marker["content"]


def _is_whole(folder: Path) -> bool:
    return (folder / _MARKER).is_file() and (folder / "dataset_info.json").is_file()


def _to_problem(row: dict) -> Problem:
    text = {field: row[field].decode() for field in _FIELDS}
    return Problem(**{**text, "meta": json.loads(text["meta"])})


def _build(problems: Sequence[Problem], data_dir: Path) -> Path:
    """Write the dataset somewhere below data_dir; returns where."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.registered import skip_registration

    with skip_registration():  # the class is made anew each time, under one name

        class Builder(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            name = "problems"

            def _info(self):
                # Without disable_shuffling the rows would be stored in the order of their keys' hashes.
                features = tfds.features.FeaturesDict({field: tfds.features.Text() for field in _FIELDS})
                return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                for key, problem in enumerate(problems):
                    yield key, {**dataclasses.asdict(problem), "meta": json.dumps(problem.meta, ensure_ascii=False)}

    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # it announces a download that there isn't
        # array_record: the default format needs TensorFlow to write.
        builder = Builder(data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare()
    return Path(builder.data_dir)
