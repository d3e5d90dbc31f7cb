"""Runs the reader that docs/store.md shows on a store, and compares what it prints with the WAV
files that the store was made from (16 kHz, mono, 16 bit, so the samples must be the same).

usage: store_h5py.py docs/store.md STORE DATASET      exit code 77 without h5py
"""
import array
import pathlib
import re
import subprocess
import sys
import wave

try:
    import h5py  # noqa: F401
except ImportError:
    sys.exit(77)


def main():
    page, store, dataset = sys.argv[1:]
    reader = re.search(r"```python\n(.*?)```", pathlib.Path(page).read_text(), re.S).group(1)
    printed = subprocess.run([sys.executable, "-c", reader, store], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    got = sorted(line.split("\t") for line in printed.splitlines())
    want = []
    for path in pathlib.Path(dataset).glob("*/*/*.wav"):
        with wave.open(str(path)) as sound:
            samples = array.array("h", sound.readframes(sound.getnframes()))
        peak = max(abs(s) for s in samples) / 32768
        want.append([str(path.parent.relative_to(dataset)), path.stem, str(len(samples)), str(peak)])
    if got != sorted(want) or not got:
        sys.exit(f"the reader of {page} gives\n{got}\nwanted\n{sorted(want)}")
    print(f"{len(got)} stems as in their files")


if __name__ == "__main__":
    main()
