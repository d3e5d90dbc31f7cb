#!/usr/bin/env python3
"""Writes median_network.h: the medians of 31 values at 16 neighbouring places, by shared sorting.

    python3 median_network.py            writes median_network.h beside this file
    python3 median_network.py --check    exit code 1 when that file is not what would be written

16 neighbouring windows of 31 rows, a .. a + 30 for a = 0 .. 15, have rows 15 .. 30 in common. These
are sorted once. The windows are then halved again and again: each half of a group of P windows has
P / 2 further rows in common, which are sorted and merged into what the group has sorted so far:

    group (a, P): windows a .. a + P - 1, common rows a + P - 1 .. a + 30, in order
      first half  (a, P/2):          also rows a + P/2 - 1 .. a + P - 2
      second half (a + P/2, P/2):    also rows a + 31 .. a + 30 + P/2

A group of P windows needs only the P middle values of its common rows: a value further out has too
many common rows on one side of it to be the middle of any of its windows. So a half keeps the
middle P / 2 of P + P / 2 values, and at P = 1 the one value that is left is the median.

Sorting and merging are Batcher's odd-even networks [Batcher 1968]: a fixed list of comparators
(i, j), each min and max of two values, free of branches and the same for all columns at once. Of a
comparator only the outputs that reach a median are written out, and equal ones once.
"""
import pathlib
import sys

TAPS, WINDOWS = 31, 16
INFINITE = "infinite"  # fills lists up to a power of two; never written out

HEADER = '''/* preprocess/median_network.h - written by preprocess/median_network.py; do not edit.
 *
 * The medians of %(taps)d values at %(windows)d neighbouring places for one column, %(steps)d
 * minima and maxima (%(each).1f a median). in: %(rows)d rows, `stride` apart; out: %(windows)d rows, `out_stride` apart.
 * Non-negative floats are compared as the integers of their bits, which have the same order: exact,
 * and a vector instruction everywhere. One function of straight-line code, as it is
 * generated: nobody reads or edits it.
 */
/* clang-format off */
#ifndef COC_PREPROCESS_MEDIAN_NETWORK_H
#define COC_PREPROCESS_MEDIAN_NETWORK_H

#include <stdint.h>

/* How the functions are declared; a file that says so before includes this one for a GPU. */
#ifndef COC_MEDIAN_FUNCTION
#define COC_MEDIAN_FUNCTION static inline __attribute__((always_inline))
#endif

typedef int32_t __attribute__((may_alias)) coc_float_bits;

enum { COC_MEDIAN_WINDOWS = %(windows)d, COC_MEDIAN_ROWS = %(rows)d };

COC_MEDIAN_FUNCTION int32_t coc_min_bits(int32_t a, int32_t b) { return a < b ? a : b; }
COC_MEDIAN_FUNCTION int32_t coc_max_bits(int32_t a, int32_t b) { return a > b ? a : b; }
#define N(a, b) coc_min_bits(a, b)
#define X(a, b) coc_max_bits(a, b)

COC_MEDIAN_FUNCTION void /* NOLINTNEXTLINE(readability-function-size) */
coc_median_network(const coc_float_bits *__restrict__ in, int64_t stride,
                   coc_float_bits *__restrict__ out, int64_t out_stride)
{
%(body)s
}

#undef N
#undef X
#endif
'''


