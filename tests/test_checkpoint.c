#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "preprocess/features.h"
#include "tests/test.h"
#include "train/checkpoint.h"
#include "train/checkpoint_folder.h"

/* The smallest member of the family: what is tested here does not depend on the size. */
static coc_network network, mel_network;

static bool build_networks(void)
{
    const coc_profile *hps, *mel;

    return coc_profile_find("cocola-hps", 0, &hps) == COC_OK &&
           coc_profile_find("cocola-mel", 0, &mel) == COC_OK &&
           coc_network_build(hps, 0.1, 0.1, COC_BANDS, COC_FRAMES, &network) == COC_OK &&
           coc_network_build(mel, 0.1, 0.1, COC_BANDS, COC_FRAMES, &mel_network) == COC_OK;
}

/* Parameters whose every number is another one. */
static coc_params *make_params(uint32_t seed)
{
    coc_params *p = NULL;

    if (coc_params_create(&network, coc_device_host(), true, &p) != COC_OK) {
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
        exit(1);
    }
    for (int i = 0; i < p->tensors; i++) { /* gaps between tensors are 0, as always */
        const coc_tensor *t = &p->tensor[i];
        const uint32_t own = seed + 10 * (uint32_t)i;

        if (t->kind != COC_TENSOR_WEIGHT) continue;
        coc_test_random(p->value + t->offset, t->count, own);
        coc_test_random(p->m + t->offset, t->count, own + 1);
        coc_test_random(p->v + t->offset, t->count, own + 2);
    }
    coc_test_random(p->running, p->runnings, seed + 3);
    p->value[1] = -0.0f; /* the bits count, not the values */
    p->value[2] = 1e-42f;
    p->batches = 4711;
    return p;
}

static coc_checkpoint_info make_info(bool has_optimizer)
{
    return (coc_checkpoint_info){.profile = "cocola-hps",
                                 .width = 0.1,
                                 .depth = 0.1,
                                 .features = COC_FEATURES_HPS,
                                 .step = 123,
                                 .steps = 456,
                                 .position = 123 * 32,
                                 .ranks = 2,
                                 .store = 0xfedcba9876543210,
                                 .valid_loss = 1.5,
                                 .bn_reestimated = 77,
                                 .has_optimizer = has_optimizer,
                                 .settings = "train:\n  batch: 32\n"};
}

