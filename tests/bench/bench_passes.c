/* Core time of a step in parts beside that of one pass over the same batch and batch-norm groups:
 *
 *     bench_passes [PAIRS GROUP KEPT ROUNDS]      default 32 4 1 5; parts of one group
 *
 * Width 0.35, depth 0.6, one thread, made-up features. Steps of both take turns, and the least of
 * each counts: what else runs on the machine only adds. Reading, mixing and features are not in it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "train/bench.h"
#include "train/made_batches.h"

typedef struct {
    coc_trainer *trainer;
    coc_made_batches *batches;
    double least;
} side;

static coc_status open_side(coc_comm *comm, const long *words, bool parts, side *s)
{
    coc_trainer *t;

    COC_TRY(coc_alloc(1, sizeof *t, &s->trainer));
    t = s->trainer;
    coc_settings_default(&t->settings);
    t->settings.model.width = 0.35;
    t->settings.model.depth = 0.6;
    t->settings.model.threads = 1;
    t->settings.train.batch = words[0];
    t->settings.model.bn_group = words[1];
    t->settings.train.micro_batch = parts ? words[1] : 0;
    t->settings.train.keep_activations = words[2];
    t->world = t->comm = comm;
    t->sharers = 1;
    s->least = INFINITY;
    COC_TRY(coc_backend_open(&t->settings.model, &t->backend));
    COC_TRY(coc_trainer_create_model(t));
    return coc_made_batches_create(t, &s->batches);
}

static coc_status step(side *s, long round)
{
    const coc_batch *batch;
    coc_step_result result;
    double begin;

    COC_TRY(coc_made_batches_begin(s->batches, round, &batch));
    begin = coc_core_seconds();
    COC_TRY(coc_train_on(s->trainer, batch, &result));
    if (round > 0)
        s->least = fmin(s->least, coc_core_seconds() - begin); /* the first finds memory */
    return COC_OK;
}

static coc_status run(coc_comm *comm, const long *words)
{
    side one = {.trainer = NULL}, parts = {.trainer = NULL};
    double made;

    COC_TRY(open_side(comm, words, false, &one));
    COC_TRY(open_side(comm, words, true, &parts));
    for (long round = 0; round <= words[3]; round++) {
        COC_TRY(step(&one, round));
        COC_TRY(step(&parts, round));
    }
    made = (double)parts.trainer->parts.count;
    printf("%ld pairs, groups of %ld: one pass %.3f s; %.0f parts, %d kept: %.3f s, speed %.2f of "
           "one pass\n",
           words[0], words[1], one.least, made, parts.trainer->passes.places, parts.least,
           one.least / parts.least);
    return COC_OK;
}

int main(int argc, char **argv)
{
    long words[4] = {32, 4, 1, 5};
    coc_comm *comm;

    for (int i = 1; i < argc && i < 5; i++)
        words[i - 1] = atol(argv[i]);
    if (coc_comm_self(&comm) == COC_OK && run(comm, words) == COC_OK) return 0;
    fprintf(stderr, "%s\n", coc_error_text());
    return 1;
}
