#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <sndfile.h>

#include "base/file.h"
#include "preprocess/features.h"
#include "tests/test.h"
#include "train/score.h"

static char folder[256];

static const char *place(const char *name)
{
    static char paths[8][300];
    static int next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* ---- windows -------------------------------------------------------------------------------- */

/* Anything up to a window is one; after that as many as fit whole. */
static void test_windows(void)
{
    CHECK(coc_score_windows(1, 80000, 40000) == 1);
    CHECK(coc_score_windows(80000, 80000, 40000) == 1);
    CHECK(coc_score_windows(119999, 80000, 40000) == 1);
    CHECK(coc_score_windows(120000, 80000, 40000) == 2);
    CHECK(coc_score_windows(200000, 80000, 40000) == 4);
    CHECK(coc_score_windows(200000, 80000, 1000000) == 1);
}

/* ---- lists ---------------------------------------------------------------------------------- */

static coc_status read_list(const char *text, coc_pair_list *list)
{
    if (coc_file_write(place("list.csv"), text, strlen(text)) != COC_OK) exit(1);
    return coc_pair_list_read(place("list.csv"), list);
}

/* Quotes, commas, newlines and other columns are read as RFC 4180 says; lines are counted in the
 * file, not in records. */
static void test_list(void)
{
    coc_pair_list list;

    REQUIRE_OK(read_list("\xef\xbb\xbfname,output,context\r\n"
                         "x,b.wav,a.wav\r\n"
                         "\r\n"
                         "\"p, \"\"q\"\"\nr\",\"d \"\"1\"\", 2.wav\",c.wav\n"
                         ",f.wav,e.wav",
                         &list));
    REQUIRE(list.n == 3);
    CHECK(strcmp(list.pair[0].context, "a.wav") == 0);
    CHECK(strcmp(list.pair[0].output, "b.wav") == 0);
    CHECK(strcmp(list.pair[1].context, "c.wav") == 0);
    CHECK(strcmp(list.pair[1].output, "d \"1\", 2.wav") == 0);
    CHECK(strcmp(list.pair[2].context, "e.wav") == 0);
    CHECK(strcmp(list.pair[2].output, "f.wav") == 0);
    CHECK(list.line[0] == 2 && list.line[1] == 4 && list.line[2] == 6);
    coc_pair_list_free(&list);
}

/* A list with a fault is refused with its line. */
static void test_bad_lists(void)
{
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"", "columns"},
        {"a,b\n1,2\n", "columns"},
        {"context,output\n", "no pairs"},
        {"context,output\na,b\nc\n", ":3:"},
        {"context,output\na,b,c\n", ":2:"},
        {"context,output\na,\n", "empty file name"},
        {"context,output\n\"a,b\n", "not closed"},
        {"context,output\n\"a\"b,c\n", "closing quote"},
    };
    coc_pair_list list;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(read_list(cases[i].text, &list) == COC_ERR_INPUT);
        CHECK(list.n == 0 && list.pair == NULL);
        if (strstr(coc_error_text(), cases[i].word) == NULL)
            coc_test_fail(__FILE__, __LINE__, "'%s' lacks '%s'", coc_error_text(), cases[i].word);
    }
}

/* ---- scores --------------------------------------------------------------------------------- */

/* A file of `seconds` of noise, `gap` seconds of which come before, from one long sequence: so
 * files can share windows. */
static const char *write_sound(const char *name, uint32_t seed, double gap, double seconds)
{
    const int64_t first = (int64_t)(gap * COC_SAMPLE_RATE),
                  n = (int64_t)(seconds * COC_SAMPLE_RATE);
    SF_INFO info = {
        .samplerate = COC_SAMPLE_RATE, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_FLOAT};
    const char *path = place(name);
    float *samples = malloc((size_t)(first + n) * sizeof *samples);
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);

    if (file == NULL || samples == NULL) exit(1);
    coc_test_random(samples, first + n, seed);
    if (sf_write_float(file, samples + first, n) != n) exit(1);
    sf_close(file);
    free(samples);
    return path;
}

/* Give the norms statistics of real clips: without them activations grow until all clips look
 * alike. */
