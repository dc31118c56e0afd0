"""The policy of a run as a Hugging Face checkpoint."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxreason.config import Config, save
from jaxreason.data import tokenizer
from jaxreason.evaluation import stored
from jaxreason.policy import huggingface, lora, lora_export
from jaxreason.run import base_model, setup
from jaxreason.run.progress import Display


def export_run(
    run: Path, to: Path, *, step: int | None = None, dtype: Any = None, display: Display | None = None
) -> int:
    """Write a stored policy where transformers and vLLM can open it, and `evaluate` and `generate` of this project.

    For these the run's configuration goes along; for the others, what the checkpoint that the run began from says in
    its config.json and generation_config.json, where it still is.

    Args:
      run: the folder.
      to: folder to make.
      step: training steps done; 0 is the policy before training; None the newest there is.
      dtype: "bfloat16" or "float32", of the tensors; None for the type that the parameters are stored in.

    Returns:
      The step.

    Raises:
      ValueError: no run, no such step, damaged checkpoints, a target that holds something, or a shape that no class of
        transformers has.
    """
    display = display or Display()
    config = stored.load_config(run)
    huggingface.refuse_target(to.expanduser())
    tok = tokenizer.load(config.tokenizer.path or run / "tokenizer")
    config = setup.with_vocabulary(config, tok)
    params, number = stored.load_policy(run, config, step)
    params = lora.whole(params)
    base = base_model.recorded(run)
    model = dataclasses.replace(config.model, max_position_embeddings=_places(config))
    with display.bar("export", huggingface.num_tensors(model), every=0) as advance:
        huggingface.export(
            params,
            model,
            to,
            tokenizer=tok.path,
            source=base.folder if base and (base.folder / "config.json").is_file() else None,
            dtype=dtype or model.param_dtype,
            special={"eos_token_id": list(tok.eos_ids), "pad_token_id": tok.pad_id},
            advance=advance,
        )
    save(config, to.expanduser() / stored.RECIPE)
    return number


def export_adapters(run: Path, to: Path, *, step: int | None = None, dtype: Any = None) -> int:
    """Write the adapters of a run as a folder that peft and vLLM open; arguments as for `export_run`.

    They are added to the checkpoint that the run began from, which adapter_config.json names, or, of a run that made
    its start itself, to the start: `export_run` with step 0 writes that.

    Raises:
      ValueError: as `export_run`, or the run has no adapters.
    """
    config = stored.load_config(run)
    huggingface.refuse_target(to.expanduser())
    tok = tokenizer.load(config.tokenizer.path or run / "tokenizer")
    config = setup.with_vocabulary(config, tok)
    adapters, number = stored.load_adapters(run, config, step)
    known = not config.warmup.wanted
    lora_export.export(
        adapters,
        config.model,
        config.lora,
        to,
        tokenizer=tok.path,
        base=config.model.path if known else "",
        revision=config.model.revision if known else "",
        dtype=dtype or "float32",
    )
    save(config, to.expanduser() / stored.RECIPE)
    return number


def _places(config: Config) -> int:
    """Tokens a sequence may have: the checkpoint's own limit, or else what the run was trained on."""
    return config.model.max_position_embeddings or (
        config.data.max_prompt_length + config.sampling.max_completion_length
    )
