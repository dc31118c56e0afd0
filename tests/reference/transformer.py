"""A decoder in plain NumPy, float64, one token and one head at a time: what the policy is compared with.

Written from the description of Qwen3 (RMSNorm before each part, grouped-query attention with normalised queries and
keys, rotary embedding with halves paired, SwiGLU), sharing nothing with the package but the names of the parameters.
"""

import numpy as np


def attend(q_SHC, k_SJC, v_SJC, segment_S, window=0):
    """Causal attention inside segments, and inside a window if there is one, a query at a time; [S H C]."""
    S, H, C = q_SHC.shape
    J = k_SJC.shape[1]
    out_SHC = np.zeros((S, H, C))
    for s in range(S):
        seen = [t for t in range(s + 1) if segment_S[t] == segment_S[s] and (not window or s - t < window)]
        for h in range(H):
            j = h // (H // J)
            score = np.array([q_SHC[s, h] @ k_SJC[t, j] for t in seen]) / np.sqrt(C)
            weight = np.exp(score - score.max())
            weight /= weight.sum()
            for t, w in zip(seen, weight, strict=True):
                out_SHC[s, h] += w * v_SJC[t, j]
    return out_SHC


def rms_norm(x, scale, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale


def rotate(x_C, position, theta):
    """Rotate the pair (c, c + C/2) by position * theta ** (-2c/C)."""
    half = len(x_C) // 2
    out_C = np.zeros_like(x_C)
    for c in range(half):
        angle = position * theta ** (-c / half)
        out_C[c] = x_C[c] * np.cos(angle) - x_C[c + half] * np.sin(angle)
        out_C[c + half] = x_C[c + half] * np.cos(angle) + x_C[c] * np.sin(angle)
    return out_C


def log_softmax(x, axis=-1):
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def logits(params, tokens_S, position_S, segment_S, config):
    """Logits [S V] of one row; entry s is about the token after s."""
    p = _float64(params)
    x_SD = p["embed_tokens"][np.asarray(tokens_S)]
    for run in (p["layers"][name] for name in sorted(p["layers"], key=int)):
        for y in range(len(run["input_layernorm"]["scale"])):
            x_SD = _layer(_pick_layer(run, y), x_SD, position_S, segment_S, config)
    x_SD = rms_norm(x_SD, p["norm"]["scale"], config.rms_norm_eps)
    return x_SD @ p["embed_tokens" if config.tie_word_embeddings else "lm_head"].T


def _layer(p, x_SD, position_S, segment_S, config):
    S, C = len(x_SD), config.head_dim

    def project(name, x):
        return x @ p[name]["kernel"] + p[name].get("bias", 0.0)

    def heads(name, norm, number):
        x_SHC = project(name, rms_norm(x_SD, p["input_layernorm"]["scale"], config.rms_norm_eps)).reshape(S, number, C)
        if norm in p:
            x_SHC = rms_norm(x_SHC, p[norm]["scale"], config.rms_norm_eps)
        return x_SHC

    def rotated(x_SHC):
        return np.array(
            [[rotate(x_C, position_S[s], config.rope_theta) for x_C in x_HC] for s, x_HC in enumerate(x_SHC)]
        )

    q_SHC = rotated(heads("q_proj", "q_norm", config.num_attention_heads))
    k_SJC = rotated(heads("k_proj", "k_norm", config.num_key_value_heads))
    v_SJC = heads("v_proj", "no norm", config.num_key_value_heads)
    x_SD = x_SD + project("o_proj", attend(q_SHC, k_SJC, v_SJC, segment_S).reshape(S, -1))
    h_SD = rms_norm(x_SD, p["post_attention_layernorm"]["scale"], config.rms_norm_eps)
    gate = project("gate_proj", h_SD)
    return x_SD + project("down_proj", gate / (1 + np.exp(-gate)) * project("up_proj", h_SD))


def _float64(tree):
    return {k: _float64(v) if isinstance(v, dict) else np.asarray(v, np.float64) for k, v in tree.items()}


def _pick_layer(tree, y):
    return {k: _pick_layer(v, y) if isinstance(v, dict) else v[y] for k, v in tree.items()}
