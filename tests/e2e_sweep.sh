#!/usr/bin/env bash
# A sweep as a user runs it: two values of K on small songs, on two ranks, with control runs. One that
# was stopped by a signal or killed ends, after the same command again, in the same models as one that
# was not; a run that fails does not keep the others from being done; the report shows all of it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rm -rf scratch_e2e_sweep
mkdir scratch_e2e_sweep
cd scratch_e2e_sweep
export OMP_NUM_THREADS=1
launcher=${COCOLA_MPIRUN:-mpirun --oversubscribe}

fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }
says() { grep -q -- "$1" "$2" || { cat "$2" >&2; fail "$2 does not say '$1'"; }; }
sweep() { "$COCOLA" sweep --config small.yaml --vary batch --k 4,8 "$@"; }
# refused CODE WORDS COMMAND...: exit code, one line that says so, and nothing on standard output.
refused() {
    local want=$1 words=$2 code=0
    shift 2
    "$@" >refused.out 2>refused.txt || code=$?
    [ $code -eq "$want" ] || { cat refused.txt >&2; fail "exit code $code, wanted $want: $*"; }
    [ "$(grep -c '^cocola: ' refused.txt)" -eq 1 ] || { cat refused.txt >&2; fail "one line of ours: $*"; }
    grep '^cocola: ' refused.txt | grep -qF -- "$words" || { cat refused.txt >&2; fail "'$words': $*"; }
    [ ! -s refused.out ] || fail "prints a result: $*"
}
# Start a sweep in the background until a run's log has a line of that step; the pid is in $pid.
start_until() {
    local out=$1 run=$2 step=$3
    shift 3
    "$COCOLA" sweep --config small.yaml --vary batch --k 4,8 --out "$out" "$@" 2>"$out.txt" & # no function: its pid counts
    pid=$!
    for _ in $(seq 1200); do
        grep -q "\"step\":$step," "$out/$run/log.jsonl" 2>/dev/null && return
        kill -0 $pid 2>/dev/null || { cat "$out.txt" >&2; fail "$out ended before step $step of $run"; }
        sleep 0.05
    done
    fail "$out: no step $step of $run after 60 s"
}
# The steps and what was computed in them, without clocks and memory.
numbers() { sed -E 's/"time":"[^"]*",//; s/"pairs_per_second":[^,]*,//; s/"memory":\{[^}]*\},//; s/,"seconds":\{.*\}\}/}/' "$1/log.jsonl"; }
same() {
    for run in k4-s1 k8-s1; do
        cmp "$1/$run/checkpoints/last.h5" "$2/$run/checkpoints/last.h5" || fail "the models of $1/$run and $2/$run differ"
        [ "$(numbers "$1/$run")" = "$(numbers "$2/$run")" ] || fail "the logs of $1/$run and $2/$run differ"
        # the names of the checkpoints differ
        cmp <(grep -v '"checkpoint":' "$1/$run/eval.json") <(grep -v '"checkpoint":' "$2/$run/eval.json") ||
            fail "the evaluations of $1/$run and $2/$run differ"
    done
}

cat >small.yaml <<'YAML'
data: {train: store, crop: 2}
model: {width: 0.1, depth: 0.1, bn_momentum: 0.1, bn_group: 2}
train: {batch: 4, steps: 20, log_every: 1, checkpoint_every: 2, valid_every: 0, warmup: 2}
eval: {orders: 10, bootstrap: 100}
YAML
python3 "$here/make_songs.py" stems
python3 "$here/../scripts/noise_stems.py" noise_stems --songs 4 --seconds 50
for name in stems noise_stems; do "$COCOLA" preprocess --layout folder --in $name --out ${name/stems/store} >/dev/null; done
[ -d store ] && [ -d noise_store ] || fail "two stores"

