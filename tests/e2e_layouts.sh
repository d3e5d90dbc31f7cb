#!/usr/bin/env bash
# Data sets in each layout, as a user preprocesses them: real sound files with the quirks of each.
# Fails at the first check that does not hold.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$PWD/scratch_e2e_layouts
rm -rf "$work"
mkdir -p "$work"
cd "$work" || exit 1

fail() { echo "FAILED: $*"; for f in out err; do echo "--- $f"; tail -20 $f; done; exit 1; }
run() { "$COCOLA" preprocess "$@" >out 2>err || fail "preprocess $*"; }
says() { grep -q -- "$1" "$2" || fail "no '$1' in $2"; }
refused() {
    local want=$1 code=0
    shift
    "$COCOLA" preprocess "$@" >out 2>err || code=$?
    [ $code -eq "$want" ] || fail "exit code $code, wanted $want: $*"
}
python=
for one in python3 /usr/bin/python3; do "$one" -c "import h5py" 2>/dev/null && python=$one && break; done
python3 "$here/make_layouts.py" || exit 1

echo "MUSDB18-HQ: the mixture is no stem, a named song validates"
run --layout musdb18hq --in musdb --out musdb.store
says "train 1, validation 1, test 1" out
says "^stems  *4 .* 4 .* 4 " out
mkdir -p packed/train && touch "packed/train/A - B.stem.mp4"
refused 3 --layout musdb18hq --in packed --out packed.store
says "get MUSDB18-HQ" err
[ ! -e packed.store ] || fail "a refused data set left a store"

echo "MoisesDB: files or folders are stems, of unequal lengths; the click track is none"
run --layout moisesdb --in moises --out files.store
says "^stems  *5 " out
says "1 click tracks are left out" err
run --layout moisesdb --stems folders --in moises --out folders.store
says "^stems  *4 " out
refused 2 --layout folder --stems folders --in musdb --out x.store

echo "CocoChorales: ensembles are chosen"
run --layout cocochorales --ensembles random --in coco --out coco.store
says "train 1, validation 0, test 0" out
says "^wind  *2 " out
run --layout cocochorales --in coco --out coco2.store
says "train 2, validation 0, test 0" out

echo "csv: what the folder layout reads is the same through a table"
run --layout folder --in moises/moisesdb_v0.1 --out folder.store
(cd moises/moisesdb_v0.1 && echo "track,split,stem,path" && find . -name '*.wav' | sed 's|^\./\(\([a-z]*\)/[^/]*\)/\(.*\)\.wav$|\1,\2,\3,&|') >moises/moisesdb_v0.1/songs.csv
run --layout csv --in moises/moisesdb_v0.1/songs.csv --out csv.store
[ -z "$python" ] || "$python" - <<'PYTHON' || fail "other audio through a table"
import glob
import h5py

def stems(store):
    found = {}
    for name in glob.glob(store + "/*.h5"):
        with h5py.File(name) as f:
            audio, table = f["audio"][:], f["stems"]
            for source, first, count in zip(table["source"].asstr()[:], table["first_sample"][:], table["samples"][:]):
                found[source.lstrip("./")] = audio[first : first + count].tobytes()
    return found

a, b = stems("folder.store"), stems("csv.store")
assert len(a) == 6 and a == b, (sorted(a), sorted(b))
PYTHON

echo "csv: another gain redoes the shard, nothing else does"
sed -i '1s/$/,gain/; 2,$s/$/,1/' moises/moisesdb_v0.1/songs.csv
run --layout csv --in moises/moisesdb_v0.1/songs.csv --out csv.store
says "shards   0 made" out
sed -i '2s/,1$/,0.5/' moises/moisesdb_v0.1/songs.csv
run --layout csv --in moises/moisesdb_v0.1/songs.csv --out csv.store
says "shards   1 made" out

echo "what is excluded is not there"
printf 'Artist & Co - "One"/drums\n' >out.txt
run --layout musdb18hq --exclude out.txt --in musdb --out less.store
says "left out by out.txt: 0 tracks, 1 stems" err
says "^stems  *3 .* 4 .* 4 " out

echo "a dry run prints every file and writes nothing"
head -c 30 musdb/test/Triviul*/other.wav >cut && mv cut musdb/test/Triviul*/other.wav
run --layout musdb18hq --in musdb --dry-run
[ "$(grep -c '\.wav$' out)" = 12 ] || fail "twelve files"
says "^test  *other  *bad " out
says "problems  1 stems cannot be read" out
says "to read .* GB; the store: .* GB; about .* s on 1 rank" out
refused 2 --layout musdb18hq --in musdb
says "out is missing" err
exit 0
