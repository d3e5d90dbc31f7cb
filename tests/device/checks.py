"""Stages: the build, what the program says of the machine, operations against the reference,
reference values of the published code, the sanitizers of CUDA."""

import pathlib
import re
import shutil

import machine
from harness import NOT_POSSIBLE, TREE, WITHOUT_CUDNN, Failed, NotPossible

# ---- build ----


def architecture(gpus):
    return gpus[0]["capability"].replace(".", "") + "-real" if gpus else "90-real"


def build(ctx):
    """For the one GPU that is here."""
    if ctx.build:
        return "given: %s" % ctx.build.name, {"folder": str(ctx.build)}
    limit = 240
    if ctx.emulated:
        ctx.build = TREE / "build-emulated"
        configured = ctx.must(
            ["cmake", "--preset", "emulated"], "configuring", limit, ours=False, cwd=TREE
        )
        arguments = ["-j", "2"]
    else:
        ctx.build = TREE / "build-device/build"
        arch = architecture(machine.gpu())
        more = (ctx.prefix / "cmake").read_text().splitlines() if ctx.prefix else []
        # warnings of a compiler that nobody has met yet must not end a measurement
        configured = ctx.must(
            [
                "cmake",
                "-S",
                TREE,
                "-B",
                ctx.build,
                "-G",
                "Ninja",
                "-DCMAKE_BUILD_TYPE=Release",
                "-DCOCOLA_CUDA=ON",
                "-DCOCOLA_CUDA_ARCH=" + arch,
                "-DCOCOLA_RENDER=OFF",
                "-DCOCOLA_WERROR=OFF",
            ]
            + more,
            "configuring",
            limit,
            ours=False,
            cwd=TREE,
        )
        arguments = []
    made = ctx.must(
        ["cmake", "--build", ctx.build, "--target", "device_run"] + arguments,
        "building",
        limit - configured.seconds,
        ours=False,
        cwd=TREE,
    )
    said = configured.find("Backend cuda: ") or ""
    return "%.0f s; %s" % (configured.seconds + made.seconds, said.lstrip("- ")), {
        "configure_seconds": configured.seconds,
        "build_seconds": made.seconds,
        "backend": said,
    }


def info(ctx):
    """The GPU, the driver and the libraries that the program meets."""
    text = ctx.must([ctx.cocola, "info"], "cocola info", 60).text
    ctx.found["machine"] = {"libraries": machine.libraries(text)}
    device = re.search(r"^ +0  (.*?) {2,}", text, re.M)
    if not device:
        reason = re.search(r"^no device.*$", text, re.M)
        raise NotPossible(reason.group(0) if reason else "cocola info lists no GPU", {"text": text})
    return device.group(1), {"text": text}


# ---- operations ----

# programs of tests/, some a second time with cuDNN's convolutions; what --quick wants comes first
OPERATIONS = [
    ["cuda_device"],
    ["cuda_passes"],
    ["cuda_cudnn"],
    ["cuda_dense"],
    ["cuda_pointwise"],
    ["cuda_depthwise"],
    ["cuda_loss"],
    ["cuda_features"],
    ["cuda_model"],
    ["cuda_pointwise", "cudnn"],
    ["cuda_depthwise", "cudnn"],
    ["cuda_model", "cudnn"],
]
QUICK_OPERATIONS = 3


def operation_programs(ctx):
    """Those of OPERATIONS that this build has: without cuDNN some say that they are skipped, and
    one is not there."""
    wanted = OPERATIONS[:QUICK_OPERATIONS] if ctx.emulated and ctx.quick else OPERATIONS
    return [words for words in wanted if pathlib.Path(ctx.test(words[0])).exists()]


def read_table(path, program):
    """The worst of every comparison: [{program, test, what, precision, error, bar, times}]"""
    rows = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        test, what, precision, error, bar = line.split("\t")
        row = rows.setdefault(
            (test, what, precision),
            {
                "program": program,
                "test": test,
                "what": what,
                "precision": precision,
                "error": -1.0,
                "bar": float(bar),
                "times": 0,
            },
        )
        row["times"] += 1
        # a NaN is the worst
        error = float(error) if float(error) == float(error) else 1e300
        if error >= row["error"]:
            row["error"], row["bar"] = error, float(bar)
    return list(rows.values())


def operations(ctx):
    """Every operation of cuda against ref, in fp32 and bf16, with own convolutions and with those
    of cuDNN: tests/cuda_*.c."""
    programs, table = [], []
    for words in operation_programs(ctx):
        name = " ".join(words)
        path = ctx.work / ("table_%s.tsv" % "_".join(words))
        path.unlink(missing_ok=True)
        done = ctx.run(
            [ctx.test(words[0])] + words[1:], 120, env={"COCOLA_TEST_TABLE": str(path)}
        )
        state = (
            "late"
            if done.late
            else "skipped" if done.code == NOT_POSSIBLE else "ok" if done.code == 0 else "failed"
        )
        programs.append(
            {
                "name": name,
                "state": state,
                "seconds": done.seconds,
                "says": done.find("failed:", "skipped") or done.last_line(),
            }
        )
        table += read_table(path, name)
    data = {"programs": programs, "table": table}
    wrong = [p for p in programs if p["state"] in ("failed", "late")]
    if wrong:
        raise Failed(
            "; ".join(
                "%s: %s" % (p["name"], p["says"] if p["state"] == "failed" else "not done in time")
                for p in wrong
            ),
            data,
        )
    if all(p["state"] == "skipped" for p in programs):
        raise NotPossible(programs[0]["says"], data)
    return (
        "%d programs, %d comparisons within their bars"
        % (len(programs), sum(row["times"] for row in table)),
        data,
    )


