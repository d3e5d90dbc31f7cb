#!/usr/bin/env bash
# The whole chain on real music, on this machine's CPU: packages, build, songs, stems, store, training,
# accuracy, scores. Can be interrupted and started again: it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")"

minutes=8
data=quickstart-data
usage() {
    cat <<'TEXT'
usage: ./quickstart.sh [--minutes N] [--dir DIR]

  --minutes N   training time (default 8; with the default the whole chain takes at most 15 minutes
                on 2 idle cores)
  --dir DIR     where songs, stems, store and models go (default quickstart-data; about 1.5 GB)
TEXT
}
while [ $# -gt 0 ]; do
    case $1 in
        --minutes) minutes=${2:?--minutes needs a number}; shift 2 ;;
        --dir) data=${2:?--dir needs a folder}; shift 2 ;;
        -h | --help) usage; exit 0 ;;
        *) echo "quickstart: unknown option '$1'" >&2; usage >&2; exit 2 ;;
    esac
done
case $minutes in
    '' | *[!0-9.]* | *.*.* | .) echo "quickstart: --minutes: '$minutes' is no number" >&2; exit 2 ;;
esac

ranks=2
cores=$(nproc)
export OMP_NUM_THREADS=$((cores > ranks ? cores / ranks : 1)) OMP_WAIT_POLICY=passive
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_odls_base_sigkill_timeout=3 # Ctrl-C: time to save a checkpoint; a failed rank ends the others after as long
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
cocola=build/cocola
on_ranks() { mpirun --oversubscribe --bind-to none -n "$ranks" "$@"; }

began=$SECONDS
stage() { printf '\n== %s  (%d:%02d since the start)\n' "$1" $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)); }
stop() { printf 'quickstart: %s\n' "$1" >&2; exit 1; }
trap 'code=$?; [ $code -eq 0 ] || printf "\nquickstart: stopped (exit code %d). Start it again to go on where it was.\n" $code >&2' EXIT

cat <<TEXT
This makes a coherence model of musical stems from free songs, on this machine's CPU ($cores cores):

  1 packages, build      about 2 minutes the first time
  2 songs                download, 35 MB
  3 cocola render        songs -> stems, about 1.5 minutes
  4 cocola preprocess    stems -> store, half a minute, on $ranks MPI ranks
  5 cocola train         $minutes minutes, on $ranks MPI ranks
  6 cocola eval, score   half a minute

Everything goes to $data/ (about 1.5 GB) and build/.
TEXT

mkdir -p "$data" || stop "$data cannot be created"
free=$(df -Pk "$data" | awk 'NR==2 { print int($4 / 1024) }')
[ "$free" -ge 2500 ] || [ -f "$data/store/manifest.json" ] ||
    stop "only $free MB are free for $data; 2500 are needed (choose another place with --dir)"

stage "1 packages, build"
./test.sh --build

stage "2 songs"
scripts/songs.sh "$data/packages"

soundfont=$(find "$data/packages" /usr/share/sounds -name 'TimGM6mb.sf2' 2>/dev/null | head -n 1)
[ -n "$soundfont" ] || stop "TimGM6mb.sf2 was not found in $data/packages"

stage "3 stems"
"$cocola" render --soundfont "$soundfont" --out "$data/stems" "$data/packages"

stage "4 store"
on_ranks "$cocola" preprocess --layout slakh2100 --in "$data/stems" --out "$data/store"

stage "5 training, $minutes minutes"
run=$data/run-${minutes}min
if [ -d "$run" ] && ! cmp -s configs/quickstart.yaml "$run/recipe.yaml"; then
    mv "$run" "$run-$(date +%Y%m%d-%H%M%S)" # a model of another recipe cannot go on
    echo "configs/quickstart.yaml is not what $run was trained with: that run was renamed, training begins anew."
fi
mkdir -p "$run"
cp configs/quickstart.yaml "$run/recipe.yaml"
on_ranks "$cocola" train --config configs/quickstart.yaml --set "data.train=$data/store" \
    --set "train.minutes=$minutes" --out "$run"

stage "6 accuracy and scores"
model=$run/checkpoints/last.h5
echo "Can the model tell which stems belong together? Held-out songs (test split), chance beside it:"
echo
on_ranks "$cocola" eval --checkpoint "$model" --store "$data/store" --k 2,8,16,64 --mode all | tee "$run/accuracy.txt"

# Two stems of one song, and the first of them with a stem of the next song: for all songs of the test split.
python3 - "$data/stems/test" >"$run/pairs.csv" <<'PYTHON'
import pathlib
import sys

songs = [sorted((t / "stems").glob("S*.flac"))[:2] for t in sorted(pathlib.Path(sys.argv[1]).iterdir())]
songs = [s for s in songs if len(s) == 2]
print("context,output")
for song in songs:
    print(f"{song[0].resolve()},{song[1].resolve()}")
for song, other in zip(songs, songs[1:] + songs[:1]):
    print(f"{song[0].resolve()},{other[1].resolve()}")
PYTHON
"$cocola" score --checkpoint "$model" --pairs "$run/pairs.csv" --format csv >"$run/scores.csv"
python3 - "$run/scores.csv" <<'PYTHON'
import csv
import sys

rows = list(csv.DictReader(open(sys.argv[1])))
half = len(rows) // 2
together, apart = ([float(r["both"]) for r in part] for part in (rows[:half], rows[half:]))
mean = lambda values: sum(values) / len(values)
higher = sum(own > other for own, other in zip(together, apart))
print("\nCOCOLA Score (over whole songs)   first song   mean of", half, "songs")
print(f"two stems of one song             {together[0]:10.2f}   {mean(together):10.2f}")
print(f"stems of two different songs      {apart[0]:10.2f}   {mean(apart):10.2f}")
print(f"the own stem scores higher in {higher} of {half} songs")
PYTHON

cat <<TEXT

Done in $(((SECONDS - began) / 60)) minutes. What lies where:

  $data/stems      the songs as stems, in the layout of Slakh2100
  $data/store      the store (docs/store.md)
  $run   checkpoints, log.jsonl, config.yaml, accuracy.txt, scores.csv

What to type next:

  own stems    put them into DIR/{train,validation,test}/SONG/*.wav, then
               mpirun -n 2 build/cocola preprocess --layout folder --in DIR --out STORE
               mpirun -n 2 build/cocola train --config configs/quickstart.yaml --set data.train=STORE --out RUN
  two files    build/cocola score --checkpoint $model CONTEXT.wav OUTPUT.wav
  a cluster    slurm/train.sbatch, docs/ranks.md
  everything   build/cocola help
TEXT
