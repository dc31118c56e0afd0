"""The model card of an exported policy: what it is, what changed by training, how it was made, what is not known.

Figures are those of the run's own evaluations and nothing else; what the run does not know is said to be unknown.
"""

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData

from jaxreason import __version__
from jaxreason.report.read import Evaluation, Run, read_runs
from jaxreason.rewards.methods import METHODS
from jaxreason.run.files import write_text_atomic

CARD = "README.md"
PAPERS = {"SCMA": "2601.21919", "The Art of Efficient Reasoning": "2602.20945"}


def write_card(folder: Path, to: Path, step: int, base: Path | None = None, *, adapter: bool = False) -> Path:
    """Write README.md into an exported checkpoint.

    Args:
      folder: of the run.
      to: the exported checkpoint.
      step: the exported policy's.
      base: folder of the checkpoint that the run began from, whose card names a licence; None where it began from
        nothing.
      adapter: whether what was exported are adapters alone.

    Returns:
      The file written.
    """
    (run,) = read_runs([folder])
    file = to / CARD
    write_text_atomic(
        file, f"---\n{_front_matter(run, base, adapter)}\n---\n\n{_text(run, to.name, step, base, adapter)}"
    )
    return file


def _front_matter(run: Run, base: Path | None, adapter: bool) -> str:
    name = run.setting("model", "path") or None
    data = ModelCardData(
        base_model=name if name and not Path(name).expanduser().exists() else None,
        license=_licence(base),
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["jaxreason", "grpo", "efficient-reasoning", *(f"arxiv:{number}" for number in PAPERS.values())],
    )
    return data.to_yaml()


def _licence(base: Path | None) -> str | None:
    """As the base's own card says it; None where there is none, since nothing may be assumed."""
    if base is None or not (base / CARD).is_file():
        return None
    try:
        return ModelCard.load(base / CARD).data.get("license")
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _text(run: Run, name: str, step: int, base: Path | None, adapter: bool) -> str:
    parts = {
        "": _what(run, step),
        "What training changed": _change(run, step),
        "How it was trained": _training(run, step),
        "Use": _use_adapter(name, run) if adapter else _use(name, run),
        "Limits": _limits(run),
        "Licence": _licence_words(run, base),
        "Citation": "\n".join(f"- {title}, [arXiv:{n}](https://arxiv.org/abs/{n})" for title, n in PAPERS.items()),
    }
    shown = (f"## {head}\n\n{body}" if head else body for head, body in parts.items())
    return "\n\n".join([f"# {name}", *shown]) + "\n"


def _what(run: Run, step: int) -> str:
    start = run.setting("model", "path")
    begun = f"[{start}](https://huggingface.co/{start})" if start and not Path(start).expanduser().exists() else start
    whence = f"{begun}, " if begun else "A policy that began from nothing, "
    if step == 0:
        return f"{whence}before any training with jaxreason."
    return f"{whence}trained for {step} steps with jaxreason to be right in fewer tokens."


def _change(run: Run, step: int) -> str:
    before, after = run.before, run.evaluations.get(step) or (run.after if step == run.steps else None)
    if before is None or (after is None and step):
        return f"Not known: the run holds no evaluation of the policy after step {step}."
    rows = ["| | accuracy before | after | tokens before | after | change |", "|---|---|---|---|---|---|"]
    for mode in ("sampled", "greedy"):
        old, new = _figures(before, mode), _figures(after or before, mode)
        if old and new:
            rows.append(f"| {mode} | {' | '.join(_cells(old, new))} |")
    return "\n".join([*rows, "", _measured(run, before)])


def _figures(found: Evaluation, mode: str) -> dict[str, Any] | None:
    table = found.table if mode == "sampled" else found.table.get(mode)
    return table if isinstance(table, dict) and table.get("accuracy") is not None else None


def _cells(old: dict, new: dict) -> list[str]:
    def accuracy(part: dict) -> str:
        low, high = part.get("accuracy_low"), part.get("accuracy_high")
        between = f" ({100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""
        return f"{100 * part['accuracy']:.1f} %{between}"

    before, after = old.get("mean_tokens"), new.get("mean_tokens")
    words = ["-" if length is None else f"{length:.0f}" for length in (before, after)]
    change = f"{100 * (after / before - 1):+.0f} %" if before and after else "-"
    return [accuracy(old), accuracy(new), *words, change]


