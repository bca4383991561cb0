"""Trains the demo's model on a GPU that is there for minutes: many passes over the corpus in PyTorch.

    python3 demo/train_cuda.py tokens TEXTS --tokenizer tokenizer.json --repeated demo/repeated.txt -o TOKENS
    python3 demo/train_cuda.py train TOKENS --config config.json --seconds 236 -o MODEL

`tokens` needs tokenizers and no GPU: it turns what `codingspot split` wrote into a compressed stream of 16-bit
tokens, grouped by language and by whether the repository is one of those listed. `train` needs a GPU, PyTorch and
safetensors, and nothing else of the first machine. It makes what `codingspot train` makes: config.json,
model.safetensors (f16) and the log and outcome that `codingspot report` plots; add the tokenizer.json that the tokens
were made with.

The recipe is `codingspot train --optimizer muon`'s (core/src/optimizer): Muon for the blocks' matrices, AdamW for
the rest, gradients clipped, a warm-up and a line down. What differs: the schedule follows the clock, as the time is
what is given. Rows are drawn at random: of each group as often as its share says, and a part of them from the
beginning of a document, which is where models are asked and measured. What AdamW moves has a learning rate of its own.
And as the texts are seen many times, weights decay faster and there is dropout: the first training had neither and
saw nearly three times as much (18.6 passes, the listed repositories three times as often in the end), by when it knew
its texts by heart (0.10 nats a character on beginnings that it was trained on, 0.54 on those held out; now 0.36 and 0.43).
"""
import argparse
import glob
import gzip
import hashlib
import json
import lzma
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BOS, EOS = 0, 1
#: Characters and documents of a language that are measured, and tokens that they are cut to, as demo/make.mjs does.
MEASURED = {"characters": 1000, "documents": 100, "tokens": 512}


def documents(directory):
    """Language and rows of every file of a split's half."""
    for path in sorted(glob.glob(os.path.join(directory, "*.jsonl.gz"))):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield os.path.basename(path).split(".")[0], [json.loads(line) for line in lines]


def tokens(args):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(args.tokenizer)
    assert tokenizer.get_vocab_size() <= 1 << 16, "tokens are written as 16 bits"
    repeated = set(open(args.repeated, encoding="utf-8").read().split()) if args.repeated else set()
    random = np.random.default_rng(args.seed)
    pieces, groups = [], []
    for language, rows in documents(os.path.join(args.texts, "train")):
        for known in (False, True):
            texts = [row["text"] for row in rows if (row.get("repo") in repeated) == known]
            random.shuffle(texts)
            lengths = []
            for start in range(0, len(texts), 1000):
                for encoding in tokenizer.encode_batch(texts[start : start + 1000], add_special_tokens=False):
                    pieces.append(np.array([BOS, *encoding.ids, EOS], dtype="<u2"))
                    lengths.append(len(pieces[-1]))
            if lengths:
                groups.append({"language": language, "known": known, "lengths": lengths})
                print(f"{language}{' (repeated)' if known else ''}: {len(lengths)} documents, {sum(lengths)} tokens", flush=True)
    held_out = {}
    for language, rows in documents(os.path.join(args.texts, "held-out")):
        texts = [row["text"][: MEASURED["characters"]] for row in rows[: MEASURED["documents"]]]
        held_out[language] = [
            {"tokens": [BOS, *tokenizer.encode(text, add_special_tokens=False).ids][: MEASURED["tokens"]], "characters": len(text)}
            for text in texts
        ]
    os.makedirs(args.out, exist_ok=True)
    # Two literal bits by position, as tokens have two bytes.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 1, "lp": 1, "pb": 1, "dict_size": 192 << 20}]
    stream = np.concatenate(pieces).tobytes()
    with lzma.open(os.path.join(args.out, "stream.xz"), "wb", filters=filters) as out:
        out.write(stream)
    description = {"sha256": hashlib.sha256(stream).hexdigest(), "vocabulary": tokenizer.get_vocab_size(), "groups": groups, "held_out": held_out}
    with gzip.open(os.path.join(args.out, "stream.json.gz"), "wt") as out:
        json.dump(description, out)
    print(f"{len(stream) // 2} tokens in {args.out}")


