"""What a plan needs of an experiment: the model's shape, and a tokenizer for the lengths of its prompts.

Neither weights nor data are read, and of a hub's model config.json alone is fetched.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.config import Config
from jaxreason.data import tokenizer
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.run import base_model, setup
from jaxreason.run.setup import Experiment
from jaxreason.tasks.opening import task_of

ASSUMED = (
    "no tokenizer beside the model's config.json: prompts are counted as a token a word, digit, tag or run of symbols, "
    "in a chat template like Qwen's"
)


def prepare(config: Config, say: Callable[[str], None] = lambda line: None) -> Experiment:
    """An experiment that programs can be traced from: its stream and its held-out problems are missing.

    Args:
      say: is told what was assumed.

    Raises:
      ValueError: see `base_model.find`; a tokenizer that does not fit, or lengths above what the model is made for.
    """
    config, base = base_model.find(config, weights=False)
    if not config.tokenizer.path and base is None:  # a model from nothing: its tokenizer comes out of its data
        with tempfile.TemporaryDirectory() as folder:
            return setup.prepare(config, Path(folder))
    folder = Path(config.tokenizer.path) if config.tokenizer.path or base is None else base.folder
    if config.tokenizer.path or any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        tok = tokenizer.load(folder)
    else:
        say(ASSUMED)
        tok = words(folder)
    config = setup.with_vocabulary(config, tok)
    setup.refuse_overlong(config, tok)
    setup.refuse_adapters(config)
    none: Any = None  # no program reads data
    return Experiment(config, task_of(config.data), tok, stream=none, test=[], dropped=0, base=base)


def words(folder: Path) -> Tokenizer:
    """A tokenizer that counts like a released one and encodes nothing: byte values for single letters, else 0."""
    return Tokenizer(
        path=str(folder),
        pad_id=0,
        eos_id=1,
        eos_ids=(1, 0),
        vocab_size=256,
        fingerprint="words",
        _backend=_Words(),
        _chat=_Chat(),
        _bytes=tuple(bytes([value]) for value in range(256)),
    )


class _Encoding(NamedTuple):
    ids: list[int]


class _Words:
    """The part of `tokenizers.Tokenizer` that is asked for: special tokens and words whole, digits one by one."""

    _PIECE = re.compile(r"<\|\w+\|>|</?think>| ?[^\W\d_]+|\d| ?(?:[^\w\s]|_)+[\r\n]*|\s*[\r\n]+|\s+")

    def encode_batch(self, texts: Iterable[str], add_special_tokens: bool = False) -> list[_Encoding]:
        return [_Encoding([ord(p) if len(p) == 1 and p < "\x80" else 0 for p in self._PIECE.findall(t)]) for t in texts]


class _Chat:
    """Turns between marks, and an empty thought where thinking is switched off."""

    chat_template = "as Qwen's"

    def apply_chat_template(self, messages: Sequence[dict], enable_thinking: bool = True, **_: Any) -> str:
        turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages]
        return "".join(turns) + "<|im_start|>assistant\n" + ("" if enable_thinking else "<think>\n\n</think>\n\n")
