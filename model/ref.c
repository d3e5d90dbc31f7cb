#include "model/ref.h"

#include "model/backends.h"

coc_status coc_ref_open(coc_backend *b)
{
    b->device = coc_device_host();
    b->threads = 1;
    return COC_OK;
}

coc_status coc_ref_finish(coc_backend *b)
{
    return coc_backend_status(b);
}

void coc_ref_destroy(coc_backend *b)
{
    (void)b; /* nothing beyond what every backend has */
}

const coc_ops coc_ref_ops = {
    .name = "ref",
    .stem_forward = coc_ref_stem_forward,
    .depthwise_forward = coc_ref_depthwise_forward,
    .pointwise_forward = coc_ref_pointwise_forward,
    .stem_backward = coc_ref_stem_backward,
    .depthwise_backward = coc_ref_depthwise_backward,
    .pointwise_backward = coc_ref_pointwise_backward,
    .norm_finish = coc_ref_norm_finish,
    .norm_collect = coc_ref_norm_collect,
    .running_update = coc_ref_running_update,
    .norm_fixed = coc_ref_norm_fixed,
    .norm_backward_sums = coc_ref_norm_backward_sums,
    .norm_backward_params = coc_ref_norm_backward_params,
    .norm_backward_finish = coc_ref_norm_backward_finish,
    .pool_forward = coc_ref_pool_forward,
    .squeeze_forward = coc_ref_squeeze_forward,
    .squeeze_backward = coc_ref_squeeze_backward,
    .join_forward = coc_ref_join_forward,
    .linear_forward = coc_ref_linear_forward,
    .linear_backward = coc_ref_linear_backward,
    .multiply = coc_ref_multiply,
    .add = coc_ref_add,
    .add_sums = coc_ref_add_sums,
    .layer_norm_tanh_forward = coc_ref_layer_norm_tanh_forward,
    .layer_norm_tanh_backward = coc_ref_layer_norm_tanh_backward,
    .contrast = coc_ref_contrast,
    .tile_forward = coc_ref_tile_forward,
    .tile_results = coc_ref_tile_results,
    .tile_backward = coc_ref_tile_backward,
    .clip_gradient = coc_ref_clip_gradient,
    .adam = coc_ref_adam,
    .draw_keep = coc_ref_draw_keep,
    .finish = coc_ref_finish,
    .destroy = coc_ref_destroy,
};
