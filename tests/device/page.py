"""results.json as a page in Markdown, for docs/gpu_results.md, and as a table for the terminal.

usage: page.py RESULTS.json >docs/gpu_results.md
"""

import json
import sys

MARKS = {
    "passed": "ok",
    "failed": "FAILED",
    "not possible here": "not possible here",
    "no time left": "no time left",
    "left out": "left out",
}


def cell(value, digits=2):
    if value is None:
        return "-"
    if isinstance(value, float):
        return "%.*f" % (digits, value)
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows] + [""]


def head(results):
    machine = results["machine"]
    gpu = machine["gpus"][0] if machine.get("gpus") else {}
    libraries = ", ".join("%s %s" % pair for pair in machine.get("libraries", {}).items())
    rows = [
        ("date", results["began"]),
        ("commit", results["commit"]),
        ("kernels (hash of all .cu and .cuh)", results["sources"]),
        ("GPU", gpu.get("name", machine.get("device", "none"))),
        ("driver", gpu.get("driver", "-")),
        ("nvcc", machine.get("nvcc") or "-"),
        ("libraries", libraries or "-"),
        ("machine", "%s processors, kernel %s" % (machine["processors"], machine["kernel"])),
        (
            "took",
            "%.0f s%s" % (results["seconds"], "" if results["complete"] else "; not complete"),
        ),
    ]
    return table(["", ""], rows)


def stages(results):
    return table(
        ["stage", "", "s", "what was seen"],
        [
            (s["title"], MARKS[s["status"]], "%.0f" % s["seconds"], s["says"])
            for s in results["stages"]
        ],
    )


def goals(results):
    if not results["goals"]:
        return []
    words = {True: "reached", False: "not reached", None: "not measured"}
    return ["## Goals", ""] + table(
        ["goal", "wanted", "seen", "", "where the time goes"],
        [
            (g["name"], g["wanted"], g["seen"], words[g["reached"]], g["why"])
            for g in results["goals"]
        ],
    )


def operations(data):
    rows = [
        (
            r["program"] + ": " + r["test"],
            r["what"],
            r["precision"],
            "%.1e" % r["error"],
            "%.1e" % r["bar"],
            r["times"],
        )
        for r in data.get("table", [])
    ]
    return (
        table(
            [
                "operation",
                "of",
                "precision",
                "largest error, share of the norm",
                "bar",
                "comparisons",
            ],
            rows,
        )
        if rows
        else []
    )


def golden(data):
    rows = [
        (
            r["run"],
            r["state"],
            "; ".join(line for line in r["seen"] if "worst" not in line or "dB" not in line)[:600],
        )
        for r in data.get("runs", [])
    ]
    return table(["run", "", "seen"], rows) if rows else []


def curve(data):
    curves = data.get("losses", {})
    if not curves.get("cpu"):
        return []
    lines = [
        "Width %(width)g, depth %(depth)g, %(batch)d pairs, %(crop)g s of each window."
        % data["size"],
        "",
    ]
    rows = [
        [i + 1] + ["%.5f" % curves[name][i] for name in curves] for i in range(len(curves["cpu"]))
    ]
    return lines + table(["step"] + ["loss, " + name for name in curves], rows)


def kill(data):
    return table(
        ["signal", "between ranks", "deadline, s", "all ended after, s", "says"],
        [
            (r["signal"], r["by"], r["deadline"], r["seconds"], r["says"])
            for r in data.get("cases", [])
        ],
    )


def sanitizers(data):
    return table(
        ["check", "program", "", "s", "says"],
        [
            (r["check"], r["program"], r["state"], r["seconds"], r["says"])
            for r in data.get("runs", [])
        ],
    )


def throughput(data):
    lines = table(
        ["precision", "convolutions", "clips", "ms a step", "clips/s"],
        [
            (r["precision"], r["conv"], r["clips"])
            + ("%.3f" % r["ms"], "%.0f" % r["clips_per_second"])
            for r in data.get("rows", [])
        ],
    )
    lines += ["%s." % note for note in data.get("notes", [])] + [""] if data.get("notes") else []
    if data.get("kinds"):
        lines += ["Of a step of %d clips, every operation waited for:" % data["kinds_clips"], ""]
        lines += table(
            ["kind", "ms", "GFLOP/s"], [(k["kind"], k["ms"], k["gflops"]) for k in data["kinds"]]
        )
    return lines


