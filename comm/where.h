/* comm/where.h - where this rank is: the words that it tells a rank which waits for it.
 *
 * The thread that computes writes them, the side channel's thread (comm/side.h) reads them, so a
 * rank answers while it computes.
 */
#ifndef COC_COMM_WHERE_H
#define COC_COMM_WHERE_H

#include <stdbool.h>
#include <stdint.h>

enum { COC_WHAT_BYTES = 48 };

typedef struct {
    uint64_t started; /* collectives started on the communicator asked about; 0 if not in it */
    int64_t step;
    double seconds;            /* since it last started or finished something */
    int32_t waiting;           /* 1: in a wait, 0: computing */
    char what[COC_WHAT_BYTES]; /* the collective started last, on any communicator; "" at first */

    /* The collective that this rank's device has come to, where it does them by itself; "": none
     * since it was last waited for. */
    char device_what[COC_WHAT_BYTES];
    uint64_t device_id;     /* its communicator's */
    int32_t device_number;  /* among its communicator's, in a step; modulo 64 */
    int32_t device_awaited; /* 1: what is waited for is the device */
} coc_where;

/* The count of one communicator; lives in its state, linked while it exists. */
typedef struct coc_where_count {
    uint64_t id; /* the same on all its ranks, and of no other communicator */
    uint64_t started;
    struct coc_where_count *next;
} coc_where_count;

void coc_where_add(coc_where_count *count);
void coc_where_remove(coc_where_count *count);

/* A collective has been started on the communicator of count; returns which of its collectives it
 * is, from 1. NULL: on none; returns 0. */
uint64_t coc_where_start(coc_where_count *count, int64_t step, const char *what);
void coc_where_wait(bool waiting);

/* Who tells what the device has come to: called with context from any thread, fills in device_*.
 * NULL: nobody. */
void coc_where_ask_device(void (*tell)(void *context, coc_where *where), void *context);

void coc_where_get(uint64_t id, coc_where *where);

#endif
