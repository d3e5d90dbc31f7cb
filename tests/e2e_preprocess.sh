#!/usr/bin/env bash
# `cocola preprocess` as a user runs it: the same store from 1, 2 and 3 ranks; broken files named
# once; runs again, killed runs, changed sources, signals, full disks. Fails at the first check that
# does not hold.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$PWD/scratch_e2e_preprocess
mount=$work/small
trap 'umount "$mount" 2>/dev/null' EXIT
rm -rf "$work"
mkdir -p "$work"
cd "$work" || exit 1

fail() { echo "FAILED: $*"; for f in out err; do echo "--- $f"; tail -20 $f; done; exit 1; }
run() { "$COCOLA" preprocess "$@" >out 2>err; }
ranks() { local n=$1; shift; mpirun --oversubscribe -n "$n" "$COCOLA" preprocess "$@" >out 2>err; }
expect() { local want=$1 got; shift; "$@"; got=$?; [ $got = "$want" ] || fail "exit code $got, wanted $want: $*"; }
names() { (cd "$1" && ls -A); }
no_leftovers() { [ -z "$(find "$1" -name '.*' -type f)" ] || fail "left behind: $(find "$1" -name '.*' -type f)"; }

python3 "$here/make_stems.py" broken broken || exit 1
python3 "$here/make_stems.py" many many 24 || exit 1
cp -a broken original

echo "1, 2 and 3 ranks write the same bytes, and name every broken track once"
for n in 1 2 3; do
    expect 0 ranks $n --layout folder --in broken --out store$n --shard-mb 1
    no_leftovers store$n
    for track in "One stem" Silent Cut Empty Text Nan; do
        [ "$(grep -c "track train/$track is skipped" err)" = 1 ] || fail "train/$track is not named once on $n ranks"
    done
    grep -q "skipped  6 tracks" out || fail "6 skipped tracks are not counted"
    grep -q "train 3, validation 1, test 2" out || fail "the splits are wrong"
done
python3 -c 'import json; m = json.load(open("store1/manifest.json")); t = {x["track"]: x["reason"] for x in m["skipped"]}; assert len(t) == 6 and "a pair needs two" in t["train/One stem"], t' || fail "the manifest does not say what was skipped"
expect 3 ranks 2 --layout folder --in broken --out strict --shard-mb 1 --strict
[ "$(grep -c "^cocola: .*mend it" err)" = 1 ] || fail "a strict run does not name one track"
[ ! -e strict/manifest.json ] || fail "a strict run that failed left a store"
[ "$(names store1 | wc -l)" -ge 5 ] || fail "too few shards to compare"
diff -r store1 store2 && diff -r store1 store3 || fail "stores of 1, 2 and 3 ranks differ"

echo "shards that are written elsewhere first are the same"
mkdir scratch
expect 0 ranks 2 --layout folder --in broken --out stored --shard-mb 1 --scratch scratch
diff -r store1 stored || fail "another store by way of scratch"
[ -z "$(ls -A scratch)" ] || fail "left behind: $(ls -A scratch)"
expect 4 run --layout folder --in broken --out stored2 --shard-mb 1 --scratch none
grep -q "none/cocola-" err || fail "the scratch folder is not named"

echo "run again: nothing is redone, skipped tracks are said again"
sleep 0.01; touch mark; sleep 0.01
expect 0 ranks 2 --layout folder --in broken --out store1 --shard-mb 1
[ -z "$(find store1 -newer mark)" ] || fail "redone: $(find store1 -newer mark)"
grep -q "shards   0 made" out || fail "a shard was made again"
[ "$(grep -c "track train/Cut is skipped" err)" = 1 ] || fail "a skipped track is not said again"

echo "new times alone redo nothing; a changed source redoes its shard; one more track adds a shard"
find broken -name '*.wav' -exec touch {} +
expect 0 run --layout folder --in broken --out store1 --shard-mb 1
grep -q "shards   0 made" out || fail "new times alone made shards"
cp "broken/train/Good & bad 0/stem 0.wav" "broken/train/Good & bad 1/stem 1.wav"
expect 0 run --layout folder --in broken --out store1 --shard-mb 1
grep -q "shards   1 made" out || fail "not one shard was made for a changed source"
grep -q "Good & bad 1 has changed" err || fail "the changed track is not named"
cp "broken/train/Good & bad 0/stem 1.wav" broken/train/Empty/b.wav
expect 0 run --layout folder --in broken --out store1 --shard-mb 1
grep -q "skipped  5 tracks" out || fail "a mended track is still skipped"
cp -r "broken/train/Good & bad 0" "broken/train/Added"
expect 0 run --layout folder --in broken --out store1 --shard-mb 1
grep -q "shards   1 made" out || fail "an added track made other than one shard"

