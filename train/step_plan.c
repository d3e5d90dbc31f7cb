#include "train/step_plan.h"

#include "model/params.h"
#include "train/deal.h"
#include "train/passes.h"
#include "train/trainer.h"

/* ---- work ----------------------------------------------------------------------------------- */

/* Products and sums of a convolution of `inputs` channels a value. */
static double conv_flop(const coc_conv *c, int inputs)
{
    return 2.0 * c->out_h * c->out_w * c->out_c * c->kernel * c->kernel * inputs;
}

static double network_flop(const coc_network *n)
{
    double flop = conv_flop(&n->stem, n->stem.in_c) + conv_flop(&n->head, n->head.in_c) +
                  2.0 * n->head.out_c * n->embedding;

    for (int i = 0; i < n->blocks; i++) {
        const coc_block *b = &n->block[i];

        if (b->has_expand) flop += conv_flop(&b->expand, b->expand.in_c);
        flop += conv_flop(&b->depthwise, 1) + conv_flop(&b->project, b->project.in_c) +
                4.0 * b->depthwise.out_c * b->squeeze;
    }
    return flop;
}

static void count_work(const coc_settings *s, coc_step_plan *p)
{
    const bool ring = s->loss.exchange == COC_EXCHANGE_RING;
    const double rows = (double)p->parts.rows, columns = (double)p->parts.batch,
                 d = p->whole.embedding, parts = (double)p->parts.count;

    p->forward_flop = network_flop(&p->seen);
    p->embeddings_of_clip = 1 + (parts - p->places) / parts;
    /* P and its two gradients; logits, in a ring twice, and the two gradients there */
    p->loss_flop =
        6 * rows * d * d + (s->loss.symmetric ? 2 : 1) * (ring ? 8 : 6) * rows * columns * d;
    p->flop = 2 * rows * p->forward_flop * (p->embeddings_of_clip + 2) + p->loss_flop;
}

static void count_traffic(const coc_settings *s, coc_step_plan *p)
{
    const double ranks = p->parts.ranks, others = (ranks - 1) / ranks;
    const double columns = (double)p->parts.batch * p->whole.embedding * sizeof(real);

    if (s->loss.exchange == COC_EXCHANGE_RING) {
        /* with track, number and set; a second time for the gradient, but of two ranks */
        const double slabs = columns + (double)p->parts.batch * (2 * sizeof(uint64_t) + 4);

        p->gathered = (ranks > 2 ? 2 : 1) * others * slabs;
    } else {
        p->gathered = others * (columns + (double)p->parts.batch * sizeof(uint64_t));
    }
    p->scattered = others * columns;
    if (s->loss.symmetric) {
        p->gathered *= 2;
        p->scattered *= 2;
    }
    p->gradients = 2 * others * (double)p->weights * sizeof(real);
}

void coc_step_plan_count(const coc_settings *settings, coc_step_plan *p)
{
    count_work(settings, p);
    count_traffic(settings, p);
}

/* ---- memory --------------------------------------------------------------------------------- */

static coc_memory_needs needs_of(const coc_plan_for *f, const coc_step_plan *p, int places)
{
    const bool views = coc_crop_frames(&f->settings->data) != COC_FRAMES;
    const int64_t viewed = coc_trainer_viewed(&p->parts, views);
    const int64_t pairs = f->settings->train.valid_pairs;

    return (coc_memory_needs){.settings = f->settings,
                              .whole = &p->whole,
                              .seen = &p->seen,
                              .weights = p->weights,
                              .parts = &p->parts,
                              .places = places,
                              .viewed = views ? viewed : 0,
                              /* of all windows, whose number is the data's, those at a time */
                              .validated = pairs > 0 ? pairs : viewed / 2,
                              .stored_bytes = f->stored_bytes,
                              .side = f->side};
}

static coc_status plan_part(const coc_plan_for *f, coc_step_plan *p, int64_t size)
{
    const coc_comm ranks = {.rank = 0, .size = f->ranks};
    const int64_t wanted = f->settings->train.keep_activations;
    coc_memory_needs needs;

    COC_TRY(coc_parts_make_for(&ranks, f->settings, size, &p->parts));
    p->places = wanted == 0 ? 1 : (int)(wanted < p->parts.count ? wanted : p->parts.count);
    needs = needs_of(f, p, p->places);
    if (wanted == 0 && f->memory > 0) COC_TRY(coc_memory_places_in(&needs, f->memory, &p->places));
    needs.places = p->places;
    COC_TRY(coc_memory_plan_make(&needs, &p->memory));
    COC_TRY(coc_memory_plan_host(&needs, &p->host));
    p->fits = f->memory == 0 || p->memory.bytes <= f->memory;
    return COC_OK;
}

/* The plan of settings that `train` would take with this micro-batch; others do not fit. */
static coc_status plan_proposal(const coc_plan_for *f, coc_step_plan *p, int64_t size)
{
    coc_settings settings = *f->settings;

    settings.train.micro_batch = size;
    p->fits = false;
    return coc_settings_check(&settings) == COC_OK ? plan_part(f, p, size) : COC_OK;
}

/* The next micro-batch to try, of whole groups; 0: there is none. Over the fixed tree a part has a
 * micro-batch of each rank, and there is a power of two of them. */
