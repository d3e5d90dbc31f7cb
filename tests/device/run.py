"""The stages of tests/device/run.sh, in order of what they are worth, each with its own time limit;
results are on the disk after every one of them. Options: run.sh."""

import argparse
import dataclasses
import datetime
import os
import pathlib
import sys
import time
import traceback
import typing

import checks
import goals
import machine
import page
import results as results_file
import speed
import training
from harness import TREE, Context, Failed, NotPossible


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    title: str
    limit: int  # seconds
    work: typing.Callable
    slow: bool = False  # left out by --quick
    needed: bool = False  # without it nothing else makes sense


STAGES = [
    Stage("build", "Build", 260, checks.build, needed=True),
    Stage("info", "GPU and libraries", 60, checks.info, needed=True),
    Stage("operations", "Operations against the reference", 200, checks.operations),
    Stage("throughput", "Training steps", 150, speed.throughput),
    Stage("golden", "Reference values of the published code", 120, checks.golden),
    Stage("features", "Features", 30, speed.features),
    Stage("loss", "Loss alone", 90, speed.loss),
    Stage("embedding", "Embedding", 40, speed.embedding),
    Stage("operations_speed", "Operations: time and bandwidth", 60, speed.operations),
    Stage("curve", "Loss curve against the cpu backend", 120, training.curve),
    Stage("seeds", "bf16 within the spread of three seeds", 90, training.seeds),
    Stage("from_store", "Training from a store", 90, speed.from_store, slow=True),
    Stage("pytorch", "The same step in PyTorch", 150, speed.pytorch),
    Stage("repeat", "Bit-identical repetition", 60, training.repeat),
    Stage("ranks", "Two ranks on one GPU", 90, training.ranks),
    Stage("kill", "A rank that dies or stands still", 120, training.kill),
    Stage("sanitizers", "compute-sanitizer", 150, checks.sanitizers),
    Stage("counters", "Counters of the GPU", 60, speed.counters, slow=True),
]
EMULATED_TAKES = 4  # times as long as a GPU, at most
LEAST = 5  # seconds that a stage needs to begin


def parse():
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__)
    parser.add_argument("--emulated", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--system", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--skip", default="")
    parser.add_argument("--limit", type=float, default=540)
    parser.add_argument(
        "--out", default=os.environ.get("OUT") or str(TREE / "build-device/results")
    )
    parser.add_argument("--build")
    parser.add_argument("--commit")
    parser.add_argument("--prefix")
    parser.add_argument("--began", type=float, default=time.time())
    options = parser.parse_args()
    names = {stage.name for stage in STAGES}
    unknown = [
        word
        for word in (options.only + "," + options.skip).split(",")
        if word and word not in names
    ]
    if unknown:
        parser.error(
            "no stage %s; there are %s"
            % (", ".join(unknown), ", ".join(stage.name for stage in STAGES))
        )
    return options


def wanted(stage, options):
    if stage.needed:
        return True
    if options.only:
        return stage.name in options.only.split(",")
    return stage.name not in options.skip.split(",") and not (options.quick and stage.slow)


def outcome(stage, ctx):
    """(status, what it says, data)"""
    try:
        says, data = stage.work(ctx)
        return "passed", says, data
    except NotPossible as reason:
        return "not possible here", str(reason), reason.data
    except Failed as failure:
        late = ctx.until - time.monotonic() < 1
        return "no time left" if late else "failed", str(failure), failure.data
    except Exception as fault:  # a fault of this script must not cost the other stages' results
        ctx.note(traceback.format_exc())
        return "failed", "%s: %s" % (type(fault).__name__, fault), {}


def run_stage(stage, ctx, options):
    begin = time.monotonic()
    limit = stage.limit * (EMULATED_TAKES if options.emulated else 1)
    ctx.stage_until = begin + limit
    ctx.note("\n==== %s" % stage.name)
    if not wanted(stage, options):
        status, says, data = "left out", "", {}
    elif ctx.until - begin < LEAST:
        status, says, data = "no time left", "", {}
    else:
        status, says, data = outcome(stage, ctx)
    return {
        "name": stage.name,
        "title": stage.title,
        "status": status,
        "says": " ".join(says.split())[:500],
        "seconds": time.monotonic() - begin,
        "limit": limit,
        "data": data,
    }


def save(ctx, results, options):
    results["seconds"] = time.time() - options.began
    results["machine"].update(ctx.found.get("machine", {}))
    results_file.write(ctx.out / "results.json", results)
    results["goals"] = goals.judge(results)
    results_file.write(ctx.out / "results.json", results)
    results_file.write_whole(ctx.out / "results.md", page.markdown(results))


def main():
    options = parse()
    if options.list:
        print(
            "\n".join(
                "%-18s %4d s  %s" % (stage.name, stage.limit, stage.title) for stage in STAGES
            )
        )
        return 0
    ctx = Context(options, time.monotonic() + options.limit - (time.time() - options.began))
    began = datetime.datetime.fromtimestamp(options.began, datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    results = {
        "schema": results_file.SCHEMA,
        "began": began,
        "seconds": 0.0,
        "complete": False,
        "emulated": options.emulated,
        "commit": machine.commit(options.commit),
        "sources": machine.sources_hash(),
        "machine": machine.describe(),
        "stages": [],
        "goals": [],
    }
    stopped = ""
    for stage in STAGES:
        if stopped:
            row = {
                "name": stage.name,
                "title": stage.title,
                "status": "not possible here",
                "says": stopped,
                "seconds": 0.0,
                "limit": stage.limit,
                "data": {},
            }
        else:
            row = run_stage(stage, ctx, options)
        if stage.needed and row["status"] != "passed" and not stopped:
            stopped = "without '%s' nothing can be run" % stage.title
        results["stages"].append(row)
        results["complete"] = len(results["stages"]) == len(STAGES)
        save(ctx, results, options)
        print(
            "%6.0f s  %-18s %-18s %s"
            % (time.time() - options.began, row["name"], row["status"], row["says"][:200]),
            flush=True,
        )
    print("\n" + page.text(results) + "\n\n%s" % (pathlib.Path(ctx.out) / "results.json"))
    if stopped:
        return 1
    statuses = {row["status"] for row in results["stages"]}
    return 1 if "failed" in statuses else 3 if "no time left" in statuses else 0


if __name__ == "__main__":
    sys.exit(main())
