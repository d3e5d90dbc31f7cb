#!/usr/bin/env bash
# Training as a user runs it: a run that was stopped by a signal or killed ends, after the same command
# again, in the same bytes as one that was not; on another number of ranks it goes on with the same
# samples; other settings are refused; the model can be evaluated, scored and begun with.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rm -rf scratch_e2e_train
mkdir scratch_e2e_train
cd scratch_e2e_train
export OMP_NUM_THREADS=1
launcher=${COCOLA_MPIRUN:-mpirun --oversubscribe}

fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }
# `says WORD FILE`: the file holds the word, else the whole file is shown.
says() { grep -q -- "$1" "$2" || { cat "$2" >&2; fail "$2 does not say '$1'"; }; }
ranks() { local n=$1; shift; $launcher -n "$n" "$COCOLA" "$@"; }
train() { local n=$1 out=$2; shift 2; ranks "$n" train --config small.yaml --out "$out" "$@"; }
# The steps and what was computed in them, without clocks.
numbers() { sed -E 's/"time":"[^"]*",//; s/"pairs_per_second":[^,]*,//; s/"memory":\{[^}]*\},//; s/,"seconds":\{.*\}\}/}/' "$1/log.jsonl"; }
same() {
    cmp "$1/checkpoints/last.h5" "$2/checkpoints/last.h5" || fail "the models of $1 and $2 differ"
    [ "$(numbers "$1")" = "$(numbers "$2")" ] || fail "the logs of $1 and $2 differ"
}
# Run in the background until the log has a line of that step; the pid is in $pid.
start_until() {
    local out=$1 step=$2
    $launcher -n 2 "$COCOLA" train --config small.yaml --out "$out" 2>"$out.txt" & # no function: its pid counts
    pid=$!
    for _ in $(seq 1200); do
        grep -q "\"step\":$step," "$out/log.jsonl" 2>/dev/null && return
        kill -0 $pid 2>/dev/null || { cat "$out.txt" >&2; fail "$out ended before step $step"; }
        sleep 0.05
    done
    fail "$out: no step $step after 60 s"
}
children() { tr ' ' '\n' <"/proc/$pid/task/$pid/children" | grep .; }
# The exit code of the background process to $code.
code_of() { code=0; wait "$1" || code=$?; }
# The command must fail with that exit code; what it says goes to refused.txt. mpirun adds lines of its own.
refused() {
    local want=$1 code=0
    shift
    "$@" >refused.out 2>refused.txt || code=$?
    [ $code -eq "$want" ] || { cat refused.txt >&2; fail "exit code $code, wanted $want: $*"; }
}

cat >small.yaml <<'YAML'
data: {train: store, crop: 2, both_first: 0.5}
model: {width: 0.1, depth: 0.1, bn_momentum: 0.1, bn_group: 2}
train: {batch: 4, steps: 10, log_every: 1, checkpoint_every: 3, valid_every: 4, keep: 2, schedule: cosine, warmup: 2}
eval: {bn_reestimate: 8, orders: 10}
YAML
python3 "$here/make_songs.py" stems
ranks 2 preprocess --layout folder --in stems --out store >/dev/null

# ---- a run of 10 steps ---------------------------------------------------------------------------
train 2 whole 2>whole.txt || { cat whole.txt >&2; fail "training"; }
says "done: 10 steps" whole.txt
says "step 8: validation loss" whole.txt
! grep -q "lower train.batch" whole.txt || fail "a small batch is warned of"
[ "$(ls whole/checkpoints | wc -l)" -eq 3 ] || fail "last.h5 and the two best are kept, got: $(ls whole/checkpoints)"
[ "$(grep -c '"kind":"train"' whole/log.jsonl)" -eq 10 ] || fail "ten steps are logged"
[ "$(grep -c '"kind":"validation"' whole/log.jsonl)" -eq 3 ] || fail "steps 4, 8 and 10 are validated"
"$COCOLA" train --config whole/config.yaml --out again 2>/dev/null & # config.yaml repeats a run
again=$!

"$COCOLA" train --config small.yaml --set train.batch=500 --set train.steps=2 --set model.bn_group=0 --out crowded 2>crowded.txt &
crowded=$!

