"""A tokenizer for tests that needs no training: tokens are whatever byte strings it has met, marks among them."""

import random
import re

from jaxreason.agents.prompts import marks, render_reason
from jaxreason.data.problems import Problem
from jaxreason.tasks.base import Task


class StandIn:
    """Byte tokenizer with marks and multi-byte tokens; token 0 pads, token 1 ends."""

    pad_id, eos_id, eos_ids = 0, 1, (1,)

    def __init__(self, symbols=(), template=None):
        self.table = [b"<pad>", b"<eos>"]
        self.ids = {}
        self.template = template
        self.symbols = re.compile(b"|".join(re.escape(s.encode()) for s in sorted(symbols, key=len, reverse=True)))
        self.split = bool(symbols)

    @property
    def vocab_size(self):
        return len(self.table)

    def intern(self, piece: bytes) -> int:
        if piece not in self.ids:
            self.ids[piece] = len(self.table)
            self.table.append(piece)
        return self.ids[piece]

    def encode_bytes(self, text: bytes) -> list[int]:
        ids, at = [], 0
        for match in self.symbols.finditer(text) if self.split else ():
            ids += [self.intern(bytes([b])) for b in text[at : match.start()]]
            ids.append(self.intern(match.group()))
            at = match.end()
        return ids + [self.intern(bytes([b])) for b in text[at:]]

    def encode_batch(self, texts):
        return [self.encode_bytes(text.encode()) for text in texts]

    def encode_at_random(self, text: bytes, rng: random.Random, longest: int = 5) -> list[int]:
        """Cut anywhere, characters included, as a sampled completion may be."""
        ids, at = [], 0
        while at < len(text):
            end = at + rng.randint(1, longest)
            ids.append(self.intern(text[at:end]))
            at = end
        return ids

    def token_bytes(self, token_id):
        return self.table[token_id]

    def decode_batch(self, ids):
        return [b"".join(map(self.token_bytes, row)).decode("utf-8", "replace") for row in ids]

    def render_chat(self, messages, **kwargs):
        return self.template(messages[-1]["content"], **kwargs)


def marked(max_chunks: int = 32) -> StandIn:
    """With the marks of a trained tokenizer as single tokens."""
    return StandIn(marks(max_chunks))


def qwen3(content, enable_thinking=True):
    """The shape of Qwen3's template: an empty thought where thinking is switched off."""
    tail = "" if enable_thinking else "<think>\n\n</think>\n\n"
    return f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n{tail}"


def instruct(content, **_):
    """A template that knows nothing of thoughts."""
    return f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"


def always_thinking(content, **_):
    """The shape of R1-Distill's: a thought is opened whatever is asked for."""
    return f"<|User|>{content}<|Assistant|><think>\n"


def asked(question, config, tokenizer):
    """The reasoner's prompt for one question of boxed mathematics."""
    (prompt,) = render_reason([Problem("a", question, "5")], Task(), config, tokenizer)
    return prompt
