#include "base/rng.h"

#include <Random123/philox.h>

void coc_rng_block(const coc_rng_key *key, uint32_t block, uint32_t words[4])
{
    const philox4x32_key_t k = {{(uint32_t)key->seed, (uint32_t)(key->seed >> 32)}};
    const philox4x32_ctr_t c = {
        {block, key->item, key->step,
         (uint32_t)key->draw << 24 | (uint32_t)key->view << 16 | (uint32_t)key->layer}};
    const philox4x32_ctr_t r = philox4x32(c, k);

    for (int i = 0; i < 4; i++)
        words[i] = r.v[i];
}

float coc_rng_uniform(const coc_rng_key *key, uint32_t element)
{
    uint32_t words[4];

    coc_rng_block(key, element / 4, words);
    return (float)(words[element % 4] >> 8) * 0x1p-24f;
}

coc_rng_sequence coc_rng_sequence_begin(coc_rng_key key)
{
    return (coc_rng_sequence){.key = key};
}

uint32_t coc_rng_next(coc_rng_sequence *sequence)
{
    const uint32_t element = sequence->next++;

    if (element % 4 == 0) coc_rng_block(&sequence->key, element / 4, sequence->words);
    return sequence->words[element % 4];
}

uint32_t coc_rng_next_below(coc_rng_sequence *sequence, uint32_t n)
{
    /* multiply-shift with rejection of the short last interval (Lemire 2019) */
    const uint32_t threshold = (0u - n) % n;
    uint64_t product;

    do {
        product = (uint64_t)coc_rng_next(sequence) * n;
    } while ((uint32_t)product < threshold);
    return (uint32_t)(product >> 32);
}

int64_t coc_rng_permute(const coc_rng_key *key, int64_t n, int64_t index)
{
    coc_rng_key round_key = *key;
    uint64_t x = (uint64_t)index, mask;
    int half = 1;

    while (((uint64_t)1 << (2 * half)) < (uint64_t)n)
        half++;
    mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = x >> half, right = x & mask;

        for (uint32_t round = 0; round < 4; round++) {
            uint32_t words[4];
            uint64_t mixed;

            round_key.item = round;
            coc_rng_block(&round_key, (uint32_t)right, words);
            mixed = left ^ (words[0] & mask);
            left = right;
            right = mixed;
        }
        x = left << half | right;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}
