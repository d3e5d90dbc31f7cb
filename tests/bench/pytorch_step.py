"""Time of the same training step in PyTorch, for comparison: EfficientNet-B0 on [2 pairs][C][64][501]
features with the published padding, projection, LayerNorm, tanh, bilinear similarity, cross-entropy, Adam.

usage: pytorch_step.py [--device cpu|cuda] [--pairs N,...] [--variants eager,compiled,graphs] [--bf16] [--steps N] [--warmup N]
                       [--threads N] [--json]

Features are random and already where the model is; no dropout, no stochastic depth: as `cocola bench step`. Layout channels
last, fused Adam. Every combination of pairs and variants is measured and printed at once; exit code 1 where one failed.
"""
import argparse
import json
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    sys.exit("pytorch_step: no torch here; skipped")

# repeats, kernel, stride, expansion, channels out
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]


class Pad(nn.Module):
    """Zeros as computed for a 224 x 224 image: strided convolutions pad more behind than before."""

    def __init__(self, kernel, stride):
        super().__init__()
        both = kernel - stride if stride == 2 else kernel - 1
        self.pads = (both // 2, both - both // 2) * 2

    def forward(self, x):
        return F.pad(x, self.pads)


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    def __init__(self, kernel, stride, expansion, inputs, outputs):
        super().__init__()
        wide = inputs * expansion
        self.skip = stride == 1 and inputs == outputs
        self.expand = nn.Sequential(nn.Conv2d(inputs, wide, 1, bias=False), norm(wide), nn.SiLU()) if expansion > 1 else nn.Identity()
        self.depthwise = nn.Sequential(Pad(kernel, stride), nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False), norm(wide), nn.SiLU())
        squeeze = max(1, inputs // 4)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, squeeze, 1), nn.SiLU(), nn.Conv2d(squeeze, wide, 1), nn.Sigmoid())
        self.project = nn.Sequential(nn.Conv2d(wide, outputs, 1, bias=False), norm(outputs))

    def forward(self, x):
        z = self.depthwise(self.expand(x))
        z = self.project(z * self.gate(z))
        return x + z if self.skip else z


class Model(nn.Module):
    def __init__(self, channels):
        super().__init__()
        layers = [Pad(3, 2), nn.Conv2d(channels, 32, 3, 2, bias=False), norm(32), nn.SiLU()]
        inputs = 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for i in range(repeats):
                layers.append(Block(kernel, stride if i == 0 else 1, expansion, inputs, outputs))
                inputs = outputs
        layers += [nn.Conv2d(inputs, 1280, 1, bias=False), norm(1280), nn.SiLU()]
        self.encoder = nn.Sequential(*layers)
        self.projection = nn.Linear(1280, 512)
        self.layer_norm = nn.LayerNorm(512)
        self.w = nn.Parameter(0.05 * torch.randn(512, 512))

    def forward(self, x):
        h = self.projection(self.encoder(x).mean((2, 3)))
        h = torch.tanh(self.layer_norm(h.float()))
        n = len(h) // 2
        return F.cross_entropy(h[:n] @ self.w @ h[n:].t(), torch.arange(n, device=h.device))


# How the model is called: as it is, compiled, compiled and recorded as a CUDA graph.
VARIANTS = {"eager": lambda model: model, "compiled": torch.compile, "graphs": lambda model: torch.compile(model, mode="reduce-overhead")}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", default="32", help="one or more numbers, with commas")
    parser.add_argument("--variants", default="eager", help="of " + ", ".join(VARIANTS))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--json", action="store_true", help="one object a line")
    return parser.parse_args()


def synchronize(device):
    if device != "cpu":
        torch.cuda.synchronize()


def measure(a, variant, pairs):
    """Seconds of every step, and the last loss."""
    torch.manual_seed(1)
    model = Model(2).to(a.device, memory_format=torch.channels_last)
    x = (-80 * torch.rand(2 * pairs, 2, 64, 501)).to(a.device, memory_format=torch.channels_last)
    on_gpu = a.device != "cpu"
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=on_gpu)
    forward = VARIANTS[variant](model)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda" if on_gpu else "cpu", torch.bfloat16, enabled=a.bf16):
            loss = forward(x)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(a.warmup):
        step()
    seconds = []
    for _ in range(a.steps):
        synchronize(a.device)
        begin = time.perf_counter()
        loss = step()
        synchronize(a.device)
        seconds.append(time.perf_counter() - begin)
    return sorted(seconds), loss.item()


def versions(a):
    cudnn = torch.backends.cudnn.version() if a.device != "cpu" else None
    return "PyTorch %s%s" % (torch.__version__, ", cuDNN %d" % cudnn if cudnn else "")


def report(a, variant, pairs):
    row = {"variant": variant, "pairs": pairs, "what": f"{versions(a)}, {a.device}, {variant}, {'bf16 autocast' if a.bf16 else 'fp32'}"}
    if a.device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        seconds, loss = measure(a, variant, pairs)
    except Exception as fault:  # one variant that does not work must not cost the others
        row["error"] = "%s: %s" % (type(fault).__name__, str(fault).strip().splitlines()[0] if str(fault).strip() else "")
    else:
        median = seconds[len(seconds) // 2]
        memory = torch.cuda.max_memory_allocated() / 1e9 if a.device != "cpu" else None
        row.update(median=median, least=seconds[0], clips_per_second=2 * pairs / median, loss=loss, gigabytes=memory)
    if a.json:
        print(json.dumps(row), flush=True)
    elif "error" in row:
        print(f"{row['what']}: {pairs} pairs: {row['error']}", flush=True)
    else:
        print(f"{row['what']}: {pairs} pairs, median {row['median']:.4f} s, least {row['least']:.4f}, {row['clips_per_second']:.1f} clips/s, loss {row['loss']:.3f}", flush=True)
    return "error" not in row


def main():
    a = parse()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.backends.cudnn.benchmark = True
    # products of floats as the backend cuda's: of TF32 where activations are bf16
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = a.bf16
    done = [report(a, variant, int(pairs)) for pairs in a.pairs.split(",") for variant in a.variants.split(",")]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
