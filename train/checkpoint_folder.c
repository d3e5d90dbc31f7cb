#include "train/checkpoint_folder.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"

static bool is_checkpoint_name(const char *name)
{
    const size_t length = strlen(name);

    return name[0] != '.' && length > 3 && strcmp(name + length - 3, ".h5") == 0;
}

/* ---- the best ones -------------------------------------------------------------------------- */

static coc_status insert(coc_best_list *list, coc_best one)
{
    int64_t capacity = list->count, at = 0; /* grown one by one: a handful */

    COC_TRY(coc_grow(&list->best, &capacity, list->count + 1, sizeof *list->best));
    while (at < list->count &&
           (list->best[at].loss < one.loss ||
            (list->best[at].loss == one.loss && list->best[at].step < one.step)))
        at++;
    memmove(list->best + at + 1, list->best + at, (size_t)(list->count - at) * sizeof *list->best);
    list->best[at] = one;
    list->count++;
    return COC_OK;
}

/* ---- looking through the folder ------------------------------------------------------------ */

static coc_status take_as_best(coc_best_list *list, const char *name,
                               const coc_checkpoint_info *info)
{
    char expected[64];

    snprintf(expected, sizeof expected, "best-%08" PRId64 ".h5", info->step);
    if (strcmp(name, expected) != 0 || !isfinite(info->valid_loss)) return COC_OK;
    return insert(list, (coc_best){info->step, info->valid_loss});
}

/* Takes over the description of a newer one. */
static void take_as_last(coc_last *last, const char *path, coc_checkpoint_info *info)
{
    if (!info->has_optimizer) return;
    if (last->found && info->step < last->info.step) return; /* of equals, last.h5 comes last */
    coc_last_free(last);
    last->found = true;
    last->info = *info;
    info->settings = NULL;
    snprintf(last->path, sizeof last->path, "%s", path);
}

static coc_status take_one(const char *name, coc_best_list *list, coc_last *last, int64_t *broken)
{
    char path[COC_PATH_BYTES];
    coc_checkpoint_info info = {0};
    coc_status status;

    COC_TRY(coc_path_join(path, list->folder, name));
    status = coc_checkpoint_read_info(path, &info);
    if (status == COC_ERR_INPUT || status == COC_ERR_IO) {
        coc_log_warn("%s; it is passed over", coc_error_text());
        (*broken)++;
        status = COC_OK;
    } else if (status == COC_OK) {
        status = take_as_best(list, name, &info);
        take_as_last(last, path, &info);
    }
    coc_checkpoint_info_free(&info);
    return status;
}

coc_status coc_checkpoint_folder_open(const char *run, int64_t keep, coc_best_list *list,
                                      coc_last *last)
{
    int64_t broken = 0;
    coc_status status = COC_OK;
    coc_names names;

    *list = (coc_best_list){.keep = keep};
    *last = (coc_last){0};
    COC_TRY(coc_path_join(list->folder, run, "checkpoints"));
    if (!coc_is_folder(list->folder)) return COC_OK;
    COC_TRY(coc_list_folder(list->folder, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++)
        if (is_checkpoint_name(names.name[i]))
            status = take_one(names.name[i], list, last, &broken);
    coc_names_free(&names);
    if (status != COC_OK || last->found || broken == 0) return status;
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: holds broken checkpoints and no whole one; move them away to begin anew, "
                    "or use another --out",
                    list->folder);
}

void coc_last_free(coc_last *last)
{
    coc_checkpoint_info_free(&last->info);
    *last = (coc_last){0};
}

void coc_best_free(coc_best_list *list)
{
    free(list->best);
    *list = (coc_best_list){0};
}

bool coc_best_wants(const coc_best_list *list, double loss)
{
    if (!isfinite(loss) || list->keep == 0) return false;
    return list->count < list->keep || loss < list->best[list->keep - 1].loss;
}

coc_status coc_best_path(const coc_best_list *list, int64_t step, char path[COC_PATH_BYTES])
{
    char name[64];

    snprintf(name, sizeof name, "best-%08" PRId64 ".h5", step);
    return coc_path_join(path, list->folder, name);
}

coc_status coc_best_add(coc_best_list *list, int64_t step, double loss)
{
    char path[COC_PATH_BYTES];

    COC_TRY(insert(list, (coc_best){step, loss}));
    while (list->count > list->keep) {
        COC_TRY(coc_best_path(list, list->best[list->count - 1].step, path));
        unlink(path); /* one that is gone already is as good */
        list->count--;
    }
    return COC_OK;
}
