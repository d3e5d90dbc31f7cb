"""Stages: how fast. Steps, features, loss, embedding, training from a store, every operation, and
PyTorch on the same step."""

import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys

from harness import TREE, WITHOUT_CUDNN, Failed, NotPossible

# ---- steps ----


def step(ctx, clips, precision, conv, whole, steps):
    size = ["--width", "0.1", "--depth", "0.1", "--crop", "1"] if ctx.emulated else []
    return ctx.run(
        [
            ctx.cocola,
            "bench",
            "step",
            "--backend",
            "cuda",
            "--precision",
            precision,
            "--conv",
            conv,
            "--pairs",
            clips // 2,
            "--steps",
            steps,
            "--warmup",
            1 if ctx.emulated else 3,
        ]
        + (["--whole"] if whole else [])
        + size,
        90,
    )


def read_step(done, clips):
    found = re.search(r"^speed .* ([\d.]+) clips/s", done.text, re.M)
    memory = re.search(r"^memory +(\d+) MB", done.text, re.M)
    if done.code != 0 or not found:
        return None
    rate = float(found.group(1))
    return {
        "clips": clips,
        "ms": 1e3 * clips / rate,
        "clips_per_second": rate,
        "host_megabytes": int(memory.group(1)) if memory else 0,
    }


def read_kinds(text):
    """[{kind, ms, gflops}] of `cocola bench step` without --whole: every operation waited for."""
    part = text.partition("mean of rank 0")[2]
    rows = re.findall(r"^(\S.*?) {2,}([\d.]+)(?: +([\d.]+))?$", part, re.M)
    return [
        {"kind": name, "ms": float(ms), "gflops": float(flops) if flops else None}
        for name, ms, flops in rows
    ]


def timed_steps(ctx, clips, precision, conv, notes):
    """A row of the table; with half the clips, and half again, where memory ends. None without
    cuDNN."""
    steps = 1 if ctx.emulated else 50 if clips <= 64 else 20 if clips <= 1024 else 5
    while True:
        done = step(ctx, clips, precision, conv, True, steps)
        row = read_step(done, clips)
        if row:
            return dict(row, precision=precision, conv=conv)
        what = "%s, %s convolutions, %d clips" % (precision, conv, clips)
        if WITHOUT_CUDNN in done.text:
            notes.append("built without cuDNN")
            return None
        if done.late or not done.find("memory") or clips < 8:
            raise Failed("%s: %s" % (what, done.find("cocola:") or done.last_line()))
        notes.append("%s: %s" % (what, done.find("memory")))
        clips //= 2


def throughput(ctx):
    """Whole training steps on features that lie on the GPU, at several batches; where time goes.
    The same with cuDNN's convolutions beside the own ones, but for the largest batch."""
    sizes = [4] if ctx.emulated else [64, 1024] if ctx.quick else [64, 1024, 8192]
    cases = [(p, "own", clips) for p in ("bf16", "fp32") for clips in sizes]
    cases += [(p, "cudnn", clips) for p in ("bf16", "fp32") for clips in sizes[:2]]
    rows, notes = [], []
    for precision, conv, clips in cases:
        try:
            row = timed_steps(ctx, clips, precision, conv, notes)
        except Failed as failure:
            raise Failed(str(failure), {"rows": rows, "notes": notes}) from failure
        if row is None:
            break
        rows.append(row)
    clips = sizes[min(1, len(sizes) - 1)]
    kinds = read_kinds(step(ctx, clips, "bf16", "own", False, 1 if ctx.emulated else 5).text)
    return "; ".join(
        "%s%s %d clips: %.2f ms, %.0f clips/s"
        % (
            r["precision"],
            " cuDNN" if r["conv"] == "cudnn" else "",
            r["clips"],
            r["ms"],
            r["clips_per_second"],
        )
        for r in rows
    ), {"rows": rows, "notes": notes, "kinds": kinds, "kinds_clips": clips}


# ---- the parts around the encoder ----


def features(ctx):
    """From stems in memory to features, at 1024 clips."""
    clips = 2 if ctx.emulated else 1024
    text = ctx.must(
        [
            ctx.cocola,
            "bench",
            "features",
            "--backend",
            "cuda",
            "--clips",
            clips,
            "--repeats",
            1 if ctx.emulated else 10,
        ],
        "cocola bench features",
        90,
    ).text
    rows = re.findall(r"^(mix of 3 stems|HPS features|log-mel features) .* (\d+)$", text, re.M)
    data = {
        "clips": clips,
        "rows": [
            {"what": name, "clips_per_second": float(rate), "ms": 1e3 * clips / float(rate)}
            for name, rate in rows
        ],
    }
    if len(rows) != 3:
        raise Failed("cocola bench features: three lines expected", data)
    return (
        "; ".join("%s %.2f ms" % (row["what"], row["ms"]) for row in data["rows"])
        + " for %d clips" % clips,
        data,
    )


