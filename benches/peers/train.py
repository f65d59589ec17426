"""A training step of PyTorch, beside `cargo xtask bench --suite training`.

The dense twin of the language-model example: rotary positions, squared-ReLU gate, an RMSNorm in front
of every projection, no bias, tied embedding. One JSON object a line goes to stdout.

    python3 benches/peers/train.py step --d-model 768 --d-ff 2048 --layers 12 --heads 12 \
        --context 1024 --batch-size 16 --vocabulary 256
    python3 benches/peers/train.py attention --batch-size 16 --heads 12 --context 1024 --head-width 64
    python3 benches/peers/train.py linear --tokens 8192 --outputs 4096 --inputs 4096
    python3 benches/peers/train.py loss --tokens 16384 --d-model 768 --vocabulary 128256
"""

import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


def rotate(x, cos, sin):
    """Half-split rotary embedding of `x` [batch, heads, length, width]."""
    low, high = x.chunk(2, -1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)


class Block(nn.Module):
    def __init__(self, args):
        super().__init__()
        d, ff = args.d_model, args.d_ff
        self.heads = args.heads
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.gate_up = nn.Linear(d, 2 * ff, bias=False)
        self.down = nn.Linear(ff, d, bias=False)
        self.norms = nn.ModuleList(nn.RMSNorm(n, eps=1e-5) for n in (d, d, d, ff))

    def forward(self, x, cos, sin):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norms[0](x)).chunk(3, -1)
        q, k, v = (
            t.view(batch, length, self.heads, -1).transpose(1, 2) for t in (q, k, v)
        )
        mixed = F.scaled_dot_product_attention(
            rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True
        )
        mixed = mixed.transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(self.norms[1](mixed))
        gate, up = self.gate_up(self.norms[2](x)).chunk(2, -1)
        return x + self.down(self.norms[3](F.relu(gate).square() * up))


class Model(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.embedding = nn.Embedding(args.vocabulary, args.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(args) for _ in range(args.layers))
        self.norm = nn.RMSNorm(args.d_model, eps=1e-5)
        half = args.d_model // args.heads // 2
        angles = torch.outer(
            torch.arange(args.context).float(),
            10000.0 ** (-torch.arange(half).float() / half),
        )
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids, targets, dtype):
        x = self.embedding(ids).to(dtype)
        cos, sin = self.cos.to(dtype), self.sin.to(dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def median_ms(run, warm_up=10, repeats=50):
    """Median milliseconds of `run` by device events."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def step(args):
    torch.manual_seed(0)
    if args.precision == "tf32":
        torch.backends.cuda.matmul.allow_tf32 = True
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    begun = time.perf_counter()
    model = Model(args).cuda()
    compiled = torch.compile(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True
    )
    ids = torch.randint(args.vocabulary, (args.batch_size, args.context + 1)).cuda()

    def run():
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            loss = compiled(ids[:, :-1], ids[:, 1:], dtype)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    run().item()
    first = time.perf_counter() - begun
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    for _ in range(args.steps):
        run()
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - begun) / args.steps
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "ms": 1e3 * seconds,
        "tokens_per_s": args.batch_size * args.context / seconds,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        "first_step_s": first,
    }


def attention(args):
    shape = (args.batch_size, args.heads, args.context, args.head_width)
    kv_heads = args.kv_heads or args.heads
    kv_shape = (args.batch_size, kv_heads, args.context, args.head_width)

    def random(shape):
        return torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True)

    q, k, v = random(shape), random(kv_shape), random(kv_shape)
    gradient = torch.randn(shape, device="cuda", dtype=torch.bfloat16)

    def forward():
        return F.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=kv_heads != args.heads
        )

    def both():
        torch.autograd.grad(forward(), (q, k, v), gradient)

    with torch.no_grad():
        forward_ms = median_ms(forward)
    return {"forward_ms": forward_ms, "ms": median_ms(both)}


def linear(args):
    layer = nn.Linear(args.inputs, args.outputs, bias=False, device="cuda", dtype=torch.bfloat16)
    x = torch.randn(
        args.tokens, args.inputs, device="cuda", dtype=torch.bfloat16, requires_grad=True
    )
    gradient = torch.randn(args.tokens, args.outputs, device="cuda", dtype=torch.bfloat16)

    def both():
        torch.autograd.grad(layer(x), (x, layer.weight), gradient)

    return {"ms": median_ms(both)}


def loss(args):
    table = torch.randn(args.vocabulary, args.d_model, device="cuda", requires_grad=True)
    x = torch.randn(args.tokens, args.d_model, device="cuda", dtype=torch.bfloat16)
    x.requires_grad_()
    targets = torch.randint(args.vocabulary, (args.tokens,), device="cuda")

    @torch.compile
    def value(x, table):
        logits = F.linear(x, table.bfloat16())
        return F.cross_entropy(logits.float(), targets)

    def both():
        torch.autograd.grad(value(x, table), (x, table))

    both()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    ms = median_ms(both, repeats=20)
    return {"ms": ms, "peak_gb": (torch.cuda.max_memory_allocated() - before) / 1e9}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=["step", "attention", "linear", "loss"])
    for name, value in {
        "d-model": 768,
        "d-ff": 2048,
        "layers": 12,
        "heads": 12,
        "kv-heads": 0,
        "head-width": 64,
        "context": 1024,
        "batch-size": 16,
        "vocabulary": 256,
        "tokens": 8192,
        "outputs": 4096,
        "inputs": 4096,
        "steps": 50,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", choices=["bf16", "tf32", "f32"], default="bf16")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no CUDA device")
    cases = {"step": step, "attention": attention, "linear": linear, "loss": loss}
    row = cases[args.case](args)
    row |= {
        "case": args.case,
        "command": " ".join(sys.argv[1:]),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
