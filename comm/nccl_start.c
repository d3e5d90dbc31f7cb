/* comm/nccl_start.c - how NCCL is set up, and ranks are connected. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/nccl_comm.h"

coc_status coc_nccl_check(ncclResult_t result, ncclComm_t nccl, const char *what)
{
    char last[1000];

    if (result == ncclSuccess) return COC_OK;
    snprintf(last, sizeof last, "%s", ncclGetLastError(nccl));
    last[strcspn(last, "\n")] = '\0';
    return COC_FAIL(COC_ERR_RANKS, "collective '%s': NCCL says: %s%s%s", what,
                    ncclGetErrorString(result), last[0] != '\0' ? ": " : "", last);
}

/* ---- once a process ------------------------------------------------------------------------- */

static coc_status set_variable(const char *name, const char *value, bool replace)
{
    if (setenv(name, value, replace) == 0) return COC_OK;
    return COC_FAIL(COC_ERR_MEMORY, "no memory for the variable %s", name);
}

/* NCCL refuses two ranks of one host on one device. Where each is a host of its own it takes them,
 * and moves what is theirs through sockets. */
static coc_status set_up_sharing(const coc_comm *host)
{
    char name[64];

    snprintf(name, sizeof name, "cocola-rank-%d", host->rank);
    COC_TRY(set_variable("NCCL_HOSTID", name, true));
    if (host->local_size < host->size) return COC_OK;
    COC_TRY(set_variable("NCCL_SOCKET_IFNAME", "lo", false));
    return set_variable("NCCL_IB_DISABLE", "1", false);
}

static coc_status check_version(void)
{
    int version = 0;

    COC_TRY(coc_nccl_check(ncclGetVersion(&version), NULL, "version of NCCL"));
    if (version / 10000 == NCCL_MAJOR) return COC_OK;
    return COC_FAIL(COC_ERR_RANKS,
                    "the program was built for NCCL %d, but libnccl here is %d.%d.%d: look at "
                    "LD_LIBRARY_PATH, or choose comm.backend: mpi",
                    NCCL_MAJOR, version / 10000, version / 100 % 100, version % 100);
}

coc_status coc_nccl_prepare(coc_comm *host, const coc_comm_settings *settings)
{
    static bool prepared;

    if (prepared) return COC_OK;
    COC_TRY(set_variable("NCCL_DEBUG", "WARN", false));
    if (settings->share_gpu) COC_TRY(set_up_sharing(host));
    prepared = true;
    return check_version();
}

/* ---- once a communicator -------------------------------------------------------------------- */

/* The first rank waits for the others at an address that is in the id. */
static coc_status exchange_id(coc_comm *comm, ncclUniqueId *id)
{
    coc_status status = COC_OK;

    memset(id, 0, sizeof *id);
    if (comm->rank == 0) status = coc_nccl_check(ncclGetUniqueId(id), NULL, "id of NCCL");
    COC_TRY(coc_comm_agree(comm, "id of NCCL", status));
    return coc_broadcast(coc_comm_over_host(comm), "id of NCCL", id, sizeof *id, COC_BYTE, 0);
}

coc_status coc_nccl_connect(coc_nccl *s)
{
    static const char what[] = "start of NCCL";
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    ncclResult_t result;
    coc_status status;

    COC_TRY(exchange_id(s->comm, &id));
    config.blocking = 0; /* else a rank that never comes is waited for in here */
    config.commName = "cocola";
    if (s->channels > 0) config.maxCTAs = s->channels;
    coc_nccl_window_configure(s->memory, &config);
    coc_where_start(NULL, s->top->comm->step, what);
    s->connecting = true;
    result = ncclCommInitRankConfig(&s->nccl, s->comm->size, id, s->comm->rank, &config);
    /* a call that begins something says that it is under way, or that it is done already */
    status = coc_nccl_settle(s, result == ncclSuccess ? ncclInProgress : result, what);
    s->connecting = false;
    return status;
}
