/* comm/nccl_comm.h - inside of the nccl row; used by comm/nccl*.c alone.
 *
 * Only the thread that started MPI calls these functions.
 */
#ifndef COC_COMM_NCCL_COMM_H
#define COC_COMM_NCCL_COMM_H

#include <nccl.h>

#include "comm/device_comm.h"
#include "comm/where.h"

/* ---- what the device has come to: nccl_marks.c
 *
 * Recorded work runs without the host, so the device itself tells where it is: at the beginning of
 * every collective it copies a number into a word of pinned host memory. */

enum { COC_MARK_NUMBERS = 64, COC_MARK_NAMES = 64 };

typedef struct coc_nccl_marks coc_nccl_marks;

typedef struct {
    bool begun; /* else: no collective since coc_nccl_marks_forget; the others are 0 */
    uint32_t value;
    int number; /* among its communicator's collectives, modulo COC_MARK_NUMBERS */
    const coc_comm *comm;
    const char *what;
} coc_nccl_mark;

/* Errors: COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_nccl_marks_create(const coc_device *device, coc_nccl_marks **marks);
void coc_nccl_marks_destroy(coc_nccl_marks **marks);
/* Let the stream tell, when it comes here, that it begins this collective. May be recorded. */
coc_status coc_nccl_marks_set(coc_nccl_marks *marks, const coc_comm *comm, const char *what,
                              uint64_t number, coc_stream *stream);
/* What it has told last. */
coc_nccl_mark coc_nccl_marks_get(coc_nccl_marks *marks);
/* Nothing of what it was given is left to be done. */
void coc_nccl_marks_forget(coc_nccl_marks *marks);
/* Whether this rank waits for the device now; other ranks are told. */
void coc_nccl_marks_await(coc_nccl_marks *marks, bool awaited);
/* A communicator ends: its collectives are not named any more. */
void coc_nccl_marks_drop(coc_nccl_marks *marks, const coc_comm *comm);

/* ---- memory that all devices see at one place: nccl_window.c
 *
 * nccl_window_missing.c is in its place where the headers of NCCL are older than 2.28. */

typedef struct coc_nccl_window coc_nccl_window;
struct coc_nccl;

/* Whether settings->nccl_memory can be had: of this NCCL, on these machines. Errors:
 * COC_ERR_SETTING, with what stands against it. Not collective. */
coc_status coc_nccl_window_check(const coc_comm *host, const coc_comm_settings *settings);
/* What it asks of a communicator's start. */
void coc_nccl_window_configure(coc_nccl_memory memory, ncclConfig_t *config);
/* The row's entries. */
coc_status coc_nccl_window_alloc(coc_comm *comm, size_t bytes, void **memory);
void coc_nccl_window_release(coc_comm *comm, void *memory);

/* ---- communicators: nccl.c, nccl_start.c */

/* A started collective; what coc_request stands for here. */
typedef struct coc_nccl_request {
    struct coc_nccl_request *next; /* among the idle ones */
    coc_stream *stream;            /* the caller's */
    void *finished;                /* cudaEvent_t: after the collective */
} coc_nccl_request;

/* What coc_comm.impl of the row points at. The outermost one owns stream and marks: one stream for
 * all of them, so that no two ranks' devices begin collectives of two communicators in different
 * orders and wait for each other. */
typedef struct coc_nccl {
    ncclComm_t nccl;
    coc_comm *comm;        /* whose impl this is */
    struct coc_nccl *top;  /* the outermost one, itself there */
    struct coc_nccl *next; /* of all in the process */
    bool owns_control;     /* of a subgroup */
    const coc_device *device;
    int channels;             /* most blocks of NCCL's on the device; 0: its own choice */
    coc_nccl_memory memory;   /* plain in subgroups */
    coc_nccl_window *windows; /* all that was taken and not given back */
    bool connecting;          /* in coc_nccl_connect */
    coc_where_count count;
    coc_stream *stream;
    coc_nccl_marks *marks;
    int64_t first_step; /* the first step that was waited for; -1: none yet */
    coc_nccl_request *idle;
} coc_nccl;

static inline coc_nccl *coc_nccl_of(const coc_comm *comm)
{
    return (coc_nccl *)comm->impl;
}

/* COC_OK, or COC_ERR_RANKS with NCCL's own words. nccl NULL: none yet. */
coc_status coc_nccl_check(ncclResult_t result, ncclComm_t nccl, const char *what);

/* Set NCCL up for this process before its first call, by its environment variables.
 * Errors: COC_ERR_RANKS (another NCCL than that of the build), COC_ERR_MEMORY. Collective. */
coc_status coc_nccl_prepare(coc_comm *host, const coc_comm_settings *settings);
/* Make s->nccl over the ranks of s->comm->control. Collective over them. */
coc_status coc_nccl_connect(coc_nccl *s);

/* ---- waiting, never for ever: nccl_watch.c
 *
 * After a failure all of the process's communicators are aborted, which frees the device of
 * collectives that others will not come to; where that does not succeed in time, the job is ended
 * here, since whatever the caller does with the device next might hang. */

void coc_nccl_watch_add(coc_nccl *s);
void coc_nccl_watch_remove(coc_nccl *s);

/* End s->nccl, if there is one. */
void coc_nccl_close(coc_nccl *s);

/* The end of every call of NCCL's: until what it began in the background is done. */
coc_status coc_nccl_settle(coc_nccl *s, ncclResult_t result, const char *what);

coc_status coc_nccl_wait_device(coc_comm *comm, const coc_device *device, coc_stream *stream);

#endif
