#!/usr/bin/env python3
"""Write a data set of stems in which there is nothing to learn: songs of two stems of white noise,
in the layout `folder`. Control runs are trained on it (docs/large-k.md).

Two stems and no more: of three, the number of stems in one sub-mix would tell something about that in
the other. A length of whole windows (5 s), so that none has to be padded.

usage: noise_stems.py FOLDER [--songs N] [--seconds S] [--seed N]
"""
import argparse
import array
import pathlib
import random
import sys
import wave

RATE = 16000
WINDOW_SECONDS = 5


def write_stem(path, rng, seconds):
    """Noise at a quarter of full scale. The bytes' order does not matter to noise."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        for _ in range(seconds):
            samples = array.array("h", rng.randbytes(2 * RATE))
            out.writeframes(array.array("h", (value >> 2 for value in samples)).tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--songs", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=300, help="of each song, a multiple of 5")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.songs < 1 or options.seconds < WINDOW_SECONDS or options.seconds % WINDOW_SECONDS:
        sys.exit(f"noise_stems.py: songs must be positive, seconds a multiple of {WINDOW_SECONDS}")
    rng = random.Random(options.seed)
    for song in range(options.songs):
        folder = options.folder / "train" / f"noise{song:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        for stem in range(2):
            write_stem(folder / f"stem{stem}.wav", rng, options.seconds)
    print(f"{options.songs * options.seconds // WINDOW_SECONDS} windows in {options.folder}")


if __name__ == "__main__":
    main()