# ---- reference values ----


def golden(ctx):
    """Features, loss, encoder, gradients, Adam against the published code in double precision."""
    sets = "small/" if ctx.emulated else "all"
    runs = [
        ["golden_features", "cuda"],
        ["golden_encoder", sets, "cuda-bf16"],
        ["golden_loss", "cuda"],
        ["golden_encoder", sets, "cuda"],
    ]
    if ctx.emulated and ctx.quick:
        runs = runs[:1]
    rows = []
    for words in runs:
        done = ctx.run([ctx.test(words[0])] + words[1:], 150)
        seen = [
            line.strip()
            for line in done.text.splitlines()
            if re.search(r"^(ok|FAILED)|relative error|worst|of its norm", line.strip())
        ]
        state = (
            "late"
            if done.late
            else "skipped" if done.code == NOT_POSSIBLE else "ok" if done.code == 0 else "failed"
        )
        rows.append(
            {
                "run": " ".join(words),
                "state": state,
                "seconds": done.seconds,
                "seen": seen,
                "says": done.find("failed:") or done.last_line(),
            }
        )
    data = {"runs": rows}
    wrong = [row for row in rows if row["state"] in ("failed", "late")]
    if wrong:
        raise Failed("; ".join("%s: %s" % (row["run"], row["says"]) for row in wrong), data)
    if all(row["state"] == "skipped" for row in rows):
        raise NotPossible("no reference values, or no GPU", data)
    missing = [row["run"] for row in rows if row["state"] == "skipped"]
    return (
        "%d runs hold%s"
        % (len(rows) - len(missing), "; without values: " + ", ".join(missing) if missing else ""),
        data,
    )


# ---- sanitizers ----


def sanitized_programs(ctx):
    """All kernels of a step, of features and of the loss, on shapes that take moments."""
    step = [
        "bench",
        "step",
        "--backend",
        "cuda",
        "--width",
        "0.1",
        "--depth",
        "0.1",
        "--crop",
        "1",
        "--pairs",
        "4",
        "--steps",
        "1",
        "--warmup",
        "1",
        "--precision",
    ]
    return [
        ["step fp32", [ctx.cocola] + step + ["fp32"]],
        ["step bf16", [ctx.cocola] + step + ["bf16"]],
        ["step bf16, cuDNN", [ctx.cocola] + step + ["bf16", "--conv", "cudnn"]],
        [
            "loss bf16",
            [ctx.cocola]
            + "bench loss --backend cuda --precision bf16 --rows 192 --columns 320".split()
            + "--d 64 --repeats 1 --check 0".split(),
        ],
        ["features and embedding", [ctx.test("bench_embed"), "cuda-bf16", "0.1", "0.1", "2", "1"]],
    ]


REFUSALS = ("Device not supported", "Failed to initialize", "before first instrumented")


def sanitizer_runs(ctx):
    """[check, name, command]. Races and unset memory inside cuDNN's own kernels are not ours to
    judge: of a step with them memcheck alone, and last, since its kernels are many."""
    programs = sanitized_programs(ctx)
    own = [row for row in programs if "cuDNN" not in row[0]]
    runs = [[check] + row for check in ("memcheck", "racecheck", "initcheck") for row in own]
    return runs + [["memcheck"] + row for row in programs if row not in own]


def judge_sanitizer(done):
    """(state, its words): a tool that does not work here is no fault of the program."""
    summary, refusal = done.find("ERROR SUMMARY", "RACECHECK SUMMARY"), done.find(*REFUSALS)
    if done.late:
        return "late", "not done after %.0f s" % done.seconds
    if refusal:
        return "refused", refusal
    clean = done.code == 0 and re.search(r"SUMMARY: 0 (errors|hazards)", summary or "")
    return "ok" if clean else "failed", summary or done.last_line()


def sanitizers(ctx):
    """compute-sanitizer: memcheck, racecheck, initcheck."""
    tool = shutil.which("compute-sanitizer") or shutil.which(
        "/usr/local/cuda/bin/compute-sanitizer"
    )
    if ctx.emulated or not tool:
        raise NotPossible(
            "the emulator is no GPU" if ctx.emulated else "compute-sanitizer is not installed"
        )
    rows = []
    for check, name, command in sanitizer_runs(ctx):
        done = ctx.run([tool, "--tool", check, "--error-exitcode", "9"] + command, 60)
        state, says = judge_sanitizer(done)
        if "cuDNN" in name and (state == "late" or WITHOUT_CUDNN in done.text):
            state = "left out"
        row = {"check": check, "program": name, "state": state, "says": says}
        rows.append(dict(row, seconds=done.seconds))
        if state == "refused" and len(rows) == 1:
            raise NotPossible("compute-sanitizer: " + rows[0]["says"], {"runs": rows})
    data = {"runs": rows}
    wrong = [row for row in rows if row["state"] not in ("ok", "left out")]
    if wrong:
        raise Failed(
            "; ".join(
                "%s of %s: %s, %s" % (row["check"], row["program"], row["state"], row["says"])
                for row in wrong
            ),
            data,
        )
    return "%d runs without an error" % len(rows), data
