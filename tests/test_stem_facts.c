/* preprocess/stem_facts.c: levels, flat tops, offsets, and stems that are another one's echo. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "preprocess/features.h"
#include "preprocess/stem_facts.h"
#include "tests/test.h"

enum {
    SECONDS = 6,
    SAMPLES = SECONDS * COC_SAMPLE_RATE,
    LEVELS = SAMPLES / COC_STORE_LEVEL_SAMPLES
};

typedef struct {
    int16_t pcm[SAMPLES];
    float level[LEVELS];
    coc_stem stem;
} sound;

/* Levels as the store has them, of a waveform of exponent 0. */
static void measure(sound *s)
{
    for (int i = 0; i < LEVELS; i++) {
        double sum = 0;

        for (int j = 0; j < COC_STORE_LEVEL_SAMPLES; j++) {
            const double x = s->pcm[i * COC_STORE_LEVEL_SAMPLES + j] / 32768.0;

            sum += x * x;
        }
        s->level[i] = (float)(sum / COC_STORE_LEVEL_SAMPLES);
    }
    s->stem = (coc_stem){.samples = SAMPLES, .levels = LEVELS, .mean_square = s->level};
}

/* Bursts of noise, at places and with values that follow from the seed. */
static void make_noise(sound *s, uint64_t seed)
{
    coc_rng_sequence draws = coc_rng_sequence_begin((coc_rng_key){.seed = seed});

    memset(s, 0, sizeof *s);
    for (int burst = 0; burst < 12; burst++) {
        const int first = (int)coc_rng_next_below(&draws, SAMPLES - 8000);

        for (int i = first; i < first + 4000; i++)
            s->pcm[i] = (int16_t)((int)coc_rng_next_below(&draws, 20000) - 10000);
    }
    measure(s);
}

static void one_tone_has_its_level(void)
{
    static sound s;
    coc_stem_facts f;

    memset(&s, 0, sizeof s);
    for (int i = 0; i < SAMPLES / 2; i++)
        s.pcm[i] = (int16_t)lrint(16384 * sin(6.283185307179586 * 441 * i / COC_SAMPLE_RATE));
    measure(&s);
    f = coc_stem_facts_of(&s.stem, s.pcm);
    CHECK(fabs(f.peak - 0.5) < 1e-3);
    CHECK(fabs(f.level_db - -9.03) < 0.05);
    CHECK(fabs(f.active - 0.5) < 0.02);
    CHECK(fabs(f.offset) < 1e-3);
    CHECK(f.clipped == 0);
    s.stem.exponent = -3; /* stored eight times louder than it is */
    CHECK(fabs(coc_stem_facts_of(&s.stem, s.pcm).peak - 0.0625) < 1e-3);
}

static void silence_has_no_level(void)
{
    static sound s;
    coc_stem_facts f;

    memset(&s, 0, sizeof s);
    measure(&s);
    f = coc_stem_facts_of(&s.stem, s.pcm);
    CHECK(f.peak == 0 && f.active == 0 && isinf(f.level_db) && f.clipped == 0);
}

/* Three and more at the peak are a flat top, of either sign; two are none. */
static void flat_tops_are_counted(void)
{
    static sound s;
    coc_stem_facts f;

    make_noise(&s, 1);
    for (int i = 0; i < 5; i++) {
        s.pcm[100 + i] = 20000;
        s.pcm[200 + i] = -20000;
    }
    s.pcm[300] = s.pcm[301] = 20000;
    f = coc_stem_facts_of(&s.stem, s.pcm);
    CHECK(fabs(f.clipped * SAMPLES - 10) < 1e-6);
    for (int i = 0; i < SAMPLES; i++)
        s.pcm[i] = (int16_t)(s.pcm[i] / 4 + 1000);
    CHECK(fabs(coc_stem_facts_of(&s.stem, s.pcm).offset * 6000 - 1000) < 30);
}

static void check_echo(int delay, double gain, double want)
{
    static sound a, b;
    double likeness, lag;

    make_noise(&a, 7);
    make_noise(&b, 8);
    for (int i = 0; i < SAMPLES; i++) {
        const int from = i - delay;
        const double echo = from >= 0 && from < SAMPLES ? gain * a.pcm[from] : 0;

        b.pcm[i] = (int16_t)(echo + (want < 1 ? 0.3 * b.pcm[i] : 0));
    }
    measure(&b);
    REQUIRE_OK(coc_stem_likeness(&a.stem, a.pcm, &b.stem, b.pcm, &likeness, &lag));
    if (fabs(fabs(likeness) - want) > 0.07 || (likeness < 0) != (gain < 0) ||
        fabs(lag - (double)delay / COC_SAMPLE_RATE) > 0.0003)
        coc_test_fail(__FILE__, __LINE__, "delay %d, gain %g: likeness %g, lag %g", delay, gain,
                      likeness, lag);
}

/* A copy is found whatever its gain, sign and delay, also under something else; of two stems that
 * have nothing in common nothing is said. */
static void echoes_are_found(void)
{
    static sound a, b;
    double likeness, lag;

    check_echo(0, 1, 1);
    check_echo(0, -0.5, 1);
    check_echo(1600, 0.7, 1);
    check_echo(-2400, 0.7, 1);
    check_echo(800, 0.9, 0.95);
    for (uint64_t seed = 1; seed < 6; seed++) {
        make_noise(&a, seed);
        make_noise(&b, seed + 100);
        REQUIRE_OK(coc_stem_likeness(&a.stem, a.pcm, &b.stem, b.pcm, &likeness, &lag));
        CHECK(fabs(likeness) < 0.2);
    }
}

/* Two instruments that play in the same moments are no echo of each other. */
static void common_rhythm_is_no_echo(void)
{
    static sound a, b;
    coc_rng_sequence draws = coc_rng_sequence_begin((coc_rng_key){.seed = 99});
    double likeness, lag;

    make_noise(&a, 3);
    b = a;
    for (int i = 0; i < SAMPLES; i++)
        if (a.pcm[i] != 0) b.pcm[i] = (int16_t)((int)coc_rng_next_below(&draws, 20000) - 10000);
    measure(&b);
    REQUIRE_OK(coc_stem_likeness(&a.stem, a.pcm, &b.stem, b.pcm, &likeness, &lag));
    CHECK(fabs(likeness) < 0.2);
}

int main(void)
{
    RUN(one_tone_has_its_level);
    RUN(silence_has_no_level);
    RUN(flat_tops_are_counted);
    RUN(echoes_are_found);
    RUN(common_rhythm_is_no_echo);
    return coc_test_result();
}
