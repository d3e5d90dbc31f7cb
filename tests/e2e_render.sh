#!/usr/bin/env bash
# `cocola render` as a user runs it, on the songs of make_midi_songs.py. Each part says what must hold.
set -uo pipefail
cocola=${COCOLA:?} source=${COCOLA_SOURCE:?}
work=$PWD/scratch_e2e_render
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"' EXIT
rm -rf "$work"
mkdir "$work"
cd "$work" || exit 1

failed=0
fail() { echo "FAILED: $1" >&2; failed=1; }
# expect CODE WORDS command...: the exit code, words in the one line that is printed as the error
expect() {
    local code=$1 words=$2 got
    shift 2
    "$@" >out.txt 2>err.txt
    got=$?
    [ $got = "$code" ] || fail "exit code $got instead of $code: $*: $(tail -n 1 err.txt)"
    tail -n 1 err.txt | grep -qF -- "$words" || fail "no '$words' in: $(tail -n 1 err.txt)"
    [ "$(grep -c '^cocola:' err.txt)" = 1 ] || fail "not one line: $(cat err.txt)"
}
# A picture of all files: bytes, inodes, times of change.
picture() { find "$1" -type f ! -name '.render.lock' -printf '%p %s %i %T@\n' | sort; }
same_data() { diff -r -x .render.lock "$1" "$2" >/dev/null || fail "$1 and $2 differ"; }

if "$cocola" render --soundfont x --out x x 2>&1 | grep -q 'this build cannot render'; then
    echo "skipped: built without libfluidsynth or libopenmpt"
    exit 77
fi
python3 "$source/tests/make_midi_songs.py" . || exit 77
render() { "$cocola" render --soundfont tiny.sf2 "$@"; }

# Whatever the number of jobs, the bytes are the same; the counts are those of make_midi_songs.py.
render --out one --jobs 1 songs >one.txt 2>one.err || fail "render with 1 job: $(tail -n 1 one.err)"
render --out three --jobs 3 songs >/dev/null 2>&1 || fail "render with 3 jobs"
same_data one three
grep -q '15 different (2 further copies)' one.txt || fail "wrong number of songs: $(head -n 1 one.txt)"
grep -q '2 songs left out .*, 3 broken' one.txt || fail "wrong number left out: $(tail -n 1 one.txt)"
for name in cut.mid empty.mid text.xm; do
    grep -q "^warning: $name: left out: " one.err || fail "$name is not named"
done
[ "$(find one -name metadata.yaml | wc -l)" = 12 ] || fail "not 12 tracks"

# A second run changes no file and names the broken songs again.
picture one >before.txt
render --out one --jobs 2 songs >again.txt 2>again.err || fail "second run"
picture one | cmp -s - before.txt || fail "the second run changed files"
grep -q '0 stems' again.txt || fail "the second run rendered again"
grep -q "^warning: cut.mid" again.err || fail "the second run does not name cut.mid"

