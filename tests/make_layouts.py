"""Write small data sets into the current folder, as MUSDB18-HQ, MoisesDB and CocoChorales lie on disk."""
import array
import json
import math
import pathlib
import wave


def tone(path, hertz, seconds=6, rate=16000, channels=1):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [int(9000 * math.sin(2 * math.pi * hertz * t / rate)) for t in range(int(seconds * rate))]
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(array.array("h", [x for x in frames for _ in range(channels)]).tobytes())


hertz = 100
for song in ('train/Artist & Co - "One"', "train/Young Griffo - Pennies", "test/Triviul feat. Beyonc\u00e9 - Two"):
    for stem in ("vocals", "drums", "bass", "other", "mixture"):
        hertz += 30
        tone(f"musdb/{song}/{stem}.wav", hertz, rate=44100, channels=2)

track = "moises/moisesdb_v0.1/train/0a1b2c3d-0000-4000-8000-000000000000"
for number, (stem, name, seconds) in enumerate(
    (("guitar", "g1", 6), ("guitar", "g2", 5.5), ("bass", "b", 6.1), ("drums", "d", 6), ("vocals", "v", 5), ("other", "c", 6))
):
    tone(f"{track}/{stem}/{name}.wav", 200 + 50 * number, seconds)
pathlib.Path(track, "data.json").write_text(
    json.dumps({"song": "x", "stems": [{"stemName": "other", "tracks": [{"id": "c", "trackType": "click track"}]}]})
)

for ensemble, instruments in (("string", ("violin", "violin", "viola", "cello")), ("random", ("flute", "tuba", "viola", "cello"))):
    for voice, instrument in enumerate(instruments):
        tone(f"coco/train/{ensemble}_track000001/stems_audio/{voice}_{instrument}.wav", 250 + 40 * voice)
    tone(f"coco/train/{ensemble}_track000001/mix.wav", 100)
