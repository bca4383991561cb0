"""Writes a Llama checkpoint as an ONNX decoder with a cache of keys and values, as onnxruntime-genai's model builder makes them.

    python tests/bench/export_onnx.py MODEL OUT.onnx [--form f32|q4] [--context N] [--accuracy-level 0|4]

Weights go to OUT.onnx.data beside it. What the graph is made of, in the builder's form for WebGPU: query, key and value in one
product; GroupQueryAttention with rotary embedding inside, on a cache of fixed length whose past and present may share one buffer;
SkipSimplifiedLayerNormalization; in q4 MatMulNBits (blocks of 32, symmetric) and GatherBlockQuantized on the same codes as the
head where the two are tied. Logits are those of the last position alone.

Inputs: input_ids int64 [1, length]; seqlens_k int32 [1], positions after this run less one; total_sequence_length int32 [1], positions
after this run; past_key_values.N.key and .value float32 [1, heads, context, head_dim]. Outputs: logits float32 [1, 1, vocabulary],
present.N.key and .value of the past's shape.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parent / "export"))
import q4  # noqa: E402
from checkpoint import Checkpoint, UnsupportedCheckpoint  # noqa: E402

CONTRIB = "com.microsoft"


class Decoder:
    """Nodes and weights of the graph as they are added."""

    def __init__(self, checkpoint: Checkpoint, form: str, context: int, accuracy_level: int):
        self.checkpoint, self.shape, self.form, self.context = checkpoint, checkpoint.shape, form, context
        self.accuracy_level = accuracy_level
        self.nodes, self.weights = [], []

    def weight(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes):
        self.nodes.append(helper.make_node(operator, inputs, outputs, name="/" + outputs[0], domain=domain, **attributes))

    def codes(self, name: str, matrix: np.ndarray) -> tuple[str, str]:
        codes, scales = q4.quantize(matrix)
        return self.weight(f"{name}.codes", q4.neighbours(codes)), self.weight(f"{name}.scales", scales.astype(np.float32))

    def product(self, name: str, matrix: np.ndarray, source: str) -> str:
        """source · matrixᵀ; the matrix is [d_output, d_input]."""
        rows, columns = matrix.shape
        if self.form == "f32":
            self.node("MatMul", [source, self.weight(f"{name}.weight", matrix.T)], [name])
        else:
            self.quantized_product(name, rows, columns, source, *self.codes(name, matrix))
        return name

    def quantized_product(self, name: str, rows: int, columns: int, source: str, codes: str, scales: str):
        self.node(
            "MatMulNBits", [source, codes, scales], [name], CONTRIB,
            K=columns, N=rows, bits=4, block_size=q4.BLOCK, accuracy_level=self.accuracy_level,
        )

    def norm(self, name: str, gain: np.ndarray, stream: str, update: str | None) -> tuple[str, str]:
        """RMSNorm of stream + update; gives the normalised sum and the sum itself."""
        gain = self.weight(f"{name}.weight", gain)
        epsilon = self.shape.rms_norm_eps
        if update is None:
            self.node("SimplifiedLayerNormalization", [stream, gain], [name], epsilon=epsilon, axis=-1, stash_type=1)
            return name, stream
        total = f"{name}.sum"
        self.node("SkipSimplifiedLayerNormalization", [stream, update, gain], [name, "", "", total], CONTRIB, epsilon=epsilon)
        return name, total

    def rotary(self) -> list[str]:
        """Cosines and sines, [context, head_dim / 2]."""
        half = self.shape.head_dim // 2
        frequency = self.shape.rope_theta ** (-np.arange(half, dtype=np.float64) / half)
        angle = np.arange(self.context, dtype=np.float64)[:, None] * frequency
        return [self.weight("cos_cache", np.cos(angle).astype(np.float32)), self.weight("sin_cache", np.sin(angle).astype(np.float32))]

    def attention(self, index: int, source: str, rotary: list[str]) -> str:
        name = f"layers.{index}.attention"
        layer = self.checkpoint.layer
        packed = np.concatenate([layer(index, f"self_attn.{part}_proj") for part in "qkv"])
        qkv = self.product(f"layers.{index}.qkv", packed, source)
        past = [f"past_key_values.{index}.{part}" for part in ("key", "value")]
        present = [f"present.{index}.{part}" for part in ("key", "value")]
        self.node(
            "GroupQueryAttention", [qkv, "", "", *past, "seqlens_k", "total_sequence_length", *rotary], [name, *present], CONTRIB,
            num_heads=self.shape.num_attention_heads, kv_num_heads=self.shape.num_key_value_heads,
            scale=self.shape.head_dim**-0.5, do_rotary=1, rotary_interleaved=0, local_window_size=-1, softcap=0.0,
        )
        return self.product(f"layers.{index}.o", layer(index, "self_attn.o_proj"), name)

    def mlp(self, index: int, source: str) -> str:
        name = f"layers.{index}.mlp"
        layer = self.checkpoint.layer
        gate = self.product(f"{name}.gate", layer(index, "mlp.gate_proj"), source)
        up = self.product(f"{name}.up", layer(index, "mlp.up_proj"), source)
        self.node("Sigmoid", [gate], [f"{name}.sigmoid"])
        self.node("Mul", [gate, f"{name}.sigmoid"], [f"{name}.silu"])
        self.node("Mul", [f"{name}.silu", up], [f"{name}.product"])
        return self.product(f"{name}.down", layer(index, "mlp.down_proj"), f"{name}.product")

    def embed(self) -> tuple[str, list[str]]:
        """The embedding's output, and the weights that a tied head shares with it."""
        embedding = self.checkpoint.embedding()
        if self.form == "f32":
            table = self.weight("embed.weight", embedding)
            self.node("Gather", [table, "input_ids"], ["embed"], axis=0)
            return "embed", [table]
        codes, scales = self.codes("embed", embedding)
        rows, columns = embedding.shape
        flat = self.weight("embed.flat", np.array([rows, columns // 2], dtype=np.int64))
        self.node("Reshape", [codes, flat], ["embed.rows"])
        self.node(
            "GatherBlockQuantized", ["embed.rows", "input_ids", scales], ["embed"], CONTRIB,
            bits=4, block_size=q4.BLOCK, gather_axis=0, quantize_axis=1,
        )
        return "embed", [codes, scales]

    def head(self, source: str, shared: list[str]):
        last = self.weight("last", np.array([-1], dtype=np.int64))
        self.node("Gather", [source, last], ["last_hidden"], axis=1)
        rows, columns = self.shape.vocab_size, self.shape.hidden_size
        if self.checkpoint.tied and self.form == "q4":
            self.quantized_product("logits", rows, columns, "last_hidden", *shared)
        else:
            self.product("logits", self.checkpoint.head(), "last_hidden")

    def model(self) -> onnx.ModelProto:
        stream, shared = self.embed()
        rotary = self.rotary()
        update = None
        layer = self.checkpoint.layer
        for index in range(self.shape.num_hidden_layers):
            normed, stream = self.norm(f"layers.{index}.input_norm", layer(index, "input_layernorm"), stream, update)
            update = self.attention(index, normed, rotary)
            normed, stream = self.norm(f"layers.{index}.mlp_norm", layer(index, "post_attention_layernorm"), stream, update)
            update = self.mlp(index, normed)
        normed, _ = self.norm("norm", self.checkpoint.tensor("model.norm.weight"), stream, update)
        self.head(normed, shared)
        graph = helper.make_graph(self.nodes, "decoder", self.inputs(), self.outputs(), self.weights)
        imports = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)

    def cache(self, prefix: str) -> list:
        shape = [1, self.shape.num_key_value_heads, self.context, self.shape.head_dim]
        return [
            helper.make_tensor_value_info(f"{prefix}.{index}.{part}", TensorProto.FLOAT, shape)
            for index in range(self.shape.num_hidden_layers)
            for part in ("key", "value")
        ]

    def inputs(self) -> list:
        return [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "length"]),
            helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, [1]),
            helper.make_tensor_value_info("total_sequence_length", TensorProto.INT32, [1]),
            *self.cache("past_key_values"),
        ]

    def outputs(self) -> list:
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, self.shape.vocab_size])
        return [logits, *self.cache("present")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--form", choices=("f32", "q4"), default="f32")
    parser.add_argument("--context", type=int, default=256, help="length of the cache, in positions")
    parser.add_argument("--accuracy-level", type=int, choices=(0, 4), default=0, help="4: q4 products may round activations to eight bits")
    arguments = parser.parse_args()
    try:
        checkpoint = Checkpoint(arguments.model)
    except UnsupportedCheckpoint as error:
        sys.exit(f"export_onnx: {error}")
    model = Decoder(checkpoint, arguments.form, arguments.context, arguments.accuracy_level).model()
    data = arguments.out.with_name(arguments.out.name + ".data")
    data.unlink(missing_ok=True)  # onnx appends to a file that is there
    onnx.save(model, arguments.out, save_as_external_data=True, location=data.name, size_threshold=1024)


if __name__ == "__main__":
    main()