static bool same_bits(const real *a, const real *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

static const char *write_one(const char *folder, const char *name, uint32_t seed,
                             bool has_optimizer)
{
    static char path[COC_PATH_BYTES];
    coc_checkpoint_info info = make_info(has_optimizer);
    coc_params *p = make_params(seed);

    if (coc_path_join(path, folder, name) != COC_OK ||
        coc_checkpoint_write(path, p, NULL, &info) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    coc_params_destroy(&p);
    return path;
}

/* Weights, moments, running statistics and the counter come back bit by bit, and so does the
 * description. */
static void test_round_trip(void)
{
    const char *path = write_one(coc_test_folder("checkpoint"), "a.h5", 1, true);
    coc_params *wrote = make_params(1), *got = make_params(9);
    const coc_checkpoint_info want = make_info(true);
    coc_checkpoint_info info;

    REQUIRE_OK(coc_checkpoint_read(path, got, true));
    CHECK(same_bits(got->value, wrote->value, wrote->weights));
    CHECK(same_bits(got->m, wrote->m, wrote->weights));
    CHECK(same_bits(got->v, wrote->v, wrote->weights));
    CHECK(same_bits(got->running, wrote->running, wrote->runnings));
    CHECK(got->batches == 4711);

    REQUIRE_OK(coc_checkpoint_read_info(path, &info));
    CHECK(strcmp(info.profile, want.profile) == 0 && strcmp(info.settings, want.settings) == 0);
    CHECK(info.width == want.width && info.depth == want.depth);
    CHECK(info.features == want.features && info.step == 123 && info.steps == 456);
    CHECK(info.position == want.position && info.ranks == 2 && info.store == want.store);
    CHECK(info.valid_loss == 1.5 && info.bn_reestimated == 77 && info.has_optimizer);
    CHECK(info.hash != 0);
    coc_checkpoint_info_free(&info);
    coc_params_destroy(&wrote);
    coc_params_destroy(&got);
}

/* The training's own running statistics stand beside those of the model: a model for use gets the
 * model's, a run that goes on gets its own. */
static void test_own_running_statistics(void)
{
    const char *folder = coc_test_folder("checkpoint");
    coc_params *wrote = make_params(1), *got = make_params(9), *own = make_params(20);
    coc_checkpoint_info info = make_info(true);
    char path[COC_PATH_BYTES];

    REQUIRE_OK(coc_path_join(path, folder, "a.h5"));
    REQUIRE_OK(coc_checkpoint_write(path, wrote, own->running, &info));
    REQUIRE_OK(coc_checkpoint_read(path, got, false));
    CHECK(same_bits(got->running, wrote->running, wrote->runnings));
    REQUIRE_OK(coc_checkpoint_read(path, got, true));
    CHECK(same_bits(got->running, own->running, own->runnings));
    coc_params_destroy(&wrote);
    coc_params_destroy(&got);
    coc_params_destroy(&own);
}

/* The same content gives the same file, byte by byte, and the same hash; one other bit another. */
static void test_same_content_same_bytes(void)
{
    const char *folder = coc_test_folder("checkpoint");
    coc_params *p = make_params(1);
    coc_checkpoint_info a = make_info(true), b = make_info(true), c = make_info(true);
    char path[3][COC_PATH_BYTES];
    uint64_t hash[2];

    REQUIRE_OK(coc_path_join(path[0], folder, "a.h5"));
    REQUIRE_OK(coc_path_join(path[1], folder, "b.h5"));
    REQUIRE_OK(coc_path_join(path[2], folder, "c.h5"));
    REQUIRE_OK(coc_checkpoint_write(path[0], p, NULL, &a));
    REQUIRE_OK(coc_checkpoint_write(path[1], p, NULL, &b));
    p->v[p->weights - 1] *= 1.5f;
    REQUIRE_OK(coc_checkpoint_write(path[2], p, NULL, &c));
    REQUIRE_OK(coc_hash_file(path[0], &hash[0]));
    REQUIRE_OK(coc_hash_file(path[1], &hash[1]));
    CHECK(hash[0] == hash[1]);
    CHECK(a.hash == b.hash);
    CHECK(a.hash != c.hash);
    coc_params_destroy(&p);
}

/* Without waiting for the disk, as coc_file_write would: there are many. */
static void put_bytes(const char *path, const char *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");

    CHECK(file != NULL && fwrite(bytes, 1, count, file) == count);
    if (file != NULL) fclose(file);
}

/* Whatever is asked of the file, it is refused, and the message names it. */
static void check_refused(const char *path, const char *word)
{
    coc_params *p = make_params(9);
    coc_checkpoint_info info;
    coc_model *model;

    CHECK(coc_checkpoint_read_info(path, &info) == COC_ERR_INPUT);
    coc_checkpoint_info_free(&info);
    CHECK(coc_checkpoint_read(path, p, true) == COC_ERR_INPUT);
    CHECK(coc_model_open(path, coc_device_host(), &model) == COC_ERR_INPUT);
    CHECK(model == NULL);
    CHECK(strstr(coc_error_text(), path) != NULL);
    if (strstr(coc_error_text(), word) == NULL)
        coc_test_fail(__FILE__, __LINE__, "'%s' lacks '%s'", coc_error_text(), word);
    coc_params_destroy(&p);
}

/* A file that was cut anywhere is refused by name. */
static void test_cut(void)
{
    static const double share[] = {0.999999, 0.75, 0.5, 0.1, 0.001, 0.0001};
    const char *path = write_one(coc_test_folder("checkpoint"), "a.h5", 1, true);
    char *bytes;
    size_t count;

    REQUIRE_OK(coc_file_read(path, 1 << 30, &bytes, &count));
    for (size_t i = 0; i < sizeof share / sizeof share[0]; i++) {
        put_bytes(path, bytes, (size_t)(share[i] * (double)count));
        check_refused(path, "cut");
    }
    put_bytes(path, bytes, 0);
    check_refused(path, "not a checkpoint");
    free(bytes);
}

/* One flipped bit anywhere, also in the first block, is found. */
static void test_flipped(void)
{
    const char *path = write_one(coc_test_folder("checkpoint"), "a.h5", 1, true);
    char *bytes;
    size_t count;

    REQUIRE_OK(coc_file_read(path, 1 << 30, &bytes, &count));
    for (int i = 0; i < 40; i++) {
        const size_t at = i < 20 ? (size_t)i * 25 + 3 : (size_t)(i - 19) * (count / 22);

        bytes[at] = (char)(bytes[at] ^ 1 << i % 8);
        put_bytes(path, bytes, count);
        check_refused(path, "checkpoint");
        bytes[at] = (char)(bytes[at] ^ 1 << i % 8);
    }
    free(bytes);
}

/* A foreign file, and one with bytes behind its end, are refused. */
static void test_foreign(void)
{
    const char *path = write_one(coc_test_folder("checkpoint"), "a.h5", 1, true);
    char *bytes;
    size_t count;

    REQUIRE_OK(coc_file_read(path, 1 << 30, &bytes, &count));
    put_bytes(path, bytes, count + 1); /* the zero byte behind the content */
    check_refused(path, "checkpoint");
    put_bytes(path, bytes + 512, count - 512);
    check_refused(path, "HDF5 file, but no checkpoint");
    free(bytes);
    put_bytes(path, "once upon a time", 16);
    check_refused(path, "not a checkpoint");
}

/* A model of another profile, or of other sizes, is refused; both sides are named. */
static void test_other_model(void)
{
    const char *path = write_one(coc_test_folder("checkpoint"), "a.h5", 1, true);
    coc_params *p = NULL;
    coc_network wide;

    REQUIRE_OK(coc_params_create(&mel_network, coc_device_host(), true, &p));
    CHECK(coc_checkpoint_read(path, p, false) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "cocola-hps") != NULL);
    CHECK(strstr(coc_error_text(), "cocola-mel") != NULL);
    coc_params_destroy(&p);

    REQUIRE_OK(coc_network_build(network.profile, 0.5, 0.1, COC_BANDS, COC_FRAMES, &wide));
    REQUIRE_OK(coc_params_create(&wide, coc_device_host(), true, &p));
    CHECK(coc_checkpoint_read(path, p, false) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "shape") != NULL);
    coc_params_destroy(&p);

    REQUIRE_OK(coc_network_build(network.profile, 0.1, 1, COC_BANDS, COC_FRAMES, &wide));
    REQUIRE_OK(coc_params_create(&wide, coc_device_host(), true, &p));
    CHECK(coc_checkpoint_read(path, p, false) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "_blocks.") != NULL);
    coc_params_destroy(&p);
}

