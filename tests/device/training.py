"""Stages: training on songs made here. Loss curves, repetition, ranks that share the GPU or die."""

import filecmp
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

from harness import TREE, Failed, descendants, end_all

# How far two right programs may drift, in units of ln(pairs), the loss of chance. The first loss
# is one forward pass; afterwards Adam turns the rounding of gradients that should be zero into
# steps, so single losses part and only their course is the same.
TOLERANCES = {
    "fp32": {"first": 1e-4, "mean": 0.01, "worst": 0.05},
    "bf16": {"first": 0.01, "mean": 0.05, "worst": 0.20},
}


def sizes(ctx):
    if ctx.emulated:
        steps = 2 if ctx.quick else 6
        # two pairs are two rows, where every rounding shows: a rate at which they keep their places
        return {"width": 0.1, "depth": 0.1, "crop": 1, "batch": 2, "steps": steps, "rate": 1e-4}
    # songs of make_songs.py have 30 windows
    return {"width": 0.35, "depth": 0.6, "crop": 2.5, "batch": 24, "steps": 30, "rate": 3e-3}


def store(ctx):
    """Songs of tests/make_songs.py, preprocessed."""
    folder = ctx.work / "store"
    if not folder.exists():
        ctx.must(
            [sys.executable, TREE / "tests/make_songs.py", ctx.work / "stems"],
            "making songs",
            60,
            ours=False,
        )
        ctx.must(
            [
                ctx.cocola,
                "preprocess",
                "--layout",
                "folder",
                "--in",
                ctx.work / "stems",
                "--out",
                folder,
            ],
            "preprocessing",
            60,
        )
    return folder


def command(ctx, run, backend, precision, **more):
    size = sizes(ctx)
    settings = {
        "data.train": store(ctx),
        "data.crop": size["crop"],
        "data.windows": "random",
        "data.channel_mode": "both",
        "model.width": size["width"],
        "model.depth": size["depth"],
        "model.dropout": 0,
        "model.stochastic_depth": 0,
        "model.bn_group": 0,
        "model.backend": backend,
        "model.precision": precision,
        "train.batch": size["batch"],
        "train.steps": size["steps"],
        "train.log_every": 1,
        "train.valid_every": 0,
        "train.checkpoint_every": size["steps"],
        "train.learning_rate": size["rate"],
        "train.warmup": size["steps"] // 6,
        "model.similarity_init": "identity",
        "model.similarity_scale": 0.01,
        "train.similarity_rate": 0.03,
        "data.noise": 0,
    }
    settings.update({name.replace("__", "."): value for name, value in more.items()})
    config = ctx.work / "empty.yaml"
    config.write_text("{}\n")
    words = [ctx.cocola, "train", "--config", config, "--out", run]
    for name, value in settings.items():
        words += [
            "--set",
            "%s=%s" % (name, str(value).lower() if isinstance(value, bool) else value),
        ]
    return words


def losses(run):
    """Of the steps so far; a line that is being written is left out."""
    path = run / "log.jsonl"
    text = path.read_text() if path.exists() else ""
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "train"]


def train(ctx, name, backend, precision, ranks=1, limit=90, **more):
    """Losses of a run; its folder is remembered by name."""
    run = ctx.work / name
    subprocess.run(["rm", "-rf", str(run)], check=True)
    words = command(ctx, run, backend, precision, **more)
    done = ctx.must(ctx.ranks(ranks, words) if ranks > 1 else words, name, limit)
    seen = losses(run)
    if len(seen) != more.get("train__steps", sizes(ctx)["steps"]) or None in seen:
        raise Failed("%s: %d losses, some not finite" % (name, len(seen)), {"losses": seen})
    ctx.found[name] = run
    return seen, done


def compare(ctx, seen, want, bars):
    """{first, mean, worst}: differences in units of the loss of chance; and the faults."""
    off = [abs(a - b) / math.log(sizes(ctx)["batch"]) for a, b in zip(seen, want)]
    got = {"first": off[0], "mean": sum(off) / len(off), "worst": max(off)}
    return got, [
        "%s %.2g, allowed %.2g" % (name, got[name], bars[name])
        for name in bars
        if not got[name] <= bars[name]
    ]


