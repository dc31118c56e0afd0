"""Tokenizers: text to ids and back, exactly.

What training needs of one: no special token is ever added, every token stands for known bytes, and the bytes of a
text's tokens joined are the text. A tokenizer that can't promise that is refused when it is loaded. Nothing is fetched
from a network and no code of a checkpoint is run (a chat template is data, rendered in a sandbox).
"""

import dataclasses
import hashlib
import importlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

CANARY = "Wait, 3+5=1; 12345\n\n  so\tnow \\boxed{4}\n<think>数学的答案</think> naïve 😀👍🏽 end \n"
"""What `load` tries a tokenizer on."""
ASKED = "canary-7f3a: is 3+5 equal to 8?"
"""What `load` tries a chat template on: a question that no template holds by itself."""

_SPACE = "\u2581"  # what sentencepiece writes for a space
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A tokenizer whose tokens are exact slices of the UTF-8 text. Made by `load` and `train_sentencepiece`.

    Two limits come from the tokenizers themselves: sentencepiece can't tell U+2581 from a space, and Qwen's
    normalises text to NFC first.
    """

    path: str
    """folder it was loaded from"""
    pad_id: int
    """fills arrays past a length; the end-of-sequence id where the tokenizer has none of its own"""
    eos_id: int
    """what ends a completion in training data"""
    eos_ids: tuple[int, ...]
    """what ends a completion when sampled: eos_id first, then the others of generation_config.json"""
    vocab_size: int
    """largest id + 1"""
    fingerprint: str
    """changes with the vocabulary, the special ids or the chat template"""
    _backend: Any = dataclasses.field(repr=False, compare=False)  # tokenizers.Tokenizer
    _chat: Any = dataclasses.field(repr=False, compare=False)  # the transformers tokenizer, for its template
    _bytes: tuple[bytes, ...] = dataclasses.field(repr=False, compare=False)  # id -> bytes; b"" in holes

    @property
    def has_template(self) -> bool:
        """Whether `render_chat` has a template to render by."""
        return bool(self._chat.chat_template)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, nothing added; of an empty text none.

        A special token's own text becomes that token.
        """
        return [encoding.ids for encoding in self._backend.encode_batch(list(texts), add_special_tokens=False)]

    def decode_batch(self, ids: Iterable[Sequence[int]]) -> list[str]:
        """The text of each list of ids: special tokens as their text, no clean-up, broken UTF-8 as U+FFFD.

        Raises:
          ValueError: a negative id.
        """
        return [b"".join(map(self.token_bytes, row)).decode("utf-8", "replace") for row in ids]

    def token_bytes(self, token_id: int) -> bytes:
        """What a token stands for, possibly a part of a character.

        An id without a token (a hole, or the padding of an embedding) stands for no bytes.

        Raises:
          ValueError: a negative id.
        """
        if token_id < 0:
            raise ValueError(f"token id: expected at least 0, got {token_id}; mask by length before decoding")
        return self._bytes[token_id] if token_id < len(self._bytes) else b""

    def render_chat(self, messages: Sequence[Mapping[str, str]], **template_kwargs) -> str:
        """The text of a conversation up to where the model's answer begins, by the tokenizer's own template.

        Args:
          messages: `{"role": ..., "content": ...}` each.
          template_kwargs: passed to the template, e.g. `enable_thinking=False`.

        Raises:
          ValueError: no template, or one that fails on these messages.
        """
        if not self._chat.chat_template:
            raise ValueError(
                f"{self.path}: expected a tokenizer with a chat template, got one without; "
                "set agents.prompts=plain, or add its chat_template.jinja"
            )
        try:
            return self._chat.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True, **template_kwargs
            )
        except Exception as error:  # a template is a program and may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(f"{self._template_file()}: the chat template failed on these messages: {reason}") from None

    def _template_file(self) -> Path:
        name = "chat_template.jinja" if Path(self.path, "chat_template.jinja").exists() else "tokenizer_config.json"
        return Path(self.path, name)


