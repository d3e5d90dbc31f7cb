/* tests/emulator/warp.cpp - what the lanes of a warp do together, and asynchronous copies.
 *
 * The last lane to arrive computes for all of them. Fragments: PTX ISA, mma.m16n8k16 and m16n8k8;
 * in both, lane = 4 * group + member. */
#include <cstdint>
#include <string>

#include <coc_emulated_mma.h>

#include "emulator.h"

namespace coc_emulator
{

const char *name_of(enum coc_warp_operation operation)
{
    static const char *const names[] = {
        "__syncwarp",  "a shuffle",   "a vote",      "__reduce_..._sync", "mma of bf16",
        "mma of tf32", "ldmatrix.x2", "ldmatrix.x4", "ldmatrix.x2.trans", "ldmatrix.x4.trans"};

    return names[operation];
}

template <typename T> static T *of(void *const *data, int lane)
{
    return static_cast<T *>(data[lane]);
}

static void shuffle(unsigned mask, void *const *data)
{
    for (int lane = 0; lane < LANES; lane++) {
        if ((mask >> lane & 1) == 0) continue;
        coc_warp_shuffle *mine = of<coc_warp_shuffle>(data, lane);

        if (mine->from < 0 || mine->from >= LANES || (mask >> mine->from & 1) == 0)
            coc_emulator_fail("a shuffle from a lane that takes no part");
        mine->result = of<coc_warp_shuffle>(data, mine->from)->value;
    }
}

static void vote(unsigned mask, void *const *data)
{
    unsigned ballot = 0;

    for (int lane = 0; lane < LANES; lane++)
        if ((mask >> lane & 1) != 0 && of<coc_warp_vote>(data, lane)->predicate != 0)
            ballot |= 1u << lane;
    for (int lane = 0; lane < LANES; lane++)
        if ((mask >> lane & 1) != 0) of<coc_warp_vote>(data, lane)->ballot = ballot;
}

static unsigned reduced(int kind, unsigned a, unsigned b)
{
    switch (kind) {
    case '+':
        return a + b;
    case 'm':
        return b < a ? b : a;
    case 'M':
        return a < b ? b : a;
    case 'i':
        return (int)b < (int)a ? b : a;
    default:
        return (int)a < (int)b ? b : a;
    }
}

static void reduce(unsigned mask, void *const *data)
{
    const coc_warp_reduce *first = of<coc_warp_reduce>(data, __builtin_ctz(mask));
    unsigned result = first->value;

    for (unsigned left = mask & (mask - 1); left != 0; left &= left - 1) {
        const coc_warp_reduce *r = of<coc_warp_reduce>(data, __builtin_ctz(left));

        if (r->kind != first->kind) coc_emulator_fail("lanes reduce in different ways");
        result = reduced(r->kind, result, r->value);
    }
    for (unsigned left = mask; left != 0; left &= left - 1)
        of<coc_warp_reduce>(data, __builtin_ctz(left))->result = result;
}

/* ---- products of matrices -------------------------------------------------------------------- */

/* d [16][8] += a [16][k] b [k][8]. The device adds the exact products in one go, with a few bits
 * more than a float has: a sum in double stands for that. */
static void multiply(int k, const float (*a)[16], const float (*b)[8], void *const *data)
{
    for (int row = 0; row < 16; row++) {
        double sum[8] = {0};

        for (int l = 0; l < k; l++)
            for (int column = 0; column < 8; column++)
                sum[column] += (double)a[row][l] * (double)b[l][column];
        for (int column = 0; column < 8; column++) {
            float *d = of<coc_warp_mma>(data, 4 * (row % 8) + column / 2)->d;

            d += 2 * (row / 8) + column % 2;
            *d = (float)((double)*d + sum[column]);
        }
    }
}

static float half_of(uint32_t word, int half)
{
    return __uint_as_float(half != 0 ? word & 0xffff0000u : word << 16);
}

static void mma_bf16(void *const *data)
{
    float a[16][16], b[16][8];

    for (int lane = 0; lane < LANES; lane++) {
        const coc_warp_mma *m = of<coc_warp_mma>(data, lane);
        const int group = lane / 4, member = lane % 4;

        for (int i = 0; i < 8; i++)
            a[group + 8 * (i / 2 % 2)][2 * member + i % 2 + 8 * (i / 4)] =
                half_of(m->a[i / 2], i % 2);
        for (int i = 0; i < 4; i++)
            b[2 * member + i % 2 + 8 * (i / 2)][group] = half_of(m->b[i / 2], i % 2);
    }
    multiply(16, a, b, data);
}

static void mma_tf32(void *const *data)
{
    const uint32_t kept = 0xffffe000u;
    float a[16][16], b[8][8];

    for (int lane = 0; lane < LANES; lane++) {
        const coc_warp_mma *m = of<coc_warp_mma>(data, lane);
        const int group = lane / 4, member = lane % 4;

        for (int i = 0; i < 4; i++)
            a[group + 8 * (i % 2)][member + 4 * (i / 2)] = __uint_as_float(m->a[i] & kept);
        for (int i = 0; i < 2; i++)
            b[member + 4 * i][group] = __uint_as_float(m->b[i] & kept);
    }
    multiply(8, a, b, data);
}

static void ldmatrix(int count, bool transposed, void *const *data)
{
    for (int lane = 0; lane < 8 * count; lane++) {
        const void *row = of<coc_warp_ldmatrix>(data, lane)->row;

        if ((uintptr_t)row % 16 != 0)
            coc_emulator_fail("ldmatrix of a row that is not aligned to 16 bytes");
        if (device_address(row))
            coc_emulator_fail("ldmatrix of a row that is not in shared memory");
    }
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < count; i++) {
            uint32_t word = 0;

            for (int half = 0; half < 2; half++) {
                const int row = transposed ? 2 * (lane % 4) + half : lane / 4;
                const int at = transposed ? lane / 4 : 2 * (lane % 4) + half;
                const void *from = of<coc_warp_ldmatrix>(data, 8 * i + row)->row;
                uint16_t value;

                memcpy(&value, static_cast<const char *>(from) + 2 * at, sizeof value);
                word |= (uint32_t)value << (16 * half);
            }
            of<coc_warp_ldmatrix>(data, lane)->r[i] = word;
        }
}

