#!/usr/bin/env bash
# What `cocola plan --measure` predicts of a step beside what training takes, in core time, for six
# configurations. Not a test: figures depend on what else the machine does.
#
#     bash tests/bench/plan_time.sh COCOLA STORE      a small store: runs are short
set -euo pipefail
cocola=$1 store=$2
config=$(cd "$(dirname "$0")" && pwd)/../../configs/cocola-hps.yaml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} TIMEFORMAT='%U %S'

# core STEPS SETTING...: core seconds of a run.
core() {
    local steps=$1 set=()
    shift
    rm -rf "$work/run"
    for s in "$@" data.train="$store" train.steps="$steps" train.valid_every=0 train.checkpoint_every=0 data.prefetch=1; do set+=(--set "$s"); done
    { time "$cocola" train --quiet --config "$config" "${set[@]}" --out "$work/run" >/dev/null 2>"$work/said"; } 2>&1 |
        awk '{ print $1 + $2 }'
}

compare() {
    local set=() few= many=
    for s in "$@"; do set+=(--set "$s"); done
    "$cocola" plan --config "$config" "${set[@]}" --measure --json >"$work/plan.json"
    for _ in 1 2; do # the least: what else runs on the machine only adds
        few+=" $(core 1 "$@")"
        many+=" $(core 4 "$@")"
    done
    python3 - "$work/plan.json" "$few" "$many" "$*" <<'PY'
import json, sys
predicted = sum(json.load(open(sys.argv[1]))["seconds"].values())
few, many = (min(map(float, text.split())) for text in sys.argv[2:4])
measured = (many - few) / 3
print(f"{predicted:7.3f} {measured:7.3f} {predicted / measured:6.2f}  {sys.argv[4]}", flush=True)
PY
}

echo "predicted, measured core seconds a step, ratio"
narrow=(model.width=0.35 model.depth=0.6)
compare "${narrow[@]}" train.batch=24 model.bn_group=0
compare "${narrow[@]}" train.batch=32 model.bn_group=8
compare "${narrow[@]}" train.batch=64 model.bn_group=16 data.crop=1.25
compare "${narrow[@]}" train.batch=32 model.bn_group=8 train.micro_batch=8 train.keep_activations=1
compare "${narrow[@]}" train.batch=32 model.bn_group=0 data.features=mel model.profile=cocola-mel
compare model.width=1 model.depth=1 train.batch=12 model.bn_group=0
