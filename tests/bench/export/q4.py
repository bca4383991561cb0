"""Four-bit blocks of 32 for onnxruntime, rounded as ggml's Q4_0 rounds, so that the peers run the same model.

It is also the rounding of onnxruntime's own symmetric quantizer, but for scales in half precision: in each block of 32 values along the
input, scale = (the value of largest magnitude) / -8 in half precision, code = clip(round-half-up(value / scale) + 8, 0, 15), and a
code stands for (code - 8) * scale.
"""

import numpy as np

BLOCK = 32


def quantize(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[rows, columns] to codes, uint8 [rows, blocks, 32], and scales, float16 [rows, blocks]; a last block is filled with zeros."""
    rows, columns = matrix.shape
    matrix = np.pad(matrix, ((0, 0), (0, -columns % BLOCK)))
    blocks = matrix.reshape(rows, -1, BLOCK)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=-1)[..., None], axis=-1)
    scale = extreme / np.float32(-8)
    with np.errstate(divide="ignore"):
        inverse = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
    codes = np.clip(np.trunc(blocks * inverse + np.float32(8.5)), 0, 15).astype(np.uint8)
    return codes, scale[..., 0].astype(np.float16)


def neighbours(codes: np.ndarray) -> np.ndarray:
    """Bytes of values 2i (low half) and 2i + 1 (high half): onnxruntime's order. [rows, blocks, 16]."""
    return codes[..., 0::2] | (codes[..., 1::2] << 4)
