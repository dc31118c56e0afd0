"""What transformers says in torch, on the CPU, with its plain attention. torch is imported only when asked."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.parity import cases


class Expected(NamedTuple):
    """Of one case; a row a prompt."""

    logits: list[np.ndarray]  # float32 [tokens V] a prompt, entry s about the token after s
    logp: list[np.ndarray]  # float32 [tokens - 1] a prompt, of its tokens but the first
    greedy: np.ndarray  # int [rows, NEW]


def model(folder: Path, dtype: str = "float32") -> Any:
    """The checkpoint as transformers' own class loads it."""
    import torch
    import transformers

    kind = json.loads((folder / "config.json").read_text())["model_type"]
    kinds = {"llama": "Llama", "smollm3": "SmolLM3", "qwen2": "Qwen2", "qwen3": "Qwen3", "qwen3_moe": "Qwen3Moe"}
    cls = getattr(transformers, f"{kinds[kind]}ForCausalLM")
    found, report = cls.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="eager", output_loading_info=True
    )
    # A tensor that transformers did not find would be random there, and one it did not use untested.
    wrong = {name: names for name, names in report.items() if names}
    if wrong:
        raise ValueError(f"{folder}: transformers did not load it whole: {wrong}")
    found.generation_config.eos_token_id = found.generation_config.pad_token_id = None
    return found.eval()


def logits(found: Any, rows: list[np.ndarray]) -> list[np.ndarray]:
    """Of prompts in one left-padded batch, the padding left out."""
    import torch

    tokens, mask = (torch.tensor(x, dtype=torch.long) for x in cases.padded(rows, left=True))
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        out = found(input_ids=tokens, attention_mask=mask, position_ids=positions).logits.float().numpy()
    return [x[-len(row) :] for x, row in zip(out, rows, strict=True)]


def greedy(found: Any, rows: list[np.ndarray]) -> np.ndarray:
    """NEW tokens after each prompt of one left-padded batch, by `generate` with its own cache."""
    import torch

    tokens, mask = (torch.tensor(x, dtype=torch.long) for x in cases.padded(rows, left=True))
    out = found.generate(
        input_ids=tokens, attention_mask=mask, do_sample=False, max_new_tokens=cases.NEW, pad_token_id=0
    )
    return out[:, tokens.shape[1] :].numpy()


def expected(name: str, folder: Path) -> Expected:
    """Everything about the case, whose checkpoint stands in the folder."""
    rows, plain = cases.prompts(name), model(folder)
    got = logits(plain, rows)
    logp = []
    for scores, row in zip(got, rows, strict=True):
        wide = scores.astype(np.float64)
        wide -= wide.max(-1, keepdims=True)
        wide -= np.log(np.exp(wide).sum(-1, keepdims=True))
        logp.append(wide[np.arange(len(row) - 1), row[1:]].astype(np.float32))
    return Expected(got, logp, greedy(plain, rows))


def bfloat16_error(name: str, folder: Path) -> tuple[float, float]:
    """(median, mean) of |logits in bfloat16 - logits in float32| over the case's many prompts."""
    rounded, plain = (np.array(logits(model(folder, dtype), cases.many(name))) for dtype in ("bfloat16", "float32"))
    error = np.abs(rounded - plain)
    return float(np.median(error)), float(error.mean())
