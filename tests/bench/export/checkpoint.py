"""A Llama checkpoint in Hugging Face form (config.json, model.safetensors), read as float32."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open


class UnsupportedCheckpoint(Exception):
    """The checkpoint has a part that the exports here would leave out."""


@dataclass(frozen=True)
class Shape:
    """The sizes that both exports need, under the names of config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    bos_token_id: int
    eos_token_id: int


class Checkpoint:
    """Tensors by their Hugging Face names; `head` is the embedding where the two are tied."""

    def __init__(self, folder: Path):
        config = json.loads((folder / "config.json").read_text())
        for key in ("rope_scaling", "attention_bias", "mlp_bias"):
            if config.get(key):
                raise UnsupportedCheckpoint(f"{folder}/config.json has {key} = {config[key]}: the exports here have no such part")
        if config.get("model_type") != "llama" or config.get("hidden_act", "silu") != "silu":
            raise UnsupportedCheckpoint(f"{folder}/config.json is no Llama with SiLU")
        heads = config["num_attention_heads"]
        self.shape = Shape(
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads", heads),
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            vocab_size=config["vocab_size"],
            max_position_embeddings=config["max_position_embeddings"],
            rms_norm_eps=config["rms_norm_eps"],
            rope_theta=config.get("rope_theta", 10000.0),
            bos_token_id=config.get("bos_token_id", 0),
            eos_token_id=config.get("eos_token_id", 1),
        )
        # PyTorch's bf16 has no numpy type: torch is not needed for f16 and f32, so it isn't asked for.
        self.file = safe_open(folder / "model.safetensors", framework="numpy")
        self.tied = bool(config.get("tie_word_embeddings", False))

    def tensor(self, name: str) -> np.ndarray:
        """One tensor as float32, [d_output, d_input] for matrices."""
        return self.file.get_tensor(name).astype(np.float32)

    def layer(self, index: int, name: str) -> np.ndarray:
        """`model.layers.{index}.{name}.weight`."""
        return self.tensor(f"model.layers.{index}.{name}.weight")

    def embedding(self) -> np.ndarray:
        """[vocab_size, hidden_size]."""
        return self.tensor("model.embed_tokens.weight")

    def head(self) -> np.ndarray:
        """[vocab_size, hidden_size]."""
        return self.embedding() if self.tied else self.tensor("lm_head.weight")
