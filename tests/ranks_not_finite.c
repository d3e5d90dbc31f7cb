/* A step with a number that is not finite: the first one is named, nothing of the step is kept, and
 * all ranks stop, or go on with the next step, as the settings say. In one pass and in parts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tests/small_run.h"
#include "tests/test.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

static coc_comm *world, *alone;
static char folder[64];

enum { BATCH = 8, GROUP = 2, BAD_PAIR = 5 };
static const int64_t parts_of[] = {0, 4}; /* train.micro_batch */

/* ---- faults ---------------------------------------------------------------------------------- */

static int64_t bad_from, bad_until; /* steps whose features have a fault */
static float fault;

static void put_fault(const coc_batch *b)
{
    const int64_t floats = 2 * (int64_t)COC_BANDS * COC_FRAMES;

    for (int64_t i = 0; i < 2 * b->pairs && b->step >= bad_from && b->step < bad_until; i++)
        if (b->pair[i] == BAD_PAIR && b->view[i] == 1) b->x[i * floats + 777] = fault;
}

/* Of that tensor: factor * value + term. */
static void change_weights(const coc_trainer *t, const char *name, float factor, float term)
{
    const coc_tensor *tensor = coc_params_find(t->params, name);

    REQUIRE(tensor != NULL);
    for (int64_t i = 0; i < tensor->count; i++)
        t->params->value[tensor->offset + i] = factor * t->params->value[tensor->offset + i] + term;
}

/* ---- what is compared ------------------------------------------------------------------------ */

typedef struct {
    coc_trainer *t;
    real *kept; /* values, moments, running statistics */
    int64_t weights, batches;
} trial;

static void begin(trial *r, int64_t micro, coc_on_nan on_nan, double learning_rate)
{
    coc_settings s = coc_test_settings(folder, BATCH, GROUP);

    s.train.micro_batch = micro;
    s.train.keep_activations = 1; /* the first of two parts is embedded again */
    s.train.on_nan = on_nan;
    s.train.learning_rate = learning_rate;
    s.train.steps = 30;
    *r = (trial){.t = NULL};
    REQUIRE_OK(coc_trainer_create(&s, world, folder, &r->t));
    r->t->given = put_fault;
    REQUIRE_OK(coc_trainer_start_loader(r->t));
    r->weights = r->t->params->weights;
    r->kept = calloc((size_t)(3 * r->weights + r->t->params->runnings), sizeof *r->kept);
    REQUIRE(r->kept != NULL);
}

static void end(trial *r)
{
    coc_trainer_destroy(&r->t);
    free(r->kept);
}

static void keep(trial *r)
{
    const coc_params *p = r->t->params;
    const size_t bytes = (size_t)r->weights * sizeof *r->kept;

    memcpy(r->kept, p->value, bytes);
    memcpy(r->kept + r->weights, p->m, bytes);
    memcpy(r->kept + 2 * r->weights, p->v, bytes);
    memcpy(r->kept + 3 * r->weights, p->running, (size_t)p->runnings * sizeof *r->kept);
    r->batches = p->batches;
}

static bool is_kept(const trial *r)
{
    const coc_params *p = r->t->params;
    const size_t bytes = (size_t)r->weights * sizeof *r->kept;

    return memcmp(r->kept, p->value, bytes) == 0 &&
           memcmp(r->kept + r->weights, p->m, bytes) == 0 &&
           memcmp(r->kept + 2 * r->weights, p->v, bytes) == 0 &&
           memcmp(r->kept + 3 * r->weights, p->running, (size_t)p->runnings * sizeof *r->kept) == 0;
}

/* The step fails on every rank with a line that has all the words, and leaves nothing. */
static void check_refused(trial *r, const char *const *words)
{
    coc_step_result result;
    const int64_t step = r->t->step;

    keep(r);
    CHECK(coc_train_step(r->t, &result) == COC_ERR_INPUT);
    for (; *words != NULL; words++)
        if (strstr(coc_error_text(), *words) == NULL)
            coc_test_fail(__FILE__, __LINE__, "no '%s' in: %s", *words, coc_error_text());
    CHECK(strchr(coc_error_text(), '\n') == NULL);
    CHECK(is_kept(r));
    CHECK(r->t->step == step);
}

static void no_fault(void)
{
    bad_from = bad_until = 0;
    fault = NAN;
}

/* ---- which number ---------------------------------------------------------------------------- */

