#include "base/cuda/device.h"
#include "model/backends.h"
#include "model/cpu.h"
#include "model/cuda/cuda.h"
#include "model/ref.h"

const coc_backend_row coc_backend_rows[] = {
    {&coc_ref_ops, coc_ref_open, false, NULL, false, false, coc_ref_loss_scratch},
    {&coc_cpu_ops, coc_cpu_open, false, NULL, false, false, coc_cpu_loss_scratch},
    {&coc_cuda_ops, coc_cuda_open, true, coc_cuda_choose, true, true, coc_cuda_loss_scratch},
    {NULL, NULL, false, NULL, false, false, NULL},
};
