#!/usr/bin/env bash
# What `cocola plan` says of a rank's memory is what training then takes, within 5 % and what the program
# itself takes; it says what fits, and what to change where something does not.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rm -rf scratch_e2e_plan
mkdir scratch_e2e_plan
cd scratch_e2e_plan
export OMP_NUM_THREADS=2
config=$here/../configs/cocola-hps.yaml
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }
field() { grep -o "\"$1\": *[-0-9.a-z]*" "$2" | head -1 | sed 's/.*: *//'; }

python3 "$here/make_songs.py" songs >/dev/null
"$COCOLA" preprocess --layout folder --in songs --out store >/dev/null 2>&1

# measure SETTING...: two steps of it; bytes to $planned and $taken.
measure() {
    local set=() s
    for s in data.train=store train.steps=2 train.log_every=1 train.valid_every=1 train.checkpoint_every=0 "$@"; do set+=(--set "$s"); done
    "$COCOLA" plan --config "$config" "${set[@]}" --json >plan.json
    rm -rf run
    "$COCOLA" train --config "$config" "${set[@]}" --out run >run.txt 2>&1 || { cat run.txt >&2; fail "$*"; }
    planned=$(field bytes plan.json)
    taken=$(grep '"step":2,' run/log.jsonl | grep -o '"host":[0-9]*' | sed 's/.*://')
}
check() {
    measure "$@"
    python3 - "$planned" "$base" "$taken" "$*" <<'PY'
import sys
planned, base, taken = (int(x) for x in sys.argv[1:4])
off = (planned + base) / taken - 1
print(f"{sys.argv[4]}: planned {planned / 1e6:.0f} MB, taken {taken / 1e6:.0f}, off {100 * off:+.1f} %")
sys.exit(abs(off) > 0.05)
PY
}
# What the program takes by itself, its libraries and the store's pages: from a run with hardly a model.
measure model.width=0.1 model.depth=0.1 train.batch=2 model.bn_group=0
base=$((taken - planned))
[ $base -lt 120000000 ] || fail "the program takes $base bytes beside what is planned"
narrow=(model.width=0.35 model.depth=0.6)
check train.batch=12 model.bn_group=0
check "${narrow[@]}" train.batch=48 model.bn_group=0
# train says at its start what the plan says, and is quiet where that is asked for
work=$(python3 -c 'import json; print("work of a rank in a step: %.1f GFLOP" % (1e-9 * json.load(open("plan.json"))["flop"]))')
grep -q "^$work, " run.txt && grep -q '^memory of a rank on the host, GB: .*(expanded tensors ' run.txt || { cat run.txt; fail "train does not say: $work"; }
"$COCOLA" train --config "$config" --set data.train=store --set train.steps=1 --set train.batch=2 --set model.width=0.1 --set model.depth=0.1 --set model.bn_group=0 --out still --quiet >quiet.txt 2>&1
! grep -q 'memory of a rank' quiet.txt || fail "train --quiet says what it takes"
check "${narrow[@]}" train.batch=96 model.bn_group=0 data.crop=1.25
check "${narrow[@]}" train.batch=64 model.bn_group=16 train.micro_batch=32 train.keep_activations=1
check "${narrow[@]}" train.batch=64 model.bn_group=16 train.micro_batch=16 train.keep_activations=3
check "${narrow[@]}" train.batch=48 model.bn_group=0 loss.exchange=ring
check "${narrow[@]}" train.batch=48 model.bn_group=0 data.features=mel model.profile=cocola-mel data.prefetch=0

plan() { "$COCOLA" plan --config "$config" "$@"; }
plan --set train.batch=4096 --set model.bn_group=32 --gpu-mem 24 --ranks 2 >large.txt
grep -q 'It does not fit. Set train.micro_batch: ' large.txt || fail "no micro-batch is proposed"
part=$(sed -n 's/.*Set train.micro_batch: \([0-9]*\)\..*/\1/p' large.txt)
plan --set train.batch=4096 --set model.bn_group=32 --set train.micro_batch="$part" --gpu-mem 24 --ranks 2 | grep -q '^It fits' || fail "$part does not fit"
plan --set train.batch=4096 --set model.bn_group=0 --gpu-mem 24 | grep -q 'Set model.bn_group (now the whole batch)' || fail "no group is proposed"

