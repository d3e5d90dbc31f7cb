/* comm/device_comm.c - which communicator carries tensors. */
#include "comm/device_comm.h"

#include <string.h>

coc_status coc_comm_for_device(coc_comm *world, const coc_device *device,
                               const coc_comm_settings *settings, coc_comm **comm)
{
    const bool nccl = strcmp(settings->backend, "nccl") == 0;
    const bool chosen = strcmp(settings->backend, "auto") == 0 && !settings->share_gpu;

    *comm = NULL;
    if (device->side == COC_HOST) {
        *comm = world;
        return COC_OK;
    }
    if (world->size > 1 && (nccl || chosen)) COC_TRY(coc_comm_nccl(world, device, settings, comm));
    if (*comm != NULL) return COC_OK;
    if (nccl && world->size > 1)
        return COC_FAIL(COC_ERR_SETTING,
                        "comm.backend: nccl is not built in; configure with NCCL, or choose mpi");
    return coc_comm_staged(world, device, comm);
}
