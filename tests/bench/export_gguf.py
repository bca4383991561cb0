"""Writes a Llama checkpoint as GGUF, as llama.cpp's converter does it.

    python tests/bench/export_gguf.py MODEL OUT.gguf [--form f32|f16|q8|q4]

q8 is Q8_0 and q4 is Q4_0 for every matrix, the embedding too; a matrix whose rows have no whole blocks of 32 stays f16, which is what
llama.cpp's own quantizer does. Vectors are f32.

The vocabulary is made up: piece i is a space and the number i. Measurements give and take ids alone, so the text that comes out of
llama.cpp can be read back as ids, whatever tokenizer the model has, or none.
"""

import argparse
import sys
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "export"))
from checkpoint import Checkpoint, UnsupportedCheckpoint  # noqa: E402

BLOCK = 32
TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "q8": gguf.GGMLQuantizationType.Q8_0,
    "q4": gguf.GGMLQuantizationType.Q4_0,
}
FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8": gguf.LlamaFileType.MOSTLY_Q8_0,
    "q4": gguf.LlamaFileType.MOSTLY_Q4_0,
}
PARTS = {
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "self_attn.v_proj": "attn_v",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def interleave(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from (first halves, second halves) to pairs, which is what llama.cpp's rotary embedding turns."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


class File:
    """A GGUF file in the making."""

    def __init__(self, path: Path, form: str):
        self.form = form
        self.writer = gguf.GGUFWriter(path, "llama")

    def add(self, name: str, values: np.ndarray):
        kind = TYPES[self.form] if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        if self.form in ("q8", "q4") and values.ndim == 2 and values.shape[1] % BLOCK:
            kind = gguf.GGMLQuantizationType.F16
        self.writer.add_tensor(f"{name}.weight", gguf.quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)

    def metadata(self, shape):
        writer = self.writer
        writer.add_context_length(shape.max_position_embeddings)
        writer.add_embedding_length(shape.hidden_size)
        writer.add_block_count(shape.num_hidden_layers)
        writer.add_feed_forward_length(shape.intermediate_size)
        writer.add_head_count(shape.num_attention_heads)
        writer.add_head_count_kv(shape.num_key_value_heads)
        writer.add_key_length(shape.head_dim)
        writer.add_value_length(shape.head_dim)
        writer.add_rope_dimension_count(shape.head_dim)
        writer.add_rope_freq_base(shape.rope_theta)
        writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
        writer.add_vocab_size(shape.vocab_size)
        writer.add_file_type(FILE_TYPES[self.form])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)

    def vocabulary(self, shape):
        writer = self.writer
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([f"\u2581{i}" for i in range(shape.vocab_size)])
        writer.add_token_scores([0.0] * shape.vocab_size)
        writer.add_token_types([gguf.TokenType.NORMAL] * shape.vocab_size)
        writer.add_bos_token_id(shape.bos_token_id)
        writer.add_eos_token_id(shape.eos_token_id)
        writer.add_add_bos_token(False)
        writer.add_add_space_prefix(False)

    def tensors(self, checkpoint: Checkpoint):
        shape = checkpoint.shape
        self.add("token_embd", checkpoint.embedding())
        self.add("output_norm", checkpoint.tensor("model.norm.weight"))
        if not checkpoint.tied:
            self.add("output", checkpoint.head())
        for index in range(shape.num_hidden_layers):
            block = f"blk.{index}"
            query, key = (checkpoint.layer(index, f"self_attn.{part}_proj") for part in "qk")
            self.add(f"{block}.attn_q", interleave(query, shape.num_attention_heads))
            self.add(f"{block}.attn_k", interleave(key, shape.num_key_value_heads))
            for part, name in PARTS.items():
                self.add(f"{block}.{name}", checkpoint.layer(index, part))

    def write(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--form", choices=tuple(TYPES), default="f32")
    arguments = parser.parse_args()
    try:
        checkpoint = Checkpoint(arguments.model)
    except UnsupportedCheckpoint as error:
        sys.exit(f"export_gguf: {error}")
    file = File(arguments.out, arguments.form)
    file.metadata(checkpoint.shape)
    file.vocabulary(checkpoint.shape)
    file.tensors(checkpoint)
    file.write()


if __name__ == "__main__":
    main()
