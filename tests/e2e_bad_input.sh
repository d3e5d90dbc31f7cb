#!/usr/bin/env bash
# Bad input at the level of the program. A refused command has its documented exit code, says what is
# wrong in exactly one line "cocola: ...", prints no result and leaves nothing behind. What
# e2e_preprocess.sh, e2e_render.sh, e2e_train.sh, e2e_watchdog.sh and the unit tests refuse is not
# repeated here.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$PWD/scratch_e2e_bad_input
launcher=${COCOLA_MPIRUN:-mpirun --oversubscribe}
export OMP_NUM_THREADS=1
failures=0
mounts=()
trap 'for m in "${mounts[@]}"; do mountpoint -q "$m" && umount "$m"; done' EXIT
rm -rf "$work"
mkdir -p "$work/out"
cd "$work" || exit 1

fail() { echo "FAILED: $*"; sed 's/^/    /' err; failures=$((failures + 1)); }
cocola() { timeout -k 1 60 "$COCOLA" "$@"; }
ranks() { local n=$1; shift; timeout -k 1 60 $launcher -n "$n" "$@"; }

# `says 'A & B'`: the error output is one line of ours that holds every one of the words.
says() {
    local word
    [ "$(grep -c '^cocola: ' err)" = 1 ] || return 1
    while IFS= read -r word; do
        grep '^cocola: ' err | grep -qF -- "$word" || return 1
    done < <(sed 's/ & /\n/g' <<<"$1")
}

# refuse CODE WORDS COMMAND...: as the head of this file says; out/ is where commands are told to write.
refuse() {
    local want=$1 words=$2 code
    shift 2
    "$@" >printed 2>err
    code=$?
    [ $code = "$want" ] || fail "exit code $code, wanted $want: $*"
    says "$words" || fail "wanted one line with '$words': $*"
    [ ! -s printed ] || fail "prints a result: $*"
    [ -z "$(find out -mindepth 1)" ] || fail "left behind by $*: $(find out -mindepth 1)"
    find out -mindepth 1 -delete
}

accept() {
    "$@" >printed 2>err || fail "exit code $?: $*"
}