void complete(enum coc_warp_operation operation, unsigned mask, void *const *data)
{
    switch (operation) {
    case COC_WARP_SYNC:
        return;
    case COC_WARP_SHUFFLE:
        return shuffle(mask, data);
    case COC_WARP_VOTE:
        return vote(mask, data);
    case COC_WARP_REDUCE:
        return reduce(mask, data);
    case COC_WARP_MMA_BF16:
        return mma_bf16(data);
    case COC_WARP_MMA_TF32:
        return mma_tf32(data);
    case COC_WARP_LDMATRIX_X2:
        return ldmatrix(2, false, data);
    case COC_WARP_LDMATRIX_X4:
        return ldmatrix(4, false, data);
    case COC_WARP_LDMATRIX_X2_TRANS:
        return ldmatrix(2, true, data);
    case COC_WARP_LDMATRIX_X4_TRANS:
        return ldmatrix(4, true, data);
    }
}

} // namespace coc_emulator

using namespace coc_emulator;

/* ---- asynchronous copies ----------------------------------------------------------------------
 */

void coc_cp_async_16(void *shared, const void *global, bool valid)
{
    async_copies &mine = copies_of_thread();

    if ((uintptr_t)shared % 16 != 0 || (uintptr_t)global % 16 != 0)
        coc_emulator_fail("cp.async of an address that is not aligned to 16 bytes");
    if (device_address(shared)) coc_emulator_fail("cp.async to what is not shared memory");
    if (valid && !on_device(global, 16))
        coc_emulator_fail("cp.async from outside of any allocation on the device");
    memset(shared, 0xff, 16);
    mine.waiting.push_back({shared, valid ? global : nullptr, mine.groups});
}

void coc_cp_async_commit()
{
    copies_of_thread().groups++;
}

void coc_emulator_cp_async_wait(int groups_left)
{
    async_copies &mine = copies_of_thread();
    size_t kept = 0;

    for (const async_copy &c : mine.waiting)
        if (c.group >= mine.groups - groups_left)
            mine.waiting[kept++] = c;
        else if (c.from != nullptr)
            memcpy(c.to, c.from, 16);
        else
            memset(c.to, 0, 16);
    mine.waiting.resize(kept);
}
