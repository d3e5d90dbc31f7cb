#include "comm/host_memory.h"

coc_status coc_comm_host_alloc(coc_comm *comm, size_t bytes, void **memory)
{
    const coc_device *host = coc_device_host();

    (void)comm;
    return host->alloc(host, bytes, memory);
}

void coc_comm_host_release(coc_comm *comm, void *memory)
{
    const coc_device *host = coc_device_host();

    (void)comm;
    host->release(host, memory);
}