# ---- stopped, killed -----------------------------------------------------------------------------
start_until stopped 4
refused 4 "$COCOLA" train --config small.yaml --out stopped # two jobs in one folder
says "another .cocola train. works in it" refused.txt
kill -TERM "$(children | head -n 1)" # one rank is told; all must end at the same step
code_of $pid
[ $code -eq 75 ] || { cat stopped.txt >&2; fail "a stopped run ends with exit code 75"; }
says "start the same command again" stopped.txt
cp -r stopped stopped3
touch stopped/checkpoints/.best-00000004.h5.partial-here-1 stopped/.config.yaml.partial-here-1
train 2 stopped 2>resumed.txt
says "going on from stopped/checkpoints/last.h5" resumed.txt
same whole stopped
[ -z "$(find stopped -name '.*.partial-*')" ] || fail "what a killed run left is swept"

start_until killed 5
kill -9 $(children)
code_of $pid
[ $code -ne 0 ] || fail "a killed run is no success"
train 2 killed 2>/dev/null
same whole killed

# A newest checkpoint that is broken is named and passed over.
cp -r killed broken
head -c 100000 killed/checkpoints/last.h5 >broken/checkpoints/last.h5
rm -f broken/checkpoints/best-00000010.h5
train 2 broken 2>broken.txt
[ "$(grep -c "warning: broken/checkpoints/last.h5" broken.txt)" -eq 1 ] || { cat broken.txt >&2; fail "it is warned of, once"; }
says "going on from broken/checkpoints/best-" broken.txt
same whole broken

# ---- another number of ranks ---------------------------------------------------------------------
train 3 stopped3 --set loss.screening=auto 2>ranks.txt
says "on another number of ranks" ranks.txt
train 3 ring --set loss.exchange=ring 2>ring.txt || { cat ring.txt >&2; fail "columns that go round"; }
wait $again || fail "a run on one rank from config.yaml"
wait $crowded || { cat crowded.txt >&2; fail "a batch of more pairs than windows still trains"; }
says "500 pairs a step, but there are" crowded.txt
for run in stopped3 again ring; do
    python3 - whole/log.jsonl $run/log.jsonl <<'PYTHON' || fail "$run computes something else"
import json
import sys

a, b = ([r for r in map(json.loads, open(p)) if r["kind"] == "train"] for p in sys.argv[1:])
assert [r["step"] for r in a] == [r["step"] for r in b] == list(range(1, 11))
for x, y in zip(a, b):
    # the same samples; sums in another order drift apart by Adam's division by small numbers
    assert abs(x["loss"] - y["loss"]) <= (1e-5 if x["step"] == 1 else 2e-2) * x["loss"], (x, y)
    assert x["same_track"] == y["same_track"], (x, y)
# rows as few as these are never screened: each of three ranks has one block, which needs all columns
for said in (r["screening"] for r in b if "screening" in r):
    assert said == {"kept": 1, "left_out": 0, "blocks": 3, "dense_blocks": 3}, said
assert ("screening" in b[-1]) == ("stopped3" in sys.argv[2]), b[-1]
PYTHON
done

# ---- what is refused -----------------------------------------------------------------------------
refused 2 train 2 whole --set train.batch=6 --set model.width=0.2
says "train.batch: 4 there, 6 here" refused.txt
says "model.width: 0.1 there, 0.2 here" refused.txt
[ "$(grep -c 'other settings' refused.txt)" -eq 1 ] || fail "one message, from one rank"
train 2 whole 2>complete.txt
says "complete" complete.txt
refused 2 train 3 few --set train.batch=2 --set model.bn_group=0
says "train.batch: 2 pairs for 3 ranks" refused.txt
refused 2 train 2 few --set train.bacth=2
says "train.batch" refused.txt
refused 2 train 2 few --set model.profile=cocola-mel
says "model.profile: cocola-mel does not fit data.features: hps" refused.txt
refused 4 train 1 few --set data.train=nowhere
says "nowhere" refused.txt
refused 4 "$COCOLA" train --config small.yaml --out /dev/null/run
says "/dev/null" refused.txt

# ---- length by time, weights to begin with -------------------------------------------------------
train 2 timed --set train.steps=0 --set train.minutes=0.08 --set train.batch=2 --set train.valid_every=0 \
    --set train.init=whole/checkpoints/last.h5 2>timed.txt
says "train.minutes: 0.08 gives" timed.txt
says "beginning with the weights of whole" timed.txt

