/* N ranks train as one: the same seed and global batch give the same pairs, channel modes and
 * masks, and the first loss, gradient and running statistics, however the batch falls on the ranks.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "tests/small_run.h"
#include "tests/test.h"
#include "train/same.h"
#include "train/trainer.h"
#include "train/version.h"

static coc_comm *world, *alone;
static char folder[64];

/* ---- comparing ------------------------------------------------------------------------------ */

typedef struct {
    coc_trainer *trainer;
    const coc_batch *batch;
    coc_step_result result;
} side;

static coc_status side_create(const coc_settings *settings, coc_comm *comm, side *s)
{
    memset(s, 0, sizeof *s);
    COC_TRY(coc_trainer_create(settings, comm, folder, &s->trainer));
    s->trainer->step = 2; /* some step: the first ones are no special case */
    COC_TRY(coc_trainer_start_loader(s->trainer));
    COC_TRY(coc_loader_next(s->trainer->loader, &s->batch));
    return coc_train_gradient(s->trainer, s->batch, &s->result);
}

static bool same_rows(const float *part, const float *whole, int64_t part_row, int64_t whole_row,
                      int64_t size)
{
    return memcmp(part + part_row * size, whole + whole_row * size, (size_t)size * sizeof *part) ==
           0;
}

/* Local clip i of the part is clip j of the whole: pair, view, samples, mode, masks, bit by bit. */
static void compare_clip(const side *part, const side *whole, int64_t i, int64_t j)
{
    const coc_network *network = &part->trainer->seen;
    const int64_t floats = coc_clip_floats(COC_FEATURES_HPS, network->frames);
    const int64_t n = 2 * part->batch->pairs, all = 2 * whole->batch->pairs;

    CHECK(part->batch->pair[i] == whole->batch->pair[j]);
    CHECK(part->batch->view[i] == whole->batch->view[j]);
    CHECK(same_rows(part->batch->x, whole->batch->x, i, j, floats));
    CHECK(same_rows(part->batch->keep, whole->batch->keep, i, j, 2));
    CHECK(same_rows(part->trainer->passes.place[0].dropout, whole->trainer->passes.place[0].dropout,
                    i, j, network->head.out_c));
    for (int b = 0; b < network->blocks; b++)
        CHECK(part->trainer->passes.place[0].depth[b * n + i] ==
              whole->trainer->passes.place[0].depth[b * all + j]);
}

static void compare_samples(const side *part, const side *whole)
{
    const int64_t first = coc_part_at(&part->trainer->parts, 0).first, n = part->batch->pairs;
    const int64_t k = whole->batch->pairs;

    for (int64_t i = 0; i < n; i++) {
        compare_clip(part, whole, i, first + i);
        compare_clip(part, whole, n + i, k + first + i);
        CHECK(part->batch->label[i] == whole->batch->label[first + i]);
        CHECK(part->batch->row_track[i] == whole->batch->row_track[first + i]);
        CHECK(part->batch->column_track[i] == whole->batch->column_track[first + i]);
    }
}

/* Sums over clips are added in another order: float32 rounding, seen up to 2e-7 in the loss, 2e-6
 * in the gradient. */
static void compare_results(side *part, side *whole)
{
    coc_params *p = part->trainer->params, *w = whole->trainer->params;

    CHECK_NEAR(part->result.loss.loss / whole->result.loss.loss, 1, 1e-5);
    CHECK_NEAR(part->result.loss.accuracy, whole->result.loss.accuracy, 1e-12);
    CHECK_NEAR(part->result.loss.same_track, whole->result.loss.same_track, 1e-12);
    CHECK(coc_test_relative_error(p->grad, w->grad, w->weights) < 1e-5);
    REQUIRE_OK(coc_running_update(part->trainer->backend, p, part->trainer->passes.group_count,
                                  world, COC_REDUCTION_FAST, 0.5, NULL));
    REQUIRE_OK(coc_running_update(whole->trainer->backend, w, whole->trainer->passes.group_count,
                                  alone, COC_REDUCTION_FAST, 0.5, NULL));
    CHECK(coc_test_relative_error(p->running, w->running, w->runnings) < 1e-5);
    CHECK(p->batches == w->batches);
}

static void check_settings(const coc_settings *settings)
{
    const int64_t group = settings->model.bn_group;
    side part, whole;

    if (settings->train.batch < world->size) return;
    REQUIRE_OK(side_create(settings, world, &part));
    REQUIRE_OK(side_create(settings, alone, &whole));
    CHECK(part.trainer->passes.group_count == (group == 0 ? 1 : settings->train.batch / group));
    compare_samples(&part, &whole);
    compare_results(&part, &whole);
    coc_trainer_destroy(&whole.trainer);
    coc_trainer_destroy(&part.trainer);
}

