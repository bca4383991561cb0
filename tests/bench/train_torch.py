"""The steps of `codingspot bench train` made by PyTorch and transformers, side by side.

    codingspot bench train TRAINING -o WORK --repeats 200 --precision f32 > WORK.json
    python train_torch.py WORK WORK.json [--precision f32|bf16] [--threads 2] [--compile] [-o OUT.json]

WORK has the initial weights and the batches, WORK.json the losses and times of codingspot. This program makes the
same steps from the same weights on the same batches, with torch.optim.AdamW, and prints both curves and rates. bf16
is torch.autocast's on the CPU, as transformers' Trainer would use it.
"""
import argparse
import json
import math
import time

import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("work")
parser.add_argument("figures")
parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--compile", action="store_true")
parser.add_argument("-o", "--out")
args = parser.parse_args()
torch.set_num_threads(args.threads)

ours = json.load(open(args.figures))
settings = ours["parameters"]["settings"]
train, schedule = settings["train"], settings["train"]["schedule"]
assert train["muon"] is None, "this program knows AdamW; give a training with --optimizer adamw"
batches = load_file(f"{args.work}/batches.safetensors")["batches"].long()
model = LlamaForCausalLM.from_pretrained(args.work, dtype=torch.float32)
model.config.use_cache = False
adamw = train["adamw"]
groups = [
    {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": adamw["weight_decay"]},
    {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
]
optimizer = torch.optim.AdamW(groups, lr=schedule["peak"], betas=(adamw["beta_1"], adamw["beta_2"]), eps=adamw["epsilon"], fused=True)
forward = torch.compile(model) if args.compile else model


def rate(step):
    """The learning rate of a step, as core/src/train/schedule.rs has it."""
    peak, warmup, steps = schedule["peak"], schedule["warmup_steps"], schedule["steps"]
    if step < warmup:
        return peak * (step + 1) / warmup
    decay = schedule["decay"]
    if decay == "cosine":
        fallen = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup)))
    else:
        length = decay["linear"]["steps"]
        fallen = min(1.0, max(0, step - (steps - length)) / max(1, length))
    return peak * (1 - (1 - schedule["final_share"]) * fallen)


losses, norms, seconds = [], [], []
for step, rows in enumerate(batches):
    started = time.perf_counter()
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    optimizer.zero_grad(set_to_none=True)
    loss = 0.0
    parts = rows.split(settings["batch_size"])
    targets = rows[:, 1:].numel()
    for part in parts:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            logits = forward(part[:, :-1]).logits
        part_loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), part[:, 1:].flatten(), reduction="sum") / targets
        part_loss.backward()
        loss += part_loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), train["clip_norm"] or math.inf)
    optimizer.step()
    seconds.append(time.perf_counter() - started)
    losses.append(loss)
    norms.append(norm.item())

tokens = batches.shape[1] * (batches.shape[2] - 1)
median = sorted(seconds)[len(seconds) // 2]
theirs = {
    "torch": torch.__version__, "precision": args.precision, "threads": args.threads, "compile": args.compile,
    "tokens_per_s": tokens * len(seconds) / sum(seconds), "tokens_per_s_by_median_step": tokens / median,
    "losses_nats": losses, "gradient_norms": norms,
}
gaps = [abs(a - b) for a, b in zip(ours["losses_nats"], losses)]
print(f"{'step':>6} {'codingspot':>12} {'torch':>12} {'difference':>12}")
shown = sorted({0, 1, 2, 5, 10, 20, 50, 100, 150, len(losses) - 1} & set(range(len(losses))))
for step in shown:
    print(f"{step:>6} {ours['losses_nats'][step]:>12.5f} {losses[step]:>12.5f} {gaps[step]:>12.2e}")
print(f"largest difference {max(gaps):.2e} nats, mean {sum(gaps) / len(gaps):.2e}")
print(
    f"tokens/s, all steps: codingspot {ours['tokens_per_s']:.0f} ({train['precision']}), torch {theirs['tokens_per_s']:.0f} "
    f"({args.precision}{', compiled' if args.compile else ''}): {ours['tokens_per_s'] / theirs['tokens_per_s']:.2f} times"
)
print(
    f"by the median step: {ours['tokens_per_s_by_median_step']:.0f} and {theirs['tokens_per_s_by_median_step']:.0f}: "
    f"{ours['tokens_per_s_by_median_step'] / theirs['tokens_per_s_by_median_step']:.2f} times"
)
if args.out:
    json.dump({"codingspot": ours, "torch": theirs}, open(args.out, "w"), indent=1)
