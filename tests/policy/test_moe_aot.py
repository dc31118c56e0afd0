"""A layer of experts compiled for TPUs: what each device multiplies there, and what travels."""

import math
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding

from jaxreason.config import MeshConfig, ModelConfig
from jaxreason.parallel import rules
from jaxreason.plan import flops
from jaxreason.policy import moe
from tests.topology import tpu_mesh

pytestmark = pytest.mark.slow

E, D, F, N, k = 16, 256, 384, 4096, 4
MODEL = ModelConfig(
    hidden_size=D, num_experts=E, num_experts_per_tok=k, moe_intermediate_size=F, dtype="bfloat16"
)  # fmt: skip


@pytest.mark.tpu_aot
def test_experts_stay_on_their_devices():
    """The gradient of a layer on fsdp 4 x tensor 2. Catches experts gathered over `tensor`, a product dense over
    experts, results that are added in float32 or twice on the way back, and gradients that every device gets whole."""
    split = MeshConfig(fsdp=4, tensor=2)

    def gradients(params, x_ND, weight_Nk, expert_Nk):
        def total(params, x_ND, weight_Nk):
            out_ND = moe.Experts(MODEL).apply({"params": params}, x_ND, weight_Nk, expert_Nk)
            return (out_ND.astype(jnp.float32) ** 2).sum()

        return jax.grad(total, (0, 1, 2))(params, x_ND, weight_Nk)

    with tpu_mesh("v5e:2x4", (1, 4, 2)) as mesh, rules.RULES(split):

        def array(shape, dtype, *names):
            place = NamedSharding(mesh, rules.spec(names, shape, split, dict(mesh.shape)))
            return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

        wide = array((E, D, F), jnp.float32, "experts", "expert_embed", "expert_mlp")
        tall = array((E, F, D), jnp.float32, "experts", "expert_mlp", "expert_embed")
        params = {"gate_proj": wide, "up_proj": wide, "down_proj": tall}
        rows = (
            array((N, D), jnp.bfloat16, "batch", None),
            array((N, k), jnp.float32, "batch", None),
            array((N, k), jnp.int32, "batch", None),
        )
        places = jax.tree.map(lambda x: x.sharding, (params, *rows[:2]))
        text = jax.jit(gradients, out_shardings=places).lower(params, *rows).compile().as_text()
    assert text is not None
    assert " dot(" not in text
    assert " convolution(" not in text
    kernels = re.findall(r"custom_call_target=\"tpu_custom_call\".*\"cost_estimate\":\{\"flops\":\"(\d+)\"", text)
    assert [int(n) for n in kernels] == [2 * N // 4 * k * D * F] * 9, "rows of a device's tokens, once a product"
    counted = 8 * flops.Compiled(text, 1, flops.expert_share(split)).flops
    assert counted == 9 * 2 * N * k * D * F, "an even spread, each row once"
    sent = re.findall(r"= (\w+)\[([\d,]*)\]\S* (all-gather|all-reduce|reduce-scatter)(?:-start)?\(", text)
    sizes = {kind: sorted((dtype, _size(sides)) for dtype, sides, other in sent if other == kind) for *_, kind in sent}
    assert sizes == {
        "all-gather": [("bf16", E // 2 * D * F)] * 3,  # the width of the experts of a device
        "reduce-scatter": [("bf16", E // 2 * D * F // 4)] * 3,
        "all-reduce": [("bf16", N // 4 * D)] * 2 + [("f32", N // 4 * k)],  # of a device's tokens
    }


def _size(sides: str) -> int:
    return math.prod(int(side) for side in sides.split(","))
