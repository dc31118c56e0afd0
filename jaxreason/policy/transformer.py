"""The decoder's layers in Flax Linen, in the shapes of Llama, SmolLM3, Qwen2, Qwen3 and Qwen3-MoE.

A layer is a pure function of its parameters; how its queries meet keys (a packed row, or a cache) is the caller's.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxreason.config import ModelConfig
from jaxreason.ops import attention, product
from jaxreason.parallel.rules import shard
from jaxreason.policy import adapted, moe
from jaxreason.policy.rope import only_where, rotate, rotation
from jaxreason.types import SEGMENT_NONE

UNROLL = 8
"""Stacks of up to this many layers are unrolled: a fifth faster on CPU than carrying activations through a scan."""


class RMSNorm(nn.Module):
    """Scale to unit root mean square, in float32, then by a learnt weight."""

    eps: float
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), self.param_dtype)
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return wide.astype(self.dtype) * jnp.expand_dims(scale.astype(self.dtype), range(x.ndim - 1))


class Dense(nn.Dense):
    """A linear layer of rows [N in], and what an adapter adds where its parameters have one: x W + (x A) B."""

    def __call__(self, inputs):
        outputs = super().__call__(inputs)
        if not self.has_variable("params", adapted.A):
            return outputs
        factors = (self.get_variable("params", adapted.A), self.get_variable("params", adapted.B))
        return outputs + adapted.added(inputs.astype(self.dtype), factors, self.dot_general)


class Block(nn.Module):
    """One layer: attention and SwiGLU (or experts), each behind a norm and on a residual.

    Matrix products see tokens as one axis: XLA's CPU backend is three times slower at the weight gradient of [B S D].
    """

    config: ModelConfig
    sparse: bool = False
    window: int = 0

    def setup(self):
        c = self.config
        self.input_layernorm = self._norm()
        self.post_attention_layernorm = self._norm()
        self.q_proj = self._dense(c.num_attention_heads * c.head_dim, c.attention_bias)
        self.k_proj = self._dense(c.num_key_value_heads * c.head_dim, c.attention_bias)
        self.v_proj = self._dense(c.num_key_value_heads * c.head_dim, c.attention_bias)
        self.o_proj = self._dense(c.hidden_size)
        if self.sparse:
            self.router = moe.Router(c)
            self.experts = moe.Experts(c)
        else:
            self.gate_proj = self._dense(c.intermediate_size)
            self.up_proj = self._dense(c.intermediate_size)
            self.down_proj = self._dense(c.hidden_size)
        if c.qk_norm:
            self.q_norm = self._norm()
            self.k_norm = self._norm()

    def _norm(self):
        return RMSNorm(self.config.rms_norm_eps, self.config.dtype, self.config.param_dtype)

    def _dense(self, features, use_bias=False):
        return Dense(
            features,
            use_bias=use_bias,
            dtype=self.config.dtype,
            param_dtype=self.config.param_dtype,
            kernel_init=nn.initializers.normal(self.config.initializer_range),
            dot_general=product.dense,
        )

    def qkv(self, x_BSD, angles):
        """Queries [B S H C], keys and values [B S J C], normalised and rotated; angles are from `rotation`, or
        None in a layer without rotary embedding."""
        c = self.config
        B, S, _ = x_BSD.shape
        x_ND = self.input_layernorm(x_BSD).reshape(B * S, -1)
        q = self.q_proj(x_ND).reshape(B, S, c.num_attention_heads, c.head_dim)
        k = self.k_proj(x_ND).reshape(B, S, c.num_key_value_heads, c.head_dim)
        v = self.v_proj(x_ND).reshape(B, S, c.num_key_value_heads, c.head_dim)
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        return (q, k, v) if angles is None else (rotate(q, *angles), rotate(k, *angles), v)

    def finish(self, x_BSD, attended_BSHC, counted_BS=None):
        """What follows attention, and how often each expert was chosen.

        Args:
          counted_BS: bool, tokens whose choices of experts count.

        Returns:
          (x_BSD, load_E); None for the load of a layer without experts, or where counted_BS is None.
        """
        B, S, D = x_BSD.shape
        x_ND = x_BSD.reshape(B * S, D) + self.o_proj(attended_BSHC.reshape(B * S, -1))
        h_ND = self.post_attention_layernorm(x_ND)
        if not self.sparse:
            x_ND = x_ND + self.down_proj(nn.silu(self.gate_proj(h_ND)) * self.up_proj(h_ND))
            return x_ND.reshape(B, S, D), None
        weight_Nk, expert_Nk = self.router(h_ND)
        x_ND = x_ND + self.experts(h_ND, weight_Nk, expert_Nk)
        load_E = None
        if counted_BS is not None:
            load_E = moe.load(expert_Nk, counted_BS.reshape(-1), self.config.num_experts)
        return x_ND.reshape(B, S, D), load_E

    def __call__(self, x_BSD, angles, segments_BS, rotated=None):
        """The whole layer over packed rows; (x_BSD, load_E) as `finish` returns them.

        Args:
          rotated: bool scalar, whether the layer has a rotary embedding; None: it has.
        """
        angles = angles if rotated is None else only_where(rotated, angles)
        q, k, v = self.qkv(x_BSD, angles)
        attended = attention.causal(
            q, k, v, segments_BS, window=self.window, implementation=self.config.attention_implementation
        )
        x_BSD, chosen_E = self.finish(x_BSD, attended, segments_BS != SEGMENT_NONE)
        return shard(x_BSD, "batch", None, None), chosen_E


class Layers(nn.Module):
    """All layers: one stack for each run of layers of one kind, named "0", "1", .. in order.

    The parameters of a stack have a leading axis, one entry a layer.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BSD, angles, segments_BS):
        """Hidden states [B S D] after the last layer, and loads [layers E] of each run that has experts."""
        c = self.config
        loads = []
        layer = nn.remat(Block, prevent_cse=False) if c.remat else Block
        for r, run in enumerate(c.layer_runs):
            stack = nn.scan(
                layer,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=(nn.broadcast, nn.broadcast, 0),  # pyright: ignore[reportArgumentType]
                length=run.count,
                unroll=run.count if run.count <= UNROLL else 1,
                # It traces a layer twice. Nothing here needs it, but initial parameters draw their keys after it.
                check_constancy_invariants=self.is_initializing(),
            )(c, run.sparse, run.window, name=str(r))
            # Data, not another kind of layer: a stack in which every fourth is not rotated stays one stack.
            rotated_Y = jnp.array([y not in c.no_rope_layers for y in range(run.first, run.first + run.count)])
            x_BSD, load_YE = stack(x_BSD, angles, segments_BS, rotated_Y if c.no_rope_layers else None)
            loads += [load_YE] if run.sparse else []
        return x_BSD, loads


class Transformer(nn.Module):
    """Embedding, layers, final norm, head."""

    config: ModelConfig

    @nn.compact
    def __call__(self, tokens_BS, positions_BS, segments_BS):
        """Final hidden states [B S D], and loads [layers E] of each run of layers with experts."""
        c = self.config
        init = nn.initializers.normal(c.initializer_range)
        embedding_VD = self.param("embed_tokens", init, (c.vocab_size, c.hidden_size), c.param_dtype)
        if not c.tie_word_embeddings:
            self.param("lm_head", init, (c.vocab_size, c.hidden_size), c.param_dtype)
        x_BSD = shard(embedding_VD.astype(c.dtype)[tokens_BS], "batch", None, None)
        angles = rotation(positions_BS, tokens_BS.shape[1], c)
        x_BSD, loads = Layers(c, name="layers")(x_BSD, angles, segments_BS)
        return RMSNorm(c.rms_norm_eps, c.dtype, c.param_dtype, name="norm")(x_BSD), loads