# ---- the plan ------------------------------------------------------------------------------------
sweep --out plan --rate-rule sqrt --seeds 1,2 --dry-run --pairs-per-second 10 >plan.txt
says '^ *1  k4-s1 .* 4  *4  *20  *0.001  *0:08  new$' plan.txt
says '^ *4  k8-s2 .* 8  *8  *10  *0.001414  *0:08  new$' plan.txt
"$COCOLA" sweep --config small.yaml --k 2,4 --out plan --rate-rule linear --dry-run >plan.txt
says '^ *1  k2-s1 .* 2  *4  *20  *0.0005  *-  new$' plan.txt
sweep --out "it's a plan" --seeds 1,2 --list-jobs >jobs.txt
[ "$(wc -l <jobs.txt)" -eq 4 ] || fail "four jobs"
says "--only 4$" jobs.txt
[ ! -e plan ] && [ ! -e "it's a plan" ] || fail "a plan is written"

# ---- a sweep, on two ranks, with controls --------------------------------------------------------
sweep --out whole --launch "$launcher -n 2" --leak noise_store --leak-samples 40 2>whole.txt || { cat whole.txt >&2; fail "a sweep"; }
says "cocola report whole" whole.txt
for run in k4-s1 k8-s1 control-k4-s1 control-k8-s1; do
    says "on 2 ranks" whole/$run/output.txt
    [ -s whole/$run/config.yaml ] || fail "config.yaml of $run"
done
[ "$(tail -n 1 whole/k8-s1/log.jsonl | grep -o '"step":[0-9]*')" = '"step":10' ] || fail "half the steps at twice the batch"
[ ! -e whole/control-k4-s1/eval.json ] || fail "control runs are not evaluated"
python3 - <<'PYTHON' || fail "eval.json"
import json

for run in ("k4-s1", "k8-s1"):
    splits = json.load(open(f"whole/{run}/eval.json"))
    assert [s["split"] for s in splits] == ["validation", "test"], splits
    for split in splits:
        assert [r["k"] for r in split["rows"]] == [2, 8, 4], split["rows"]
        assert all(0 <= r["accuracy"] <= 1 and r["loss"] > 0 for r in split["rows"])
PYTHON
touch -d '2001-01-01' whole/*/eval.json whole/*/log.jsonl
sweep --out whole --launch "$launcher -n 2" --leak noise_store --leak-samples 40 2>again.txt
says "4 of the runs had been done before" again.txt
[ -z "$(find whole -name '*.json*' -path '*-s1/*' ! -name control.json -newermt '2002-01-01')" ] || fail "what is done is done again"
sweep --out whole --leak noise_store --leak-samples 40 --dry-run >done.txt
[ "$(grep -c ' done$' done.txt)" -eq 4 ] || { cat done.txt >&2; fail "the table says what is done"; }
sweep --out whole --list-jobs >jobs.txt
[ ! -s jobs.txt ] || fail "nothing is left to be done"

# ---- K alone, in a batch that stays --------------------------------------------------------------
"$COCOLA" sweep --config small.yaml --k 2,4 --samples 32 --splits test --eval-k 2 --out columns 2>columns.txt ||
    { cat columns.txt >&2; fail "a sweep over loss.k"; }
python3 - <<'PYTHON' || fail "loss.k is not what varies"
import json

logs = [[r for r in map(json.loads, open(f"columns/k{k}-s1/log.jsonl")) if r["kind"] == "train"] for k in (2, 4)]
for k, log in zip((2, 4), logs):
    assert len(log) == 8 and all(r["columns"] == k for r in log), log
    valid = [r for r in map(json.loads, open(f"columns/k{k}-s1/log.jsonl")) if r["kind"] == "validation"]
    assert valid and all(r["k"] == k for r in valid), valid  # not of the batch
assert [r["learning_rate"] for r in logs[0]] == [r["learning_rate"] for r in logs[1]]
assert logs[0][0]["loss"] < logs[1][0]["loss"]  # the same weights and samples, half the columns
PYTHON

# evaluations that are asked for later come beside those of before
for more in "validation 2" "test 3"; do
    "$COCOLA" sweep --config small.yaml --k 2,4 --samples 32 --splits "${more% *}" --eval-k "${more#* }" --out columns 2>more.txt ||
        { cat more.txt >&2; fail "another evaluation"; }