flip() { python3 -c "
f = open('$1', 'r+b'); f.seek($2); b = f.read(1); f.seek($2); f.write(bytes([b[0] ^ 16]))"; }

cat >small.yaml <<'YAML'
data: {train: store}
model: {width: 0.1, depth: 0.2, bn_group: 2}
train: {batch: 4, steps: 2, log_every: 1, valid_every: 0}
YAML
python3 "$here/make_songs.py" stems || exit 1
accept cocola preprocess --layout folder --in stems --out store
accept cocola train --config small.yaml --out run
model=run/checkpoints/last.h5
sound=stems/test/song0/stem0.wav
accept cocola export --in $model --out model.safetensors
[ $failures = 0 ] || exit 1

echo "help and version of every command"
cocola --version >version
commands=$(cocola --help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 8 ] || fail "too few commands in the overview: $commands"
for code in 0 1 2 3 4 5 6 75; do cocola --help | grep -q "^ *$code  " || fail "exit code $code is not documented"; done
for command in $commands; do
    accept cocola $command --help
    grep -q "^usage: cocola $command " printed || fail "$command --help does not begin with its usage"
    grep -q '^exit codes: ' printed || fail "$command --help does not tell its exit codes"
    [ ! -s err ] || fail "$command --help complains"
    accept cocola $command --version
    cmp -s printed version || fail "$command --version prints something else"
    refuse 2 "unknown option '--helpp'; did you mean --help? See cocola $command --help" cocola $command --helpp
    refuse 2 "unknown option '-q'; see" cocola $command -q
done

echo "command lines"
refuse 2 "no command is called 'trian'; did you mean train?" cocola trian
refuse 2 "no command is called '--verison'; did you mean --version?" cocola --verison
refuse 2 "no command is called 'frobnicate'; see cocola help" cocola frobnicate
refuse 2 "no command is called ''" cocola ''
refuse 2 "did you mean train?" cocola help trian
refuse 2 "did you mean help settings?" cocola help setings
refuse 2 "train.bacth & did you mean train.batch?" cocola help settings train.bacth
refuse 2 "'word' is one word too many" cocola help train word
refuse 2 "--yaml goes with & help settings" cocola help train --yaml
refuse 2 "'--ouut'; did you mean --out?" cocola train --ouut=out/x
refuse 2 "'-out'; did you mean --out?" cocola export -out out/x
refuse 2 "unknown option '--out'; see" cocola eval --out out/x
refuse 2 "--out needs a value: --out RUN" cocola train --config small.yaml --out
refuse 2 "--out needs a value: --out RUN" cocola train --config small.yaml --out ''
refuse 2 "--in needs a value" cocola preprocess --layout folder --in= --out out/x
refuse 2 "--config is given twice" cocola train --config a --config b --out out/x
refuse 2 "'word': cocola train takes options only" cocola train word --config small.yaml --out out/x
refuse 2 "cocola render needs 1 more word; usage:" cocola render --soundfont x --out out/x
refuse 2 "name two files, CONTEXT and OUTPUT & --pairs" cocola score --checkpoint $model $sound
refuse 2 "name two files" cocola score --checkpoint $model $sound $sound --pairs list.csv
refuse 2 "one word too many" cocola score --checkpoint $model $sound $sound $sound
refuse 2 "--mode: 'bth' is unknown; known: both, harmonic" cocola score --checkpoint $model $sound $sound --mode bth
refuse 2 "--format: 'xml' & jsonl" cocola score --checkpoint $model $sound $sound --format xml
refuse 2 "backend 'gpu' is unknown; known: ref, cpu" cocola score --checkpoint $model $sound $sound --backend gpu
refuse 2 "--hop: 0 is out of range: 0.01 to 3600" cocola score --checkpoint $model $sound $sound --hop 0
refuse 2 "--hop: '1s' is no number" cocola score --checkpoint $model $sound $sound --hop 1s
refuse 2 "--split: 'tset' is unknown; known: train" cocola eval --checkpoint $model --store store --split tset
refuse 2 "--k: '2;8' & comma-separated" cocola eval --checkpoint $model --store store --k '2;8'
refuse 2 "--k: '2,every' & the word all" cocola eval --checkpoint $model --store store --k 2,every
refuse 2 "--k: '2,all8' & the word all" cocola eval --checkpoint $model --store store --k 2,all8
refuse 2 "--orders: '1e3' is no whole number" cocola eval --checkpoint $model --store store --orders 1e3
refuse 2 "--k: 19 is more than the 18 pairs of the test split of store" cocola eval --checkpoint $model --store store --k 2,19
accept cocola eval --checkpoint $model --store store --k 18 --orders 2

echo "settings"
config() { printf '%s\n' "$1" >bad.yaml; cocola train --config bad.yaml --out out/run "${@:2}"; }
refuse 2 "bad.yaml:1:9: no setting is called 'train.bacth'; did you mean train.batch?" config 'train: {bacth: 4}'
refuse 2 "bad.yaml:1:1: no section is called 'trian'; did you mean train?" config 'trian: {batch: 4}'
refuse 2 "bad.yaml:1:1: batch belongs below its section: train: {batch: ...}" config 'batch: 4'
refuse 2 "bad.yaml:1:16: train.batch: 'four' is no whole number" config 'train: {batch: four}'
refuse 2 "bad.yaml:1:16: train.batch: 1 is out of range: 2 to" config 'train: {batch: 1}'
refuse 2 "bad.yaml:2:1: not YAML" config 'train: {batch: 4'
refuse 2 "'foo' is no assignment; write section.key=value" config '' --set foo
refuse 4 "nowhere.yaml: cannot be opened: No such file" cocola train --config nowhere.yaml --out out/run
train() { cocola train --config small.yaml --out out/run "$@"; }
refuse 3 "$sound: not a checkpoint" train --set train.init=$sound
refuse 3 "store/shard-00000.h5: & no checkpoint" train --set train.init=store/shard-00000.h5
refuse 2 "train.init: model.safetensors is a model of & width 0.1 & width 0.3" train --set train.init=model.safetensors --set model.width=0.3
refuse 4 "$sound: no such store (a store is a folder)" train --set data.train=$sound
refuse 3 "stems: no finished store" train --set data.train=stems

echo "standard output that is full or closed"
full() { "$@" >/dev/full; }
closed() { "$@" >&-; }
for wrong in full closed; do
    refuse 4 "standard output cannot be written" $wrong cocola --help
    refuse 4 "standard output cannot be written" $wrong cocola help settings
    refuse 4 "standard output cannot be written" $wrong cocola score --checkpoint $model $sound $sound
    refuse 4 "standard output cannot be written" $wrong cocola eval --checkpoint $model --store store --k 2 --orders 2
done
cocola export --in nowhere.h5 --out out/x 2>&-
[ $? = 4 ] || fail "closed standard error changes the exit code"
# What is printed must not end in a file that has got the closed stream's number.
cocola export --in $model --out closed.safetensors >&- 2>&-
cmp closed.safetensors model.safetensors || fail "closed streams change what is exported"

echo "sound files"
python3 - "$sound" <<'PYTHON'
import math
import struct
import sys


def floats(name, values):
    data = struct.pack(f"<{len(values)}f", *values)
    with open(name, "wb") as out:
        out.write(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, 1, 16000,
                              64000, 4, 32, b"data", len(data)) + data)


