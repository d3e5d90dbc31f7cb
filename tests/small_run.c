#include "tests/small_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <sndfile.h>

#include "base/file.h"
#include "preprocess/build.h"
#include "preprocess/features.h"
#include "tests/test.h"

enum { TRACKS = 4, STEMS = 3, SECONDS = 12 };

static void write_stem(const char *path, uint32_t seed)
{
    enum { SAMPLES = SECONDS * COC_SAMPLE_RATE };
    SF_INFO info = {
        .samplerate = COC_SAMPLE_RATE, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    float *samples = malloc(SAMPLES * sizeof *samples);

    if (file == NULL || samples == NULL) exit(1);
    coc_test_random(samples, SAMPLES, seed);
    for (int i = 0; i < SAMPLES; i++) /* a tone of its own, so that features differ */
        samples[i] = 0.05f * samples[i] + 0.3f * sinf((float)i * (0.02f + 0.01f * (float)seed));
    if (sf_write_float(file, samples, SAMPLES) != SAMPLES) exit(1);
    sf_close(file);
    free(samples);
}

coc_status coc_test_store(const char *folder, coc_comm *alone)
{
    coc_build_result result;
    coc_build_settings settings = {0};
    char in[128], out[128], path[256];

    snprintf(in, sizeof in, "%s/songs", folder);
    snprintf(out, sizeof out, "%s/store", folder);
    for (int t = 0; t < TRACKS; t++) {
        snprintf(path, sizeof path, "%s/train/song%d", in, t);
        COC_TRY(coc_make_folders(path));
        for (int s = 0; s < STEMS; s++) {
            snprintf(path, sizeof path, "%s/train/song%d/stem%d.wav", in, t, s);
            write_stem(path, (uint32_t)(STEMS * t + s));
        }
    }
    settings.in = in;
    settings.out = out;
    COC_TRY(coc_layout_find("folder", &settings.layout));
    COC_TRY(coc_build_store(alone, &settings, &result));
    coc_manifest_free(&result.manifest);
    return COC_OK;
}

coc_settings coc_test_settings(const char *folder, int64_t batch, int64_t group)
{
    coc_settings s;

    coc_settings_default(&s);
    snprintf(s.data.train, sizeof s.data.train, "%s/store", folder);
    s.model.width = 0.1;
    s.model.depth = 0.3;
    s.model.bn_momentum = 0.5;
    s.model.similarity_init = COC_SIMILARITY_IDENTITY;
    s.model.similarity_scale = 0.05;
    s.model.bn_group = group;
    s.train.batch = batch;
    s.train.steps = 4;
    s.data.prefetch = 0;
    return s;
}

int coc_test_on_ranks(coc_comm **world, coc_comm **alone, int (*run)(void))
{
    const coc_comm_settings settings = {.backend = "mpi", .deadline = 60};
    int result;

    if (coc_comm_start(&settings, world) != COC_OK || coc_comm_self(alone) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return 1;
    }
    result = run();
    coc_comm_destroy(alone);
    coc_comm_destroy(world);
    coc_comm_finish();
    return result;
}
