/* configs/settings.c - defaults, values from a command line, and what several settings must be
 * together. */
#include "configs/settings.h"

#include <stdio.h>
#include <string.h>

#include "configs/table.h"

void coc_settings_default(coc_settings *settings)
{
    int count;
    const coc_setting *table = coc_setting_table(&count);

    memset(settings, 0, sizeof *settings);
    for (int i = 0; i < count; i++) /* cannot fail: tests/test_settings.c reads every default */
        (void)!coc_setting_parse(&table[i], table[i].value, "", settings);
}

coc_status coc_settings_set(coc_settings *settings, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    const coc_setting *setting;
    char key[128];

    if (equals == NULL)
        return COC_FAIL(COC_ERR_SETTING, "'%.80s' is no assignment; write section.key=value",
                        assignment);
    setting = coc_setting_find(assignment, (size_t)(equals - assignment));
    if (setting != NULL) return coc_setting_parse(setting, equals + 1, "", settings);
    (void)!snprintf(key, sizeof key, "%.*s", (int)(equals - assignment), assignment);
    return coc_setting_unknown(key, "");
}

static coc_status check_train(const coc_settings *s)
{
    const coc_train_settings *t = &s->train;

    if (t->steps == 0 && t->minutes <= 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "train.steps and train.minutes are both 0: set one of them, the length of "
                        "the run");
    if (t->steps > 0 && t->warmup > t->steps)
        return COC_FAIL(COC_ERR_SETTING,
                        "train.warmup: %lld steps are more than the run has (%lld)",
                        (long long)t->warmup, (long long)t->steps);
    return COC_OK;
}

/* Groups of columns, and micro-batches of whole batch-norm groups. */
static coc_status check_parts(const coc_settings *s)
{
    const int64_t group = s->model.bn_group, batch = s->train.batch, micro = s->train.micro_batch;

    if (s->loss.k > 0 && batch % s->loss.k != 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "loss.k: %lld does not divide train.batch (%lld); change one of them",
                        (long long)s->loss.k, (long long)batch);
    if (micro == 0 || micro >= batch) return COC_OK;
    if (group == 0 || group >= batch)
        return COC_FAIL(COC_ERR_SETTING,
                        "train.micro_batch: %lld, but a batch-norm group is the whole batch "
                        "(model.bn_group: %lld): give model.bn_group, of which train.micro_batch "
                        "is a multiple",
                        (long long)micro, (long long)group);
    if (micro % group != 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "train.micro_batch: %lld is no multiple of model.bn_group (%lld): a "
                        "batch-norm group is embedded at once; change one of them",
                        (long long)micro, (long long)group);
    return COC_OK;
}

coc_status coc_settings_check(const coc_settings *settings)
{
    const int64_t group = settings->model.bn_group, batch = settings->train.batch;

    COC_TRY(check_train(settings));
    COC_TRY(check_parts(settings));
    if (settings->model.embedding % 8 != 0)
        return COC_FAIL(COC_ERR_SETTING, "model.embedding: %lld is no multiple of 8",
                        (long long)settings->model.embedding);
    if (settings->loss.reduction == COC_REDUCTION_FIXED_TREE &&
        strcmp(settings->comm.backend, "nccl") == 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "loss.reduction: fixed-tree, but comm.backend: nccl adds in an order of "
                        "its own; choose mpi or auto, or loss.reduction fast");
    if (settings->loss.exchange == COC_EXCHANGE_RING &&
        settings->loss.reduction == COC_REDUCTION_FIXED_TREE)
        return COC_FAIL(COC_ERR_SETTING,
                        "loss.exchange: ring adds in the order of the ranks, not over the tree of "
                        "loss.reduction: fixed-tree; set one of them to its default");
    if (settings->loss.exchange == COC_EXCHANGE_RING &&
        settings->loss.screening == COC_SCREENING_AUTO)
        return COC_FAIL(COC_ERR_SETTING,
                        "loss.exchange: ring sums over all columns: loss.screening: auto needs "
                        "allgather; set one of them to its default");
    if (group > 0 && group < batch && batch % group != 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "train.batch: %lld is no multiple of model.bn_group (%lld); change one of "
                        "them, or set model.bn_group to 0: the whole batch",
                        (long long)batch, (long long)group);
    return COC_OK;
}

coc_status coc_settings_unknown(const char *name)
{
    const char *words[16], *nearest;
    int count;
    const coc_setting_section *sections = coc_setting_sections(&count);

    for (int i = 0; i < count && i < 16; i++)
        words[i] = sections[i].name;
    nearest = strchr(name, '.') == NULL ? coc_nearest_word(name, words, count) : NULL;
    if (nearest == NULL) return coc_setting_unknown(name, "");
    return COC_FAIL(COC_ERR_SETTING, "no section of settings is called '%.80s'; did you mean %s?",
                    name, nearest);
}
