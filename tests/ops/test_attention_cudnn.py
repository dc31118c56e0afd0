"""cuDNN's attention: what it is asked for, on any machine; its answers, where there is an NVIDIA GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.ops import attention, attention_cudnn
from tests.helpers import TOLERANCE
from tests.reference import transformer as reference

RNG = np.random.default_rng(0)


def _inputs(B, S, H, J, C):
    q, k, v = (RNG.standard_normal((B, S, n, C), np.float32) for n in (H, J, J))
    segments_BS = np.sort(RNG.integers(0, 3, (B, S)), axis=1).astype(np.int32)
    return q, k, v, segments_BS


@pytest.mark.parametrize("window", [0, 1, 9])
@pytest.mark.parametrize(("H", "J"), [(4, 2), (3, 3)])
def test_the_call_is_causal_attention(window, H, J):
    """Catches a mask of the wrong way round, heads paired in another order, a wrong scale, padding that is seen."""
    q, k, v, segments_BS = _inputs(2, 37, H, J, 8)
    got = attention_cudnn.causal(q, k, v, segments_BS, window, kernel="xla")
    for b in range(2):
        want = reference.attend(*(x[b].astype(np.float64) for x in (q, k, v)), segments_BS[b], window)
        np.testing.assert_allclose(got[b], want, atol=TOLERANCE["sum"])


def test_the_call_is_one_that_jax_makes_of_cudnn(monkeypatch):
    """Catches shapes and types that JAX refuses to give to cuDNN, forward or backward: it checks them as it lowers."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91000)
    q, k, v, segments_BS = _inputs(2, 37, 4, 2, 32)
    q, k, v = (x.astype(jnp.bfloat16) for x in (q, k, v))

    def loss(q, k, v):
        return attention_cudnn.causal(q, k, v, segments_BS, 9).astype(jnp.float32).sum()

    text = jax.jit(jax.grad(loss, (0, 1, 2))).trace(q, k, v).lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmhaScaleBiasSoftmax(" in text
    assert "__cudnn$fmhaScaleBiasSoftmaxBackward(" in text
    assert "2x4x64x64xbf16" not in text  # the mask is one for all heads


@pytest.mark.gpu
@pytest.mark.parametrize("window", [0, 100])
@pytest.mark.parametrize("C", [64, 128])
def test_cudnn_is_the_blockwise_form(window, C):
    """Catches a kernel that ignores the mask, forward or backward; in bfloat16, against float32."""
    if jax.default_backend() != "gpu":
        pytest.skip("needs an NVIDIA GPU: pip install jaxreason[cuda], and JAX_PLATFORMS=cuda")
    q, k, v, segments_BS = _inputs(2, 700, 4, 2, C)
    direction = RNG.standard_normal(q.shape, np.float32)

    def both(dtype, implementation):
        def total(q, k, v):
            out = attention.causal(q, k, v, segments_BS, window=window, implementation=implementation)
            return (out.astype(jnp.float32) * direction).sum(), out

        gradient = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))
        gradients, out = gradient(*(x.astype(jnp.bfloat16).astype(dtype) for x in (q, k, v)))
        return [np.asarray(x, np.float32) for x in (out, *gradients)]

    for a, b in zip(both(jnp.bfloat16, "cudnn"), both(jnp.float32, "xla"), strict=True):
        scale = np.abs(b).max()
        np.testing.assert_allclose(a / scale, b / scale, atol=TOLERANCE["bfloat16"])
