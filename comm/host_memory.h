/* comm/host_memory.h - the entries alloc and release of the rows for the host's memory. */
#ifndef COC_COMM_HOST_MEMORY_H
#define COC_COMM_HOST_MEMORY_H

#include "comm/comm.h"

coc_status coc_comm_host_alloc(coc_comm *comm, size_t bytes, void **memory);
void coc_comm_host_release(coc_comm *comm, void *memory);

#endif
