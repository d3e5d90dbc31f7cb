/* Normal numbers in bulk: the words of coc_rng_block for a batch of blocks side by side, then
 * Box-Muller by polynomials instead of calls, so that both vectorise. Every number goes through the
 * same loops, whatever the range that was asked for. */
#include "base/rng.h"

#include <math.h>
#include <string.h>

enum { BATCH = 64, ROUNDS = 10 }; /* blocks of four numbers */

/* Philox4x32-10 [Salmon et al. 2011] on counters block .. block + BATCH - 1; word[i][j] is word i
 * of block j. Equal to coc_rng_block; tests/test_rng_normal.c holds it to that. */
static void words_of_blocks(const coc_rng_key *key, uint32_t block, uint32_t word[4][BATCH])
{
    uint32_t key0 = (uint32_t)key->seed, key1 = (uint32_t)(key->seed >> 32);
    const uint32_t last =
        (uint32_t)key->draw << 24 | (uint32_t)key->view << 16 | (uint32_t)key->layer;

    for (uint32_t j = 0; j < BATCH; j++) {
        word[0][j] = block + j;
        word[1][j] = key->item;
        word[2][j] = key->step;
        word[3][j] = last;
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int j = 0; j < BATCH; j++) {
            const uint64_t a = (uint64_t)word[0][j] * 0xD2511F53u;
            const uint64_t b = (uint64_t)word[2][j] * 0xCD9E8D57u;

            word[0][j] = (uint32_t)(b >> 32) ^ word[1][j] ^ key0;
            word[2][j] = (uint32_t)(a >> 32) ^ word[3][j] ^ key1;
            word[1][j] = (uint32_t)b;
            word[3][j] = (uint32_t)a;
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

static inline float from_bits(int32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* sqrt(-2 ln u), 0 < u <= 1: u = m 2^e with m in [sqrt 1/2, sqrt 2), and
 * ln m = 2 (s + s^3/3 + s^5/5 + ...) with s = (m - 1) / (m + 1), |s| < 0.172. */
static inline float radius(float u)
{
    const int32_t root_half = 0x3f3504f3, exponent_one = 1 << 23; /* bits of floats */
    int32_t bits, exponent;
    float m, s, q, ln;

    memcpy(&bits, &u, sizeof bits);
    exponent = (bits - root_half) >> 23;
    m = from_bits(bits - exponent * exponent_one);
    s = (m - 1.0f) / (m + 1.0f);
    q = s * s;
    ln = 2.0f * s * (1.0f + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7 + q * (1.0f / 9)))));
    return sqrtf(-2.0f * (0.693147181f * (float)exponent + ln));
}

/* Cosine and sine of 2 pi `turns`, 0 <= turns < 1: quarter turns are taken off exactly, the rest x
 * has |x| <= pi / 4, where the Taylor polynomials are right to the last bit of a float. */
static inline void circle(float turns, float *cosine, float *sine)
{
    const int32_t quarter = (int32_t)(4.0f * turns + 0.5f);
    const float x = 1.57079633f * (4.0f * turns - (float)quarter), q = x * x;
    const float s =
        x * (1.0f + q * (-1.0f / 6 + q * (1.0f / 120 + q * (-1.0f / 5040 + q * (1.0f / 362880)))));
    const float c =
        1.0f + q * (-0.5f + q * (1.0f / 24 +
                                 q * (-1.0f / 720 + q * (1.0f / 40320 - q * (1.0f / 3628800)))));
    const float a = quarter & 1 ? s : c, b = quarter & 1 ? c : s;

    *cosine = (quarter + 1) & 2 ? -a : a;
    *sine = quarter & 2 ? -b : b;
}

static void normals_of_blocks(const coc_rng_key *key, uint32_t block, float *out)
{
    uint32_t word[4][BATCH];

    words_of_blocks(key, block, word);
    for (int h = 0; h < 4; h += 2) {
        float x[BATCH], y[BATCH];

        for (int j = 0; j < BATCH; j++) {
            /* (0, 1]: the logarithm must stay finite */
            const float r = radius(((float)(int32_t)(word[h][j] >> 8) + 1.0f) * 0x1p-24f);
            float cosine, sine;

            circle((float)(int32_t)(word[h + 1][j] >> 8) * 0x1p-24f, &cosine, &sine);
            x[j] = r * cosine;
            y[j] = r * sine;
        }
        for (int j = 0; j < BATCH; j++) {
            out[4 * j + h] = x[j];
            out[4 * j + h + 1] = y[j];
        }
    }
}

void coc_rng_normal(const coc_rng_key *key, uint32_t first, int64_t count, float *out)
{
    float batch[4 * BATCH];

    for (int64_t i = 0; i < count; i += 4 * BATCH) {
        const int64_t n = count - i < 4 * BATCH ? count - i : 4 * BATCH;

        normals_of_blocks(key, first / 4 + (uint32_t)(i / 4), batch);
        memcpy(out + i, batch, (size_t)n * sizeof *out);
    }
}
