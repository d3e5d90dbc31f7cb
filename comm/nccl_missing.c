/* comm/nccl_missing.c - in the place of nccl.c where NCCL was not found. */
#include "comm/device_comm.h"

bool coc_comm_nccl_built(void)
{
    return false;
}

coc_status coc_comm_nccl(coc_comm *host, const coc_device *device,
                         const coc_comm_settings *settings, coc_comm **comm)
{
    (void)host, (void)device, (void)settings;
    *comm = NULL;
    return COC_OK;
}