floats("nan.wav", [0.1] * 5000 + [math.nan] + [0.1] * 5000)
floats("infinite.wav", [0.1] * 7000 + [-math.inf])
floats("none.wav", [])
floats("huge.wav", [3e38] * 20000)
floats("silent.wav", [0.0] * 20000)
whole = open(sys.argv[1], "rb").read()
open("cut.wav", "wb").write(whole[:30000])
open("head.wav", "wb").write(whole[:20])
open("empty.wav", "wb")
open("text.wav", "w").write("not a sound\n")
open("list.csv", "w").write(f"context,output\n{sys.argv[1]},{sys.argv[1]}\n{sys.argv[1]},gone.wav\n")
open("nans.csv", "w").write(f"context,output\n{sys.argv[1]},nan.wav\n{sys.argv[1]},huge.wav\n")
open("columns.csv", "w").write(f"a,b\n{sys.argv[1]},{sys.argv[1]}\n")
PYTHON
while IFS='|' read -r file code words; do
    refuse "$code" "$file: $words" cocola score --checkpoint $model $sound "$file"
    refuse "$code" "$file: $words" cocola score --checkpoint $model "$file" $sound
done <<'TABLE'
gone.wav|4|cannot be read: No such file
stems|4|not a regular file
empty.wav|3|the file is empty
none.wav|3|holds no samples
text.wav|3|not a sound file
head.wav|3|not a sound file
model.safetensors|3|not a sound file
cut.wav|3|the file is cut short
nan.wav|3|sample 5000 (0.312 s) is not a number
infinite.wav|3|sample 7000 (0.438 s) is infinite
TABLE
for file in huge.wav silent.wav; do # odd, but sound: a number comes out
    accept cocola score --checkpoint $model $sound $file --format csv
    grep -qE "$file,[-0-9.]+,[-0-9.]+,[-0-9.]+,1," printed || fail "no score for $file: $(cat printed)"