# ---- using the model -----------------------------------------------------------------------------
model=whole/checkpoints/last.h5
ranks 2 eval --checkpoint $model --store store --k 2,4 --mode all >eval.txt 2>eval.err
[ "$(grep -cE '^(both|harmonic|percussive) +[0-9]' eval.txt)" -eq 6 ] || { cat eval.txt eval.err; fail "three modes, two K"; }
[ "$(grep -cE '^(both|harmonic|percussive) +(median|recall|mean)' eval.txt)" -eq 15 ] || { cat eval.txt; fail "three modes, five figures of ranks"; }
says "full ones of 10 shuffled orders" eval.txt # eval.orders of the run
ranks 1 eval --checkpoint $model --store store --split valid --k 2 --order file --format json >eval.json 2>/dev/null
python3 -c 'import json; r = json.load(open("eval.json")); assert r["rows"][0]["k"] == 2 and r["order"] == "file", r'
# Every figure is the same on any number of ranks; the whole split is one batch.
for n in 1 2 3; do
    ranks $n eval --checkpoint $model --store store --k 3,all --mode all --format json >eval$n.json 2>/dev/null
done
cmp eval1.json eval2.json && cmp eval1.json eval3.json || fail "the figures depend on the number of ranks"
python3 - <<'PYTHON'
import json

r = json.load(open("eval1.json"))
assert [(x["mode"], x["k"]) for x in r["rows"]][:2] == [("both", 3), ("both", 18)], r["rows"]
assert r["rows"][1]["batches"] == 1 and [x["mode"] for x in r["retrieval"]] == ["both", "harmonic", "percussive"], r
for x in r["retrieval"]:
    curve = x["curve"]
    at = dict(zip(curve["k"], curve["recall"]))
    assert x["pairs"] == 18 and curve["k"][0] == 1 and curve["k"][-1] == 18 and at[18] == 1, x
    assert curve["recall"] == sorted(curve["recall"]) and curve["accuracy"] == sorted(curve["accuracy"], reverse=True), x
    for k in (1, 5):
        f = x["recall_at_%d" % k]
        assert f["value"] == at[k] and f["low"] <= f["value"] <= f["high"] and abs(f["chance"] - k / 18) < 1e-8, x
    assert 1 <= x["median_rank"]["value"] <= 18 and x["median_rank"]["chance"] == 9.5, x
    assert x["recall_at_1"]["value"] <= x["mean_reciprocal_rank"]["value"] <= 1, x
PYTHON
refused 2 "$COCOLA" eval --checkpoint $model --store store --k 2,5000
says "5000" refused.txt
"$COCOLA" score --checkpoint $model stems/test/song0/stem0.wav stems/test/song0/stem1.wav --format jsonl >score.jsonl
python3 -c 'import json; r = json.load(open("score.jsonl")); assert r["windows"] == 4 and len(r["protocol"]["checkpoint"]) == 16, r'
"$COCOLA" export --in $model --out model.safetensors 2>/dev/null
"$COCOLA" import --in model.safetensors --out model.h5 2>/dev/null
"$COCOLA" score --checkpoint model.h5 stems/test/song0/stem0.wav stems/test/song0/stem1.wav --format jsonl >score2.jsonl
python3 -c 'import json; a, b = (json.load(open(f)) for f in ("score.jsonl", "score2.jsonl")); assert a["both"] == b["both"], (a, b)'

# ---- smaller embeddings --------------------------------------------------------------------------
"$COCOLA" train --config small.yaml --set model.embedding=64 --set train.steps=2 --out few 2>few.txt || { cat few.txt >&2; fail "64 numbers an embedding"; }
"$COCOLA" export --in few/checkpoints/last.h5 --out few.safetensors 2>/dev/null
"$COCOLA" import --in few.safetensors --out few.h5 2>/dev/null
for f in few/checkpoints/last.h5 few.safetensors few.h5; do
    "$COCOLA" score --checkpoint $f stems/test/song0/stem0.wav stems/test/song0/stem1.wav --format jsonl >few.jsonl || fail "score with $f"
    python3 -c 'import json; r = json.load(open("few.jsonl")); print(r["both"], r["harmonic"])' >>few.scores
done
[ "$(sort -u few.scores | wc -l)" -eq 1 ] || fail "scores of 64 numbers differ: $(cat few.scores)"
refused 2 "$COCOLA" train --config small.yaml --set model.embedding=100 --out refused
says "model.embedding: 100 is no multiple of 8" refused.txt