rm -r broken/train/Added
expect 0 ranks 2 --layout folder --in broken --out store1 --shard-mb 1
grep -q "shards   0 made" out || fail "a removed track made shards"
grep -q "train 4, validation 1, test 2" out || fail "a removed track is still in the store"
expect 0 run --layout folder --in broken --out store1 --shard-mb 1
! grep -q "Added" err || fail "a removed track is said again"
head -c 5000 store1/shard-00000.h5 >store1/shard-00099.h5
expect 0 ranks 2 --layout folder --in broken --out store1 --shard-mb 1
[ ! -e store1/shard-00099.h5 ] || fail "a damaged shard too many stays"

echo "another layout is refused, and the store stays as it is"
cp -a store1 before
mkdir -p broken/train/Track01/stems && cp "broken/train/Good & bad 0"/stem*0.wav broken/train/Track01/stems/S01.flac
expect 2 ranks 2 --layout slakh2100 --in broken --out store1
grep -q "layout folder.*layout slakh2100" err || fail "the layouts are not named"
diff -r store1 before || fail "a store of another layout was touched"

echo "a lost shard is made again, a damaged one too"
rm -r broken && cp -a original broken
rm store2/shard-00001.h5
python3 -c "f = open('store2/shard-00002.h5', 'r+b'); f.seek(-60, 2); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 1]))"
expect 0 run --layout folder --in broken --out store2 --shard-mb 1
grep -q "shards   2 made" out || fail "not the two lost shards were made"
grep -q "shard-00002.h5.*damaged" err || fail "the damaged shard is not named"
diff -r store2 store3 || fail "a mended store differs"

echo "killed at any time: what stands is whole, and the rest is finished to the same store"
expect 0 run --layout folder --in many --out whole --shard-mb 1.3
[ "$(names whole | wc -l)" = 25 ] || fail "24 shards and a manifest expected, not $(names whole | wc -l)"
for shard in 00000 00002 00009 00017; do
    rm -rf killed
    "$COCOLA" preprocess --layout folder --in many --out killed --shard-mb 1.3 >out 2>err &
    pid=$!
    for _ in $(seq 3000); do [ -e killed/shard-$shard.h5 ] && break; sleep 0.01; done
    kill -9 $pid; wait $pid 2>/dev/null
    [ -e killed/manifest.json ] && continue # it was done already
    for f in killed/shard-*.h5; do cmp "$f" "whole/${f#*/}" || fail "$f of a killed run is not whole"; done
    touch mark; sleep 0.01
    finished=$(ls killed/shard-*.h5 | wc -l)
    expect 0 ranks 2 --layout folder --in many --out killed --shard-mb 1.3
    [ "$(find killed -name 'shard*' ! -newer mark | wc -l)" = "$finished" ] || fail "finished shards were redone"
    no_leftovers killed
    diff -r whole killed || fail "a killed and finished store differs"
done

echo "a signal: finished shards stay, exit code 75"
rm -rf stopped
"$COCOLA" preprocess --layout folder --in many --out stopped --shard-mb 1.3 >out 2>err &
pid=$!
for _ in $(seq 3000); do [ -e stopped/shard-00001.h5 ] && break; sleep 0.01; done
kill -TERM $pid; wait $pid; code=$?
[ $code = 75 ] || [ -e stopped/manifest.json ] || fail "exit code $code after SIGTERM"
no_leftovers stopped
expect 0 run --layout folder --in many --out stopped --shard-mb 1.3
diff -r whole stopped || fail "a stopped and finished store differs"

echo "a full disk: one line with the path, nothing half written"
mkdir -p "$mount"
if mount -t tmpfs -o size=8m tmpfs "$mount" 2>/dev/null; then
    for n in 1 2; do
        expect 4 ranks $n --layout folder --in many --out "$mount/store" --shard-mb 1.3
        [ "$(grep -c "small/store/.*No space left" err)" = 1 ] || fail "the full disk is not named in one line"
        no_leftovers "$mount/store"
        for f in "$mount"/store/shard-*.h5; do cmp "$f" "whole/${f##*/}" || fail "$f is half written"; done
        [ ! -e "$mount/store/manifest.json" ] || fail "a manifest without all shards"
    done
    umount "$mount"
else
    echo "  left out: no tmpfs can be mounted here"
fi

echo "bad input is refused with its exit code"
expect 3 run --layout folder --in many --out store3
grep -q "none of which is in many" err || fail "another data set's store is not refused"
rm -rf bad; mkdir -p bad/train; cp -r broken/train/Text bad/train/
expect 3 ranks 2 --layout folder --in bad --out bad_store
grep -q "no track is left" err || fail "a data set without a track is not refused"
[ ! -e bad_store/manifest.json ] || fail "an empty store was finished"
expect 4 run --layout folder --in nowhere --out x
grep -q "nowhere" err || fail "a missing folder is not named"
expect 4 ranks 2 --layout folder --in many --out /dev/null/store
grep -q "/dev/null" err || fail "an unwritable folder is not named"
expect 2 run --layout musdb --in many --out x
expect 2 run --layout folder --in many
[ ! -e x ] || fail "a refused command made its folder"
echo "all held"
