#include "train/memory_plan.h"

#include <stdio.h>
#include <string.h>

#include "comm/device_comm.h"
#include "model/similarity.h"
#include "train/checkpoint.h"
#include "train/clips.h"
#include "train/measure.h"
#include "train/passes.h"

static void add(coc_memory_plan *plan, const char *name, int64_t bytes)
{
    if (bytes == 0) return;
    plan->part[plan->parts++] = (coc_memory_part){name, bytes};
    plan->bytes += bytes;
}

static coc_status add_encoders(const coc_memory_needs *needs, coc_memory_plan *plan)
{
    static const char *const name[COC_ENCODER_PARTS] = {"expanded tensors", "depthwise outputs",
                                                        "block outputs",    "stem and head",
                                                        "gradients",        "coefficients"};
    int64_t part[COC_ENCODER_PARTS], bytes = 0;

    COC_TRY(coc_encoder_measure(needs->seen, 2 * needs->parts->most, true, needs->stored_bytes,
                                part, &bytes));
    for (int i = 0; i < COC_ENCODER_PARTS; i++)
        add(plan, name[i], (i == COC_PART_GRADIENTS ? 1 : needs->places) * part[i]);
    if (needs->viewed == 0) return COC_OK;
    COC_TRY(
        coc_encoder_measure(needs->whole, needs->viewed, false, needs->stored_bytes, part, &bytes));
    add(plan, "encoder of validation", bytes);
    return COC_OK;
}

/* Working memory of operations. On a host: the loss's; what others take is a few megabytes. Of the
 * own kernels of a GPU: the loss's, or the gradient at the largest raw 1 x 1 output, with the
 * quarter of room that is taken once (model/cuda/backend.c); and cuBLAS's. */
static coc_status add_scratch(const coc_memory_needs *needs, coc_memory_plan *plan)
{
    const int64_t blas = (int64_t)32 << 20;
    const coc_settings *s = needs->settings;
    int64_t largest;

    COC_TRY(coc_similarity_scratch(&s->model, needs->parts, needs->whole->embedding, &s->loss,
                                   &largest));
    if (needs->side == COC_HOST) {
        add(plan, "scratch of the loss", largest);
        return COC_OK;
    }
    for (int i = 0; i < needs->seen->blocks; i++) {
        const coc_conv *c = &needs->seen->block[i].expand;
        const int64_t bytes =
            2 * needs->parts->most * c->out_h * c->out_w * c->out_c * (int64_t)needs->stored_bytes;

        if (needs->seen->block[i].has_expand && bytes > largest) largest = bytes;
    }
    add(plan, "scratch of operations", largest + largest / 4 + blas);
    return COC_OK;
}

static coc_status add_loaders(const coc_memory_needs *needs, coc_memory_plan *plan)
{
    const bool host = needs->side == COC_HOST;
    coc_settings s = *needs->settings;
    int64_t device, pinned;

    COC_TRY(coc_loader_bytes(&s, needs->parts, needs->places, &device, &pinned));
    add(plan, "batches and features", device + (host ? pinned : 0));
    COC_TRY(coc_clips_bytes(s.model.backend, s.data.features, COC_FRAMES, false, &device, &pinned));
    add(plan, "features of validation", device + (host ? pinned : 0));
    if (s.eval.bn_reestimate == 0) return COC_OK;
    s.data.prefetch = 0; /* as coc_reestimate_running makes one */
    s.model.graphs = false;
    COC_TRY(coc_loader_bytes(&s, needs->parts, 1, &device, &pinned));
    add(plan, "batches of re-estimation", device + (host ? pinned : 0));
    return COC_OK;
}

/* Of the host, for reduce-scatters over MPI; one after another, they use the same. */
static int64_t sum_bytes(const coc_memory_needs *needs)
{
    const coc_settings *s = needs->settings;
    const int ranks = needs->parts->ranks;
    const int64_t columns =
        coc_similarity_sum_bytes(needs->parts, needs->whole->embedding, &s->loss);
    int64_t gradient = 0;

    if (s->loss.reduction == COC_REDUCTION_FIXED_TREE)
        gradient =
            coc_reduce_scatter_bytes(ranks, coc_share(needs->weights, ranks, 0, NULL), COC_FLOAT);
    return columns > gradient ? columns : gradient;
}

/* Of a validation: what embeds its pairs and then what judges them, each with the embeddings. It
 * lies beside all that training has. */
static void validation_bytes(const coc_memory_needs *needs, int64_t *device, int64_t *host)
{
    const coc_settings *s = needs->settings;
    const int64_t capacity = needs->viewed > 0 ? needs->viewed : 2 * needs->parts->most;
    const int64_t pairs = needs->validated, share = coc_share(pairs, needs->parts->ranks, 0, NULL);
    int64_t work, kept, judged_device, judged_host;

    *device = *host = 0;
    if (pairs == 0) return;
    coc_embed_bytes(needs->whole, capacity, pairs, share, &work, &kept);
    coc_measure_bytes(pairs, share, needs->whole->embedding, s->eval.orders, (int)s->model.threads,
                      needs->side, &judged_device, &judged_host);
    if (needs->side == COC_HOST) {
        *host = kept + (work > judged_host ? work : judged_host);
    } else {
        *device = work > judged_device ? work : judged_device;
        *host = kept + judged_host;
    }
}