LOSS_PRECISIONS = ("tf32", "bf16", "tf32x3", "fp32")  # tf32: auto beside bf16 activations


def loss(ctx):
    """Similarity, softmax and gradients alone, in every loss.precision: 512 rows and all rows
    against many columns."""
    cases = [(32, 64, 64)] if ctx.emulated else [(512, 131072, 512), (131072, 131072, 512)]
    rows = []
    command = [ctx.cocola, "bench", "loss", "--backend", "cuda", "--precision", "bf16"]
    command += ["--check", 0, "--repeats", 2 if ctx.emulated else 5]
    for precision, case in itertools.product(LOSS_PRECISIONS, cases):
        words = ["--rows", case[0], "--columns", case[1], "--d", case[2]]
        words += ["--loss-precision", precision]
        text = ctx.must(command + words, "cocola bench loss", 90).text
        found = re.search(r"^contrast +[\d.]+ +([\d.]+) +([\d.]+)", text, re.M)
        if not found:
            raise Failed("cocola bench loss: " + text.strip()[-200:], {"rows": rows})
        row = dict(zip(("rows", "columns", "d"), case), precision=precision)
        rows.append(dict(row, ms=1e3 * float(found.group(1)), tflops=float(found.group(2))))
    return "; ".join(
        "%s %d x %d: %.2f ms, %.1f TFLOP/s"
        % (r["precision"], r["rows"], r["columns"], r["ms"], r["tflops"])
        for r in rows
    ), {"rows": rows}


def embedding(ctx):
    """The encoder of eval and score, from features and from int16 samples."""
    size = ["0.1", "0.1", "2", "1"] if ctx.emulated else ["1", "1", "1024", "5"]
    rows = []
    for precision in ("cuda-bf16", "cuda"):
        text = ctx.must([ctx.test("bench_embed"), precision] + size, "bench_embed", 90).text
        found = re.findall(
            r"^embed from (\w+): (\d+) clips ([\d.]+) ms ([\d.]+) clips/s", text, re.M
        )
        if len(found) != 2:
            raise Failed("bench_embed: " + text.strip()[-200:], {"rows": rows})
        rows += [
            {
                "precision": "bf16" if precision.endswith("bf16") else "fp32",
                "source": source,
                "clips": int(clips),
                "ms": float(ms),
                "clips_per_second": float(rate),
            }
            for source, clips, ms, rate in found
        ]
    return "; ".join(
        "%s from %s: %.0f clips/s" % (r["precision"], r["source"], r["clips_per_second"])
        for r in rows
    ), {"rows": rows}


def from_store(ctx):
    """`cocola train`, from int16 stems on the disk to the update, 1024 clips a step in bf16."""
    tracks, pairs, steps, every = (3, 2, 2, 1) if ctx.emulated else (40, 512, 60, 10)
    if not (ctx.work / "noise").exists():
        ctx.must(
            [sys.executable, TREE / "tests/make_stems.py", "many", ctx.work / "noise", tracks],
            "making stems",
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
                ctx.work / "noise",
                "--out",
                ctx.work / "noise_store",
            ],
            "preprocessing",
            90,
        )
    run = ctx.work / "from_store"
    subprocess.run(["rm", "-rf", str(run)], check=True)
    config = ctx.work / "empty.yaml"
    config.write_text("{}\n")
    settings = [
        "data.train=%s" % (ctx.work / "noise_store"),
        "model.backend=cuda",
        "model.precision=bf16",
        "model.bn_group=0",
        "train.batch=%d" % pairs,
        "train.steps=%d" % steps,
        "train.log_every=%d" % every,
        "train.valid_every=0",
        "train.checkpoint_every=%d" % steps,
        "data.prefetch=2",
    ]
    if ctx.emulated:
        settings += ["model.width=0.1", "model.depth=0.1", "data.crop=1"]
    words = [ctx.cocola, "train", "--config", config, "--out", run]
    for setting in settings:
        words += ["--set", setting]
    ctx.must(words, "cocola train", 90)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["kind"] == "train"][1:]  # the first has the start in it
    rate = 2 * statistics.median(line["pairs_per_second"] for line in lines)
    seconds = {
        name: statistics.median(line["seconds"][name] for line in lines)
        for name in lines[0]["seconds"]
    }
    return "%.0f clips/s; waiting for the loader %.1f ms a step" % (
        rate,
        1e3 * seconds.get("wait", 0),
    ), {"clips": 2 * pairs, "clips_per_second": rate, "seconds": seconds}


# ---- operations ----

COLUMNS = ("forward", "backward", "sums")


