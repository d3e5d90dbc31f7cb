/* comm/slabs.c - whether what was gathered stands where it belongs.
 *
 * Libraries have been seen to return the parts of an all-gather in the order of other ranks, and to
 * say nothing. A loss computed from such parts is finite, and falls.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "comm/comm.h"

/* What every rank tells of its part. The rank goes with it: a gather that changes the order would
 * change that of these words too. */
typedef struct {
    int64_t rank;
    uint64_t hash;
} tag;

static int whose(const tag *tags, int size, uint64_t hash)
{
    for (int rank = 0; rank < size; rank++)
        if (tags[rank].hash == hash) return rank;
    return -1;
}

static coc_status compare(const char *what, const tag *tags, int size, const uint64_t *found)
{
    for (int rank = 0; rank < size; rank++) {
        const int owner = whose(tags, size, found[rank]);

        if (tags[rank].rank == rank && tags[rank].hash == found[rank]) continue;
        if (tags[rank].rank == rank && owner < 0)
            return COC_FAIL(COC_ERR_RANKS,
                            "collective '%s': the part of rank %d did not come as it was sent: "
                            "network, memory or the library of the collectives is at fault",
                            what, rank);
        return COC_FAIL(COC_ERR_RANKS,
                        "collective '%s': at the place of rank %d stands the part of rank %d: the "
                        "library of the collectives is at fault",
                        what, rank, tags[rank].rank == rank ? owner : (int)tags[rank].rank);
    }
    return COC_OK;
}

coc_status coc_check_slabs(coc_comm *comm, const char *what, uint64_t own, const uint64_t *found)
{
    const tag mine = {comm->rank, own};
    tag *tags;
    coc_status status;

    COC_TRY(coc_alloc(comm->size, sizeof *tags, &tags));
    status = coc_gather_each(comm, what, &mine, sizeof mine, tags);
    if (status == COC_OK) status = compare(what, tags, comm->size, found);
    free(tags);
    return status;
}
