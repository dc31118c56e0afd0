"""A mixture of experts in place of a layer's SwiGLU: each token goes through a few of E small ones.

No token is ever dropped and no shape depends on where tokens go: rows are sorted by expert, and each expert's product
runs over its own rows. On several devices each computes the experts it holds (`moe_mesh`). There is no auxiliary loss;
how evenly tokens spread is a metric.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxreason.config import ModelConfig
from jaxreason.ops import grouped
from jaxreason.policy.moe_mesh import over_devices
from jaxreason.types import Metrics


class Router(nn.Module):
    """A score for each expert, in float32 whatever the type of the computation: a rounded score sends a token to
    another expert."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_ND):
        """Weights and numbers [N k] of each token's experts, the best first."""
        c = self.config
        init = nn.initializers.normal(c.initializer_range)
        kernel_DE = self.param("kernel", init, (x_ND.shape[-1], c.num_experts), c.param_dtype)
        score_NE = jnp.matmul(
            x_ND.astype(jnp.float32), kernel_DE.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST
        )
        weight_Nk, expert_Nk = jax.lax.top_k(jax.nn.softmax(score_NE), c.num_experts_per_tok)
        if c.norm_topk_prob:
            weight_Nk = weight_Nk / weight_Nk.sum(-1, keepdims=True)
        return weight_Nk, expert_Nk


class Experts(nn.Module):
    """E SwiGLU layers, their matrices stacked."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_ND, weight_Nk, expert_Nk):
        """Weighted sum [N D] of each token's experts."""
        c = self.config
        E, D, F = c.num_experts, c.hidden_size, c.moe_intermediate_size

        def matrices(name, *shape):
            init = nn.initializers.normal(c.initializer_range)
            return self.param(name, init, (E, *shape), c.param_dtype).astype(c.dtype)

        gate_EDF, up_EDF, down_EFD = matrices("gate_proj", D, F), matrices("up_proj", D, F), matrices("down_proj", F, D)
        return over_devices(mix, x_ND, weight_Nk, expert_Nk, gate_EDF, up_EDF, down_EFD)


def mix(x_ND, weight_Nk, expert_Nk, gate_EDF, up_EDF, down_EFD, first):
    """Weighted sum [N D] of those of each token's experts that are among the E from number `first` on."""
    (N, k), E = expert_Nk.shape, gate_EDF.shape[0]
    own_M = expert_Nk.reshape(-1) - first  # M = N k places
    own_M = jnp.where((own_M >= 0) & (own_M < E), own_M, E)
    order_M = jnp.argsort(own_M)  # those of one expert side by side, those of other devices' last
    rows_E = jnp.bincount(own_M, length=E)
    x_MD = x_ND[order_M // k]
    h_MF = nn.silu(grouped.dot(x_MD, gate_EDF, rows_E)) * grouped.dot(x_MD, up_EDF, rows_E)
    out_MD = grouped.dot(h_MF, down_EFD, rows_E)
    out_NkD = out_MD[jnp.argsort(order_M)].reshape(N, k, -1)
    return jnp.einsum("nk,nkd->nd", weight_Nk, out_NkD, preferred_element_type=jnp.float32).astype(x_ND.dtype)


def load(expert_Nk: jax.Array, counted_N: jax.Array, num_experts: int) -> jax.Array:
    """How many times each expert was chosen by the tokens that count (bool [N]); float32 [E]."""
    chosen_Nk = jnp.broadcast_to(counted_N.astype(jnp.float32)[:, None], expert_Nk.shape)
    return jnp.zeros(num_experts, jnp.float32).at[expert_Nk].add(chosen_Nk)


def load_metrics(load_YE: Sequence[jax.Array]) -> Metrics:
    """How evenly the tokens of a batch were spread, as a mean over its layers with experts.

    Sums are weighted by the layers' choices, so that a batch of few tokens weighs little beside a full one; figures of
    several batches are averages over batches, not of the experts' totals.

    Args:
      load_YE: counts [layers E] of `load`, an array for each run of layers; empty without experts.

    Returns:
      `experts/busiest_share`, the share of choices that the busiest expert got (1/E when even);
      `experts/load_entropy`, of the shares, over that of even ones (1 when even, 0 when one expert gets all);
      `experts/unused`, the share of experts nobody chose. Count 0 where no token counts; {} without experts.

    >>> metrics = load_metrics([jnp.array([[3.0, 1.0, 0.0, 0.0]])])
    >>> {name: float(total / count) for name, (total, count) in metrics.items()}
    {'experts/busiest_share': 0.75, 'experts/load_entropy': 0.405..., 'experts/unused': 0.5}
    """
    if not load_YE:
        return {}
    all_YE = jax.lax.stop_gradient(jnp.concatenate(load_YE))
    E = all_YE.shape[-1]
    choices_Y = all_YE.sum(-1)
    share_YE = all_YE / jnp.maximum(choices_Y, 1.0)[:, None]
    entropy_Y = -jnp.where(share_YE > 0, share_YE * jnp.log(jnp.where(share_YE > 0, share_YE, 1.0)), 0.0).sum(-1)
    values = {
        "experts/busiest_share": share_YE.max(-1),
        "experts/load_entropy": entropy_Y / jnp.log(float(E)) if E > 1 else jnp.ones_like(entropy_Y),
        "experts/unused": (share_YE == 0).mean(-1),
    }
    return {name: (jnp.sum(value_Y * choices_Y), choices_Y.sum()) for name, value_Y in values.items()}
