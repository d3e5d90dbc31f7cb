/* model/similarity_exchange.h - inside of the similarity: how columns come to the rows of all
 * ranks, and their gradients back; used by model/similarity*.c alone.
 *
 * `gather` has the columns of all ranks on every rank. In a `ring` each rank's columns pass by all
 * others, which hold three ranks' at a time. Both give loss, gradients and counts of the same rows
 * and columns. */
#ifndef COC_MODEL_SIMILARITY_EXCHANGE_H
#define COC_MODEL_SIMILARITY_EXCHANGE_H

#include "base/memory.h"
#include "model/similarity.h"
#include "model/tree.h"

/* Collectives of a similarity on their way at a time: enough to hide the start of one behind
 * another. */
enum { COC_ON_THE_WAY = 4 };

/* All entries are required. Collective, but for layout, make and unmake. */
typedef struct {
    const char *name;
    size_t state_bytes;
    /* Of the arena, for these parts. */
    int64_t (*bytes)(const coc_parts *parts, int d);
    /* See coc_similarity_sum_bytes. */
    int64_t (*sum_bytes)(const coc_parts *parts, int d);
    /* Columns that an operation of the loss sees at most; whether they are a tile. */
    int64_t (*columns)(const coc_parts *parts);
    bool tiles;
    /* Take from s->arena what is sent or brought: what lies at the same distance from its beginning
     * on every rank (coc_comm_ops.alloc), then the rest. */
    void (*layout)(coc_similarity *s);
    /* Host memory of the state, before there is an arena, and free it; unmake also after make has
     * failed. */
    coc_status (*make)(coc_similarity *s);
    void (*unmake)(coc_similarity *s);
    /* Once, when there is an arena. */
    coc_status (*begin)(coc_similarity *s);
    /* This rank's columns of a part are in s->p: send them on their way, or keep them for it. */
    coc_status (*share)(coc_similarity *s, const coc_similarity_batch *batch, int64_t part);
    /* c: the contrast with all that does not depend on where columns are. Gives d_h1 = d loss / d
     * h1, s->dp and, on all ranks, s->results (all of them 0 before). checking: columns are
     * compared with what was sent. */
    coc_status (*loss)(coc_similarity *s, const coc_contrast *c, const coc_similarity_batch *batch,
                       bool checking, real *d_h1, double *seconds);
} coc_exchange;

extern const coc_exchange coc_exchange_gather, coc_exchange_ring;

struct coc_similarity {
    const coc_exchange *exchange;
    void *state; /* the exchange's own */
    coc_backend *backend;
    coc_comm *comm;
    coc_parts parts;
    int d;
    bool mask_track, screen;
    int64_t calls;
    coc_request *request[COC_ON_THE_WAY];
    int64_t started; /* collectives of the call at hand */
    coc_arena arena;
    bool columns_stay; /* p is read once more behind the exchange's loss */
    real *p, *dp;      /* [n][d] this rank's columns H2 W', and the gradient there, which may take
                          their place once they have been shared */
    double *results;   /* [COC_CONTRAST_RESULTS] */
    double *host_results; /* the same on the host, to which the device copies */
    int64_t leaves;       /* of this rank's rows; 1 where parts are none */
    coc_tree *w_tree;     /* over them */
    /* loss.symmetric: the exchange with anchors as columns, and the gradient that it gives at this
     * rank's positives, its rows [n][d]; else NULL */
    coc_similarity *mirror;
    real *mirror_rows;
};

/* Room for one more collective, whose request goes to *place: waits for the one before it there. */
coc_status coc_exchange_make_room(coc_similarity *s, coc_request ***place);
/* For all that are on their way; also after a failure, so that none is left. */
coc_status coc_exchange_wait_all(coc_similarity *s);
/* s->results summed over all ranks: started. */
coc_status coc_exchange_sum_results(coc_similarity *s);

/* *hash of so many bytes on the device, and of what is in it so far. Waits for the device; what is
 * read may still be on its way from another rank. chunk: coc_exchange_chunk of page-locked memory.
 */
coc_status coc_exchange_hash(const coc_similarity *s, const void *from, int64_t bytes, void *chunk,
                             uint64_t *hash);
extern const size_t coc_exchange_chunk;

#endif
