"""Writes features.h5 of this folder: the synthetic clips of the full reference values.

    python3 make_features.py FULL/features.h5

FULL/features.h5 comes from the published feature code (librosa 0.10.1, torchaudio 2.2), run in
float64. The clips of music in it are left out. Decibels are kept to three digits after the point,
which is a twentieth of the tolerance of tests/golden_features.c. Needs h5py.
"""
import hashlib
import pathlib
import sys

import h5py

DIGITS = 3  # after the point, of a decibel


def copy(source, target, name, clips, **filters):
    whole = source[name]
    part = target.create_dataset(
        name, data=whole[:clips], chunks=(1, *whole.shape[1:]), compression="gzip",
        compression_opts=9, **filters)
    part.attrs["note"] = whole.attrs["note"]
    if "f32_error" in whole.attrs:
        part.attrs["f32_error"] = whole.attrs["f32_error"][:clips]


def main(path):
    out = pathlib.Path(__file__).with_name("features.h5")
    with h5py.File(path) as source, h5py.File(out, "w", libver=("earliest", "v110")) as target:
        names = [str(name) for name in source.attrs["names"]]
        clips = next(i for i, name in enumerate(names) if name.startswith("music"))
        target.attrs["names"] = names[:clips]
        target.attrs["sample_rate"] = source.attrs["sample_rate"]
        target.attrs["made_by"] = "tests/golden/make_features.py"
        target.attrs["source_sha256"] = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
        target.attrs["digits_of_decibels"] = DIGITS
        copy(source, target, "pcm", clips, shuffle=True)
        copy(source, target, "hps", clips, scaleoffset=DIGITS)
        copy(source, target, "logmel", clips, scaleoffset=DIGITS)


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
