"""Greedy tokens of an exported decoder on onnxruntime's CPU backend, for checks.

    python tests/bench/export/greedy_onnx.py OUT.onnx PROMPT_IDS COUNT      one JSON document: {"ids": [...]}

PROMPT_IDS: numbers with commas between them.
"""

import json
import sys

import numpy as np
import onnxruntime


def greedy(path: str, prompt: list[int], count: int) -> list[int]:
    """COUNT tokens after the prompt, the most likely one each time."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {i.name: np.zeros(i.shape, np.float32) for i in session.get_inputs() if i.name.startswith("past_")}
    names = [output.name for output in session.get_outputs()]
    ids, step, position = [], prompt, 0
    while len(ids) < count:
        position += len(step)
        feeds["input_ids"] = np.array([step], np.int64)
        feeds["seqlens_k"] = np.array([position - 1], np.int32)
        feeds["total_sequence_length"] = np.array([position], np.int32)
        outputs = dict(zip(names, session.run(None, feeds)))
        for name in names[1:]:
            feeds[name.replace("present", "past_key_values")] = outputs[name]
        step = [int(outputs["logits"].argmax())]
        ids += step
    return ids


if __name__ == "__main__":
    print(json.dumps({"ids": greedy(sys.argv[1], [int(i) for i in sys.argv[2].split(",")], int(sys.argv[3]))}))
