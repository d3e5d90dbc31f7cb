"""Write a small data set in the layout `folder`: songs of three stems at three sampling rates, each
song on its own fundamental.

usage: make_songs.py FOLDER
"""
import array
import pathlib
import random
import sys
import wave

SONGS = {"train": 5, "valid": 2, "test": 3}
SECONDS = 13
RATES = (16000, 22050, 8000)


def stem(rng, hz, rate, loudness):
    """Bursts of a square-like tone with silence between them."""
    period = rate // hz
    tone = [int(8000 * loudness * (1 if i < period // 3 else -0.5)) + rng.randrange(-300, 300)
            for i in range(period)]
    burst = array.array("h", tone * (rate // 4 // period)) + array.array("h", [0] * (rate // 8))
    total = rate * SECONDS
    return (burst * (total // len(burst) + 1))[:total]


def main():
    rng = random.Random(1)
    hz = 90
    for split, songs in SONGS.items():
        for song in range(songs):
            folder = pathlib.Path(sys.argv[1]) / split / f"song{song}"
            folder.mkdir(parents=True)
            hz += 17
            for number, rate in enumerate(RATES):
                with wave.open(str(folder / f"stem{number}.wav"), "wb") as out:
                    out.setnchannels(1)
                    out.setsampwidth(2)
                    out.setframerate(rate)
                    out.writeframes(stem(rng, hz * (number + 1), rate, 0.4 + 0.2 * number).tobytes())


if __name__ == "__main__":
    main()