def train(args):
    started = time.time()
    # Unpacked while the rest is made ready.
    pool = ThreadPoolExecutor(1)
    unpacked = pool.submit(lambda: lzma.open(os.path.join(args.tokens, "stream.xz")).read())
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    cuda = device.type == "cuda"
    config = json.load(open(args.config))
    hidden, heads, kv_heads = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    head_dim, layers, inner = config["head_dim"], config["num_hidden_layers"], config["intermediate_size"]
    assert config["tie_word_embeddings"] and not config["rope_scaling"]

    with gzip.open(os.path.join(args.tokens, "stream.json.gz"), "rt") as file:
        description = json.load(file)
    assert description["vocabulary"] <= config["vocab_size"]
    groups = description["groups"]
    counts = torch.tensor([len(group["lengths"]) for group in groups], device=device, dtype=torch.float64)
    sizes = torch.tensor([sum(group["lengths"]) for group in groups], device=device, dtype=torch.float64)
    first_document, first_token = counts.cumsum(0) - counts, sizes.cumsum(0) - sizes
    lengths = torch.tensor([length for group in groups for length in group["lengths"]], device=device)
    document_starts = lengths.cumsum(0) - lengths
    known = torch.tensor([group["known"] for group in groups], device=device)
    english = torch.tensor([group["language"] == "english" for group in groups], device=device)
    one = torch.ones_like(sizes)

    def rows(stream, done):
        """Rows of tokens, `[rows, seq_len + 1]`, when the share `done` of the training is over."""
        repeats = args.repeats[0] + (args.repeats[1] - args.repeats[0]) * done
        shares = sizes * torch.where(known, one * repeats, one) * torch.where(english, one * args.english, one)
        group = torch.multinomial(shares, args.batch_size, replacement=True)
        place, kind = torch.rand(2, args.batch_size, device=device, dtype=torch.float64)
        beginning = document_starts[(first_document[group] + place * counts[group]).long()]
        anywhere = (first_token[group] + place * sizes[group]).long()
        start = torch.where(kind < args.beginnings, beginning, anywhere).clamp(max=stream.numel() - args.seq_len - 1)
        return stream[start[:, None] + torch.arange(args.seq_len + 1, device=device)].long()

    angles = torch.outer(torch.arange(max(args.seq_len, MEASURED["tokens"])), config["rope_theta"] ** (-torch.arange(0, head_dim, 2) / head_dim))
    cos, sin = angles.cos().to(device), angles.sin().to(device)

    def normed(x, gain):
        x32 = x.float()
        return (x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + config["rms_norm_eps"]) * gain).to(x.dtype)

    def turned(x, cos, sin):
        """Rotary positions of `[batch, seq, heads, head_dim]`, halves as Hugging Face's Llama has them."""
        low, high = x.float().chunk(2, -1)
        cos, sin = cos[: x.shape[1], None], sin[: x.shape[1], None]
        return torch.cat((low * cos - high * sin, high * cos + low * sin), -1).to(x.dtype).transpose(1, 2)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            new = lambda d_output, d_input, depth=1: nn.Parameter(torch.randn(d_output, d_input) * 0.02 / math.sqrt(depth))
            self.q, self.k, self.v = new(heads * head_dim, hidden), new(kv_heads * head_dim, hidden), new(kv_heads * head_dim, hidden)
            self.o, self.down = new(hidden, heads * head_dim, 2 * layers), new(hidden, inner, 2 * layers)
            self.gate, self.up = new(inner, hidden), new(inner, hidden)
            self.attention_norm, self.mlp_norm = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.ones(hidden))

        def forward(self, x, cos, sin, dropout):
            batch, seq, _ = x.shape
            h = normed(x, self.attention_norm)
            q = turned(F.linear(h, self.q).view(batch, seq, heads, head_dim), cos, sin)
            k = turned(F.linear(h, self.k).view(batch, seq, kv_heads, head_dim), cos, sin)
            v = F.linear(h, self.v).view(batch, seq, kv_heads, head_dim).transpose(1, 2)
            k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + F.dropout(F.linear(mixed.transpose(1, 2).reshape(batch, seq, -1), self.o), dropout)
            h = normed(x, self.mlp_norm)
            return x + F.dropout(F.linear(F.silu(F.linear(h, self.gate)) * F.linear(h, self.up), self.down), dropout)

    embedding = nn.Parameter((torch.randn(config["vocab_size"], hidden) * 0.02).to(device))
    blocks = [Block().to(device) for _ in range(layers)]
    last_norm = nn.Parameter(torch.ones(hidden, device=device))
    parameters = sum(p.numel() for block in blocks for p in block.parameters()) + embedding.numel() + last_norm.numel()

    def head(x, targets, gain, embedding, reduction):
        logits = F.linear(normed(x, gain), embedding)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction=reduction)

    def loss_of(ids, run_block, run_head, dropout=0.0, reduction="mean"):
        with torch.autocast(device.type, dtype=torch.bfloat16):
            x = F.embedding(ids[:, :-1], embedding).bfloat16()
            for block in blocks:
                x = run_block(block, x, cos, sin, dropout)
            return run_head(x, ids[:, 1:], last_norm, embedding, reduction)

    eager = lambda block, *inputs: block(*inputs)

    @torch.no_grad()
    def measure(limit):
        """Held-out loss of every language: of the first `limit` documents, each from its beginning."""
        losses = {}
        for language, texts in description["held_out"].items():
            texts = texts[:limit]
            ids = torch.zeros(len(texts), MEASURED["tokens"] + 1, dtype=torch.long)
            for row, text in zip(ids, texts):
                row[: len(text["tokens"])] = torch.tensor(text["tokens"])
            counted = torch.arange(MEASURED["tokens"]) < torch.tensor([[len(text["tokens"]) - 1] for text in texts])
            nats = loss_of(ids.to(device), eager, head, reduction="none").view(len(texts), -1).cpu()[counted].sum().item()
            losses[language] = {
                "nats_per_token": nats / counted.sum().item(),
                "nats_per_character": nats / sum(text["characters"] for text in texts),
            }
        return losses

    # Matrices of one shape go through Newton-Schulz together.
    matrices = [p for block in blocks for p in block.parameters() if p.dim() > 1]
    vectors = [p for block in blocks for p in block.parameters() if p.dim() == 1] + [last_norm]
    momenta = [torch.zeros_like(p) for p in matrices]
    shapes = {}
    for index, matrix in enumerate(matrices):
        shapes.setdefault(tuple(sorted(matrix.shape)), []).append(index)
    adamw = torch.optim.AdamW(
        [{"params": [embedding], "weight_decay": args.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=args.embedding_lr, betas=(0.9, 0.95), eps=1e-8, fused=cuda,
    )

    @torch.no_grad()
    def muon(rate, momentum=0.95):
        gradients = [p.grad for p in matrices]
        torch._foreach_mul_(momenta, momentum)
        torch._foreach_add_(momenta, gradients)
        directions = torch._foreach_add(gradients, momenta, alpha=momentum)
        torch._foreach_mul_(matrices, 1 - rate * args.weight_decay)
        for shape, members in shapes.items():
            wide = [matrices[index].shape[0] <= matrices[index].shape[1] for index in members]
            x = torch.stack([directions[index] if w else directions[index].T for index, w in zip(members, wide)]).bfloat16()
            x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
            for _ in range(5):
                square = x @ x.mT
                x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
            x = x.float() * (-rate * 0.2 * math.sqrt(max(shape)))
            torch._foreach_add_([matrices[index] for index in members], [u if w else u.T for u, w in zip(x, wide)])

    run_block, run_head = eager, head
    if args.compile:
        torch._dynamo.config.cache_size_limit = 64
        compiled = torch.compile(Block.forward, dynamic=False)
        run_block, run_head = (lambda block, *inputs: compiled(block, *inputs)), torch.compile(head, dynamic=False)
    anything = torch.randint(config["vocab_size"], (args.batch_size, args.seq_len + 1), device=device)
    try:
        loss_of(anything, run_block, run_head, args.dropout).backward()
    except Exception as error:  # slower is better than none, where every minute is counted
        print(f"goes on without compilation: {type(error).__name__}: {str(error)[:2000]}", flush=True)
        run_block, run_head = eager, head
        loss_of(anything, run_block, run_head, args.dropout).backward()
    all_parameters = [*matrices, *vectors, embedding]
    for p in all_parameters:
        p.grad = None
    if cuda:
        torch.cuda.synchronize()
    raw = unpacked.result()
    assert hashlib.sha256(raw).hexdigest() == description["sha256"], "the stream of tokens is damaged"
    stream = torch.from_numpy(np.frombuffer(raw, dtype="<u2").astype(np.int32)).to(device)
    begun = time.time()
    print(f"{parameters} parameters, {len(stream)} tokens; ready after {begun - started:.0f} s", flush=True)

    os.makedirs(args.out, exist_ok=True)
    log = open(os.path.join(args.out, "training.jsonl"), "w")
    per_step = args.batch_size * args.seq_len
    waiting, lines, last, next_measurement = [], [], begun, 0.0
    step, elapsed = 0, 0.0
    limit = args.seconds - (begun - started)

    def flush():
        nonlocal last
        if not waiting:
            return
        values = torch.stack([torch.stack((loss.detach().float(), norm.float())) for _, _, loss, norm in waiting]).tolist()
        now = time.time()
        for (number, rate, _, _), (loss, norm) in zip(waiting, values):
            lines.append(loss)
            line = {"step": number, "loss_nats": loss, "gradient_norm": norm, "learning_rate": rate, "tokens": per_step,
                    "tokens_seen": (number + 1) * per_step, "seconds": (now - last) / len(waiting)}
            log.write(json.dumps(line) + "\n")
        last = now
        waiting.clear()

    while elapsed < limit:
        done = elapsed / limit
        share = min(1.0, (step + 1) / args.warmup_steps) * max(args.final_share, 1.0 - (1.0 - args.final_share) * done)
        loss = loss_of(rows(stream, done), run_block, run_head, args.dropout)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(all_parameters, 1.0, foreach=True)
        for group in adamw.param_groups:
            group["lr"] = args.embedding_lr * share
        adamw.step()
        muon(args.lr * share)
        for p in all_parameters:
            p.grad = None
        waiting.append((step, args.lr * share, loss, norm))
        step += 1
        if len(waiting) == args.flush_every:
            flush()
        elapsed = time.time() - begun
        if done >= next_measurement:
            flush()
            held_out = measure(30)
            last = time.time()
            log.write(json.dumps({"steps": step, "tokens_seen": step * per_step, "held_out": held_out}) + "\n")
            log.flush()
            code = [losses["nats_per_character"] for language, losses in held_out.items() if language not in ("english", "python")]
            print(f"{elapsed:5.0f} s  step {step:6}  {step * per_step / 1e6:7.1f} M tokens  {step * per_step / max(elapsed, 1e-9) / 1e3:6.0f} k/s  "
                  f"loss {np.mean(lines[-50:]):.4f}  held out: code {np.mean(code):.4f} nats a character, "
                  f"English {held_out.get('english', {}).get('nats_per_character', math.nan):.4f}", flush=True)
            assert math.isfinite(lines[-1]), "the loss is no number"
            next_measurement = done + args.measure_every
    flush()
    seconds = time.time() - begun
    held_out = measure(MEASURED["documents"])
    log.write(json.dumps({"steps": step, "tokens_seen": step * per_step, "held_out": held_out}) + "\n")
    log.close()

    names = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj", "gate": "mlp.gate_proj",
             "up": "mlp.up_proj", "down": "mlp.down_proj", "attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    weights = {"model.embed_tokens.weight": embedding, "model.norm.weight": last_norm}
    for number, block in enumerate(blocks):
        weights.update({f"model.layers.{number}.{names[name]}.weight": p for name, p in block.named_parameters()})
    from safetensors.torch import save_file

    save_file({name: p.detach().to("cpu", torch.float16).contiguous() for name, p in weights.items()},
              os.path.join(args.out, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(args.out, "config.json"), "w") as file:
        json.dump({**config, "torch_dtype": "float16"}, file, indent=1)
    name = torch.cuda.get_device_name(device) if cuda else "CPU"
    outcome = {
        "settings": {
            "train": {
                "adamw": {"beta_1": 0.9, "beta_2": 0.95, "epsilon": 1e-8, "weight_decay": args.weight_decay},
                "muon": {"momentum": 0.95, "weight_decay": args.weight_decay},
                "schedule": {"peak": args.lr, "warmup_steps": args.warmup_steps, "steps": step, "final_share": args.final_share,
                             "decay": {"linear": {"steps": step}}},
                "clip_norm": 1.0, "precision": "bf16",
            },
            "batch_size": args.batch_size, "accumulate": 1, "seq_len": args.seq_len, "seed": args.seed,
            "device": f"{name}, PyTorch {torch.__version__}", "init": None, "tokens": description["sha256"],
        },
        "parameters": parameters, "steps": step, "tokens_seen": step * per_step, "corpus_tokens": len(stream), "seconds": seconds,
        "last_losses": float(np.mean(lines[-50:])), "held_out": held_out, "finished": True, "versions": {"torch": torch.__version__},
        "sampling": {"repeats": args.repeats, "english": args.english, "beginnings": args.beginnings, "embedding_lr": args.embedding_lr, "dropout": args.dropout},
    }
    with open(os.path.join(args.out, "training.json"), "w") as file:
        json.dump(outcome, file, indent=1)
    for language, losses in held_out.items():
        print(f"{language:<12} {losses['nats_per_token']:.4f} nats a token  {losses['nats_per_character']:.4f} a character")
    print(f"{step} steps, {step * per_step} tokens in {seconds:.0f} s, {step * per_step / seconds:.0f} tokens/s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("tokens", help="turn a split's texts into tokens")
    command.set_defaults(run=tokens)
    command.add_argument("texts", help="what codingspot split wrote")
    command.add_argument("--tokenizer", required=True)
    command.add_argument("--repeated", help="repositories to draw more often, one a line")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("-o", "--out", required=True)
    command = commands.add_parser("train", help="train on them")
    command.set_defaults(run=train)
    command.add_argument("tokens", help="what tokens wrote")
    command.add_argument("--config", required=True, help="a Llama's config.json, with tied embeddings")
    command.add_argument("--seconds", type=float, required=True, help="from the program's start to the last step")
    command.add_argument("-o", "--out", required=True)
    command.add_argument("--device", default="cuda")
    command.add_argument("--batch-size", type=int, default=64, help="rows of a step")
    command.add_argument("--seq-len", type=int, default=1024, help="target tokens of a row")
    command.add_argument("--lr", type=float, default=5e-3, help="of the blocks' matrices, by Muon")
    command.add_argument("--embedding-lr", type=float, default=3e-3, help="of the rest, by AdamW")
    command.add_argument("--weight-decay", type=float, default=0.3)
    command.add_argument("--dropout", type=float, default=0.1, help="of what each attention and each MLP adds")
    command.add_argument("--warmup-steps", type=int, default=100)
    command.add_argument("--final-share", type=float, default=0.01, help="of the learning rates, at the end")
    command.add_argument("--repeats", type=float, nargs=2, default=[1.5, 1.5], help="how often the listed repositories are drawn, at the beginning and at the end")
    command.add_argument("--english", type=float, default=0.4, help="how often prose is drawn")
    command.add_argument("--beginnings", type=float, default=0.4, help="share of rows that begin with a document")
    command.add_argument("--measure-every", type=float, default=0.1, help="share of the time between measurements")
    command.add_argument("--flush-every", type=int, default=50, help="steps between readings of the loss")
    command.add_argument("--no-compile", dest="compile", action="store_false")
    command.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.run(args)
