"""The goals of the backend, and whether a run reached them. What was not measured: neither."""


def stage_data(results, name):
    return next((stage["data"] for stage in results["stages"] if stage["name"] == name), {})


def pick(table, **wanted):
    return next(
        (
            row
            for row in table or []
            if all(row.get(name) == value for name, value in wanted.items())
        ),
        None,
    )


def own_step(results, clips):
    """Of the throughput, in bf16 and with own convolutions."""
    rows = stage_data(results, "throughput").get("rows")
    return pick(rows, clips=clips, precision="bf16", conv="own")


def goal(name, wanted, seen, reached, why=""):
    return {"name": name, "wanted": wanted, "seen": seen, "reached": reached, "why": why}


def slowest(results, number=4):
    """The operations that take most of a step, with their share of the roof."""
    rows = []
    for row in stage_data(results, "operations_speed").get("rows", []):
        rows += [
            (
                row[kind + "_ms"],
                "%s %s %.2f ms at %.0f %% of a copy"
                % (row["layer"], kind, row[kind + "_ms"], 100 * row[kind + "_share"]),
            )
            for kind in ("forward", "backward", "sums")
            if row[kind + "_ms"] and row[kind + "_share"] is not None
        ]
    kinds = [
        kind
        for kind in stage_data(results, "throughput").get("kinds", [])
        if kind["gflops"] is None or kind["kind"] != "all operations"
    ]
    kinds = sorted(
        (kind for kind in kinds if kind["kind"] not in ("all operations", "encoder")),
        key=lambda kind: -kind["ms"],
    )[:3]
    said = ["%s %.1f ms" % (kind["kind"], kind["ms"]) for kind in kinds] + [
        text for _, text in sorted(rows, reverse=True)[:number]
    ]
    return "; ".join(said)


def training_goals(results):
    row = stage_data(results, "from_store")
    seen = row.get("clips_per_second") if row.get("clips") == 1024 else None
    why = (
        ""
        if not row
        else "a step waits %.1f ms for its batch; " % (1e3 * row.get("seconds", {}).get("wait", 0))
        + slowest(results)
    )
    text = "not measured" if seen is None else "%.0f clips/s" % seen
    yield goal(
        "training, 1024 clips, bf16, features from int16 samples included",
        ">= 30000 clips/s",
        text,
        None if seen is None else seen >= 30000,
        why,
    )
    yield goal(
        "the same, stretch", ">= 45000 clips/s", text, None if seen is None else seen >= 45000, why
    )


def pytorch_goal(results):
    ours = own_step(results, 1024)
    theirs = pick(stage_data(results, "pytorch").get("rows"), pairs=512, variant="compiled")
    ratio = ours["clips_per_second"] / theirs["clips_per_second"] if ours and theirs else None
    text = (
        "not measured"
        if ratio is None
        else "%.2f (%.0f against %.0f clips/s, both on features that lie on the GPU)"
        % (ratio, ours["clips_per_second"], theirs["clips_per_second"])
    )
    yield goal(
        "a step of 1024 clips against compiled PyTorch",
        ">= 1.5 times",
        text,
        None if ratio is None else ratio >= 1.5,
        slowest(results),
    )


def step_goal(results):
    row = own_step(results, 64)
    yield goal(
        "a step of 64 clips, bf16",
        "<= 2.5 ms",
        "%.3f ms" % row["ms"] if row else "not measured",
        row["ms"] <= 2.5 if row else None,
        slowest(results),
    )


def features_goal(results):
    data = stage_data(results, "features")
    row = pick(data.get("rows"), what="HPS features") if data.get("clips") == 1024 else None
    mix = pick(data.get("rows"), what="mix of 3 stems")
    yield goal(
        "features of 1024 clips (HPS, from waves on the GPU)",
        "<= 6 ms",
        "%.2f ms" % row["ms"] if row else "not measured",
        row["ms"] <= 6 if row else None,
        "copying and mixing 3 stems of each takes %.2f ms more" % mix["ms"] if row and mix else "",
    )


def loss_goal(results):
    """The loss of K rows and columns against the encoder's time for as many pairs."""
    losses = stage_data(results, "loss").get("rows")
    row = pick(losses, rows=131072, columns=131072, precision="tf32")  # as beside bf16 activations
    steps = [
        r
        for r in stage_data(results, "throughput").get("rows", [])
        if r["precision"] == "bf16" and r["conv"] == "own" and r["clips"] >= 1024
    ]
    share = None
    if row and steps:
        encoder = 1e3 * 2 * 131072 / max(r["clips_per_second"] for r in steps)
        share = row["ms"] / (row["ms"] + encoder)
    yield goal(
        "share of the loss in a step at K = 131072 on one GPU",
        "<= 2 %",
        "not measured" if share is None else "%.2f %% (%.1f ms)" % (100 * share, row["ms"]),
        None if share is None else share <= 0.02,
        (
            ""
            if row is None
            else "%.0f TFLOP/s; the encoder's time is that of its fastest batch" % row["tflops"]
        ),
    )


def embedding_goal(results):
    rows = stage_data(results, "embedding").get("rows")
    row = pick(rows, precision="bf16", source="features", clips=1024)
    samples = pick(rows, precision="bf16", source="samples", clips=1024)
    yield goal(
        "embedding for eval and score, bf16",
        ">= 100000 clips/s",
        "%.0f clips/s from features" % row["clips_per_second"] if row else "not measured",
        row["clips_per_second"] >= 100000 if row else None,
        (
            "%.0f clips/s from int16 samples on the host, part after part"
            % samples["clips_per_second"]
            if samples
            else ""
        ),
    )


def judge(results):
    if results["emulated"]:
        return []  # clocks of the emulator say nothing of a GPU
    makers = (training_goals, pytorch_goal, step_goal, features_goal, loss_goal, embedding_goal)
    return [one for make in makers for one in make(results)]