def curve(ctx):
    """Training of the narrow network on cuda in fp32 and bf16 follows that on cpu."""
    curves, differences, faults = {}, {}, []
    curves["cpu"], _ = train(ctx, "curve_cpu", "cpu", "fp32", limit=150)
    for precision, bars in TOLERANCES.items():
        curves[precision], _ = train(ctx, "curve_" + precision, "cuda", precision)
        differences[precision], wrong = compare(ctx, curves[precision], curves["cpu"], bars)
        faults += ["%s: %s" % (precision, fault) for fault in wrong]
    data = {
        "size": sizes(ctx),
        "losses": curves,
        "differences": differences,
        "tolerances": TOLERANCES,
    }
    if not ctx.emulated and not curves["cpu"][-1] < curves["cpu"][0]:
        faults.append("cpu: the loss does not fall")
    if faults:
        raise Failed("; ".join(faults), data)
    return (
        "%d steps; off from cpu, first and mean, in units of chance: fp32 %.1e and %.1e, "
        "bf16 %.1e and %.1e"
        % (
            sizes(ctx)["steps"],
            differences["fp32"]["first"],
            differences["fp32"]["mean"],
            differences["bf16"]["first"],
            differences["bf16"]["mean"],
        ),
        data,
    )


def smooth(curve, width):
    """Means over `width` steps: single losses are of single batches."""
    return [sum(curve[i : i + width]) / width for i in range(len(curve) - width + 1)]


