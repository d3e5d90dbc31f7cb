"""Writes small data sets of stems for tests, with the standard library alone.

usage: make_stems.py plain FOLDER    good tracks, layout folder, 16 kHz, 16 bit
       make_stems.py broken FOLDER   tracks good and bad, layout folder
       make_stems.py many FOLDER N   N good tracks of two stems, 20 s at 44.1 kHz
"""
import array
import math
import pathlib
import random
import struct
import sys
import wave


def write_wav(path, samples, rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(array.array("h", samples).tobytes())


def tone(seconds, hertz, amplitude=8000, rate=16000):
    return [int(amplitude * math.sin(2 * math.pi * hertz * t / rate)) for t in range(int(seconds * rate))]


def write_floats(path, values):
    data = struct.pack(f"<{len(values)}f", *values)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, 1,
                       16000, 64000, 4, 32, b"data", len(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + data)


def plain(root):
    for number, split in enumerate(["train", "train", "train", "valid", "test"]):
        for stem in range(3):
            write_wav(root / split / f"Good & bad {number}" / f"stem {stem}.wav",
                      tone(12 - stem, 100 * (number + 1) + 37 * stem, 8000 >> 4 * stem))


def broken(root):
    plain(root)
    stereo = [s for pair in zip(tone(6, 300, rate=44100), tone(6, 301, rate=44100)) for s in pair]
    write_wav(root / "test" / "st\u00e9r\u00e9o" / "left.wav", stereo, 44100, 2)
    write_wav(root / "test" / "st\u00e9r\u00e9o" / "short.wav", tone(2, 500))
    write_wav(root / "train" / "One stem" / "a.wav", tone(6, 200))
    write_wav(root / "train" / "Silent" / "a.wav", tone(6, 200))
    write_wav(root / "train" / "Silent" / "b.wav", [0] * 96000)
    for name in ["Cut", "Empty", "Text", "Nan"]:
        write_wav(root / "train" / name / "a.wav", tone(6, 200))
        write_wav(root / "train" / name / "b.wav", tone(6, 300))
    cut = root / "train" / "Cut" / "b.wav"
    cut.write_bytes(cut.read_bytes()[:100000])
    (root / "train" / "Empty" / "b.wav").write_bytes(b"")
    (root / "train" / "Text" / "b.wav").write_bytes(b"not a sound\n")
    write_floats(root / "train" / "Nan" / "b.wav", [0.1] * 5000 + [math.nan] + [0.1] * 5000)


def many(root, count):
    random.seed(1)
    noise = array.array("h", (random.randint(-9000, 9000) for _ in range(20 * 44100 + 2 * count)))
    for track in range(count):
        for stem in range(2):
            first = 2 * track + stem
            write_wav(root / "train" / f"Track {track:02d}" / f"{stem}.wav",
                      noise[first:first + 20 * 44100], 44100)


if __name__ == "__main__":
    kind, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if kind == "many":
        many(folder, int(sys.argv[3]))
    else:
        {"plain": plain, "broken": broken}[kind](folder)
