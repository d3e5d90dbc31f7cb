#include "train/checkpoint_folder.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"

/* Calls `each` with every checkpoint in RUN/checkpoints that is whole; warns of the others. */
typedef coc_status (*visit)(void *context, const char *path, const char *name,
                            const coc_checkpoint_info *info);

static bool is_checkpoint_name(const char *name)
{
    const size_t length = strlen(name);

    return name[0] != '.' && length > 3 && strcmp(name + length - 3, ".h5") == 0;
}

static coc_status visit_one(const char *path, const char *name, visit each, void *context,
                            int64_t *broken)
{
    coc_checkpoint_info info;
    coc_status status = coc_checkpoint_read_info(path, &info);

    if (status == COC_ERR_INPUT || status == COC_ERR_IO) {
        coc_log_warn("%s; it is passed over", coc_error_text());
        (*broken)++;
        status = COC_OK;
    } else if (status == COC_OK) {
        status = each(context, path, name, &info);
    }
    coc_checkpoint_info_free(&info);
    return status;
}

static coc_status visit_all(const char *folder, visit each, void *context, int64_t *broken)
{
    coc_status status = COC_OK;
    char path[COC_PATH_BYTES];
    coc_names names;

    *broken = 0;
    COC_TRY(coc_list_folder(folder, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        if (!is_checkpoint_name(names.name[i])) continue;
        status = coc_path_join(path, folder, names.name[i]);
        if (status == COC_OK) status = visit_one(path, names.name[i], each, context, broken);
    }
    coc_names_free(&names);
    return status;
}

/* ---- the newest one ------------------------------------------------------------------------- */

typedef struct {
    char *path; /* [COC_PATH_BYTES] */
    int64_t step;
    bool found;
} newest;

static coc_status compare_newest(void *context, const char *path, const char *name,
                                 const coc_checkpoint_info *info)
{
    newest *n = context;

    (void)name;
    if (!info->has_optimizer) return COC_OK;
    if (n->found && info->step < n->step) return COC_OK; /* of equal ones, last.h5 comes last */
    n->found = true;
    n->step = info->step;
    snprintf(n->path, COC_PATH_BYTES, "%s", path);
    return COC_OK;
}

coc_status coc_checkpoint_find_last(const char *run, char path[COC_PATH_BYTES], bool *found)
{
    newest n = {.path = path};
    char folder[COC_PATH_BYTES];
    int64_t broken;

    *found = false;
    COC_TRY(coc_path_join(folder, run, "checkpoints"));
    if (!coc_is_folder(folder)) return COC_OK;
    COC_TRY(visit_all(folder, compare_newest, &n, &broken));
    *found = n.found;
    if (n.found || broken == 0) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: holds broken checkpoints and no whole one; move them away to begin anew, "
                    "or use another --out",
                    folder);
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

static coc_status take_up(void *context, const char *path, const char *name,
                          const coc_checkpoint_info *info)
{
    char expected[64];

    (void)path;
    snprintf(expected, sizeof expected, "best-%08" PRId64 ".h5", info->step);
    if (strcmp(name, expected) != 0 || !isfinite(info->valid_loss)) return COC_OK;
    return insert(context, (coc_best){info->step, info->valid_loss});
}

coc_status coc_best_open(const char *run, int64_t keep, coc_best_list *list)
{
    int64_t broken;

    *list = (coc_best_list){.keep = keep};
    COC_TRY(coc_path_join(list->folder, run, "checkpoints"));
    return visit_all(list->folder, take_up, list, &broken);
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
