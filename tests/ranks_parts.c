/* A batch that is embedded in parts gives what it gives at once: loss, gradient and running
 * statistics, on any ranks, with dropout, stochastic depth, noise and channel modes on. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/small_run.h"
#include "tests/test.h"
#include "train/trainer.h"

static coc_comm *world, *alone;
static char folder[64];

enum { BATCH = 16, GROUP = 2 };

static coc_settings settings_of(int64_t micro, int64_t kept)
{
    coc_settings s = coc_test_settings(folder, BATCH, GROUP);

    s.train.micro_batch = micro;
    s.train.keep_activations = kept;
    return s;
}

/* The gradient of some step; its first batch is still there. */
static coc_status gradient_of(const coc_settings *settings, coc_comm *comm, coc_trainer **trainer,
                              coc_step_result *result)
{
    const coc_batch *batch;

    COC_TRY(coc_trainer_create(settings, comm, folder, trainer));
    (*trainer)->step = 2;
    COC_TRY(coc_trainer_start_loader(*trainer));
    COC_TRY(coc_loader_next((*trainer)->loader, &batch));
    return coc_train_gradient(*trainer, batch, result);
}

/* The last part that was embedded twice lies in the first place: the bits are those of the first
 * time. */
static void check_same_embeddings(const coc_trainer *t)
{
    const coc_passes *p = &t->passes;
    const int64_t d = t->network.embedding, again = t->parts.count - p->places;
    coc_batch_part part;

    if (again == 0) return;
    part = coc_part_at(&t->parts, again - 1);
    for (int view = 0; view < 2; view++)
        CHECK(memcmp(p->place[0].h + view * part.pairs * d,
                     p->h + (view * t->parts.rows + part.row) * d,
                     (size_t)(part.pairs * d) * sizeof *p->h) == 0);
}

/* Groups inside a rank: sums over clips in another order, 1e-6 of the norm. */
static void compare(coc_trainer *parts, const coc_step_result *in_parts, coc_trainer *whole,
                    const coc_step_result *at_once)
{
    coc_params *p = parts->params, *w = whole->params;
    const double error = coc_test_relative_error(p->grad, w->grad, w->weights);
    const int64_t first = w->at.similarity;
    const double of_w =
        coc_test_relative_error(p->grad + first, w->grad + first, w->weights - first);

    if (world->rank == 0)
        fprintf(stderr, "  %d parts, %d kept: loss %.1e, gradient %.1e, of W %.1e apart\n",
                (int)parts->parts.count, parts->passes.places,
                fabs(in_parts->loss.loss / at_once->loss.loss - 1), error, of_w);
    CHECK_NEAR(in_parts->loss.loss / at_once->loss.loss, 1, 1e-6);
    CHECK_NEAR(in_parts->loss.accuracy, at_once->loss.accuracy, 1e-12);
    CHECK_NEAR(in_parts->loss.columns, BATCH, 0);
    CHECK(error < (world->size == 1 ? 1e-6 : 1e-5));
    CHECK(of_w < (world->size == 1 ? 1e-6 : 1e-5));
    REQUIRE_OK(coc_running_update(parts->backend, p, parts->passes.group_count, world,
                                  COC_REDUCTION_FAST, 0.5, NULL));
    REQUIRE_OK(coc_running_update(whole->backend, w, whole->passes.group_count, alone,
                                  COC_REDUCTION_FAST, 0.5, NULL));
    CHECK(coc_test_relative_error(p->running, w->running, w->runnings) < 1e-6);
    CHECK(p->batches == w->batches);
}

static void check_parts(int64_t micro, int64_t kept, coc_columns_exchange exchange)
{
    const coc_settings one = settings_of(0, 0);
    coc_settings settings = settings_of(micro, kept);
    coc_trainer *parts = NULL, *whole = NULL;
    coc_step_result in_parts, at_once;

    settings.loss.exchange = exchange;
    REQUIRE_OK(gradient_of(&settings, world, &parts, &in_parts));
    REQUIRE_OK(gradient_of(&one, alone, &whole, &at_once));
    CHECK(whole->parts.count == 1);
    CHECK(parts->parts.count == (micro == 0 ? 1 : (BATCH + micro - 1) / micro));
    check_same_embeddings(parts);
    compare(parts, &in_parts, whole, &at_once);
    coc_trainer_destroy(&parts);
    coc_trainer_destroy(&whole);
}

/* Parts of equal size, the activations of one, several or all of them kept; a last part that is
 * smaller; groups that lie on several ranks (three and four ranks). */
static void parts_give_the_gradient_of_the_batch(void)
{
    check_parts(4, 1, COC_EXCHANGE_ALL_GATHER);
    check_parts(4, 3, COC_EXCHANGE_ALL_GATHER);
    check_parts(4, 100, COC_EXCHANGE_ALL_GATHER);
    check_parts(6, 2, COC_EXCHANGE_ALL_GATHER); /* 6, 6, 4 */
    check_parts(8, 0, COC_EXCHANGE_ALL_GATHER); /* as many as fit: both */
    check_parts(6, 2, COC_EXCHANGE_RING);
}

/* Steps, not only the first: the order in which parts are made again, thread or none. */
static void steps_go_on(void)
{
    coc_step_result results[3][3];

    for (int i = 0; i < 3; i++) {
        coc_settings settings = settings_of(i < 2 ? 4 : 0, 2);
        coc_trainer *t = NULL;

        settings.data.prefetch = i == 1 ? 3 : 0;
        REQUIRE_OK(coc_trainer_create(&settings, world, folder, &t));
        REQUIRE_OK(coc_trainer_start_loader(t));
        for (int s = 0; s < 3; s++)
            REQUIRE_OK(coc_train_step(t, &results[i][s]));
        CHECK(t->params->batches == 3);
        coc_trainer_destroy(&t);
    }
    for (int s = 0; s < 3; s++) {
        CHECK_NEAR(results[1][s].loss.loss, results[0][s].loss.loss, 0);
        CHECK_NEAR(results[1][s].gradient_norm, results[0][s].gradient_norm, 0);
        CHECK_NEAR(results[2][s].loss.loss / results[0][s].loss.loss, 1, 1e-3);
    }
}