static void check_batch(int64_t batch, int64_t group)
{
    const coc_settings settings = coc_test_settings(folder, batch, group);

    check_settings(&settings);
}

/* One batch-norm group over all ranks, the batch divisible by 1, 2 and 4 ranks. */
static void divisible_batch(void)
{
    check_batch(4, 0);
}

/* Ranks with unequal shares. */
static void uneven_batch(void)
{
    check_batch(7, 0);
}

/* Several groups, whose positives are dealt to slots of other ranks, and which span ranks. */
static void several_groups(void)
{
    check_batch(6, 2);
}

/* Groups of three pairs on shares that are no multiple of three. */
static void groups_across_ranks(void)
{
    check_batch(6, 3);
}

/* Where the frames of a cropped clip lie in the whole one: the same in every band; -1: nowhere. */
static int find_crop(const float *part, int frames, const float *whole)
{
    for (int first = 0; first + frames <= COC_FRAMES; first++) {
        bool same = true;

        for (int band = 0; band < 2 * COC_BANDS && same; band++)
            same = memcmp(part + band * frames, whole + band * COC_FRAMES + first,
                          (size_t)frames * sizeof *part) == 0;
        if (same) return first;
    }
    return -1;
}

/* With data.crop training sees a part of the whole window's features, the same of both members of a
 * pair, another of each pair. */
static void crops_are_parts_of_windows(void)
{
    coc_settings settings = coc_test_settings(folder, 4, 0);
    side part, whole;
    int64_t pairs, other = 0;

    REQUIRE_OK(side_create(&settings, alone, &whole));
    settings.data.crop = 1.5;
    REQUIRE_OK(side_create(&settings, alone, &part));
    pairs = part.batch->pairs;
    CHECK(part.trainer->seen.frames == 151 && part.trainer->network.frames == COC_FRAMES);
    for (int64_t i = 0, first = 0; i < pairs; i++) {
        const int64_t small = coc_clip_floats(COC_FEATURES_HPS, 151);
        const int64_t large = coc_clip_floats(COC_FEATURES_HPS, COC_FRAMES);
        const int at = find_crop(part.batch->x + i * small, 151, whole.batch->x + i * large);

        CHECK(at >= 0);
        CHECK(find_crop(part.batch->x + (pairs + i) * small, 151,
                        whole.batch->x + (pairs + i) * large) == at);
        other += at != first;
        first = at;
    }
    CHECK(other >= pairs - 1);
    coc_trainer_destroy(&part.trainer);
    coc_trainer_destroy(&whole.trainer);
}

/* Parts of windows, with unequal shares. */
static void cropped_batch(void)
{
    coc_settings settings = coc_test_settings(folder, 5, 0);

    settings.data.crop = 2;
    check_settings(&settings);
    settings = coc_test_settings(folder, 8,
                                 2); /* positives are dealt to groups: their crops go with them */
    settings.data.crop = 2;
    check_settings(&settings);
}

/* Clips of the loader's next batch that have lost a channel. */
static int64_t masked_clips(coc_trainer *t)
{
    const coc_batch *b;
    int64_t masked = 0;

    if (coc_loader_next(t->loader, &b) != COC_OK) return -1;
    for (int64_t i = 0; i < 2 * b->pairs; i++)
        masked += b->keep[2 * i] * b->keep[2 * i + 1] == 0;
    return masked;
}

/* data.both_first: no channel is zeroed in the first part of the run, nor while its length is not
 * known; then modes are drawn, also in batches that had been made ahead. 24 pairs keep both
 * channels by chance in one batch of 3e11. */
static void modes_begin_in_the_run(void)
{
    coc_settings settings = coc_test_settings(folder, 24, 0);

    CHECK(coc_modes_from(&settings.data, 0) == 0 && coc_modes_from(&settings.data, 1000) == 0);
    settings.data.both_first = 0.6;
    CHECK(coc_modes_from(&settings.data, 0) == INT64_MAX);
    CHECK(coc_modes_from(&settings.data, 1000) == 600);
    settings.train.steps = 0;
    settings.train.minutes = 1;
    for (settings.data.prefetch = 0; settings.data.prefetch < 4; settings.data.prefetch += 3) {
        coc_trainer *t = NULL;

        REQUIRE_OK(coc_trainer_create(&settings, alone, folder, &t));
        t->step = 59;
        REQUIRE_OK(coc_trainer_start_loader(t));
        CHECK(masked_clips(t) == 0);
        coc_loader_set_modes_from(t->loader, coc_modes_from(&settings.data, 101)); /* 61 */
        CHECK(masked_clips(t) == 0);
        CHECK(masked_clips(t) > 0);
        CHECK(masked_clips(t) > 0);
        coc_trainer_destroy(&t);
    }
}