/* The rank that embeds the positive of a pair: with several groups, positives are dealt anew. */
static int rank_of_positive(trial *r, int64_t step)
{
    coc_deal *deal = NULL;
    int rank = -1;

    if (coc_deal_create(&r->t->settings, NULL, r->t->passes.group_count, &deal) != COC_OK)
        return -1;
    coc_deal_step(deal, step, 0);
    for (int64_t slot = 0; slot < BATCH; slot++) {
        coc_parts all = r->t->parts;

        if (coc_deal_at(deal, slot, 1).pair != BAD_PAIR) continue;
        for (all.rank = 0; all.rank < all.ranks; all.rank++)
            for (int64_t i = 0; i < all.count; i++) {
                const coc_batch_part part = coc_part_at(&all, i);

                if (slot >= part.first && slot < part.first + part.pairs) rank = all.rank;
            }
    }
    coc_deal_destroy(&deal);
    return rank;
}

/* NaN and infinity in one clip's features: clip, track and rank are named, with the window's
 * position; the other ranks say the same. */
static void features_are_named(void)
{
    for (int i = 0; i < 4; i++) {
        trial r;
        coc_step_result result;
        coc_pair pair;
        char rank[128], track[COC_PATH_BYTES];

        no_fault();
        bad_from = 1;
        bad_until = 2;
        fault = i < 2 ? NAN : INFINITY;
        begin(&r, parts_of[i % 2], COC_NAN_STOP, 1e-3);
        REQUIRE_OK(coc_train_step(r.t, &result));
        CHECK(!result.skipped);
        coc_sampler_draw(r.t->sampler, BATCH + BAD_PAIR, &pair);
        snprintf(rank, sizeof rank, "the features on rank %d (%s), positive of pair 5",
                 rank_of_positive(&r, 1), world->host);
        snprintf(track, sizeof track, "track %s from %.3f s",
                 coc_store_track(r.t->store, pair.track)->name,
                 (double)pair.first_sample / COC_SAMPLE_RATE);
        check_refused(&r, (const char *const[]){"step 1: loss", rank, track, "skip", NULL});
        end(&r);
    }
}

/* Weights come first, whatever else they spoil: by the name that they have in checkpoints. */
static void weights_are_named(void)
{
    for (int i = 0; i < 2; i++) {
        trial r;
        const char *name = "encoder.encoder.model.0._blocks.1._bn1.bias";

        no_fault();
        begin(&r, parts_of[i], COC_NAN_SKIP, 1e-3); /* skipping would not help */
        r.t->params->value[coc_params_find(r.t->params, name)->offset + 3] = NAN;
        check_refused(&r, (const char *const[]){"the weights", name, "train.init", NULL});
        end(&r);
    }
}

/* A learning rate of 1e37: after one step the weights are so large that a convolution overflows.
 * The line names the layer and a pair. */
static void activations_are_named(void)
{
    for (int i = 0; i < 2; i++) {
        trial r;
        coc_step_result result;

        no_fault();
        begin(&r, parts_of[i], COC_NAN_STOP, 1e37);
        REQUIRE_OK(coc_train_step(r.t, &result));
        check_refused(&r, (const char *const[]){"_conv_stem: output on rank 0", "of pair ",
                                                "track ", "lower train.learning_rate", NULL});
        end(&r);
    }
}

/* Embeddings are below 1, so only W can make the loss overflow. A little less, and its gradient
 * does so further back: behind a layer norm of numbers that hardly differ, which divides by 0.003.
 */
static void loss_and_gradients_are_named(void)
{
    static const struct {
        float w;
        const char *words[4];
    } cases[] = {
        {3e38f, {"the loss, of embeddings", "lower train.learning_rate", NULL}},
        {1e35f, {"the gradient of encoder.projection.", " on rank ", NULL}},
    };

    for (int i = 0; i < 4; i++) {
        trial r;

        no_fault();
        begin(&r, parts_of[i % 2], COC_NAN_STOP, 1e-3);
        for (int64_t d = 0, size = r.t->network.embedding; d < size; d++)
            r.t->params->value[r.t->params->at.similarity + d * (size + 1)] = cases[i / 2].w;
        if (i / 2 == 1) {
            change_weights(r.t, "encoder.projection.weight", 1e-5f, 0);
            change_weights(r.t, "encoder.projection.bias", 0, 0);
            change_weights(r.t, "layer_norm.weight", 300, 0);
        }
        check_refused(&r, cases[i / 2].words);
        end(&r);
    }
}

/* ---- going on -------------------------------------------------------------------------------- */

/* A skipped step leaves weights, moments, statistics and their number, and the next one sees its
 * own batch: to the bit what it gives to a trainer that begins there. */
