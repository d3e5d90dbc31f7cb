"""The same loss in PyTorch, for comparison with `cocola bench loss`: logits h1 W h2' of all rows and columns at once,
cross-entropy, gradients at h1, h2 and W by autograd, in fp32.

usage: pytorch_loss.py [--rows N] [--columns K] [--d N] [--std X] [--repeats N] [--threads N] [--device cpu|cuda] [--json]

Embeddings are random, tanh of normal numbers; W gives logits of the standard deviation --std: as `cocola bench loss`. Prints
median processor time (all threads) and time of one loss, and the largest memory: of the process on a CPU, that of tensors on
a GPU. Run it in turns with `cocola bench loss`, which says the same of itself.
"""
import argparse
import json
import resource
import statistics
import sys
import time

try:
    import torch
    from torch.nn import functional as F
except ImportError:
    sys.exit("pytorch_loss: no torch here; skipped")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--columns", type=int, default=0, help="default: as many as rows")
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--std", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="one object")
    return parser.parse_args()


def make(args):
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    h1, h2 = (torch.tanh(normal(n, args.d)) for n in (args.rows, args.columns))
    w = normal(args.d, args.d) * (args.std / (0.394 * args.d))
    label = torch.arange(args.rows) % args.columns
    return [x.to(args.device).requires_grad_() for x in (h1, h2, w)], label.to(args.device)


def one_loss(tensors, label):
    h1, h2, w = tensors
    for x in tensors:
        x.grad = None
    loss = F.cross_entropy(h1 @ w @ h2.t(), label)
    loss.backward()
    return loss.item()


def largest_memory(device):
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main():
    args = parse()
    args.columns = args.columns or args.rows
    if args.threads:
        torch.set_num_threads(args.threads)
    before = largest_memory(args.device)
    tensors, label = make(args)
    core, wall = [], []
    for _ in range(args.repeats):
        core.append(-time.process_time())
        wall.append(-time.perf_counter())
        loss = one_loss(tensors, label)
        if args.device != "cpu":
            torch.cuda.synchronize()
        wall[-1] += time.perf_counter()
        core[-1] += time.process_time()
    result = {
        "rows": args.rows,
        "columns": args.columns,
        "d": args.d,
        "loss": loss,
        "core_seconds": statistics.median(core),
        "seconds": statistics.median(wall),
        "megabytes": 1e-6 * largest_memory(args.device),
        "megabytes_before": 1e-6 * before,
        "torch": torch.__version__,
    }
    if args.json:
        print(json.dumps(result))
        return
    print("loss        %d rows, %d columns, d %d, logits of standard deviation %g" % (args.rows, args.columns, args.d, args.std))
    print("torch       %s, %s, %d threads" % (torch.__version__, args.device, torch.get_num_threads()))
    print("%-11s %.6f core seconds, %.6f seconds, median of %d" % ("all", result["core_seconds"], result["seconds"], args.repeats))
    print("memory      %.0f MB at most, %.0f MB of them before there were embeddings" % (result["megabytes"], result["megabytes_before"]))
    print("result      loss %.9g" % loss)


if __name__ == "__main__":
    main()
