/* comm/device_comm.h - communicators for the memory of a device, over one of the host. */
#ifndef COC_COMM_DEVICE_COMM_H
#define COC_COMM_DEVICE_COMM_H

#include "comm/comm.h"
#include "configs/settings.h"

/* Those of the settings, with what loss.reduction asks for: sums over the fixed tree are the
 * host's. */
coc_comm_settings coc_comm_settings_of(const coc_settings *settings);

/* Whether tensors of a GPU go through the host's memory (comm/staged.c) between several ranks. */
bool coc_comm_is_staged(const coc_comm_settings *settings);

/* The ranks of world for tensors on the device, as settings->backend says: mpi moves them through
 * the host, nccl from device to device, auto is nccl where it is built in and no device is shared.
 * For a device of the host: world itself. Otherwise a communicator that borrows world, ended by
 * coc_comm_destroy before it, and after all recordings (base/device.h) that hold its collectives.
 * Streams that it is given live longer. Collective. Errors: COC_ERR_SETTING (nccl is not built in),
 * COC_ERR_RANKS, COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_comm_for_device(coc_comm *world, const coc_device *device,
                               const coc_comm_settings *settings, coc_comm **comm);

/* Through pinned memory of the host, by its communicator; of one process alone: copies on the
 * device. Any device, also the host. Borrows host. Not collective. Errors: COC_ERR_MEMORY. */
coc_status coc_comm_staged(coc_comm *host, const coc_device *device, coc_comm **comm);

/* Whether NCCL is built in. */
bool coc_comm_nccl_built(void);
/* NCCL over the same ranks; *comm NULL without an error where it is not built in. One at a time
 * (subgroups beside it). Borrows host. Collective. Errors: COC_ERR_RANKS, COC_ERR_DEVICE,
 * COC_ERR_MEMORY. */
coc_status coc_comm_nccl(coc_comm *host, const coc_device *device,
                         const coc_comm_settings *settings, coc_comm **comm);

#endif
