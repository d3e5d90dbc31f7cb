"""make_midi_songs.py DIR: writes a soundfont, songs and broken songs for the tests of rendering.

    DIR/tiny.sf2                two sounds: bank 0 program 0, and drums
    DIR/songs/plain.mid         format 1, 2 tracks, 4 channels with notes: a song like any other
    DIR/songs/running.mid       the same notes: format 0, running status, a key signature that is out of range
    DIR/songs/more/NN.mid       8 further songs
    DIR/songs/more/copy.mid     plain.mid again
    DIR/songs/doom.wad          3 lumps: a song, the same song, a lump that is no music
    DIR/songs/chip.mod          4 channels, 4 samples
    DIR/songs/short.mid thin.mid          5 s long; one channel only
    DIR/songs/cut.mid empty.mid text.xm   broken
    DIR/songs/.hidden.mid, DIR/songs/round -> .   to be passed over
"""
import os
import pathlib
import random
import struct
import sys

TICKS = 96  # a quarter note: half a second


def length_coded(value):
    out = [value & 127]
    while value := value >> 7:
        out.insert(0, 128 | value & 127)
    return bytes(out)


def track(events, running=False):
    """events: (tick, bytes); sorted here. An end-of-track event is added."""
    out, last, status = b"", 0, None
    for tick, event in sorted(events, key=lambda e: e[0]):
        out += length_coded(tick - last)
        last = tick
        if running and event[0] == status and event[0] < 0xF0:
            out += event[1:]
        else:
            out += event
        status = event[0]
    out += b"\x00\xff\x2f\x00"
    return b"MTrk" + struct.pack(">I", len(out)) + out


def smf(form, tracks):
    return b"MThd" + struct.pack(">IHHH", 6, form, len(tracks), TICKS) + b"".join(tracks)


def notes(seed, channel, program, seconds):
    """A note every half second; note-offs are note-ons of velocity 0, so that running status can show."""
    rng = random.Random(1000 * seed + channel)
    events = [] if channel == 9 else [(0, bytes([0xC0 | channel, program]))]
    for beat in range(2 * seconds):
        key = rng.choice([36, 38, 42]) if channel == 9 else 36 + 12 * (channel % 3) + rng.choice([0, 4, 7, 9])
        events.append((beat * TICKS, bytes([0x90 | channel, key, rng.randrange(70, 120)])))
        events.append((beat * TICKS + TICKS * 3 // 4, bytes([0x90 | channel, key, 0])))
    return events


def song(seed, seconds=20):
    parts = [notes(seed, c, p, seconds) for c, p in ((0, 0), (1, 33), (2, 80), (9, 0))]
    return smf(1, [track(parts[0] + parts[1]), track(parts[2] + parts[3])])


def same_song_written_otherwise(seed, seconds=20):
    events = [(0, b"\xff\x59\x02\xff\x05"), (0, b"\xff\x03\x04name")]
    for c, p in ((0, 0), (1, 33), (2, 80), (9, 0)):
        events += notes(seed, c, p, seconds)
    return smf(0, [track(events, running=True)])


def wad(lumps):
    data, directory = b"", b""
    for name, content in lumps:
        directory += struct.pack("<II8s", 12 + len(data), len(content), name)
        data += content
    return b"PWAD" + struct.pack("<II", len(lumps), 12 + len(data)) + data + directory


def mod():
    """Four looped samples, one a channel; three times a pattern of 7.68 s."""
    head, data = b"tune".ljust(20, b"\0"), b""
    for i in range(31):
        words = 64 if i < 4 else 0
        name = (b"sound %d" % i if i < 4 else b"").ljust(22, b"\0")
        head += name + struct.pack(">HBBHH", words, 0, 48 if i < 4 else 0, 0, words or 1)
        data += bytes((8 * (i + 1) * k) & 255 for k in range(2 * words))
    pattern = b""
    for row in range(64):
        for channel in range(4):
            if row % 4 == channel % 2:
                period = 428 >> (channel & 1)
                pattern += struct.pack(">HBB", period, (channel + 1) << 4, 0)
            else:
                pattern += bytes(4)
    return head + bytes([3, 127]) + bytes(128) + b"M.K." + pattern + data


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)


def soundfont():
    rng = random.Random(1)
    period, count = 40, 4000
    tone = [int(9000 * (2 * (k % period) / period - 1)) for k in range(count)]
    noise = [rng.randrange(-9000, 9000) for _ in range(count)]
    pause = [0] * 46
    samples = struct.pack("<%dh" % (2 * (count + 46)), *(tone + pause + noise + pause))

    def generators(pairs):
        return b"".join(struct.pack("<Hh", kind, value) for kind, value in pairs)

    def header(name, start, key):
        return struct.pack("<20sIIIIIBbHH", name, start, start + count, start + period, start + count - period, 16000,
                           key, 0, 0, 1)

    info = chunk(b"ifil", struct.pack("<HH", 2, 1)) + chunk(b"isng", b"EMU8000\0") + chunk(b"INAM", b"tiny\0\0")
    presets = [(b"tone", 0, 0, 0), (b"drums", 0, 128, 1), (b"EOP", 0, 0, 2)]
    parts = [
        (b"phdr", b"".join(struct.pack("<20sHHHIII", n, p, b, bag, 0, 0, 0) for n, p, b, bag in presets)),
        (b"pbag", b"".join(struct.pack("<HH", g, 0) for g in (0, 1, 2))),
        (b"pmod", bytes(10)),
        (b"pgen", generators([(41, 0), (41, 1), (0, 0)])),
        (b"inst", b"".join(struct.pack("<20sH", n, bag) for n, bag in ((b"tone", 0), (b"drums", 1), (b"EOI", 2)))),
        (b"ibag", b"".join(struct.pack("<HH", g, 0) for g in (0, 2, 4))),
        (b"imod", bytes(10)),
        (b"igen", generators([(54, 1), (53, 0), (54, 1), (53, 1), (0, 0)])),
        (b"shdr", header(b"tone", 0, 67) + header(b"noise", count + 46, 60) + struct.pack("<20s26x", b"EOS")),
    ]
    pdta = b"".join(chunk(name, content) for name, content in parts)
    body = b"sfbk" + chunk(b"LIST", b"INFO" + info) + chunk(b"LIST", b"sdta" + chunk(b"smpl", samples))
    return chunk(b"RIFF", body + chunk(b"LIST", b"pdta" + pdta))


def main():
    root = pathlib.Path(sys.argv[1])
    songs = root / "songs"
    (songs / "more").mkdir(parents=True)
    (root / "tiny.sf2").write_bytes(soundfont())
    (songs / "plain.mid").write_bytes(song(1))
    (songs / "running.mid").write_bytes(same_song_written_otherwise(1))
    for i in range(8):
        (songs / "more" / f"{i:02d}.mid").write_bytes(song(10 + i))
    (songs / "more" / "copy.mid").write_bytes(song(1))
    (songs / "doom.wad").write_bytes(wad([(b"D_E1M1", song(2)), (b"D_E1M2", song(2)), (b"PLAYPAL", bytes(768))]))
    (songs / "chip.mod").write_bytes(mod())
    (songs / "short.mid").write_bytes(song(3, seconds=5))
    (songs / "thin.mid").write_bytes(smf(1, [track(notes(4, 0, 0, 20))]))
    (songs / "cut.mid").write_bytes(song(5)[:700])
    (songs / "empty.mid").write_bytes(b"")
    (songs / "text.xm").write_bytes(b"not a module\n")
    (songs / ".hidden.mid").write_bytes(song(6))
    os.symlink(".", songs / "round")


main()