done
refuse 4 "list.csv:3: gone.wav: cannot be read" cocola score --checkpoint $model --pairs list.csv
refuse 4 "gone.csv: cannot be opened" cocola score --checkpoint $model --pairs gone.csv
refuse 3 "columns.csv & 'context' and 'output'" cocola score --checkpoint $model --pairs columns.csv
cocola score --checkpoint $model --pairs nans.csv --keep-going --format csv >printed 2>err
[ $? = 3 ] && says "1 of 2 pairs could not be scored" || fail "--keep-going with a broken file"
grep -q "nan.wav,,,,0,.*not a number" printed && grep -qE "huge.wav,[-0-9.]+," printed || fail "rows: $(cat printed)"

echo "checkpoints"
head -c 30000 $model >cut.h5
cp $model flipped.h5 && flip flipped.h5 "$(($(stat -c %s $model) / 2))"
for file in gone.h5 run store/shard-00000.h5 text.wav cut.h5 flipped.h5; do
    code=3
    [ $file = gone.h5 ] && code=4
    refuse $code "$file: " cocola score --checkpoint $file $sound $sound
    refuse $code "$file: " cocola export --in $file --out out/weights
done
refuse 3 "flipped.h5: " cocola eval --checkpoint flipped.h5 --store store --k 2
refuse 3 "cut.h5: " train --set train.init=cut.h5
refuse 3 "$model: not a safetensors model" cocola import --in $model --out out/model.h5
refuse 3 "takes 2 channels, --profile cocola-mel has 1" cocola import --in model.safetensors --out out/model.h5 --profile cocola-mel
head -c 100000 model.safetensors >cut.safetensors
refuse 3 "cut.safetensors: " cocola import --in cut.safetensors --out out/model.h5

echo "stores"
for store in unfinished cut schema settings flipped; do cp -r store $store; done
rm unfinished/manifest.json
truncate -s -5000 cut/shard-00000.h5
sed -i 's/"schema": 1,/"schema": 9,/' schema/manifest.json
sed -i 's/"sample_rate": 16000,/"sample_rate": 44100,/' settings/manifest.json
flip flipped/shard-00000.h5 "$(($(stat -c %s store/shard-00000.h5) / 2))"
for store in unfinished cut schema settings; do
    refuse 3 "$store" train --set data.train=$store
    refuse 3 "$store" cocola eval --checkpoint $model --store $store --k 2
done
refuse 3 "flipped/shard-00000.h5: damaged in track train/ & remove the shard and run" \
    cocola eval --checkpoint $model --store flipped --split train --k 2

echo "output that cannot be written"
write_all() { # CODE WORDS PLACE
    refuse "$1" "$2" cocola export --in $model --out "$3"
    refuse "$1" "$2" cocola import --in model.safetensors --out "$3"
    refuse "$1" "$2" cocola preprocess --layout folder --in stems --out "$3"
    refuse "$1" "$2" cocola train --config small.yaml --out "$3"
}
write_all 4 "small.yaml & " small.yaml/x # below a file
write_all 4 "/proc/x: " /proc/x
mkfifo pipe
ln -s small.yaml link
for place in pipe link; do
    refuse 4 "$place: cannot be written: a link, device or pipe" cocola export --in $model --out $place
    refuse 4 "$place: cannot be written: a link, device or pipe" cocola import --in model.safetensors --out $place
done
[ -p pipe ] && [ -L link ] || fail "a pipe or a link was replaced"
refuse 4 "stems: cannot be written: a folder" cocola export --in $model --out stems
mkdir fixed small
if mount -t tmpfs -o ro tmpfs fixed 2>/dev/null; then
    mounts+=("$work/fixed")
    write_all 4 "fixed/x: & Read-only file system" fixed/x
else
    echo "  left out: nothing can be mounted here, so neither a read-only folder nor a full disk was tried"
