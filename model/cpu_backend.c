#include <omp.h>

#include "model/cpu.h"
#include "model/cpu_dense.h"
#include "model/ref.h"

enum { ALIGNMENT = 64 };

void *coc_cpu_take(coc_cpu_scratch *scratch, int64_t count, size_t size)
{
    const size_t start = scratch->used;

    scratch->used += ((size_t)count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return scratch->memory != NULL ? scratch->memory + start : NULL;
}

bool coc_cpu_scratch_begin(coc_backend *b, coc_cpu_scratch *scratch)
{
    scratch->memory = coc_backend_scratch(b, scratch->used);
    scratch->used = 0;
    return scratch->memory != NULL;
}

void coc_cpu_share(int64_t n, int threads, int thread, int64_t *first, int64_t *end)
{
    *first = n * thread / threads;
    *end = n * (thread + 1) / threads;
}

void coc_cpu_add_sums(int64_t n, int channels, const double *clip_sums, const int32_t *group,
                      double *sums)
{
    for (int64_t i = 0; i < n; i++) {
        double *to = sums + (int64_t)group[i] * 2 * channels;

        for (int c = 0; c < 2 * channels; c++)
            to[c] += clip_sums[i * 2 * channels + c];
    }
}

int coc_cpu_threads(int asked)
{
    const int limit = omp_get_thread_limit(), threads = asked > 0 ? asked : omp_get_max_threads();

    return threads < limit ? threads : limit;
}

coc_status coc_cpu_open(coc_backend *b)
{
    b->device = coc_device_host();
    b->threads = coc_cpu_threads(b->threads);
    /* kernels cut work for b->threads, and each thread takes only its own share: a team that
     * OpenMP makes smaller (OMP_DYNAMIC, OMP_THREAD_LIMIT) would leave clips undone */
    omp_set_dynamic(0);
    return COC_OK;
}

const coc_ops coc_cpu_ops = {
    .name = "cpu",
    .stem_forward = coc_cpu_stem_forward,
    .depthwise_forward = coc_cpu_depthwise_forward,
    .pointwise_forward = coc_cpu_pointwise_forward,
    .stem_backward = coc_cpu_stem_backward,
    .depthwise_backward = coc_cpu_depthwise_backward,
    .pointwise_backward = coc_cpu_pointwise_backward,
    .norm_finish = coc_ref_norm_finish,
    .norm_collect = coc_ref_norm_collect,
    .running_update = coc_ref_running_update,
    .norm_fixed = coc_ref_norm_fixed,
    .norm_backward_sums = coc_cpu_norm_backward_sums,
    .norm_backward_params = coc_ref_norm_backward_params,
    .norm_backward_finish = coc_ref_norm_backward_finish,
    .pool_forward = coc_cpu_pool_forward,
    .squeeze_forward = coc_cpu_squeeze_forward,
    .squeeze_backward = coc_cpu_squeeze_backward,
    .join_forward = coc_cpu_join_forward,
    .linear_forward = coc_cpu_linear_forward,
    .linear_backward = coc_cpu_linear_backward,
    .multiply = coc_ref_multiply,
    .add = coc_cpu_add,
    .add_sums = coc_ref_add_sums,
    .layer_norm_tanh_forward = coc_ref_layer_norm_tanh_forward,
    .layer_norm_tanh_backward = coc_ref_layer_norm_tanh_backward,
    .contrast = coc_cpu_contrast,
    .tile_forward = coc_cpu_tile_forward,
    .tile_results = coc_ref_tile_results,
    .tile_backward = coc_cpu_tile_backward,
    .clip_gradient = coc_cpu_clip_gradient,
    .adam = coc_cpu_adam,
    .draw_keep = coc_ref_draw_keep,
    .finish = coc_ref_finish,
    .destroy = coc_ref_destroy,
};