static int64_t smaller_part(const coc_plan_for *f, int64_t size)
{
    const int64_t group = f->settings->model.bn_group;

    if (f->settings->loss.reduction == COC_REDUCTION_FIXED_TREE)
        return size % (2 * group) == 0 ? size / 2 : 0;
    size = size / group / 2 * group;
    return size >= group && size >= f->ranks ? size : 0;
}

/* The largest micro-batch of whole groups, in steps of a factor of two, that fits; the loss's own
 * memory does not get smaller by it. */
static coc_status find_fitting_part(const coc_plan_for *f, coc_step_plan *p)
{
    const int64_t batch = f->settings->train.batch, group = f->settings->model.bn_group;
    const int64_t largest = p->parts.leaves ? p->parts.most : batch;
    coc_step_plan try = *p;

    p->fitting_part = !p->fits ? 0 : p->parts.leaves ? p->parts.most : p->parts.size;
    if (p->fits || group == 0 || group >= batch) return COC_OK;
    for (int64_t size = smaller_part(f, largest); size > 0; size = smaller_part(f, size)) {
        if (batch % size != 0 && batch % size < f->ranks) continue;
        COC_TRY(plan_proposal(f, &try, size));
        if (!try.fits) continue;
        p->fitting_part = size;
        return COC_OK;
    }
    return COC_OK;
}

enum { MOST = 1 << 20 }; /* of train.batch */

/* The least multiple of a and of b, which are at least 1. */
static int64_t common_multiple(int64_t a, int64_t b)
{
    int64_t x = a, y = b;

    while (y != 0) {
        const int64_t rest = x % y;

        x = y;
        y = rest;
    }
    return a / x * b;
}

/* The n-th batch that is tried, from 1 on, and its micro-batch: a multiple of loss.k, of whole
 * groups and with a pair for every rank; over the fixed tree a leaf for every rank, in parts a
 * power of two of them. */
static int64_t batch_tried(const coc_plan_for *f, bool in_parts, int64_t n, int64_t *size)
{
    const int64_t group = f->settings->model.bn_group > 0 ? f->settings->model.bn_group : 1;
    const int64_t k = f->settings->loss.k > 0 ? f->settings->loss.k : 1;
    const int64_t part = (f->ranks + group - 1) / group * group;
    const int64_t unit = common_multiple(in_parts ? part : group, k);
    const int64_t leaf = common_multiple(group * f->ranks, k) / f->ranks;

    *size = in_parts ? part : 0;
    if (f->settings->loss.reduction == COC_REDUCTION_FAST)
        return n * ((f->ranks + unit - 1) / unit * unit);
    *size = in_parts ? leaf : n * leaf;
    return in_parts ? leaf * f->ranks << (n - 1) : n * leaf * f->ranks;
}

/* By halves: more pairs never take less. */
static coc_status find_largest(const coc_plan_for *f, const coc_step_plan *p, bool in_parts,
                               int64_t *largest)
{
    int64_t good = 0, bad = 1, size;
    coc_settings s = *f->settings;
    coc_plan_for other = *f;
    coc_step_plan try = *p;

    *largest = 0;
    if (f->memory == 0 || (in_parts && f->settings->model.bn_group == 0)) return COC_OK;
    other.settings = &s;
    s.train.keep_activations = 1;
    while (batch_tried(f, in_parts, bad, &size) <= MOST)
        bad++;
    while (bad - good > 1) {
        const int64_t middle = good + (bad - good) / 2;

        s.train.batch = batch_tried(f, in_parts, middle, &size);
        COC_TRY(plan_proposal(&other, &try, size));
        if (try.fits)
            good = middle;
        else
            bad = middle;
    }
    if (good > 0) *largest = batch_tried(f, in_parts, good, &size);
    return COC_OK;
}

/* Where no part fits: whether one does, if columns go round. */
static coc_status find_fitting_ring(const coc_plan_for *f, coc_step_plan *p)
{
    coc_settings settings = *f->settings;
    coc_plan_for ring = *f;
    coc_step_plan try = *p;

    if (p->fits || p->fitting_part > 0 || settings.loss.exchange == COC_EXCHANGE_RING)
        return COC_OK;
    settings.loss.exchange = COC_EXCHANGE_RING;
    if (coc_settings_check(&settings) != COC_OK)
        return COC_OK; /* it goes with no tree, no screen */
    ring.settings = &settings;
    COC_TRY(plan_part(&ring, &try, settings.train.micro_batch));
    COC_TRY(find_fitting_part(&ring, &try));
    p->fitting_part = try.fitting_part;
    p->fitting_ring = try.fitting_part > 0;
    return COC_OK;
}

coc_status coc_step_plan_make(const coc_plan_for *f, coc_step_plan *p)
{
    *p = (coc_step_plan){.fits = true};
    COC_TRY(coc_trainer_networks(f->settings, &p->whole, &p->seen));
    p->weights = coc_params_weights(&p->whole);
    COC_TRY(plan_part(f, p, f->settings->train.micro_batch));
    coc_step_plan_count(f->settings, p);
    COC_TRY(find_largest(f, p, false, &p->largest[0]));
    COC_TRY(find_largest(f, p, true, &p->largest[1]));
    COC_TRY(find_fitting_part(f, p));
    return find_fitting_ring(f, p);
}