fi
if [ ${#mounts[@]} -gt 0 ] && mount -t tmpfs -o size=2m tmpfs small; then
    mounts+=("$work/small")
    cp model.safetensors small/kept # room for one, not for two
    refuse 4 "small/kept: & No space left" cocola export --in $model --out small/kept
    refuse 4 "small/kept: & No space left" cocola import --in model.safetensors --out small/kept
    cmp small/kept model.safetensors || fail "a full disk changes the file that was there"
    [ "$(ls -A small)" = kept ] || fail "left on the full disk: $(ls -A small)"
fi

echo "ranks"
host=$(hostname)
cat >one_differs.sh <<'SCRIPT' # WORD COMMAND...: rank 1 gets --set WORD in addition
word=$1
shift
[ "${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}" = 1 ] && set -- "$@" --set "$word"
exec "$@"
SCRIPT
differ() { ranks 2 bash one_differs.sh "$1" "$COCOLA" train --config small.yaml --out out/run "${@:2}"; }
refuse 2 "rank 0 on $host: unknown option '--oout'; did you mean --out?" ranks 2 "$COCOLA" train --oout x
refuse 2 "rank 0 on $host: --k: 19 is more than the 18 pairs" ranks 2 "$COCOLA" eval --checkpoint $model --store store --k 19
begin=$(date +%s)
refuse 4 "rank 1 on $host: nowhere: no such store" differ data.train=nowhere
refuse 3 "rank 1 on $host: cut/shard-00000.h5: " differ data.train=cut
# both in less than the time that a rank waits for the others (120 s); the start is included
[ $(($(date +%s) - begin)) -lt 20 ] || fail "ranks took $(($(date +%s) - begin)) s to end"
refuse 2 "rank 1 on $host: train.batch: 6 here, 4 on rank 0" differ train.batch=6
refuse 2 "rank 1 on $host: comm.deadline: 9 here, 120 on rank 0" differ comm.deadline=9
cp -r stems other && rm -r other/train/song4
accept cocola preprocess --layout folder --in other --out other_store
refuse 3 "rank 1 on $host: other_store: its content & is not that of rank 0" differ data.train=other_store
# a block that only one rank reads is damaged, while all train
ranks 2 "$COCOLA" train --config small.yaml --out damaged --set data.train=flipped --set train.steps=100 >printed 2>err
code=$?
[ $code = 3 ] && says "rank & on $host: flipped/shard-00000.h5: damaged in track train/" || fail "a damaged block while training: exit code $code"
[ -z "$(ls -A damaged/checkpoints)" ] || fail "left behind: $(ls -A damaged/checkpoints)"
for task in 0 1; do
    SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=$task cocola train --config small.yaml --out out/run >printed 2>err
    code=$?
    [ $code = 6 ] || fail "copies of one rank: exit code $code of task $task"
    [ $task = 1 ] || says "Slurm started 2 tasks, but MPI sees one rank & srun --mpi=pmix" || fail "copies of one rank"
    [ $task = 0 ] || [ ! -s err ] || fail "the second task speaks too"
done
[ -z "$(find out -mindepth 1)" ] || fail "left behind by copies of one rank: $(find out -mindepth 1)"

echo "a rank that is stopped while all train"
$launcher -n 2 "$COCOLA" train --config small.yaml --out stopped --set train.steps=100000 --set comm.deadline=3 >printed 2>err &
job=$!
for _ in $(seq 600); do grep -q '"step":3,' stopped/log.jsonl 2>/dev/null && break; sleep 0.05; done
for pid in $(cat /proc/$job/task/$job/children); do
    tr '\0' '\n' <"/proc/$pid/environ" | grep -q '^OMPI_COMM_WORLD_RANK=1$' && break
done
kill -STOP "$pid"
begin=$(date +%s)
wait $job
code=$?
[ $code = 6 ] || fail "a stopped rank: exit code $code"
[ $(($(date +%s) - begin)) -lt 15 ] || fail "a stopped rank: the job ends after $(($(date +%s) - begin)) s"
says "rank 0 on $host: step & collective ' & waited 3 s & rank 1 on $host does not answer" || fail "a stopped rank is not named"
for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
kill -0 "$pid" 2>/dev/null && fail "the stopped rank goes on"

[ $failures = 0 ] && echo "all held"
exit $failures