# the largest batch fits, the next one does not: at once, and in parts of a group
plan --set train.batch=64 --set model.bn_group=32 --gpu-mem 24 --ranks 2 --json >small.json
largest=$(field largest_batch small.json)
fits() { plan --set train.batch="$1" --set model.bn_group=32 --set train.micro_batch="$2" --gpu-mem 24 --ranks 2 --json | grep -q '"fits": true'; }
fits "$largest" 0 || fail "the largest batch, $largest, does not fit"
! fits $((largest + 32)) 0 || fail "more than the largest batch, $largest, fits"
[ "$(field largest_batch_in_parts small.json)" -gt "$largest" ] || fail "parts do not help"

# what is proposed is what train takes: batches of whole groups and of whole loss.k
plan --set train.batch=24 --set model.bn_group=8 --set loss.k=24 --gpu-mem 24 --ranks 12 --json >odd.json
for key in largest_batch largest_batch_in_parts; do
    largest=$(field $key odd.json)
    [ "$largest" -gt 0 ] && [ $((largest % 24)) = 0 ] || fail "$key is $largest, not of whole groups of 8 and whole loss.k of 24"
done

# time: of peak figures in proportion to them and to the batch; measured, there is some of each kind
least() { plan --set model.bn_group=32 --set model.backend=cpu --gpu-mem 80 --json "$@" | python3 -c 'import json, sys; print(json.load(sys.stdin)["seconds"]["encoder"])'; }
python3 - "$(least --set train.batch=64 --gpu 60,3000)" "$(least --set train.batch=64 --gpu 120,6000)" "$(least --set train.batch=128 --gpu 60,3000)" <<'PY' || fail "least time"
import sys
one, fast, double = map(float, sys.argv[1:])
sys.exit(not (one > 0 and abs(fast * 2 / one - 1) < 1e-6 and abs(double / one - 2) < 1e-6))
PY
plan --set train.batch=64 --set model.width=0.1 --set model.depth=0.1 --measure --json >measured.json
python3 -c 'import json; s = json.load(open("measured.json"))["seconds"]; exit(not all(s[k] > 0 for k in ("encoder", "loss", "batches")))' || fail "measured time"
for bad in 60 60,0 0,3000 60,3000,1 x,y; do
    code=0
    plan --gpu "$bad" >refused.out 2>refused.txt || code=$?
    [ $code = 2 ] && [ "$(grep -c "^cocola: --gpu: '$bad': give its peaks as TFLOPS,GB/S" refused.txt)" = 1 ] || fail "--gpu $bad"
done

# Half a million columns: only a slab at a time fits, and the plan says so.
columns=(--set model.bn_group=32 --set train.micro_batch=4096 --gpu-mem 2)
plan "${columns[@]}" --set train.batch=524288 --ranks 128 >gather.txt
grep -q 'It does not fit. Set loss.exchange: ring' gather.txt || { cat gather.txt; fail "no ring is proposed"; }
plan "${columns[@]}" --set train.batch=524288 --ranks 128 --set loss.exchange=ring >ring.txt
grep -q '^It fits' ring.txt || { cat ring.txt; fail "the ring does not fit"; }
# ... but no ring where train refuses one; with a tree a part is a leaf of every rank
plan "${columns[@]}" --set train.batch=524288 --set loss.screening=auto --ranks 128 >screened.txt
plan --set model.bn_group=32 --set train.micro_batch=65536 --set train.batch=524288 --set loss.reduction=fixed-tree --gpu-mem 2 --ranks 4 >tree.txt
for file in screened.txt tree.txt; do
    grep -q 'It does not fit. ' $file && ! grep -q 'exchange: ring' $file || { cat $file; fail "a ring is proposed in $file"; }
done
similarity() { sed -n 's/^ *similarity  *\([0-9.]*\)$/\1/p' "$1"; }
plan "${columns[@]}" --set train.batch=262144 --ranks 64 --set loss.exchange=ring >half.txt
[ -n "$(similarity ring.txt)" ] && [ "$(similarity ring.txt)" = "$(similarity half.txt)" ] || fail "a ring's memory grows with its ranks"
echo "all held"
