"""Writes the part of the large reference values that travels to a GPU machine: the narrow model and
groups of the loss. Features are those of the tree (tests/golden), made from synthetic signals.

usage: pack_golden.py GOLDEN OUT

Every file is compressed, and features that two files share are kept once (an external link).
"""

import pathlib
import shutil
import sys

import h5py

# The others are too large, or are of musical clips.
LOSS_GROUPS = ["K2_d512_x1", "K64_d128_x1"]
NOT_COMPARED = ["/adam/after1", "/masked/activation"]  # by golden_encoder


def copy(source, target, name, taken):
    """A data set, compressed, or a group with all that is in it."""
    item = source[name]
    if item.name in NOT_COMPARED:
        return
    if isinstance(item, h5py.Group):
        group = target.require_group(name)
        group.attrs.update(item.attrs)
        for child in item:
            copy(item, group, child, taken)
        return
    if item.name in taken:
        target[name] = h5py.ExternalLink(taken[item.name], item.name)
        return
    options = (
        {"compression": "gzip", "compression_opts": 9, "shuffle": True} if item.size > 64 else {}
    )
    made = target.create_dataset(name, data=item[()], **options)
    made.attrs.update(item.attrs)


def copy_file(source, target, names=None, taken=None):
    with h5py.File(source) as a, h5py.File(target, "w") as b:
        b.attrs.update(a.attrs)
        for name in names or a:
            copy(a, b, name, taken or {})


def same(a, b, name):
    with h5py.File(a) as x, h5py.File(b) as y:
        return name in x and name in y and (x[name][()] == y[name][()]).all()


def main():
    golden, out = map(pathlib.Path, sys.argv[1:])
    shutil.rmtree(out, ignore_errors=True)
    (out / "narrow").mkdir(parents=True)
    narrow = golden / "narrow"
    shutil.copyfile(narrow / "weights.safetensors", out / "narrow/weights.safetensors")
    copy_file(narrow / "train.h5", out / "narrow/train.h5")
    shared = same(narrow / "train.h5", narrow / "eval.h5", "x")
    copy_file(
        narrow / "eval.h5", out / "narrow/eval.h5", taken={"/x": "train.h5"} if shared else {}
    )
    copy_file(golden / "loss.h5", out / "loss.h5", LOSS_GROUPS)


if __name__ == "__main__":
    main()