def text_of(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """Decode without loss: a byte that belongs to no character becomes a surrogate (PEP 383), not a replacement.

    So pieces of a text still add up to it when a border cuts an emoji; `readable` makes it encodable again.
    """
    return b"".join(map(tokenizer.token_bytes, ids)).decode("utf-8", "surrogateescape")


def readable(text: str) -> str:
    """Text that can be encoded again: a byte that is no character (kept as a surrogate by `text_of`) becomes the
    replacement character.

    >>> readable("caf\\udcc3")
    'caf�'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def load(path: str | Path) -> Tokenizer:
    """Load a tokenizer from a folder with a tokenizer.json, or else a sentencepiece tokenizer.model.

    Raises:
      ValueError: no such files, an unknown kind of tokenizer, no end-of-sequence token, one that doesn't give a text
        back exactly, or a chat template that leaves the question out.
    """
    folder = Path(path)
    if (folder / "tokenizer.json").is_file():
        vocabulary = (folder / "tokenizer.json").read_bytes()
        chat, backend, reference = _open_json(folder)
        eos_id, pad_id = chat.eos_token_id, chat.pad_token_id
    elif (folder / "tokenizer.model").is_file():
        vocabulary = (folder / "tokenizer.model").read_bytes()
        chat, backend, reference, eos_id, pad_id = _open_sentencepiece(folder)
    else:
        raise ValueError(f"{path}: expected a folder with tokenizer.json or tokenizer.model, got neither")
    if eos_id is None:
        raise ValueError(f"{path}: expected a tokenizer with an eos_token, got none; set it in tokenizer_config.json")
    backend.no_truncation()
    backend.no_padding()
    eos_ids = tuple(dict.fromkeys([eos_id, *_generation_eos(folder)]))
    pad_id = eos_id if pad_id is None else pad_id
    identity = hashlib.sha256(vocabulary)
    identity.update(json.dumps([pad_id, eos_ids, chat.chat_template], sort_keys=True).encode())
    table = _byte_table(backend, folder)
    tokenizer = Tokenizer(
        path=str(folder),
        pad_id=pad_id,
        eos_id=eos_id,
        eos_ids=eos_ids,
        vocab_size=len(table),
        fingerprint=identity.hexdigest()[:16],
        _backend=backend,
        _chat=chat,
        _bytes=table,
    )
    _try_canary(tokenizer, reference(CANARY))
    _try_template(tokenizer)
    return tokenizer


def train_sentencepiece(
    texts: Iterable[str], folder: str | Path, *, vocab_size: int, symbols: Sequence[str]
) -> Tokenizer:
    """Train a small byte-pair sentencepiece model, write it to a folder and load it.

    The same texts in the same order give the same model. Every digit is a token of its own. Spaces belong to the word
    before them, so that a line's first word takes its space along (`wait 1*4=4`) while a digit stays the same token
    wherever it stands. Texts without any space, such as Chinese ones, still give a token for the space.

    Args:
      texts: what it is trained on; anything else can still be encoded, by bytes if need be.
      folder: gets tokenizer.model and tokenizer_config.json.
      vocab_size: most pieces, 260 of them control and byte pieces; fewer come out where the texts have no more.
      symbols: texts that are always one token; without spaces.

    Raises:
      ValueError: a symbol that can't be one token, too small a vocabulary, no text to train on.
    """
    import sentencepiece

    for symbol in symbols:
        if not symbol or " " in symbol or _SPACE in symbol:
            raise ValueError(f"symbols: expected texts without spaces, got {symbol!r}")
    texts = [text for text in texts if text]
    if not texts:
        raise ValueError("texts: expected some text to train the tokenizer on, got none")
    # Of letters as rare as this sentencepiece makes bytes, and its bytes of a space come back as U+2581.
    rare = 100 * sum(text.count(" ") for text in texts) < sum(map(len, texts))
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=written,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            treat_whitespace_as_suffix=True,
            split_digits=True,
            user_defined_symbols=list(dict.fromkeys(symbols)),
            required_chars=_SPACE if rare else "",
            max_sentence_length=2**30,  # longer texts would be left out without a word
            pad_id=3,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"tokenizer.vocab_size: expected room for 260 control and byte pieces, {len(symbols)} symbols and the "
            f"letters of the texts, got {vocab_size}: {reason}"
        ) from None
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "tokenizer_config.json", json.dumps(_SENTENCEPIECE_CONFIG, indent=2).encode())
    _write(folder / "tokenizer.model", written.getvalue())
    return load(folder)


_SENTENCEPIECE_CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "add_prefix_space": False,
    "add_bos_token": False,
    "add_eos_token": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
}


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)


def _transformers() -> Any:
    # Imported late: it takes over a second. It announces on import that PyTorch is missing, which nobody here needs.
    # By name: its index of every model takes a type checker minutes and gigabytes to read.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    return importlib.import_module("transformers")


def _open_json(folder: Path):
    import tokenizers

    # Not AutoTokenizer: for some model types it replaces the file's pre-tokenizer with the class's own.
    try:
        chat = _transformers().PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
        raw = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises bare Exception on a bad file
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder / 'tokenizer.json'}: expected a tokenizer, got: {reason}") from None
    raw.no_truncation()
    return chat, chat.backend_tokenizer, lambda text: raw.encode(text, add_special_tokens=False).ids


def _open_sentencepiece(folder: Path):
    import sentencepiece

    file = folder / "tokenizer.model"
    try:
        raw = sentencepiece.SentencePieceProcessor(model_file=str(file))
        chat = _transformers().LlamaTokenizer.from_pretrained(
            str(folder), add_prefix_space=False, local_files_only=True
        )
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: expected a sentencepiece model, got: {reason}") from None
    if len(chat) < raw.get_piece_size():
        raise ValueError(f"{file}: expected {raw.get_piece_size()} pieces after loading, got {len(chat)}")
    eos_id = raw.eos_id() if raw.eos_id() >= 0 else None
    pad_id = raw.pad_id() if raw.pad_id() >= 0 else None
    return chat, chat.backend_tokenizer, raw.encode, eos_id, pad_id


def _generation_eos(folder: Path) -> list[int]:
    file = folder / "generation_config.json"
    if not file.is_file():
        return []
    try:
        value = json.loads(file.read_text()).get("eos_token_id")
    except (json.JSONDecodeError, AttributeError):
        raise ValueError(f"{file}: expected a JSON object") from None
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(i, int) and i >= 0 for i in ids):
        raise ValueError(f"{file}: field eos_token_id: expected an id or a list of ids, got {value!r}")
    return ids


def _byte_table(backend, folder: Path) -> tuple[bytes, ...]:
    """The bytes of every id, b"" where an id has no token."""
    decoder = json.dumps(json.loads(backend.to_str())["decoder"])
    if '"ByteLevel"' in decoder:
        to_bytes = _byte_level_bytes
    elif '"ByteFallback"' in decoder:
        to_bytes = _sentencepiece_bytes
    else:
        raise ValueError(
            f"{folder}: expected byte-level BPE or sentencepiece with byte fallback, got neither; "
            "the bytes of its tokens can't be known"
        )
    vocabulary = backend.get_vocab(with_added_tokens=True)
    added = {i: token.content for i, token in backend.get_added_tokens_decoder().items()}
    table = [b""] * (max(vocabulary.values()) + 1)
    for piece, i in vocabulary.items():
        try:
            table[i] = added[i].encode() if i in added else to_bytes(piece)
        except KeyError:
            raise ValueError(
                f"{folder}: token {i}: expected letters of the byte-level alphabet, got {piece!r}"
            ) from None
    return tuple(table)


# Letter -> byte, as byte-level BPE writes bytes: printable Latin-1 as itself, the rest from U+0100 on in order.
_THEMSELVES = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = [byte for byte in range(256) if byte not in _THEMSELVES]
_ALPHABET = {chr(byte): byte for byte in _THEMSELVES} | {chr(0x100 + i): byte for i, byte in enumerate(_OTHERS)}


def _byte_level_bytes(piece: str) -> bytes:
    return bytes(_ALPHABET[letter] for letter in piece)


def _sentencepiece_bytes(piece: str) -> bytes:
    byte = _BYTE_PIECE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(_SPACE, " ").encode()


def _try_canary(tokenizer: Tokenizer, reference: list[int]) -> None:
    (ids,) = tokenizer.encode_batch([CANARY])
    if ids != reference:
        raise ValueError(
            f"{tokenizer.path}: expected the ids its own file gives, got others after loading: "
            f"{ids[:8]}... instead of {reference[:8]}...; the tokenizer files don't belong together"
        )
    (text,) = tokenizer.decode_batch([ids])
    if text != CANARY:
        raise ValueError(f"{tokenizer.path}: expected tokens that give the text back exactly, got {text!r}")


def _try_template(tokenizer: Tokenizer) -> None:
    """Refuse a template that loses a question, such as one that takes its content for a list of parts.

    One that fails is told when it is used: a run with other prompts needs none.
    """
    if not tokenizer.has_template:
        return
    try:
        prompt = tokenizer.render_chat([{"role": "user", "content": ASKED}])
    except ValueError:
        return
    if ASKED not in prompt:
        raise ValueError(
            f"{tokenizer._template_file()}: expected a chat template that writes a user's content as it stands, got a "
            f"prompt without it: {prompt[:200]!r}; let it read content as text instead of a list of parts, or remove "
            "the template and set agents.prompts=plain"
        )