static void a_skipped_step_leaves_nothing(void)
{
    for (int i = 0; i < 2; i++) {
        trial r, other;
        coc_step_result result, want;

        no_fault();
        bad_from = 0;
        bad_until = 2;
        begin(&r, parts_of[i], COC_NAN_SKIP, 1e-3);
        keep(&r);
        for (int s = 0; s < 2; s++) {
            REQUIRE_OK(coc_train_step(r.t, &result));
            CHECK(result.skipped && !isfinite(result.gradient_norm));
        }
        CHECK(is_kept(&r) && r.t->params->batches == r.batches);
        CHECK(r.t->step == 2);
        begin(&other, parts_of[i], COC_NAN_SKIP, 1e-3);
        other.t->step = 2;
        coc_loader_destroy(&other.t->loader);
        REQUIRE_OK(coc_trainer_start_loader(other.t));
        REQUIRE_OK(coc_train_step(r.t, &result));
        REQUIRE_OK(coc_train_step(other.t, &want));
        CHECK(!result.skipped && result.loss.loss == want.loss.loss);
        CHECK(result.gradient_norm == want.gradient_norm);
        CHECK(r.t->params->batches == other.t->params->batches);
        end(&r);
        end(&other);
    }
}

/* The tenth in a row ends the run; one good step between begins the count anew. */
static void ten_in_a_row_are_too_many(void)
{
    trial r;
    coc_step_result result;

    no_fault();
    bad_until = 9;
    begin(&r, 0, COC_NAN_SKIP, 1e-3);
    for (int s = 0; s < 10; s++)
        REQUIRE_OK(coc_train_step(r.t, &result));
    CHECK(!result.skipped);
    bad_from = 10;
    bad_until = 30;
    for (int s = 0; s < 9; s++)
        REQUIRE_OK(coc_train_step(r.t, &result));
    check_refused(&r, (const char *const[]){"10 steps in a row", "the features on rank", NULL});
    end(&r);
}

/* ---- a run ----------------------------------------------------------------------------------- */

static coc_status run(const char *out, coc_on_nan on_nan, int64_t micro)
{
    coc_settings s = coc_test_settings(folder, BATCH, GROUP);
    coc_trainer *t = NULL;
    coc_status status;

    s.train.micro_batch = micro;
    s.train.on_nan = on_nan;
    s.train.steps = 6;
    s.train.log_every = 2;
    s.train.checkpoint_every = 2;
    s.data.prefetch = 2;
    COC_TRY(coc_trainer_create(&s, world, out, &t));
    t->given = put_fault;
    status = coc_train_loop(t);
    coc_trainer_destroy(&t);
    return status;
}

static coc_checkpoint_info last_of(const char *out)
{
    coc_checkpoint_info info = {.step = -1};
    char path[COC_PATH_BYTES];

    if (coc_path_join(path, out, "checkpoints/last.h5") != COC_OK ||
        coc_checkpoint_read_info(path, &info) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    return info;
}

/* stop: the last checkpoint is that of before, and no other file is there; skip: the run goes to
 * its end, and the log counts. */
static void a_run_stops_or_goes_on(void)
{
    for (int i = 0; i < 2; i++) {
        char out[96], text[4000] = "";
        FILE *log;

        no_fault();
        bad_from = 4; /* the fifth step; the fourth is saved */
        bad_until = 5;
        snprintf(out, sizeof out, "%s/run%d", folder, i);
        CHECK(run(out, COC_NAN_STOP, parts_of[i]) == COC_ERR_INPUT);
        if (world->rank == 0) {
            CHECK(last_of(out).step == 4);
            snprintf(text, sizeof text, "%s/checkpoints/last.h5.partial", out);
            CHECK(!coc_file_exists(text));
        }
        REQUIRE_OK(run(out, COC_NAN_SKIP, parts_of[i])); /* goes on from step 4 */
        if (world->rank > 0) continue;
        CHECK(last_of(out).step == 6);
        snprintf(text, sizeof text, "%s/log.jsonl", out);
        log = fopen(text, "r");
        REQUIRE(log != NULL);
        text[fread(text, 1, sizeof text - 1, log)] = '\0';
        fclose(log);
        CHECK(strstr(text, "\"skipped\":1") != NULL && strstr(text, "\"skipped\":0") != NULL);
    }
}

static int run_all(void)
{
    char name[48];

    snprintf(name, sizeof name, "ranks_not_finite_%d", world->size);
    snprintf(folder, sizeof folder, "scratch_%s", name);
    if (world->rank == 0) coc_test_folder(name);
    if (coc_comm_agree(world, "the store",
                       world->rank == 0 ? coc_test_store(folder, alone) : COC_OK) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return 1;
    }
    RUN(features_are_named);
    RUN(weights_are_named);
    RUN(activations_are_named);
    RUN(loss_and_gradients_are_named);
    RUN(a_skipped_step_leaves_nothing);
    RUN(ten_in_a_row_are_too_many);
    RUN(a_run_stops_or_goes_on);
    return coc_test_result();
}

int main(void)
{
    return coc_test_on_ranks(&world, &alone, run_all);
}