def apart(a, b):
    """The mean distance of two smoothed curves."""
    width = max(1, len(a) // 10)
    distances = [abs(x - y) for x, y in zip(smooth(a, width), smooth(b, width))]
    return sum(distances) / len(distances)


def seeds(ctx):
    """bf16 departs from fp32 by less than three seeds of fp32 depart from each other."""
    steps = 200 if not ctx.emulated else sizes(ctx)["steps"]
    long = {"train__steps": steps, "train__warmup": steps // 6, "train__checkpoint_every": steps}
    single = [
        train(ctx, "seed_%d" % seed, "cuda", "fp32", train__seed=seed, **long)[0]
        for seed in (1, 2, 3)
    ]
    half, _ = train(ctx, "seed_1_bf16", "cuda", "bf16", train__seed=1, **long)
    spread = sum(apart(single[i], single[j]) for i, j in ((0, 1), (0, 2), (1, 2))) / 3
    data = {
        "steps": steps,
        "losses": {"fp32, seed %d" % (i + 1): curve for i, curve in enumerate(single)},
        "spread": spread,
        "bf16": apart(half, single[0]),
    }
    data["losses"]["bf16, seed 1"] = half
    if not data["bf16"] <= spread:
        raise Failed("bf16 is %.3g from fp32, seeds are %.3g apart" % (data["bf16"], spread), data)
    return (
        "%d steps: bf16 is %.3g from fp32 of its seed, seeds of fp32 are %.3g apart"
        % (steps, data["bf16"], spread),
        data,
    )


def repeat(ctx):
    """Two runs end in the same bytes."""
    data = {}
    for precision in ("bf16",) if ctx.emulated and ctx.quick else ("bf16", "fp32"):
        first = ctx.found.get("curve_" + precision)
        if first is None:
            train(ctx, "curve_" + precision, "cuda", precision)
            first = ctx.found["curve_" + precision]
        train(ctx, "repeat_" + precision, "cuda", precision)
        pair = [run / "checkpoints/last.h5" for run in (first, ctx.found["repeat_" + precision])]
        same = filecmp.cmp(*pair, shallow=False)
        data[precision] = {"same": same, "bytes": pair[0].stat().st_size}
        if not same:
            raise Failed("%s: the checkpoints of two runs differ" % precision, data)
    return "checkpoints of %s equal, byte by byte" % " and ".join(data), data


# ---- ranks ----

SHARED = {"comm__share_gpu": True, "comm__deadline": 30}


def ranks(ctx):
    """Two ranks on the one GPU compute what one does: through the host's memory, and by NCCL, which
    is told of two hosts (comm/nccl_start.c sets NCCL_HOSTID)."""
    if "curve_fp32" not in ctx.found:
        train(ctx, "curve_fp32", "cuda", "fp32")
    want = losses(ctx.found["curve_fp32"])
    data, faults = {"one": want}, []
    for kind in ("mpi", "nccl"):
        try:
            seen, _ = train(
                ctx, "ranks_" + kind, "cuda", "fp32", ranks=2, comm__backend=kind, **SHARED
            )
        except Failed as failure:
            faults.append("%s: %s" % (kind, failure))
            continue
        got, wrong = compare(ctx, seen, want, TOLERANCES["fp32"])
        data[kind] = {"losses": seen, "differences": got}
        faults += ["%s: %s" % (kind, fault) for fault in wrong]
    if faults:
        raise Failed("; ".join(faults), data)
    return (
        "first losses off by %.1e (mpi), %.1e (nccl)"
        % (data["mpi"]["differences"]["first"], data["nccl"]["differences"]["first"]),
        data,
    )


def rank_processes(launcher):
    """Process ids of the launcher's ranks, in their order, which their environment tells."""
    found = {}
    for pid in descendants(launcher):
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                rank = re.search(rb"(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)\0", file.read())
        except OSError:
            continue
        if rank:
            found[int(rank.group(1))] = pid
    return [found[rank] for rank in sorted(found)]


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def lose_rank(ctx, kind, number, deadline):
    """Training for ever on two ranks, until rank 1 is sent a signal: what then happened."""
    run = ctx.work / ("lost_%s_%s" % (kind, number.name))
    subprocess.run(["rm", "-rf", str(run)], check=True)
    words = command(
        ctx,
        run,
        "cuda",
        "fp32",
        comm__backend=kind,
        comm__share_gpu=True,
        comm__deadline=deadline,
        train__steps=1000000,
        train__checkpoint_every=1000000,
    )
    said = ctx.work / "lost.txt"
    with open(said, "w", encoding="utf-8") as out:
        process = ctx.start(ctx.ranks(2, words), out=out)
        try:
            end = time.monotonic() + min(60, ctx.left())
            while len(losses(run)) < 2 and process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
            pids = rank_processes(process.pid)
            if len(losses(run)) < 2 or len(pids) != 2:
                raise Failed("two ranks by %s did not begin: %s" % (kind, said.read_text()[-300:]))
            begin = time.monotonic()
            os.kill(pids[1], number)
            try:
                code = process.wait(min(deadline + 30, max(1, ctx.left())))
            except subprocess.TimeoutExpired:
                code = None
            # the launcher may be gone before the last rank is
            while any(map(alive, pids)) and time.monotonic() - begin < deadline + 10:
                time.sleep(0.1)
            seconds = time.monotonic() - begin
            left = [pid for pid in pids if alive(pid)]
        finally:
            end_all(process)
    text = said.read_text(errors="replace")
    ctx.note(text)
    lines = [
        line for line in text.splitlines() if line.startswith("cocola: ") or "signal 9" in line
    ]
    return {
        "by": kind,
        "signal": number.name,
        "deadline": deadline,
        "seconds": seconds,
        "code": code,
        "says": lines[0] if lines else "",
        "left": len(left),
    }


def kill(ctx):
    """A rank that is killed, or stands still, ends all in time; one line says who was late."""
    # a step takes its time in the emulator
    deadline = 10 if ctx.emulated else 5
    cases = [("mpi", signal.SIGKILL), ("mpi", signal.SIGSTOP)]
    if "ranks_nccl" in ctx.found and not ctx.emulated:
        # the emulator's collectives hold the host until they are done; those of a GPU do not
        cases.append(("nccl", signal.SIGSTOP))
    rows, faults = [], []
    for kind, number in cases:
        row = lose_rank(ctx, kind, number, deadline)
        rows.append(row)
        what = "%s of a rank by %s" % (number.name, kind)
        if row["code"] is None or row["code"] == 0 or row["left"]:
            faults.append("%s: exit code %s, %d ranks left" % (what, row["code"], row["left"]))
        if row["seconds"] > deadline + 10 and not row["left"]:
            faults.append("%s: ended after %.1f s" % (what, row["seconds"]))
        if number == signal.SIGKILL and "signal 9" not in row["says"]:
            faults.append("%s: the launcher says '%s'" % (what, row["says"]))
        if number == signal.SIGSTOP and not (
            "comm.deadline" in row["says"] and "rank 1" in row["says"]
        ):
            faults.append("%s: says '%s'" % (what, row["says"]))
    if faults:
        raise Failed("; ".join(faults), {"cases": rows})
    return "; ".join(
        "%s by %s: all ended after %.1f s" % (row["signal"], row["by"], row["seconds"])
        for row in rows
    ), {"cases": rows}