done
python3 - <<'PYTHON' || fail "what was evaluated before is lost"
import json

for k in (2, 4):
    splits = {e["split"]: sorted({r["k"] for r in e["rows"]}) for e in json.load(open(f"columns/k{k}-s1/eval.json"))}
    assert splits == {"test": [2, 3], "validation": [2]}, splits
PYTHON

# ---- the report ----------------------------------------------------------------------------------
"$COCOLA" report whole >report.txt 2>report.err
says '^4 runs; accuracy of the test split, mode both' report.txt
[ "$(grep -cE '^ +(4|8) +[0-9.]+ +1 ' report.txt)" -eq 2 ] || { cat report.txt >&2; fail "a line a K"; }
says 'leak, nats' report.txt
for chart in "Accuracy of the test split" "Accuracy of the validation split" "Loss against ln K" "Nats of leak" "Throughput" "Memory"; do
    says "<b>$chart</b>" whole/report.html
done
python3 - <<'PYTHON' || fail "report.html is no good page"
import html.parser
import json
import math
import xml.etree.ElementTree as tree

text = open("whole/report.html", encoding="utf-8").read()
charts = ["<svg" + part.split("</svg>")[0] + "</svg>" for part in text.split("<svg")[1:]]
assert len(charts) == 6, len(charts)
for chart in charts:
    tree.fromstring(chart)  # well formed


class Cells(html.parser.HTMLParser):
    rows = []

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


Cells().feed(text)
head = next(r for r in Cells.rows if r[0] == "run")
runs = {r[0]: dict(zip(head, r)) for r in Cells.rows[Cells.rows.index(head) + 1:]}
assert sorted(runs) == ["control-k4-s1", "control-k8-s1", "k4-s1", "k8-s1"], runs
for name in ("k4-s1", "k8-s1"):
    test = json.load(open(f"whole/{name}/eval.json"))[1]["rows"]
    assert runs[name]["% at K=8"] == f'{100 * test[1]["accuracy"]:.1f}', (runs[name], test)
log = [r for r in map(json.loads, open("whole/control-k8-s1/log.jsonl")) if r["kind"] == "train"]
assert len(log) == 5
# the last tenth of 5 steps is the last one
assert abs(float(runs["control-k8-s1"]["leak, nats"]) - (math.log(8) - log[-1]["loss"])) < 1e-4
assert runs["control-k8-s1"]["% at K=8"] == "-" and runs["k8-s1"]["leak, nats"] == "-"
PYTHON
"$COCOLA" report whole/k4-s1 --out one.html --title "one <run>" >one.txt 2>&1
says '<h1>one &lt;run&gt;</h1>' one.html
says '^1 runs' one.txt

# ---- stopped, killed, gone on --------------------------------------------------------------------
start_until stopped k4-s1 5 --launch "$launcher -n 2"
kill -TERM $pid
code=0
wait $pid || code=$?
[ $code -eq 75 ] || { cat stopped.txt >&2; fail "a stopped sweep ends with exit code 75, not $code"; }
says "stopped by a signal in k4-s1" stopped.txt
says "start the same command again" stopped/k4-s1/output.txt
[ ! -e stopped/k4-s1/eval.json ] && [ ! -e stopped/k8-s1 ] || fail "what comes later is not begun"
"$COCOLA" report stopped >/dev/null 2>unfinished.txt || fail "an unfinished sweep can be reported"
sweep --out stopped --launch "$launcher -n 2" 2>resumed.txt || { cat resumed.txt >&2; fail "going on"; }
says "going on from stopped/k4-s1/checkpoints/last.h5" stopped/k4-s1/output.txt
same whole stopped

