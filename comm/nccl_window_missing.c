/* comm/nccl_window_missing.c - in the place of nccl_window.c where the headers of NCCL are older
 * than 2.28. */
#include "comm/nccl_comm.h"

coc_status coc_nccl_window_check(const coc_comm *host, const coc_comm_settings *settings)
{
    (void)host;
    if (settings->nccl_memory == COC_NCCL_PLAIN) return COC_OK;
    return COC_FAIL(COC_ERR_SETTING,
                    "comm.nccl_memory: %s needs NCCL 2.28, the program was built with %d.%d.%d: "
                    "choose plain",
                    coc_nccl_memory_name(settings->nccl_memory), NCCL_MAJOR, NCCL_MINOR,
                    NCCL_PATCH);
}

void coc_nccl_window_configure(coc_nccl_memory memory, ncclConfig_t *config)
{
    (void)memory, (void)config;
}

coc_status coc_nccl_window_alloc(coc_comm *comm, size_t bytes, void **memory)
{
    const coc_device *device = coc_nccl_of(comm)->device;

    return device->alloc(device, bytes, memory);
}

void coc_nccl_window_release(coc_comm *comm, void *memory)
{
    const coc_device *device = coc_nccl_of(comm)->device;

    device->release(device, memory);
}