static coc_status settle_norms(coc_params *p)
{
    enum { CLIPS = 4 };
    const int64_t floats = 2 * COC_BANDS * COC_FRAMES;
    float *wave = malloc(CLIPS * COC_CLIP_SAMPLES * sizeof *wave);
    float *x = malloc((size_t)(CLIPS * floats) * sizeof *x);
    real h[CLIPS * 512];
    coc_features *features = NULL;
    coc_backend *backend = NULL;
    coc_encoder *encoder = NULL;
    coc_groups *groups = NULL;
    coc_comm *comm = NULL;

    if (wave == NULL || x == NULL) exit(1);
    coc_test_random(wave, CLIPS * COC_CLIP_SAMPLES, 5);
    COC_TRY(coc_comm_self(&comm));
    COC_TRY(coc_groups_create(comm, CLIPS / 2, 0, &groups));
    COC_TRY(coc_features_create("cpu", 0, &features));
    COC_TRY(coc_features_compute(features, COC_FEATURES_HPS, wave, CLIPS, x));
    COC_TRY(coc_backend_create("ref", 0, &backend));
    COC_TRY(coc_encoder_create(backend, p->network, CLIPS, true, &encoder));
    COC_TRY(coc_running_begin(p));
    COC_TRY(coc_encoder_forward(encoder, p, groups, &(coc_encoder_input){.n = CLIPS, .x = x}, h));
    COC_TRY(coc_running_update(backend, p, groups->total, comm, COC_REDUCTION_FAST, 1, NULL));
    coc_encoder_destroy(&encoder);
    coc_backend_destroy(&backend);
    coc_features_destroy(&features);
    coc_groups_destroy(&groups);
    coc_comm_destroy(&comm);
    free(wave);
    free(x);
    return COC_OK;
}

static coc_model *make_model(void)
{
    const coc_profile *profile;
    coc_network network;
    coc_params *p = NULL;
    coc_settings settings;
    coc_model *model = NULL;
    coc_checkpoint_info info = {.profile = "cocola-hps", .width = 0.1, .depth = 0.1};

    coc_settings_default(&settings);
    if (coc_profile_find("cocola-hps", 0, &profile) != COC_OK ||
        coc_network_build(profile, 0.1, 0.1, COC_BANDS, COC_FRAMES, &network) != COC_OK ||
        coc_params_create(&network, coc_device_host(), true, &p) != COC_OK ||
        coc_params_init(p, &settings.model, 1) != COC_OK || settle_norms(p) != COC_OK ||
        coc_checkpoint_write(place("model.h5"), p, NULL, &info) != COC_OK ||
        coc_model_open(place("model.h5"), coc_device_host(), &model) != COC_OK) {
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
        exit(1);
    }
    coc_params_destroy(&p);
    return model;
}

enum { MAX_ROWS = 8 };

typedef struct {
    coc_score_row row[MAX_ROWS];
    int64_t n;
} rows;

static coc_status keep_row(void *context, int64_t index, const coc_score_row *row)
{
    rows *r = context;

    CHECK(index == r->n);
    r->row[r->n] = *row;
    r->row[r->n++].error = row->error != NULL ? "there was one" : NULL;
    return COC_OK;
}

static coc_status score_all(const coc_model *model, const coc_score_settings *settings,
                            const coc_score_pair *pairs, int64_t n, rows *got)
{
    coc_backend *backend = NULL;
    coc_scorer *scorer = NULL;
    coc_status status = coc_backend_create("ref", 0, &backend);

    *got = (rows){0};
    if (status == COC_OK) status = coc_scorer_create(model, backend, settings, &scorer);
    if (status == COC_OK) status = coc_scorer_run(scorer, pairs, n, keep_row, got);
    coc_scorer_destroy(&scorer);
    coc_backend_destroy(&backend);
    return status;
}

static coc_score_settings make_settings(int64_t batch)
{
    return (coc_score_settings){.backend = "cpu", /* of the features: those of ref take long */
                                .window = 5,
                                .hop = 2.5,
                                .modes = {COC_MODE_BOTH, COC_MODE_PERCUSSIVE},
                                .mode_count = 2,
                                .batch = batch};
}

/* A row's score is the mean over its windows, whatever windows share a batch; files of unequal
 * length count by their common part; a mode that was not asked for is NaN. */