def generic(*names):
    """A table of data["rows"] by the names of its fields."""

    def show(data):
        return (
            table(list(names), [[row.get(name) for name in names] for row in data["rows"]])
            if data.get("rows")
            else []
        )

    return show


def operations_speed(data):
    if not data.get("rows"):
        return []
    lines = [
        "%d clips, %s; a copy of the largest tensor moves %.0f GB/s, bytes read and written: the "
        "roof. Bytes are those of every tensor once."
        % (data["clips"], data["precision"], data["roof_gbs"]),
        "",
    ]
    rows = []
    for r in data["rows"]:
        row = [r["layer"], r["output"], r["channels"], r["kernel"]]
        for kind in ("forward", "backward", "sums"):
            share = r[kind + "_share"]
            row += [
                "%.3f" % r[kind + "_ms"] if r[kind + "_ms"] else "-",
                "%.0f" % r[kind + "_gbs"] if r[kind + "_gbs"] else "-",
                "%.0f" % (100 * share) if share else "-",
            ]
        rows.append(row)
    return lines + table(
        [
            "layer",
            "output",
            "channels",
            "k/s",
            "fwd ms",
            "GB/s",
            "%",
            "bwd ms",
            "GB/s",
            "%",
            "sums ms",
            "GB/s",
            "%",
        ],
        rows,
    )


def pytorch(data):
    lines = table(
        ["what", "clips", "ms a step", "clips/s"],
        [
            (
                r["what"],
                2 * r["pairs"],
                "%.3f" % (1e3 * r["median"]),
                "%.0f" % r["clips_per_second"],
            )
            for r in data.get("rows", [])
        ],
    )
    lines += [
        "%s, %s clips: %s" % (f.get("variant"), 2 * f.get("pairs", 0), f["error"])
        for f in data.get("failed", [])
    ]
    return lines + [
        "Both sides: forward, loss, backward, Adam on random features that lie on the GPU, no "
        "dropout, no stochastic depth, batch norm over all clips, "
        "the published padding. Features are not part of it.",
        "",
    ]


SHOWN = {
    "operations": operations,
    "golden": golden,
    "curve": curve,
    "kill": kill,
    "sanitizers": sanitizers,
    "throughput": throughput,
    "features": generic("what", "ms", "clips_per_second"),
    "loss": generic("precision", "rows", "columns", "d", "ms", "tflops"),
    "embedding": generic("precision", "source", "clips", "ms", "clips_per_second"),
    "operations_speed": operations_speed,
    "pytorch": pytorch,
    "counters": generic("kernel", "us", "memory_percent", "sm_percent"),
}


def markdown(results):
    title = (
        "# Emulated run: clocks say nothing of a GPU"
        if results["emulated"]
        else "# Results on a GPU"
    )
    lines = (
        [title, "", "Made by `tests/device/run.sh` ([gpu.md](gpu.md)).", ""]
        + head(results)
        + goals(results)
        + ["## Stages", ""]
        + stages(results)
    )
    for stage in results["stages"]:
        show = SHOWN.get(stage["name"])
        body = show(stage["data"]) if show and stage["data"] else []
        if body:
            lines += ["## " + stage["title"], ""] + body
    return "\n".join(lines).rstrip() + "\n"


def text(results):
    lines = ["%-22s %-18s %5s  %s" % ("stage", "", "s", "")]
    lines += [
        "%-22s %-18s %5.0f  %s" % (s["name"], MARKS[s["status"]], s["seconds"], s["says"][:150])
        for s in results["stages"]
    ]
    lines += ["%-70s %-18s %s" % (g["name"], g["wanted"], g["seen"]) for g in results["goals"]]
    return "\n".join(lines)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.write(markdown(json.load(file)))