/* A step's result does not depend on batches being made ahead by a thread. */
static void prefetch_changes_nothing(void)
{
    coc_settings settings = coc_test_settings(folder, 4, 0);
    coc_step_result results[2][2];

    for (int i = 0; i < 2; i++) {
        coc_trainer *t = NULL;

        settings.data.prefetch = 2 * i;
        REQUIRE_OK(coc_trainer_create(&settings, world, folder, &t));
        REQUIRE_OK(coc_trainer_start_loader(t));
        for (int s = 0; s < 2; s++)
            REQUIRE_OK(coc_train_step(t, &results[i][s]));
        coc_trainer_destroy(&t);
    }
    for (int s = 0; s < 2; s++) {
        CHECK_NEAR(results[1][s].loss.loss, results[0][s].loss.loss, 0);
        CHECK_NEAR(results[1][s].gradient_norm, results[0][s].gradient_norm, 0);
    }
    CHECK(results[0][0].loss.loss != results[0][1].loss.loss);
}

/* The largest change of weights first <= i < end. */
static double largest_change(const coc_params *p, const float *before, int64_t first, int64_t end)
{
    double largest = 0;

    for (int64_t i = first; i < end; i++)
        largest = fmax(largest, fabs((double)p->value[i] - before[i]));
    return largest;
}

/* Adam's first step moves a weight by its rate: W by its share of it. A rate that reaches the wrong
 * weights, or weights that are left out, fail. */
static void similarity_has_its_own_rate(void)
{
    coc_settings settings = coc_test_settings(folder, 4, 0);
    const coc_params *p;
    coc_step_result result;
    coc_trainer *t = NULL;
    float *before;

    settings.train.learning_rate = 0.01;
    settings.train.similarity_rate = 0.25;
    REQUIRE_OK(coc_trainer_create(&settings, world, folder, &t));
    p = t->params;
    REQUIRE_OK(coc_alloc(p->weights, sizeof *before, &before));
    memcpy(before, p->value, (size_t)p->weights * sizeof *before);
    REQUIRE_OK(coc_trainer_start_loader(t));
    REQUIRE_OK(coc_train_step(t, &result));
    CHECK_NEAR(largest_change(p, before, 0, p->at.stem_norm.gamma), 0.01, 1e-5);
    CHECK_NEAR(largest_change(p, before, p->at.layer_norm_b, p->at.similarity), 0.01, 1e-5);
    CHECK_NEAR(largest_change(p, before, p->at.similarity, p->weights), 0.0025, 1e-5);
    free(before);
    coc_trainer_destroy(&t);
}

/* ---- a sum of gradients that fails ---- */

static const coc_comm_ops *whole_ops;
static coc_request *gradients; /* the last one started */

static coc_status note_all_reduce(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                  coc_type type, coc_stream *stream, coc_request **request)
{
    const coc_status status =
        whole_ops->start_all_reduce(comm, what, buffer, count, type, stream, request);

    if (strcmp(what, "sum of gradients") == 0) gradients = *request;
    return status;
}

static coc_status fail_for_gradients(coc_comm *comm, coc_request **request)
{
    const bool fails = *request != NULL && *request == gradients;
    const coc_status status = whole_ops->wait(comm, request);

    return fails ? COC_FAIL(COC_ERR_MEMORY, "no memory for the sum") : status;
}

/* A step passes on what its sum of gradients failed with: a fault of memory is not reported as one
 * of the ranks. */
static void failed_sum_keeps_its_status(void)
{
    const coc_settings settings = coc_test_settings(folder, 4, 0);
    coc_step_result result;
    coc_trainer *t = NULL;
    coc_comm_ops ops;

    if (world->size == 1) return; /* nothing is sent */
    REQUIRE_OK(coc_trainer_create(&settings, world, folder, &t));
    REQUIRE_OK(coc_trainer_start_loader(t));
    whole_ops = world->ops;
    ops = *whole_ops;
    ops.start_all_reduce = note_all_reduce;
    ops.wait = fail_for_gradients;
    world->ops = &ops;
    CHECK(coc_train_step(t, &result) == COC_ERR_MEMORY);
    world->ops = whole_ops;
    CHECK(strstr(coc_error_text(), "no memory for the sum") != NULL);
    coc_trainer_destroy(&t);
}