static void test_mean_over_windows(void)
{
    coc_model *model = make_model();
    const coc_score_settings two = make_settings(2), six = make_settings(6);
    const coc_score_pair pairs[] = {
        {write_sound("a.wav", 1, 0, 8), write_sound("b.wav", 2, 0, 9)},
        {write_sound("a1.wav", 1, 0, 5), write_sound("b1.wav", 2, 0, 5)},
        {write_sound("a2.wav", 1, 2.5, 5), write_sound("b2.wav", 2, 2.5, 5)},
    };
    rows got, again;

    REQUIRE_OK(score_all(model, &two, pairs, 3, &got));
    REQUIRE_OK(score_all(model, &six, pairs, 3, &again));
    REQUIRE(got.n == 3 && again.n == 3);
    CHECK(got.row[0].windows == 2 && got.row[1].windows == 1);
    CHECK_NEAR(got.row[0].seconds, 8, 0);
    CHECK_NEAR(got.row[0].context_seconds, 8, 0);
    CHECK_NEAR(got.row[0].output_seconds, 9, 0);
    CHECK(!got.row[0].padded);
    for (int m = 0; m < 2; m++) {
        const coc_mode mode = two.modes[m];

        CHECK(got.row[1].score[mode] != got.row[2].score[mode]);
        CHECK_NEAR(got.row[0].score[mode], (got.row[1].score[mode] + got.row[2].score[mode]) / 2,
                   1e-12);
        for (int i = 0; i < 3; i++) /* the same operations on the same numbers */
            CHECK_NEAR(again.row[i].score[mode], got.row[i].score[mode], 1e-12);
    }
    CHECK(got.row[0].score[COC_MODE_BOTH] != got.row[0].score[COC_MODE_PERCUSSIVE]);
    CHECK(isnan(got.row[0].score[COC_MODE_HARMONIC]));
    coc_model_close(&model);
}

/* Less than 5 s is padded with zeros and flagged. */
static void test_short_files(void)
{
    coc_model *model = make_model();
    const coc_score_settings settings = make_settings(2);
    const coc_score_pair pair = {write_sound("a.wav", 1, 0, 3), write_sound("b.wav", 2, 0, 60)};
    rows got;

    REQUIRE_OK(score_all(model, &settings, &pair, 1, &got));
    CHECK(got.row[0].padded);
    CHECK(got.row[0].windows == 1);
    CHECK(isfinite(got.row[0].score[COC_MODE_BOTH]));
    coc_model_close(&model);
}

/* A file that cannot be read ends the run after the rows before it, or, with keep_going, gives a
 * row with an error and no score. */
static void test_broken_files(void)
{
    coc_model *model = make_model();
    coc_score_settings settings = make_settings(2);
    const char *good = write_sound("a.wav", 1, 0, 5);
    const coc_score_pair pairs[] = {{good, good}, {good, "no/such.wav"}, {good, good}};
    rows got;

    CHECK(score_all(model, &settings, pairs, 3, &got) != COC_OK);
    CHECK(strstr(coc_error_text(), "no/such.wav") != NULL);
    CHECK(got.n == 1);
    settings.keep_going = true;
    REQUIRE_OK(score_all(model, &settings, pairs, 3, &got));
    REQUIRE(got.n == 3);
    CHECK(got.row[0].error == NULL && got.row[1].error != NULL && got.row[2].error == NULL);
    CHECK(isnan(got.row[1].score[COC_MODE_BOTH]));
    CHECK_NEAR(got.row[2].score[COC_MODE_BOTH], got.row[0].score[COC_MODE_BOTH], 0);
    coc_model_close(&model);
}

/* The names of the modes are those of the command line; a model with one channel has one score. */
static void test_modes(void)
{
    coc_mode modes[COC_MODES];
    real keep[4];
    int count;

    REQUIRE_OK(coc_mode_parse("all", 2, modes, &count));
    CHECK(count == 3 && modes[0] == COC_MODE_BOTH && modes[2] == COC_MODE_PERCUSSIVE);
    REQUIRE_OK(coc_mode_parse("harmonic", 2, modes, &count));
    CHECK(count == 1 && modes[0] == COC_MODE_HARMONIC);
    REQUIRE_OK(coc_mode_parse("all", 1, modes, &count));
    CHECK(count == 1 && modes[0] == COC_MODE_BOTH);
    CHECK(coc_mode_parse("harmonic", 1, modes, &count) == COC_ERR_USAGE);
    CHECK(coc_mode_parse("harmony", 2, modes, &count) == COC_ERR_USAGE);
    coc_mode_keep(COC_MODE_HARMONIC, 2, 2, keep); /* channel 0 is the harmonic one */
    CHECK(keep[0] == 1 && keep[1] == 0 && keep[2] == 1 && keep[3] == 0);
    coc_mode_keep(COC_MODE_PERCUSSIVE, 2, 2, keep);
    CHECK(keep[0] == 0 && keep[1] == 1);
}

int main(void)
{
    snprintf(folder, sizeof folder, "%s", coc_test_folder("score"));
    RUN(test_windows);
    RUN(test_list);
    RUN(test_bad_lists);
    RUN(test_modes);
    RUN(test_mean_over_windows);
    RUN(test_short_files);
    RUN(test_broken_files);
    return coc_test_result();
}