# ---- several stores ------------------------------------------------------------------------------
mkdir others
cp -r stems/train others/train
for stem in others/train/*/stem0.wav; do mv "$stem" "${stem%stem0.wav}stem9.wav"; done # another order, other ids
"$COCOLA" preprocess --layout folder --in others --out others.store >/dev/null 2>&1
ranks 2 train --config small.yaml --set "data.train=[store, others.store]" --set "data.weights=[1, 3]" \
    --set loss.negatives=same-dataset --set train.batch=16 --set train.steps=3 --out many 2>many.txt ||
    { cat many.txt >&2; fail "training on two stores"; }
says " store: [0-9]* windows, 25.0 %" many.txt
says " others.store: [0-9]* windows, 75.0 %" many.txt
python3 - <<'PYTHON' || fail "columns of the own data set"
import json
steps = [r for r in map(json.loads, open("many/log.jsonl")) if r["kind"] == "train"]
# with one pair of four from the first store about 16 (1/16 + 9/16) columns are of the row's own
assert len(steps) == 3 and all(5 <= r["columns"] < 16 for r in steps) and sum(r["columns"] for r in steps) < 40, steps
PYTHON
"$COCOLA" train --config many/config.yaml --out many.again 2>/dev/null || fail "config.yaml of two stores"
refused 2 "$COCOLA" train --config small.yaml --set "data.train=[store, others.store]" --set data.weights=[1,2,3] --out refused
says "data.weights: 3 numbers for the 2 stores" refused.txt
"$COCOLA" eval --checkpoint many/checkpoints/last.h5 --store "[store, others.store]" --split train --k 2 --format json >many.json 2>/dev/null
python3 -c 'import json; r = json.load(open("many.json")); assert r["rows"][0]["pairs"] == 60, r' || fail "windows of both stores"

# What JSON cannot hold: names that are no UTF-8 are refused, numbers that are not finite are null.
odd=$'stem\xff.wav'
cp stems/test/song0/stem0.wav "$odd"
refused 3 "$COCOLA" score --checkpoint model.h5 "$odd" stems/test/song0/stem1.wav --format jsonl
says "not UTF-8" refused.txt
[ ! -s refused.out ] || fail "a row without its file"
"$COCOLA" score --checkpoint model.h5 "$odd" stems/test/song0/stem1.wav --format csv >odd.csv || fail "csv takes any name"
cp model.h5 $'model\xff.h5'
refused 3 "$COCOLA" eval --checkpoint $'model\xff.h5' --store store --k 2 --format json
says "not UTF-8" refused.txt
python3 - <<'PYTHON'
import json
import struct

bytes_ = bytearray(open("model.safetensors", "rb").read())
length = struct.unpack("<Q", bytes_[:8])[0]
begin, end = next(t["data_offsets"] for t in json.loads(bytes_[8 : 8 + length]).values() if t.get("shape") == [512, 512])
bytes_[8 + length + begin : 8 + length + end] = struct.pack("<f", 3e38) * ((end - begin) // 4)
open("huge.safetensors", "wb").write(bytes_)
PYTHON
"$COCOLA" eval --checkpoint huge.safetensors --store store --k 2 --format json >huge.json 2>/dev/null
python3 -c 'import json; r = json.load(open("huge.json"))["rows"]; assert len(r) == 1 and r[0]["loss"] is None, r'

# The reader in docs/checkpoint.md works as it stands there.
sed -n '/^```python$/,/^```$/p' "$here/../docs/checkpoint.md" | grep -v '^```' >reader.py
for python in python3 /usr/bin/python3; do
    $python -c 'import h5py' 2>/dev/null || continue
    $python reader.py $model >reader.txt
    says "profile cocola-hps features hps step 10" reader.txt
    says "(512, 512) float32" reader.txt
    break
done
[ -s reader.txt ] || echo "skipped: no python3 here has h5py, so the reader of docs/checkpoint.md was not tried" >&2

# ---- a full disk ---------------------------------------------------------------------------------
mkdir small-disk
trap 'mountpoint -q small-disk && umount small-disk' EXIT
if mount -t tmpfs -o size=6m tmpfs small-disk 2>/dev/null; then
    code=0 # room for one checkpoint, not for a second
    train 2 small-disk/run --set train.keep=0 2>full.txt || code=$?
    left=$(ls -A small-disk/run/checkpoints)
    "$COCOLA" export --in small-disk/run/checkpoints/last.h5 --out old.safetensors 2>old.txt || left="broken"
    umount small-disk
    [ $code -eq 4 ] || { cat full.txt >&2; fail "a full disk gives exit code 4, not $code"; }
    says "No space left" full.txt
    [ "$left" = last.h5 ] || fail "the old checkpoint stays, and nothing else: $left"
else
    echo "skipped: no small disk can be mounted here" >&2
fi
echo "all held"
