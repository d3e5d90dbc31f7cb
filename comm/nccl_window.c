/* comm/nccl_window.c - memory that all devices of a machine see at one place (NCCL's windows).
 *
 * A collective whose buffers lie in windows, as far from their beginnings on every rank, is one of
 * NCCL's symmetric kernels, or a copy by the copy engines. NCCL decides that by itself: what is
 * done here is the memory. */
#include <stdlib.h>

#include "base/cuda/device.h"
#include "base/memory.h"
#include "comm/nccl_comm.h"

enum { LEAST_VERSION = 22800 }; /* symmetric memory is of 2.27, copy engines of 2.28 */

struct coc_nccl_window {
    coc_nccl_window *next;
    void *memory;
    ncclWindow_t window; /* NCCL writes here until the registration is done */
};

/* ---- what stands against it ------------------------------------------------------------------ */

static coc_status check_version(const char *name)
{
    int version = 0;

    COC_TRY(coc_nccl_check(ncclGetVersion(&version), NULL, "version of NCCL"));
    if (version >= LEAST_VERSION) return COC_OK;
    return COC_FAIL(COC_ERR_SETTING,
                    "comm.nccl_memory: %s needs NCCL %d.%d, here it is %d.%d.%d: choose plain",
                    name, LEAST_VERSION / 10000, LEAST_VERSION / 100 % 100, version / 10000,
                    version / 100 % 100, version % 100);
}

/* Devices that a task does not see cannot be asked; NCCL itself then refuses the memory. */
static coc_status check_peers(const char *name, const coc_comm *host)
{
    const char *reason;
    const int here = coc_cuda_here()->index, count = coc_cuda_count(&reason);

    for (int other = 0; other < count && other < host->local_size; other++) {
        int reaches = 1;

        if (other == here) continue;
        COC_TRY(coc_cuda_check(cudaDeviceCanAccessPeer(&reaches, here, other), "asking for peers"));
        if (!reaches)
            return COC_FAIL(COC_ERR_SETTING,
                            "comm.nccl_memory: %s needs GPUs that reach each other's memory, GPU "
                            "%d does not reach GPU %d: choose plain",
                            name, here, other);
    }
    return COC_OK;
}

coc_status coc_nccl_window_check(const coc_comm *host, const coc_comm_settings *settings)
{
    const char *name = coc_nccl_memory_name(settings->nccl_memory);

    if (settings->nccl_memory == COC_NCCL_PLAIN) return COC_OK;
    COC_TRY(check_version(name));
    if (settings->share_gpu)
        return COC_FAIL(COC_ERR_SETTING,
                        "comm.nccl_memory: %s needs a GPU for every rank, comm.share_gpu is set: "
                        "choose plain",
                        name);
    if (host->local_size < host->size)
        return COC_FAIL(COC_ERR_SETTING,
                        "comm.nccl_memory: %s works within one machine, but %d of %d ranks are on "
                        "%s: choose plain",
                        name, host->local_size, host->size, host->host);
    return check_peers(name, host);
}

void coc_nccl_window_configure(coc_nccl_memory memory, ncclConfig_t *config)
{
    if (memory == COC_NCCL_COPY_ENGINE) config->CTAPolicy = NCCL_CTA_POLICY_ZERO;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* The most that a rank asks for, in whole pages of NCCL's. */
static coc_status agree_on_bytes(coc_comm *comm, size_t *bytes)
{
    const int64_t mine = (int64_t)*bytes;
    int64_t *all, most = 1;
    coc_status status;

    COC_TRY(coc_alloc(comm->size, sizeof *all, &all));
    status = coc_gather_each(comm, "size of symmetric memory", &mine, sizeof mine, all);
    for (int rank = 0; rank < comm->size; rank++)
        if (all[rank] > most) most = all[rank];
    free(all);
    *bytes = ((size_t)most + NCCL_WIN_REQUIRED_ALIGNMENT - 1) / NCCL_WIN_REQUIRED_ALIGNMENT *
             NCCL_WIN_REQUIRED_ALIGNMENT;
    return status;
}

static coc_status take(size_t bytes, coc_nccl_window **out)
{
    ncclResult_t result;

    COC_TRY(coc_alloc(1, sizeof **out, out));
    result = ncclMemAlloc(&(*out)->memory, bytes);
    if (result == ncclSuccess) return COC_OK;
    (void)cudaGetLastError();
    (*out)->memory = NULL;
    return COC_FAIL(COC_ERR_MEMORY, "GPU: no symmetric memory for %.1f MB: NCCL says: %s",
                    1e-6 * (double)bytes, ncclGetErrorString(result));
}

static void give_back(coc_nccl *s, coc_nccl_window *w)
{
    if (w == NULL) return;
    if (w->window != NULL && s->nccl != NULL)
        (void)coc_nccl_settle(s, ncclCommWindowDeregister(s->nccl, w->window),
                              "end of symmetric memory");
    if (w->memory != NULL) (void)ncclMemFree(w->memory);
    free(w);
}

/* NCCL says nothing where it cannot: it leaves the window NULL. */
static coc_status see_window(const coc_nccl_window *w)
{
    if (w->window != NULL) return COC_OK;
    return COC_FAIL(COC_ERR_SETTING,
                    "comm.nccl_memory: NCCL finds no way from every GPU to the memory of every "
                    "other (NCCL_DEBUG=INFO tells more): choose plain");
}

coc_status coc_nccl_window_alloc(coc_comm *comm, size_t bytes, void **memory)
{
    static const char what[] = "symmetric memory";
    coc_nccl *s = coc_nccl_of(comm);
    coc_nccl_window *w = NULL;
    coc_status status;

    *memory = NULL;
    if (s->memory == COC_NCCL_PLAIN) return s->device->alloc(s->device, bytes, memory);
    COC_TRY(agree_on_bytes(comm, &bytes));
    status = coc_comm_agree(comm, what, take(bytes, &w));
    if (status == COC_OK)
        status = coc_nccl_settle(
            s,
            ncclCommWindowRegister(s->nccl, w->memory, bytes, &w->window, NCCL_WIN_COLL_SYMMETRIC),
            what);
    if (status == COC_OK) status = coc_comm_agree(comm, what, see_window(w));
    if (status != COC_OK) {
        give_back(s, w);
        return status;
    }
    w->next = s->windows;
    s->windows = w;
    *memory = w->memory;
    return COC_OK;
}

void coc_nccl_window_release(coc_comm *comm, void *memory)
{
    coc_nccl *s = coc_nccl_of(comm);

    for (coc_nccl_window **at = &s->windows; *at != NULL; at = &(*at)->next) {
        coc_nccl_window *w = *at;

        if (w->memory != memory) continue;
        *at = w->next;
        give_back(s, w);
        return;
    }
    s->device->release(s->device, memory);
}
