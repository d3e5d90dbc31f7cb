#!/usr/bin/env bash
# loss.reduction fixed-tree as a user meets it: one training on 1 and on 2 ranks, and one that is stopped
# and goes on on 4, leave the same bits and log the same numbers; fast does not; what has no tree is refused.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rm -rf scratch_e2e_tree
mkdir scratch_e2e_tree
cd scratch_e2e_tree
export OMP_NUM_THREADS=1
launcher=${COCOLA_MPIRUN:-mpirun --oversubscribe}

fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }
# `train RANKS OUT [--set ...]`, and the weights as OUT.safetensors
train() {
    local n=$1 out=$2
    shift 2
    $launcher -n "$n" "$COCOLA" train --config small.yaml --out "$out" "$@" 2>"$out.txt" || { cat "$out.txt" >&2; fail "training $out"; }
    "$COCOLA" export --in "$out/checkpoints/last.h5" --out "$out.safetensors" 2>/dev/null
}
# Loss, accuracy and norm of the gradient of every step.
numbers() { grep '"kind":"train"' "$1/log.jsonl" | sed -E 's/"time":"[^"]*",//; s/,"learning_rate".*//'; }
same() {
    cmp "$1.safetensors" "$2.safetensors" || fail "the weights of $1 and $2 differ"
    [ "$(numbers "$1")" = "$(numbers "$2")" ] || fail "the logs of $1 and $2 differ"
}
refused() {
    local word=$1 code=0
    shift
    "$@" >/dev/null 2>refused.txt || code=$?
    [ $code -eq 2 ] || { cat refused.txt >&2; fail "exit code $code, wanted 2: $*"; }
    [ "$(grep -c -- "$word" refused.txt)" -eq 1 ] || { cat refused.txt >&2; fail "not one line with '$word'"; }
}

cat >small.yaml <<'YAML'
data: {train: store, crop: 1}
model: {width: 0.1, depth: 0.1, bn_momentum: 0.1, bn_group: 1}
loss: {reduction: fixed-tree}
train: {batch: 4, micro_batch: 1, steps: 6, log_every: 1, valid_every: 0}
YAML
python3 "$here/make_songs.py" stems
"$COCOLA" preprocess --layout folder --in stems --out store >/dev/null

train 1 one
[ "$(numbers one | wc -l)" -eq 6 ] || fail "six steps are logged"
train 2 two
same one two
train 2 stopped --set train.steps=3
! cmp -s one.safetensors stopped.safetensors || fail "three steps more change nothing"
train 4 stopped
grep -q "on another number of ranks" stopped.txt || { cat stopped.txt >&2; fail "that it goes on on other ranks is said"; }
same one stopped

fast="--set loss.reduction=fast --set train.micro_batch=0"
train 1 fast1 $fast
train 2 fast2 $fast
! cmp -s fast1.safetensors fast2.safetensors || fail "without the tree ranks round alike: this test cannot fail"

refused "has 4 micro-batches of 1 pairs, which 3 ranks cannot share" $launcher -n 3 "$COCOLA" train --config small.yaml --out few
refused "a batch of 6 pairs in parts of 1" "$COCOLA" train --config small.yaml --out few --set train.batch=6
refused "comm.backend: nccl adds in an order of its own" "$COCOLA" train --config small.yaml --out few --set comm.backend=nccl
"$COCOLA" plan --config small.yaml --ranks 2 >plan.txt || fail "a plan"
grep -q "2 of 2 pairs" plan.txt || { cat plan.txt >&2; fail "a part has a micro-batch of each rank"; }
# What fits is told in batches that have a tree: a leaf of whole groups for each rank; in parts a power of two.
"$COCOLA" plan --config small.yaml --ranks 2 --gpu-mem 0.5 --json >plan.json || fail "a plan in JSON"
python3 -c '
import json
p = json.load(open("plan.json"))
once, parts = p["largest_batch"], p["largest_batch_in_parts"]
assert once > 0 and once % 2 == 0 and parts > once and parts & (parts - 1) == 0, p' || fail "the largest batches"