coc_status coc_memory_plan_make(const coc_memory_needs *needs, coc_memory_plan *plan)
{
    const coc_settings *s = needs->settings;
    const int64_t float_bytes = (int64_t)sizeof(float);
    const bool host = needs->side == COC_HOST;
    int64_t validation, validation_host;

    *plan =
        (coc_memory_plan){.advice = "set train.micro_batch, lower train.batch or model.width, or "
                                    "use more ranks or GPUs"};
    COC_TRY(add_encoders(needs, plan));
    add(plan, "weights and optimizer", 4 * needs->weights * float_bytes);
    if (host) add(plan, "a checkpoint being written", coc_checkpoint_writing_bytes(needs->weights));
    COC_TRY(add_loaders(needs, plan));
    COC_TRY(add_scratch(needs, plan));
    if (s->model.conv == COC_CONV_CUDNN) add(plan, "cuDNN's scratch", COC_CUDNN_MOST_SCRATCH);
    add(plan, "similarity", coc_similarity_bytes(needs->parts, needs->whole->embedding, &s->loss));
    if (host) add(plan, "sums over ranks", sum_bytes(needs));
    add(plan, "embeddings and masks", coc_passes_bytes(needs->parts, needs->seen, needs->places));
    validation_bytes(needs, &validation, &validation_host);
    add(plan, "validation", host ? validation_host : validation);
    return COC_OK;
}

/* Of what collectives through the host (comm/staged.c) have on their way: the columns of this rank
 * and of all, and the gradient. */
static int64_t staged_bytes(const coc_memory_needs *needs)
{
    const coc_parts *parts = needs->parts;

    const coc_comm_settings comm = coc_comm_settings_of(needs->settings);

    if (parts->ranks == 1 || !coc_comm_is_staged(&comm)) return 0;
    return ((parts->rows + parts->batch) * needs->whole->embedding + needs->weights) *
           (int64_t)sizeof(float);
}

coc_status coc_memory_plan_host(const coc_memory_needs *needs, coc_memory_plan *plan)
{
    coc_settings s = *needs->settings;
    int64_t unused, pinned, validation;

    *plan = (coc_memory_plan){.advice = "lower data.feed_stems or data.prefetch, set "
                                        "train.micro_batch, or use fewer ranks on a machine"};
    if (needs->side == COC_HOST) return COC_OK;
    COC_TRY(coc_loader_bytes(&s, needs->parts, needs->places, &unused, &pinned));
    add(plan, "page-locked batches and stems", pinned);
    COC_TRY(coc_clips_bytes(s.model.backend, s.data.features, COC_FRAMES, false, &unused, &pinned));
    add(plan, "page-locked stems of validation", pinned);
    add(plan, "page-locked collectives", staged_bytes(needs));
    if (staged_bytes(needs) > 0) add(plan, "sums over ranks", sum_bytes(needs));
    validation_bytes(needs, &unused, &validation);
    add(plan, "validation", validation);
    add(plan, "a checkpoint being written", coc_checkpoint_writing_bytes(needs->weights));
    if (s.eval.bn_reestimate == 0) return COC_OK;
    s.data.prefetch = 0; /* as coc_reestimate_running makes one */
    s.model.graphs = false;
    COC_TRY(coc_loader_bytes(&s, needs->parts, 1, &unused, &pinned));
    add(plan, "page-locked batches of re-estimation", pinned);
    return COC_OK;
}

char *coc_memory_plan_text(const coc_memory_plan *plan, char *text, size_t room)
{
    size_t used = 0;

    text[0] = '\0';
    for (int i = 0; i < plan->parts && used < room; i++) {
        if (plan->part[i].bytes < plan->bytes / 200) continue;
        used += (size_t)snprintf(text + used, room - used, "%s%s %.2f", used > 0 ? ", " : "",
                                 plan->part[i].name, 1e-9 * (double)plan->part[i].bytes);
    }
    return text;
}

coc_status coc_memory_plan_check(const coc_memory_plan *plan, const coc_device *device, int sharers)
{
    char parts[800];
    int64_t left, all;

    COC_TRY(device->memory(device, &left, &all));
    if (left == 0 || plan->bytes <= left / sharers) return COC_OK;
    return COC_FAIL(COC_ERR_MEMORY,
                    "a rank needs %.2f GB on the %s (%s), which has %.2f GB left for %d rank%s: "
                    "%s (cocola plan says what fits)",
                    1e-9 * (double)plan->bytes, device->name,
                    coc_memory_plan_text(plan, parts, sizeof parts), 1e-9 * (double)left, sharers,
                    sharers > 1 ? "s" : "", plan->advice);
}

/* Share of the memory that is planned away at most: operations want working memory of their own. */
static const double usable = 0.85;

coc_status coc_memory_places_in(const coc_memory_needs *needs, int64_t memory, int *places)
{
    coc_memory_needs more = *needs;
    coc_memory_plan one, two;
    int64_t room;

    *places = needs->places;
    if (needs->parts->count == needs->places) return COC_OK;
    more.places++;
    COC_TRY(coc_memory_plan_make(needs, &one));
    COC_TRY(coc_memory_plan_make(&more, &two));
    room = (int64_t)(usable * (double)memory) - one.bytes;
    if (room > 0) *places += (int)(room / (two.bytes - one.bytes));
    if (*places > needs->parts->count) *places = (int)needs->parts->count;
    return COC_OK;
}

coc_status coc_memory_places(const coc_memory_needs *needs, const coc_device *device, int sharers,
                             int *places)
{
    int64_t left, all;

    *places = needs->places;
    COC_TRY(device->memory(device, &left, &all));
    return left > 0 ? coc_memory_places_in(needs, left / sharers, places) : COC_OK;
}