start_until killed k8-s1 5 --launch "$launcher -n 2"
kill -9 $pid
wait $pid 2>/dev/null || true
for _ in $(seq 600); do [ -e killed/k8-s1/.train.lock ] || break; sleep 0.05; done # its ranks end, too
[ ! -e killed/k8-s1/.train.lock ] || fail "a run outlives its sweep"
sweep --out killed --launch "$launcher -n 2" 2>resumed.txt || { cat resumed.txt >&2; fail "going on after a kill"; }
says "1 of the runs had been done before" resumed.txt
same whole killed

# ---- a job each ----------------------------------------------------------------------------------
sweep --out jobs --launch "$launcher -n 2" --list-jobs >jobs.txt
while IFS= read -r job; do bash -c "$job" </dev/null 2>job.txt || { cat job.txt >&2; fail "job: $job"; }; done <jobs.txt
same whole jobs

# ---- a run that fails ----------------------------------------------------------------------------
mkdir failing
sed 's/width: 0.1/width: 0.2/' whole/k4-s1/config.yaml >other.yaml
"$COCOLA" train --config other.yaml --set train.steps=1 --set train.warmup=0 --set data.train=store --out failing/k4-s1 2>/dev/null
refused 2 "1 of 2 runs failed: k4-s1" sweep --out failing
says "warning: k4-s1 failed: exit code 2: failing/k4-s1/checkpoints/last.h5 was written with other settings: .*model.width" refused.txt
[ -s failing/k8-s1/eval.json ] || fail "the other run is done"
refused 1 "2 of 2 runs failed" sweep --out unlaunched --launch false
says "k4-s1 failed: exit code 1; see unlaunched/k4-s1/output.txt" refused.txt
refused 4 "2 of 2 runs failed" sweep --out launched --launch nowhere/mpirun
says "k8-s1 failed: exit code 127: nowhere/mpirun: cannot be started: No such file" refused.txt

# ---- bad input: one line each, nothing left behind -----------------------------------------------
refused 2 "--k: '4;8' is no comma-separated list" "$COCOLA" sweep --config small.yaml --k '4;8' --out bad
refused 2 "--k: 4 stands twice" "$COCOLA" sweep --config small.yaml --k 4,8,4 --out bad
refused 2 "--k LIST is missing" "$COCOLA" sweep --config small.yaml --out bad
refused 2 "k3-s1: loss.k: 3 does not divide train.batch (4)" "$COCOLA" sweep --config small.yaml --k 3 --out bad
refused 2 "k6-s1: 80 pairs are no whole number of batches of 6; give --samples a multiple, as 84" \
    "$COCOLA" sweep --config small.yaml --vary batch --k 6 --out bad
refused 2 "--vary: 'steps' is unknown; known: k, batch" "$COCOLA" sweep --config small.yaml --k 4 --vary steps --out bad
refused 2 "--rate-rule: 'cubic' is unknown" sweep --rate-rule cubic --out bad
refused 2 "--split: 'tset' is unknown" sweep --splits tset --out bad
refused 2 "--eval-k: 100 is more than the" sweep --eval-k 2,100 --out bad
refused 2 "--only: 3 is more than the 2 runs" sweep --only 3 --out bad
refused 2 "--leak-samples goes with --leak" sweep --leak-samples 8 --out bad
refused 2 "did you mean train.batch?" sweep --set train.bacth=3 --out bad
refused 4 "nowhere: no such store" sweep --set data.train=nowhere --out bad
refused 4 "nowhere: no such store" sweep --leak nowhere --out bad
refused 2 "whole/sweep.json is of another sweep: rate_rule" sweep --rate-rule sqrt --out whole
refused 2 "start it once, with --launch" $launcher -n 2 "$COCOLA" sweep --config small.yaml --k 4 --out bad
[ ! -e bad ] || fail "left behind: $(find bad)"
refused 4 "nowhere" "$COCOLA" report nowhere
refused 3 "stems: no runs" "$COCOLA" report stems
cp -r whole/k4-s1 broken
echo '{' >>broken/log.jsonl
refused 3 "broken: none of its runs can be read" "$COCOLA" report broken
says "warning: broken is left out: broken/log.jsonl:22: no JSON object" refused.txt
echo "all held"