class Network:
    """Min and max steps, each known by its operands, so that equal ones are one."""

    def __init__(self):
        self.name_of = {}
        self.steps = []  # (name, "N" or "X", a, b)

    def step(self, kind, a, b):
        if INFINITE in (a, b):
            if kind == "X":
                return INFINITE
            return b if a == INFINITE else a
        key = (kind, *sorted((a, b)))
        if key not in self.name_of:
            self.name_of[key] = "v%d" % len(self.steps)
            self.steps.append((self.name_of[key], *key))
        return self.name_of[key]

    def apply(self, values, comparators):
        values = list(values)
        for i, j in comparators:
            a, b = values[i], values[j]
            values[i], values[j] = self.step("N", a, b), self.step("X", a, b)
        return values

    def sort(self, values):
        size = power_of_two(len(values))
        filled = list(values) + [INFINITE] * (size - len(values))
        return self.apply(filled, sort_comparators(0, size))[: len(values)]

    def merge(self, a, b):
        half = power_of_two(max(len(a), len(b)))
        filled = (list(a) + [INFINITE] * (half - len(a))) + (list(b) + [INFINITE] * (half - len(b)))
        return self.apply(filled, merge_comparators(0, 2 * half, 1))[: len(a) + len(b)]


def power_of_two(n):
    return 1 << (n - 1).bit_length()


def merge_comparators(first, n, distance):
    """Merges the two sorted halves of the n values that begin at `first`."""
    if 2 * distance >= n:
        return [(first, first + distance)]
    return (
        merge_comparators(first, n, 2 * distance)
        + merge_comparators(first + distance, n, 2 * distance)
        + [(i, i + distance) for i in range(first + distance, first + n - distance, 2 * distance)]
    )


def sort_comparators(first, n):
    if n == 1:
        return []
    half = n // 2
    return (
        sort_comparators(first, half)
        + sort_comparators(first + half, half)
        + merge_comparators(first, n, 1)
    )


def rows(first, end):
    return ["r%d" % i for i in range(first, end)]


def halve(network, first, windows, middle, medians):
    """middle: the `windows` middle values of the rows that this group has in common."""
    if windows == 1:
        medians[first] = middle[0]
        return
    half = windows // 2
    for begin, new in (
        (first, rows(first + half - 1, first + windows - 1)),
        (first + half, rows(first + TAPS, first + TAPS + half)),
    ):
        merged = network.merge(middle, network.sort(new))
        halve(network, begin, half, merged[half:windows], medians)


def build():
    network, medians = Network(), [None] * WINDOWS
    common = network.sort(rows(WINDOWS - 1, TAPS))
    margin = (len(common) - WINDOWS) // 2
    halve(network, 0, WINDOWS, common[margin : margin + WINDOWS], medians)
    return network.steps, medians


def reaching(steps, medians):
    """The steps whose value reaches a median, in order."""
    needed = set(medians)
    for name, _, a, b in reversed(steps):
        if name in needed:
            needed |= {a, b}
    return [s for s in steps if s[0] in needed]


def lines(items, separator=" ", width=96):
    line, text = "   ", []
    for item in items:
        if len(line) + len(separator) + len(item) > width:
            text.append(line)
            line = "   "
        line += separator + item
    return "\n".join(text + [line])


def statements(steps, medians):
    """Rows are read where they are first needed and medians written when they are known: fewer
    values to hold at a time."""
    known, places = set(), {value: place for place, value in enumerate(medians)}
    for name, kind, a, b in steps:
        for row in (a, b):
            if row[0] == "r" and row not in known:
                known.add(row)
                yield "const int32_t %s = in[%s * stride];" % (row, row[1:])
        yield "const int32_t %s = %s(%s, %s);" % (name, kind, a, b)
        if name in places:
            yield "out[%d * out_stride] = %s;" % (places[name], name)


def header():
    steps, medians = build()
    steps = reaching(steps, medians)
    total = TAPS + WINDOWS - 1
    return HEADER % dict(
        taps=TAPS, windows=WINDOWS, rows=total, steps=len(steps), each=len(steps) / WINDOWS,
        body=lines(statements(steps, medians)),
    )


def main():
    path = pathlib.Path(__file__).with_name("median_network.h")
    if sys.argv[1:] == ["--check"]:
        if path.is_file() and path.read_text() == header():
            return 0
        print("%s is not what median_network.py writes; run it" % path, file=sys.stderr)
        return 1
    path.write_text(header())
    return 0


sys.exit(main())
