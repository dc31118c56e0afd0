"""The policy before step 0: restored, loaded or made, warm-started, and taught on chains of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from jaxreason import warmup
from jaxreason.parallel import hosts
from jaxreason.parallel.mesh import describe
from jaxreason.policy import api
from jaxreason.run import base_model
from jaxreason.run import folder as run_folder
from jaxreason.run import state as run_state
from jaxreason.run.checkpoint import Checkpoints, NoneWhole, open_checkpoints
from jaxreason.run.interrupt import Interrupt, Stopped
from jaxreason.run.progress import Display
from jaxreason.run.setup import Experiment
from jaxreason.types import Params


def starting_policy(
    exp: Experiment,
    starts: Checkpoints,
    folder: Path,
    display: Display,
    interrupt: Interrupt,
    *,
    roles: Sequence[str],
    who: str = "policy",
    teach: Callable[[Params], Params] | None = None,
) -> Params:
    """The policy before step 0: restored if it was made before, else loaded or initialised, and warm-started if asked.

    What was loaded and not warmed is loaded again by every launch and never stored a second time.

    Args:
      folder: where model.json goes.
      roles: those it is shown in the supervised start.
      who: in words.
      teach: what is done with it last, see `run.helper_lessons`.
    """
    config = exp.config
    shapes = run_state.shape_of_start(config)
    if starts.latest_step() is not None:
        try:
            return starts.restore(None, shapes)[0]
        except NoneWhole as damage:
            display.warn(f"{damage.args[0].removesuffix('; delete it to start anew')}; the start is made again")
    if exp.base:
        params = base_model.load(exp.base, config.model, display)
    else:
        build = jax.jit(api.init, static_argnames="config", out_shardings=run_state.placement(shapes))
        params = build(jax.random.key(config.run.seed), config=config.model)
    display.say(f"{who} of {api.num_params(params) / 1e6:.2f}M parameters on {describe()}")
    if config.warmup.max_steps:
        with display.bar("warm-up", config.warmup.max_steps, every=config.warmup.max_steps // 5) as advance:
            params = warmup.run(params, config, exp.tokenizer, advance, interrupt.noticed, roles=roles)
    if teach is not None:
        params = teach(params)
    if config.warmup.wanted:
        if interrupt.noticed():
            raise Stopped(f"{interrupt.signal.name}: stopped in the warm-up, which begins anew", interrupt.exit_code)
    if exp.base:
        if hosts.first():
            base_model.record(exp.base, folder)
        if not config.warmup.wanted:
            return params
    starts.save(0, params, {})
    starts.wait()
    return params


def starting_helpers(exp: Experiment, folder: Path, display: Display, interrupt: Interrupt) -> Params | None:
    """The helpers' own policy before step 0, as `starting_policy` makes it; None where the policy plays them."""
    if not exp.config.agents.separate:
        return None
    with open_checkpoints(folder / run_folder.HELPER / run_folder.START, 1) as starts:
        return starting_policy(
            exp.for_helpers,
            starts,
            folder / run_folder.HELPER,
            display,
            interrupt,
            roles=exp.config.agents.helper_roles,
            who="helpers' policy",
        )
