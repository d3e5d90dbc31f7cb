#!/usr/bin/env bash
# `cocola check` as a user runs it: on stores, checkpoints, weights and data sets, whole and not.
# Fails at the first check that does not hold.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$PWD/scratch_e2e_check
rm -rf "$work"
mkdir -p "$work"
cd "$work" || exit 1

fail() { echo "FAILED: $*"; for f in out err; do echo "--- $f"; tail -30 $f; done; exit 1; }
expect() {
    local want=$1 code=0
    shift
    "$COCOLA" check "$@" >out 2>err || code=$?
    [ $code -eq "$want" ] || fail "exit code $code, wanted $want: check $*"
}
says() { grep -q -- "$1" "$2" || fail "no '$1' in $2"; }

python3 "$here/make_songs.py" stems
python3 - <<'PYTHON' # what is odd: an echo, a clipped stem, a silent one, a constant offset
import array
import shutil
import wave

def change(path, to, how):
    with wave.open(path, "rb") as f:
        parameters, samples = f.getparams(), array.array("h", f.readframes(f.getnframes()))
    with wave.open(to, "wb") as f:
        f.setparams(parameters)
        f.writeframes(array.array("h", how(samples)).tobytes())

song = "stems/train/song0/"
change(song + "stem1.wav", song + "echo.wav", lambda x: [0] * 1000 + [v // 2 for v in x[:-1000]])
change(song + "stem0.wav", song + "clipped.wav", lambda x: [max(-1000, min(1000, v)) for v in x])  # at 16 kHz: flat tops stay
change(song + "stem2.wav", song + "quiet.wav", lambda x: [0] * len(x))
change(song + "stem2.wav", song + "shifted.wav", lambda x: [v + 2000 for v in x])
shutil.copytree("stems/train/song3", "stems/train/song3 again")
PYTHON
"$COCOLA" preprocess --layout folder --in stems --out store >out 2>err || fail "preprocess"

echo "a store: what is odd is named, and is no fault"
expect 0 store
says "train/song0: echo and stem1 (likeness 0\.9.*, -[45][0-9] ms)" out
says "train/song0: clipped ([0-9.]* %)" out
says "  train/song0: quiet$" out
says "train/song0: shifted (" out
says "train/song3 and train/song3 again" out
says "0 of 37 stems damaged" out
expect 0 store --json
python3 - <<'PYTHON' || fail "JSON"
import json
r = json.load(open("out"))
assert r["good"] and len(r["stems"]) == 37 and len(r["same_audio"]) == 1 and not r["same_audio"][0]["two_splits"], r
quiet = next(s for s in r["stems"] if s["stem"] == "quiet")
assert quiet["level_db"] is None and quiet["audible"] == 0, quiet
assert {tuple(e["stems"]) for e in r["echoes"]} >= {("echo", "stem1")}, r["echoes"]
PYTHON

echo "the same song in two splits is a fault"
cp -r "stems/train/song4" "stems/test/Song 4, live"
"$COCOLA" preprocess --layout folder --in stems --out store2 >out 2>err || fail "preprocess"
expect 3 store2
says "train/song4 and test/Song 4, live" out

echo "flipped bits are found, all of them, with the stems that they are in"
cp -r store broken
python3 - <<'PYTHON'
import glob
for name in sorted(glob.glob("broken/shard-*.h5"))[:2]:
    with open(name, "r+b") as f:
        f.seek(200000)
        byte = f.read(1)
        f.seek(200000)
        f.write(bytes([byte[0] ^ 4]))
PYTHON
expect 3 broken
shards=$(ls broken/shard-*.h5 | head -2 | wc -l)
[ "$(grep -c "damaged in track" out)" = "$shards" ] || fail "not every damage is named"
expect 3 broken --json
python3 -c 'import json; r = json.load(open("out")); assert not r["good"] and r["damaged_stems"] >= 1, r' || fail "JSON of a damaged store"

echo "models: whole, cut, diverged"
cat >small.yaml <<'YAML'
data: {train: store, crop: 1}
model: {width: 0.1, depth: 0.1}
train: {batch: 4, steps: 1, valid_every: 0}
YAML
"$COCOLA" train --config small.yaml --out run >out 2>err || fail "training"
expect 0 run/checkpoints/last.h5
says "whole (................); cocola-hps, width 0.1, .* step 1, a run can go on from it" out
"$COCOLA" export --in run/checkpoints/last.h5 --out model.safetensors 2>/dev/null
expect 0 model.safetensors
head -c 100000 run/checkpoints/last.h5 >cut.h5
expect 3 cut.h5
says "cut.h5" err
python3 - <<'PYTHON'
import json
import struct
b = bytearray(open("model.safetensors", "rb").read())
n = struct.unpack("<Q", b[:8])[0]
name, tensor = next((k, t) for k, t in json.loads(b[8 : 8 + n]).items() if k != "__metadata__" and t["dtype"] == "F32")
b[8 + n + tensor["data_offsets"][0] + 4 : 8 + n + tensor["data_offsets"][0] + 8] = struct.pack("<f", float("nan"))
open("diverged.safetensors", "wb").write(b)
PYTHON
expect 3 diverged.safetensors
says "value 1 is not finite" err

echo "a data set: every file is read"
expect 0 stems --layout folder
head -c 5000 stems/train/song1/stem0.wav >cut && mv cut stems/train/song1/stem0.wav
expect 3 stems --layout folder
says "stems/train/song1/stem0.wav" out
expect 3 stems
says "give --layout" err
expect 2
expect 4 nothing
exit 0
