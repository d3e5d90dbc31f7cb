/* comm/device_comm.c - which communicator carries tensors. */
#include "comm/device_comm.h"

#include <stdio.h>
#include <string.h>

coc_comm_settings coc_comm_settings_of(const coc_settings *s)
{
    coc_comm_settings c = s->comm;

    if (s->loss.reduction == COC_REDUCTION_FIXED_TREE && strcmp(c.backend, "auto") == 0)
        snprintf(c.backend, sizeof c.backend, "mpi");
    return c;
}

bool coc_comm_is_staged(const coc_comm_settings *settings)
{
    if (strcmp(settings->backend, "nccl") == 0) return false;
    return strcmp(settings->backend, "auto") != 0 || settings->share_gpu || !coc_comm_nccl_built();
}

coc_status coc_comm_for_device(coc_comm *world, const coc_device *device,
                               const coc_comm_settings *settings, coc_comm **comm)
{
    const bool nccl = strcmp(settings->backend, "nccl") == 0;

    *comm = NULL;
    if (device->side == COC_HOST) {
        *comm = world;
        return COC_OK;
    }
    if (world->size > 1 && !coc_comm_is_staged(settings))
        COC_TRY(coc_comm_nccl(world, device, settings, comm));
    if (*comm != NULL) return COC_OK;
    if (nccl && world->size > 1)
        return COC_FAIL(COC_ERR_SETTING,
                        "comm.backend: nccl is not built in; configure with NCCL, or choose mpi");
    return coc_comm_staged(world, device, comm);
}
