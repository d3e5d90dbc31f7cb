/* model/encoder_norm.c - batch norm over groups of pairs that may span ranks. */
#include "model/encoder_plan.h"

/* The groups to the device. Once for all steps: what a recorded step does again must not read host
 * memory. */
static coc_status take_groups(coc_encoder *e, const coc_groups *groups, int64_t n)
{
    const coc_device *device = e->backend->device;
    const size_t count = (size_t)groups->count;

    if (e->current == groups->id) return COC_OK;
    e->current = 0;
    for (int i = 0; i < e->norms; i++)
        for (int g = 0; g < groups->count; g++)
            e->host_values[i * e->groups + g] =
                (double)groups->clips[g] * (double)e->norm[i].positions;
    COC_TRY(device->copy(device, e->values, e->host_values,
                         (size_t)e->norms * (size_t)e->groups * sizeof *e->values, NULL));
    COC_TRY(
        device->copy(device, e->group, groups->of_clip, (size_t)n * sizeof *groups->of_clip, NULL));
    COC_TRY(device->copy(device, e->owned, groups->owned, count * sizeof *groups->owned, NULL));
    COC_TRY(device->wait(device, NULL));
    e->current = groups->id;
    return COC_OK;
}

coc_status coc_norms_begin(coc_encoder *e, const coc_groups *groups, int64_t n)
{
    const int count = groups != NULL ? groups->count : 1;

    if (n < 1 || n > e->clips || count > e->groups || (groups != NULL && !e->training))
        return COC_FAIL(COC_ERR_INTERNAL,
                        "%lld clips in %d groups given to an encoder made for %lld in %d",
                        (long long)n, count, (long long)e->clips, e->groups);
    for (int i = 0; i < e->norms; i++)
        e->norm[i].read.group = groups != NULL ? e->group : e->no_group;
    return groups != NULL ? take_groups(e, groups, n) : COC_OK;
}

coc_status coc_norm_sums(coc_encoder *e, const coc_groups *groups, const coc_norm_layer *layer,
                         double **sums)
{
    *sums = NULL;
    if (groups == NULL) return COC_OK;
    *sums = e->sums;
    return e->backend->device->zero(
        e->backend->device, e->sums,
        (size_t)groups->count * 2 * (size_t)layer->channels * sizeof *e->sums, NULL);
}

/* e->sums of shared groups, summed over their ranks. Only a rank's first and last group can be
 * shared; both reductions are started, in the order of the run's groups, before either is waited
 * for. */
static coc_status share_sums(coc_encoder *e, const coc_groups *groups, int channels,
                             const char *what)
{
    const int which[2] = {0, groups->count - 1};
    const int ends = groups->count > 1 ? 2 : 1;
    coc_request *request[2] = {NULL, NULL};
    coc_status status = COC_OK;

    if (groups->comm[which[0]] == NULL && groups->comm[which[1]] == NULL) return COC_OK;
    for (int i = 0; i < ends && status == COC_OK; i++) {
        coc_comm *comm = groups->comm[which[i]];
        const int64_t count = 2 * (int64_t)channels;

        if (comm != NULL)
            status = comm->ops->start_all_reduce(comm, what, e->sums + which[i] * count, count,
                                                 COC_DOUBLE, NULL, &request[i]);
    }
    for (int i = 0; i < ends; i++) {
        coc_comm *comm = groups->comm[which[i]];
        coc_status one;

        if (request[i] == NULL) continue;
        one = comm->ops->wait(comm, &request[i]);
        if (status == COC_OK) status = one;
    }
    return status;
}

coc_status coc_norm_settle(coc_encoder *e, const coc_params *params, const coc_groups *groups,
                           coc_norm_layer *layer, const coc_norm_index *at)
{
    const coc_ops *ops = e->backend->ops;
    const real *gamma = params->value + at->gamma, *beta = params->value + at->beta;
    const double eps = e->network->profile->bn_eps;

    if (groups == NULL) {
        ops->norm_fixed(e->backend, layer->channels, params->running + at->mean,
                        params->running + at->variance, gamma, beta, eps, layer->mean,
                        layer->inverse_std, layer->scale, layer->shift);
        return COC_OK;
    }
    COC_TRY(share_sums(e, groups, layer->channels, "batch-norm sums"));
    ops->norm_finish(e->backend, layer->channels, groups->count, e->sums, layer->values, gamma,
                     beta, eps, layer->mean, layer->inverse_std, layer->scale, layer->shift);
    if (e->stat != NULL)
        ops->norm_collect(e->backend, layer->channels, groups->count, e->sums, layer->values,
                          e->owned, e->stat + at->mean);
    return COC_OK;
}

coc_status coc_norm_backward(coc_encoder *e, coc_params *params, const coc_groups *groups,
                             const coc_norm_layer *layer, const coc_norm_index *at, int64_t n,
                             bool summed, coc_gradient *g)
{
    const coc_ops *ops = e->backend->ops;

    if (!summed) {
        double *sums;

        COC_TRY(coc_norm_sums(e, groups, layer, &sums));
        ops->norm_backward_sums(e->backend, n, layer->positions, layer->channels, g, sums);
    }
    /* before the sums are shared: the gradient of every weight is summed over ranks later */
    ops->norm_backward_params(e->backend, layer->channels, groups->count, e->sums,
                              params->grad + at->gamma, params->grad + at->beta);
    COC_TRY(share_sums(e, groups, layer->channels, "batch-norm gradient sums"));
    ops->norm_backward_finish(e->backend, layer->channels, groups->count, e->sums, layer->values,
                              e->mean_du, e->mean_dux);
    g->mean_du = e->mean_du;
    g->mean_dux = e->mean_dux;
    return COC_OK;
}

coc_status coc_running_begin(const coc_params *p)
{
    return p->device->zero(p->device, p->stat, (size_t)p->runnings * sizeof *p->stat, NULL);
}

coc_status coc_running_update(coc_backend *backend, coc_params *p, int64_t groups, coc_comm *comm,
                              coc_reduction reduction, double momentum, const coc_now *now)
{
    COC_TRY(coc_sum_over_ranks(comm, reduction, "running statistics", p->stat, p->runnings,
                               COC_DOUBLE));
    backend->ops->running_update(backend, p->runnings, p->stat, (double)groups, momentum, now,
                                 p->running);
    p->batches++;
    return COC_OK;
}
