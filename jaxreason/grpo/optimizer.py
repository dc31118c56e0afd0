"""AdamW with a clip and a schedule, from the configuration."""

import jax
import jax.numpy as jnp
import optax

from jaxreason.config import OptimizerConfig


def make_optimizer(config: OptimizerConfig, total_steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Build the optimiser and its learning rate as a function of the number of updates made before.

    The rate rises linearly over `warmup_steps` updates, from peak / warmup_steps at the first to the peak at the last
    of them, then stays, or falls to 0 at `total_steps` (linearly, or along half a cosine). A warm-up that takes up the
    whole run leaves nothing to fall. Weight decay applies to every parameter.

    Args:
      config: names as in TRL.
      total_steps: optimiser updates of the whole run (steps times mini-batches).

    Returns:
      The transformation and the schedule, for the log.
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    left = max(1, total_steps - warmup)
    after = {
        "constant": lambda: optax.constant_schedule(peak),
        "linear": lambda: optax.linear_schedule(peak, 0.0, left),
        "cosine": lambda: optax.cosine_decay_schedule(peak, left),
    }[config.lr_scheduler_type]()
    schedule = after
    if warmup > 0:
        rise = optax.linear_schedule(peak / warmup, peak, max(1, warmup - 1))
        schedule = optax.join_schedules([rise, after], [warmup])
    adamw = optax.adamw(
        schedule,
        b1=config.adam_beta1,
        b2=config.adam_beta2,
        eps=config.adam_epsilon,
        weight_decay=config.weight_decay,
    )
    if config.max_grad_norm > 0:
        adamw = optax.chain(optax.clip_by_global_norm(config.max_grad_norm), adamw)
    return adamw, schedule


def updates_made(opt_state: optax.OptState) -> int:
    """How many updates an optimiser state has seen; one that was skipped is not among them."""
    counts = optax.tree_utils.tree_get_all_with_path(opt_state, "count")
    return int(counts[0][1])


def without_momentum(opt_state: optax.OptState) -> optax.OptState:
    """The same state with Adam's first moments at zero; its second moments, and the number of updates, stay.

    With the second moments zeroed too, and the count kept, the first updates would be several times too large.
    """
    zeros = jax.tree.map(jnp.zeros_like, optax.tree_utils.tree_get(opt_state, "mu"))
    return optax.tree_utils.tree_set(opt_state, mu=zeros)