# Songs that come later leave every track where it was; what is there is the same as from one run.
mkdir early late
cp songs/*.mid early
cp -r songs/more songs/doom.wad songs/chip.mod late
render --out grown early >/dev/null 2>&1 || fail "render of a part"
picture grown | sed '/skipped.json/d' >before.txt
render --out grown early late >/dev/null 2>&1 || fail "render of the rest"
picture grown | grep -F -x -f before.txt | cmp -s - before.txt || fail "further songs moved a track"
(cd one && find . -name '*.flac' -exec cksum {} + | sort) >one.sums
(cd grown && find . -name '*.flac' -exec cksum {} + | sort) >grown.sums
cmp -s one.sums grown.sums || fail "tracks depend on when their songs came"

# A stop leaves whole tracks only and exit code 75; so does being killed, apart from hidden folders;
# the next run goes on and ends with the same bytes.
for signal in TERM INT KILL; do
    rm -rf stopped
    "$cocola" render --soundfont tiny.sf2 --out stopped --jobs 1 songs >/dev/null 2>stop.err &
    process=$!
    until [ "$(find stopped -path '*/Track*/metadata.yaml' 2>/dev/null | grep -vc partial)" -ge 2 ]; do sleep 0.02; done
    kill -$signal $process
    wait $process 2>/dev/null
    code=$?
    whole=$(find stopped -path '*/Track*/metadata.yaml' | grep -vc partial)
    if [ $signal != KILL ]; then
        [ $code = 75 ] || fail "SIG$signal: exit code $code"
        grep -q 'stopped with .* of 15 songs done' stop.err || fail "SIG$signal: $(tail -n 1 stop.err)"
        [ -z "$(find stopped -name '*partial*')" ] || fail "SIG$signal left something half written"
    fi
    for _ in $(seq 100); do pgrep -f -- '--out stopped --jobs 1' >/dev/null || break; sleep 0.02; done
    pgrep -f -- '--out stopped --jobs 1' >/dev/null && fail "SIG$signal: a song's process goes on without its parent"
    mkdir stopped/train/Track00000 # empty: no track, and its number is free
    [ "$whole" -lt 12 ] || echo "note: SIG$signal came after the last song"
    render --out stopped --jobs 2 songs >resumed.txt 2>/dev/null || fail "resuming after SIG$signal"
    grep -q ' 0 done by' resumed.txt && fail "resuming after SIG$signal began afresh"
    same_data one stopped
done

# Two runs in one folder at a time are refused.
python3 - <<'PYTHON' &
import fcntl, pathlib, time
lock = open("one/.render.lock", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
pathlib.Path("locked").touch()
time.sleep(20)
PYTHON
holder=$!
until [ -e locked ]; do sleep 0.02; done
expect 4 'another `cocola render`' render --out one songs
kill $holder

# Other settings are refused by name, and so is a folder of somebody else's tracks.
expect 2 "--rate 16000, now it is 22050" render --out one --rate 22050 songs
expect 2 "--max-seconds 90.0, now it is 30.0" render --out one --max-seconds 30 songs
cp tiny.sf2 other.sf2
printf 'x' | dd of=other.sf2 bs=1 seek=600 conv=notrunc status=none
expect 2 "--soundfont" "$cocola" render --soundfont other.sf2 --out one songs
mkdir -p foreign/train/Track00001
expect 2 "choose another --out" render --out foreign songs

# Bad input: one line that names it.
mkdir none
expect 3 "no songs in none" render --out new none
expect 3 "none of the songs gave a track" render --out new songs/short.mid
expect 4 "nowhere: no such file or folder" render --out new nowhere
expect 4 "missing.sf2: the soundfont cannot be opened" "$cocola" render --soundfont missing.sf2 --out new songs
expect 3 "songs/plain.mid: no soundfont" "$cocola" render --soundfont songs/plain.mid --out new songs
head -c 5000 tiny.sf2 >cut.sf2
expect 3 "cut.sf2: no soundfont" "$cocola" render --soundfont cut.sf2 --out new songs
expect 4 "a file of that name exists" render --out tiny.sf2/x songs
expect 2 "--jobs: 0 is out of range" render --out new --jobs 0 songs
expect 2 "did you mean --soundfont" "$cocola" render --soundfnt tiny.sf2 --out new songs
expect 2 "--out DIR is missing" "$cocola" render --soundfont tiny.sf2 songs
if [ "$(id -u)" != 0 ]; then
    mkdir readonly
    chmod a-w readonly
    expect 4 "readonly" render --out readonly songs
fi

# A full disk is named, leaves nothing half written, and the next run goes on.
mkdir small
if mount -t tmpfs -o size=2m tmpfs small 2>/dev/null; then
    mounted=$work/small
    expect 4 "No space left on device" render --out small --jobs 2 songs
    [ -z "$(find small -name '*partial*')" ] || fail "a full disk left something half written"
    mount -o remount,size=64m small
    render --out small songs >/dev/null 2>&1 || fail "going on after a full disk"
    same_data one small
    umount small && mounted=
else
    echo "note: no rights to mount a small disk; the full disk was not tried"
fi

[ $failed = 0 ] && rm -rf "$work"
exit $failed