def _measured(run: Run, before: Evaluation) -> str:
    problems, samples = before.table.get("problems"), before.table.get("samples", 1)
    data = run.setting("data", "test")
    source = "its task's own held-out problems" if data == "builtin" else f"`{Path(str(data)).name}`"
    return (
        f"{problems} problems of {source}, {samples} answer{'s' * (samples != 1)} each at temperature "
        f"{run.setting('evaluation', 'temperature')} and top_p {run.setting('evaluation', 'top_p')}, at most "
        f"{run.evaluation_limit} tokens; in brackets the 95 % interval for such problems. "
        "One training run: another seed gives other figures."
    )


def _training(run: Run, step: int) -> str:
    preset = str(run.setting("reward", "preset"))
    method = METHODS.get(preset)
    about = f"{method.summary} ({method.source})" if method else "a method of the user's own"
    data, rank = run.setting("data", "train"), run.setting("lora", "r")
    versions, git = run.env.get("versions") or {}, run.env.get("git") or {}
    facts = {
        "method": f"`{preset}`: {about}",
        "problems": "its task's own" if data == "builtin" else f"`{Path(str(data)).name}`",
        "steps": f"{step}, of {run.setting('data', 'prompts_per_step')} problems with "
        f"{run.setting('sampling', 'num_generations')} completions each",
        **({} if run.alpha is None else {"price of length (alpha)": run.alpha}),
        "learning rate": f"{run.setting('optimizer', 'learning_rate')}, AdamW",
        "trained": f"adapters (LoRA) of rank {rank}, alpha {run.setting('lora', 'lora_alpha')}"
        if rank
        else "all weights",
        "temperature": run.setting("sampling", "temperature"),
        "seed": run.setting("run", "seed"),
        "software": f"jaxreason {versions.get('jaxreason') or __version__}, jax {versions.get('jax') or 'unknown'}"
        + (f", commit {git['sha'][:12]}" if git.get("sha") else ""),
    }
    table = ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())]
    return "\n".join([*table, "", "Every setting stands in `jaxreason.yaml` beside the weights."])


def _use(name: str, run: Run) -> str:
    chat = run.setting("agents", "prompts") == "chat"
    ask = (
        'text = tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False, '
        "add_generation_prompt=True)"
        if chat
        else "text = question  # as it was asked in training: see `jaxreason generate`"
    )
    return (
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")\nmodel = AutoModelForCausalLM.from_pretrained("{name}")\n'
        'question = "What is 3*(4+5)? Please reason step by step, and put your final answer within \\\\boxed{}."\n'
        f'{ask}\nids = tokenizer(text, return_tensors="pt", add_special_tokens=False)\n'
        "print(tokenizer.decode(model.generate(**ids, max_new_tokens=512)[0]))\n```\n\n"
        f'`jaxreason generate {name} "What is 3*(4+5)?"` asks as in training.'
    )


def _use_adapter(name: str, run: Run) -> str:
    start = run.setting("model", "path")
    own = not start or run.setting("warmup", "max_steps") or run.setting("warmup", "chains")
    base = "BASE" if own else start
    made = (
        f"The weights it is added to are the start of the run: `jaxreason export {run.path} --step 0 --to BASE` "
        "writes them.\n\n"
        if own
        else ""
    )
    return (
        f"{made}```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")\n'
        f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "{name}")\n```\n\n'
        f"vLLM: `vllm serve {base} --enable-lora --max-lora-rank {run.setting('lora', 'r')} --lora-modules own={name}`."
    )


def _limits(run: Run) -> str:
    return (
        "Measured on problems like those it was trained on, and on nothing else: not on other subjects, languages or "
        f"prompts, not above {run.evaluation_limit} tokens, and not for safety. Training "
        "for short answers can remove checks that harder problems need; compare both models on your own problems "
        "before you use it."
    )


def _licence_words(run: Run, base: Path | None) -> str:
    start = run.setting("model", "path")
    if not start:
        return "Weights that began from nothing: yours to license."
    known = _licence(base)
    return (
        f"A derivative of {start}, under its licence{f' ({known})' if known else ', which its folder does not name'}. "
        "Data may have terms of its own."
    )