/* A number that is not finite is not written, be it a weight, a moment or a statistic: the tensor
 * is named, and the file of before stays. */
static void test_not_finite(void)
{
    const char *path = write_one(coc_test_folder("checkpoint"), "a.h5", 1, true);
    coc_params *p = make_params(1);
    real *const spoiled[] = {p->value + p->at.similarity + 5, p->v + p->at.similarity + 5,
                             p->running + p->at.head_norm.variance + 5};
    const char *const words[] = {"/similarity.w'", "/similarity.w'", "_bn1.running_var'"};

    for (int i = 0; i < 3; i++) {
        coc_checkpoint_info info = make_info(true);
        const real before = *spoiled[i];

        *spoiled[i] = i == 1 ? INFINITY : NAN;
        CHECK(coc_checkpoint_write(path, p, NULL, &info) == COC_ERR_INPUT);
        CHECK(strstr(coc_error_text(), words[i]) != NULL);
        CHECK(strstr(coc_error_text(), "value 5 of ") != NULL);
        *spoiled[i] = before;
        REQUIRE_OK(coc_checkpoint_read(path, p, true));
    }
    coc_params_destroy(&p);
}

/* Without an optimizer a file is a model for use, and nothing to go on from. */
static void test_missing_optimizer(void)
{
    const char *path = write_one(coc_test_folder("checkpoint"), "a.h5", 1, false);
    coc_params *p = make_params(9);
    coc_checkpoint_info info;
    coc_model *model = NULL;

    CHECK(coc_checkpoint_read(path, p, true) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "optimizer") != NULL);
    REQUIRE_OK(coc_checkpoint_read_info(path, &info));
    CHECK(!info.has_optimizer);
    coc_checkpoint_info_free(&info);
    REQUIRE_OK(coc_model_open(path, coc_device_host(), &model));
    CHECK(model->params->weights == p->weights);
    CHECK(model->params->value[0] != p->value[0]);
    coc_model_close(&model);
    CHECK(model == NULL);
    coc_params_destroy(&p);
}

/* A checkpoint that cannot be written leaves nothing, and the old one as it was. */
static void test_unwritable(void)
{
    coc_params *p = make_params(1);
    coc_checkpoint_info info = make_info(true);

    CHECK(coc_checkpoint_write("no/such/folder/a.h5", p, NULL, &info) == COC_ERR_IO);
    CHECK(strstr(coc_error_text(), "no/such/folder/a.h5") != NULL);
    coc_params_destroy(&p);
}