def read_operations(text):
    """(GB/s of the copy, [{layer, output, channels, kernel, forward_ms, _gbs, _share, ...}])"""
    rows, roof = [], None
    line = re.compile(r"^(\S+) +(\d+ x \d+) +(\d+ -> \d+) +(\S+) +(.*)$")
    for name, output, channels, kernel, rest in (
        m.groups() for m in map(line.match, text.splitlines()) if m
    ):
        numbers = [None if word == "-" else float(word) for word in rest.split()]
        if len(numbers) != 8:
            continue
        if name == "copy":
            roof = numbers[2]
            continue
        row = {"layer": name, "output": output, "channels": channels, "kernel": kernel}
        for kind, ms, gbs in zip(
            COLUMNS, (numbers[0], numbers[3], numbers[6]), (numbers[2], numbers[5], numbers[7])
        ):
            row[kind + "_ms"], row[kind + "_gbs"] = ms, gbs
            row[kind + "_share"] = gbs / roof if roof and gbs is not None else None
        rows.append(row)
    return roof, rows


def operations(ctx):
    """Time of every operation of every block, its GB/s, and their share of what a copy moves."""
    size = ["0.1", "0.1", "1", "1", "1"] if ctx.emulated else ["1", "1", "1024", "1", "5"]
    done = ctx.must([ctx.test("bench_ops"), "cuda-bf16"] + size, "bench_ops", 90)
    roof, rows = read_operations(done.text)
    if not rows or not roof:
        raise Failed("bench_ops: no table", {"text": done.text})
    total = re.search(r"^forward ([\d.]+) s .* both ([\d.]+) s", done.text, re.M)
    return "copy %.0f GB/s; all operations one after the other %.2f ms" % (
        roof,
        1e3 * float(total.group(2)),
    ), {
        "precision": "bf16",
        "clips": int(size[2]),
        "roof_gbs": roof,
        "rows": rows,
        "both_ms": 1e3 * float(total.group(2)),
    }


def counters(ctx):
    """What the GPU itself counts of the largest operations (ncu); an extra."""
    tool = shutil.which("ncu") or shutil.which("/usr/local/cuda/bin/ncu")
    if ctx.emulated or not tool:
        raise NotPossible("the emulator is no GPU" if ctx.emulated else "ncu is not installed")
    metrics = [
        "gpu__time_duration.sum",
        "dram__throughput.avg.pct_of_peak_sustained_elapsed",
        "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    ]
    done = ctx.run(
        [
            tool,
            "--csv",
            "--print-units",
            "base",
            "--clock-control",
            "none",
            "--metrics",
            ",".join(metrics),
            "--launch-skip",
            2,
            "--launch-count",
            120,
            ctx.test("bench_ops"),
            "cuda-bf16",
            "1",
            "1",
            "256",
            "1",
            "1",
        ],
        90,
    )
    rows = {}
    for line in done.text.splitlines():
        words = [word.strip('"') for word in re.findall(r'"(?:[^"]*)"', line)]
        if len(words) > 5 and words[-3] in metrics:
            rows.setdefault((words[0], words[4]), {})[words[-3]] = float(words[-1].replace(",", ""))
    table = [
        {
            "kernel": re.sub(r"\(.*", "", name)[:90],
            "us": row.get(metrics[0], 0) / 1e3,
            "memory_percent": row.get(metrics[1]),
            "sm_percent": row.get(metrics[2]),
        }
        for (_, name), row in rows.items()
    ]
    if not table:
        raise NotPossible("ncu: " + (done.find("==ERROR==", "Failed", "error") or done.last_line()))
    return "%d launches" % len(table), {"rows": table}


# ---- PyTorch ----


def pytorch(ctx):
    """The same step, on the same GPU: features on the device, bf16 autocast, fused Adam."""
    python = os.environ.get("COCOLA_PYTHON", "python3")
    if (
        subprocess.run(
            [python, "-c", "import torch"], capture_output=True, check=False, timeout=120
        ).returncode
        != 0
    ):
        raise NotPossible("%s has no torch" % python)
    if ctx.emulated:
        words = [
            "--device",
            "cpu",
            "--pairs",
            "1",
            "--variants",
            "eager",
            "--steps",
            "1",
            "--warmup",
            "0",
        ]
    else:
        words = [
            "--device",
            "cuda",
            "--pairs",
            "512,32",
            "--variants",
            "eager,compiled" if ctx.quick else "eager,compiled,graphs",
            "--bf16",
            "--steps",
            "20",
            "--warmup",
            "5",
        ]
    done = ctx.run(
        [python, TREE / "tests/bench/pytorch_step.py", "--json"] + words, 150, ours=False
    )
    lines = [json.loads(line) for line in done.text.splitlines() if line.startswith("{")]
    rows = [line for line in lines if "clips_per_second" in line]
    data = {"rows": rows, "failed": [line for line in lines if "error" in line]}
    if not rows:
        raise Failed("pytorch_step: " + done.last_line(), data)
    return (
        "; ".join(
            "%s, %d clips: %.0f clips/s"
            % (row["variant"], 2 * row["pairs"], row["clips_per_second"])
            for row in rows
        ),
        data,
    )