/* Where columns count by channel mode, their number is another in every step: it is that of the
 * step at hand, also where the loader has written over the step's first part by the time it is
 * compared. */
static void columns_are_those_of_the_step(void)
{
    coc_settings settings = settings_of(4, 2);
    coc_trainer *t = NULL;
    double first = 0;
    int others = 0;

    settings.loss.negatives = COC_NEGATIVES_SAME_MODE;
    settings.data.prefetch = 1; /* three places for the six parts of a step */
    REQUIRE_OK(coc_trainer_create(&settings, world, folder, &t));
    REQUIRE_OK(coc_trainer_start_loader(t));
    for (int s = 0; s < 4; s++) {
        coc_step_result result;

        REQUIRE_OK(coc_train_step(t, &result));
        CHECK(result.loss.columns < BATCH);
        if (s == 0) first = result.loss.columns;
        others += result.loss.columns != first;
    }
    CHECK(others > 0);
    coc_trainer_destroy(&t);
}

/* Statistics that are measured anew do not depend on the parts. */
static void reestimation_in_parts(void)
{
    const coc_settings settings[2] = {settings_of(4, 2), settings_of(0, 0)};
    float *running[2] = {NULL, NULL};
    int64_t count = 0;

    for (int i = 0; i < 2; i++) {
        coc_trainer *t = NULL;

        REQUIRE_OK(coc_trainer_create(&settings[i], world, folder, &t));
        REQUIRE_OK(coc_reestimate_running(t, 4 * BATCH));
        count = t->params->runnings;
        running[i] = calloc((size_t)count, sizeof(float));
        memcpy(running[i], t->params->running, (size_t)count * sizeof(float));
        coc_trainer_destroy(&t);
    }
    CHECK(coc_test_relative_error(running[0], running[1], count) < 1e-6);
    free(running[0]);
    free(running[1]);
}

/* loss.k: every row sees as many columns, others in every step; its own is always among them, and
 * the loss of an untrained model is near that of chance. A mask by track leaves columns out. */
static void groups_of_columns(void)
{
    coc_settings settings = settings_of(4, 1);
    coc_trainer *t = NULL;
    coc_step_result result;
    double columns;

    settings.loss.k = 4;
    REQUIRE_OK(gradient_of(&settings, world, &t, &result));
    CHECK_NEAR(result.loss.columns, 4, 0);
    CHECK(result.loss.same_track > 0 && result.loss.same_track < 3);
    columns = result.loss.columns + result.loss.same_track;
    coc_trainer_destroy(&t);
    settings.loss.mask_same_track = true;
    REQUIRE_OK(gradient_of(&settings, world, &t, &result));
    CHECK_NEAR(result.loss.columns + 2 * result.loss.same_track, columns, 1e-9);
    coc_trainer_destroy(&t);
}

/* loss.symmetric in training: positives know their anchors' slots and sets, in parts too. A row
 * that sees its own column alone loses nothing, in either direction; the gradient in parts is that
 * of the whole batch, and another than that of one direction. */
static void both_directions(void)
{
    coc_settings settings = settings_of(4, 2), one = settings_of(0, 0);
    coc_trainer *parts = NULL, *whole = NULL, *plain = NULL;
    coc_step_result in_parts, at_once, one_way;
    const coc_params *p, *w;

    settings.loss.symmetric = true;
    settings.loss.k = 1;
    REQUIRE_OK(gradient_of(&settings, world, &parts, &in_parts));
    CHECK_NEAR(in_parts.loss.loss, 0, 1e-6);
    coc_trainer_destroy(&parts);
    settings.loss.k = 0;
    settings.loss.negatives = one.loss.negatives = COC_NEGATIVES_SAME_MODE;
    REQUIRE_OK(gradient_of(&settings, world, &parts, &in_parts));
    REQUIRE_OK(gradient_of(&one, alone, &plain, &one_way));
    one.loss.symmetric = true;
    REQUIRE_OK(gradient_of(&one, alone, &whole, &at_once));
    p = parts->params;
    w = whole->params;
    CHECK_NEAR(in_parts.loss.loss / at_once.loss.loss, 1, 1e-6);
    CHECK(coc_test_relative_error(p->grad, w->grad, w->weights) < 1e-5);
    CHECK(coc_test_relative_error(plain->params->grad, w->grad, w->weights) > 1e-2);
    CHECK_NEAR(one_way.loss.columns, at_once.loss.columns, 0);
    coc_trainer_destroy(&parts);
    coc_trainer_destroy(&whole);
    coc_trainer_destroy(&plain);
}

static int run_all(void)
{
    char name[32];

    snprintf(name, sizeof name, "ranks_parts_%d", world->size);
    snprintf(folder, sizeof folder, "scratch_%s", name);
    if (world->rank == 0) coc_test_folder(name);
    if (coc_comm_agree(world, "the store",
                       world->rank == 0 ? coc_test_store(folder, alone) : COC_OK) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return 1;
    }
    RUN(parts_give_the_gradient_of_the_batch);
    RUN(steps_go_on);
    RUN(columns_are_those_of_the_step);
    RUN(reestimation_in_parts);
    RUN(groups_of_columns);
    RUN(both_directions);
    return coc_test_result();
}

int main(void)
{
    return coc_test_on_ranks(&world, &alone, run_all);
}