/* Flip bytes all over the samples of every shard, which make up most of it. */
static coc_status damage_store(void)
{
    char path[COC_PATH_BYTES];
    coc_names names;
    coc_status status;

    snprintf(path, sizeof path, "%s/store", folder);
    COC_TRY(coc_list_folder(path, &names));
    status = COC_OK;
    for (int64_t i = 0; i < names.count; i++) {
        FILE *file;

        if (strstr(names.name[i], ".h5") == NULL) continue;
        snprintf(path, sizeof path, "%s/store/%s", folder, names.name[i]);
        file = fopen(path, "r+b");
        if (file == NULL) {
            status = COC_FAIL(COC_ERR_IO, "%s: cannot be opened", path);
            break;
        }
        for (int64_t at = coc_file_bytes(path) / 4; at < coc_file_bytes(path) * 3 / 4;
             at += 20000) {
            const int byte = fseek(file, at, SEEK_SET) == 0 ? fgetc(file) : 0;

            if (fseek(file, at, SEEK_SET) != 0 || fputc(byte ^ 1, file) == EOF) exit(1);
        }
        fclose(file);
    }
    coc_names_free(&names);
    return status;
}

/* A damaged block is named in the caller's thread, whichever of the reading threads met it. */
static void damage_is_named(void)
{
    coc_settings settings = coc_test_settings(folder, world->size < 4 ? 4 : world->size, 0);
    const coc_batch *batch;
    coc_trainer *t = NULL;
    coc_status status = COC_OK;

    settings.data.threads = 3;
    REQUIRE_OK(coc_trainer_create(&settings, world, folder, &t));
    REQUIRE_OK(coc_trainer_start_loader(t));
    REQUIRE_OK(coc_comm_agree(world, "damage", world->rank == 0 ? damage_store() : COC_OK));
    for (int i = 0; i < 100 && status == COC_OK; i++) /* not every clip is damaged */
        status = coc_loader_next(t->loader, &batch);
    CHECK(status == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "damaged in track") != NULL);
    coc_trainer_destroy(&t);
}

/* More ranks than pairs are refused on all of them, by one message. */
static void too_many_ranks_are_refused(void)
{
    const coc_settings settings = coc_test_settings(folder, 2, 0);
    coc_trainer *t = NULL;
    coc_status status;

    if (world->size <= 2) return;
    status = coc_trainer_create(&settings, world, folder, &t);
    CHECK(status == (world->rank == 0 ? COC_ERR_SETTING : COC_ERR_ELSEWHERE));
    CHECK(t == NULL);
    if (world->rank == 0) CHECK(strstr(coc_error_text(), "train.batch") != NULL);
}

/* Ranks with another revision, another library or one less are refused; the difference is named. */
static void other_programs_are_refused(void)
{
    static const char *const others[][2] = {
        {"cocola: 1\nrevision: b\nMPI: 4\n", "'revision: b' here, 'revision: a' there"},
        {"cocola: 1\nrevision: a\nMPI: 5\n", "'MPI: 5' here, 'MPI: 4' there"},
        {"cocola: 1\nrevision: a\n", "'' here, 'MPI: 4' there"},
    };
    const char *same = "cocola: 1\nrevision: a\nMPI: 4\n";
    const int last = world->size - 1;

    REQUIRE_OK(coc_same_program(world, coc_program_text()));
    CHECK(strstr(coc_program_text(), "cocola: ") != NULL);
    CHECK(strstr(coc_program_text(), "\nMPI: ") != NULL);
    for (int i = 0; i < 3 && last > 0; i++) {
        const coc_status status =
            coc_same_program(world, world->rank == last ? others[i][0] : same);

        CHECK(status == (world->rank == last ? COC_ERR_RANKS : COC_ERR_ELSEWHERE));
        if (world->rank == last) CHECK(strstr(coc_error_text(), others[i][1]) != NULL);
    }
}

static int run_all(void)
{
    snprintf(folder, sizeof folder, "scratch_ranks_train_%d", world->size);
    if (world->rank == 0) {
        char name[64];

        snprintf(name, sizeof name, "ranks_train_%d", world->size);
        coc_test_folder(name);
    }
    if (coc_comm_agree(world, "the store",
                       world->rank == 0 ? coc_test_store(folder, alone) : COC_OK) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return 1;
    }
    RUN(divisible_batch);
    RUN(uneven_batch);
    RUN(several_groups);
    RUN(groups_across_ranks);
    RUN(crops_are_parts_of_windows);
    RUN(cropped_batch);
    RUN(modes_begin_in_the_run);
    RUN(prefetch_changes_nothing);
    RUN(failed_sum_keeps_its_status);
    RUN(similarity_has_its_own_rate);
    RUN(too_many_ranks_are_refused);
    RUN(other_programs_are_refused);
    RUN(damage_is_named);
    return coc_test_result();
}

int main(void)
{
    return coc_test_on_ranks(&world, &alone, run_all);
}