static void put_step(const char *folder, const char *name, int64_t step, double loss)
{
    coc_checkpoint_info info = make_info(true);
    coc_params *p = make_params(1);
    char path[COC_PATH_BYTES];

    info.step = step;
    info.valid_loss = loss;
    if (coc_path_join(path, folder, name) != COC_OK ||
        coc_checkpoint_write(path, p, NULL, &info) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    coc_params_destroy(&p);
}

static void break_file(const char *folder, const char *name)
{
    char path[COC_PATH_BYTES];

    if (coc_path_join(path, folder, name) != COC_OK || coc_file_write(path, "cocola", 6) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
}

static coc_best_list list;
static coc_last last;

static coc_status open_folder(const char *run, int64_t keep)
{
    coc_best_free(&list);
    coc_last_free(&last);
    return coc_checkpoint_folder_open(run, keep, &list, &last);
}

/* name: of the checkpoint that must be found, or NULL */
static void check_last(const char *run, const char *name)
{
    REQUIRE_OK(open_folder(run, 5));
    REQUIRE(last.found == (name != NULL));
    if (name != NULL) CHECK(strstr(last.path, name) != NULL && last.info.settings != NULL);
}

/* The newest whole checkpoint is found, whatever its name; broken ones are passed over; when all
 * are broken the folder is refused, since a run that began anew would write over it. */
static void test_find_last(void)
{
    char run[256], folder[300];

    snprintf(run, sizeof run, "%s", coc_test_folder("checkpoint"));
    check_last(run, NULL);
    snprintf(folder, sizeof folder, "%s/checkpoints", run);
    REQUIRE_OK(coc_make_folders(folder));
    check_last(run, NULL);

    put_step(folder, "last.h5", 300, NAN);
    put_step(folder, "best-00000200.h5", 200, 1.0);
    put_step(folder, "best-00000400.h5", 400, 2.0);
    check_last(run, "best-00000400.h5");
    break_file(folder, "best-00000400.h5");
    check_last(run, "last.h5");
    break_file(folder, "last.h5");
    break_file(folder, "best-00000200.h5");
    CHECK(open_folder(run, 5) == COC_ERR_INPUT);
}

static bool exists(const char *folder, const char *name)
{
    char path[COC_PATH_BYTES];

    return coc_path_join(path, folder, name) == COC_OK && coc_file_exists(path);
}

/* The list of the best is what the folder holds: it survives a restart, keeps the lowest losses and
 * removes the file that falls out; NaN is never among them. */
static void test_best(void)
{
    char run[256], folder[300];

    snprintf(run, sizeof run, "%s", coc_test_folder("checkpoint"));
    snprintf(folder, sizeof folder, "%s/checkpoints", run);
    REQUIRE_OK(coc_make_folders(folder));
    put_step(folder, "last.h5", 300, 0.1); /* not one of the best: it has its own name */
    put_step(folder, "best-00000100.h5", 100, 3.0);
    put_step(folder, "best-00000200.h5", 200, 2.0);
    REQUIRE_OK(open_folder(run, 2));
    CHECK(list.count == 2 && list.best[0].step == 200 && list.best[1].step == 100);
    CHECK(!coc_best_wants(&list, 3.0));
    CHECK(!coc_best_wants(&list, NAN));
    CHECK(coc_best_wants(&list, 2.5));
    put_step(folder, "best-00000300.h5", 300, 2.5);
    REQUIRE_OK(coc_best_add(&list, 300, 2.5));
    CHECK(list.count == 2 && list.best[0].step == 200 && list.best[1].step == 300);
    CHECK(!exists(folder, "best-00000100.h5"));
    CHECK(exists(folder, "best-00000200.h5") && exists(folder, "best-00000300.h5"));

    REQUIRE_OK(open_folder(run, 0));
    CHECK(!coc_best_wants(&list, 0.0));
    coc_best_free(&list);
    coc_last_free(&last);
}

int main(void)
{
    if (!build_networks()) return 1;
    RUN(test_round_trip);
    RUN(test_own_running_statistics);
    RUN(test_same_content_same_bytes);
    RUN(test_cut);
    RUN(test_flipped);
    RUN(test_foreign);
    RUN(test_other_model);
    RUN(test_not_finite);
    RUN(test_missing_optimizer);
    RUN(test_unwritable);
    RUN(test_find_last);
    RUN(test_best);
    return coc_test_result();
}
