/* comm/nccl_marks.c - what the device has come to, in a word of host memory that it writes.
 *
 * The device has a table of all numbers below TABLE and copies one of them, 4 bytes: the only way
 * to write a constant that the runtime has and that can be recorded. It takes about 2 us of the
 * communication stream. A number holds a name, which is a collective of a communicator, and which
 * of the communicator's collectives it is, modulo 64. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "comm/nccl_comm.h"

enum { TABLE = COC_MARK_NAMES * COC_MARK_NUMBERS };
static const uint32_t none = UINT32_MAX;

struct coc_nccl_marks {
    const coc_device *device;
    uint32_t *table;         /* [TABLE], on the device */
    volatile uint32_t *word; /* pinned; written by the device */
    pthread_mutex_t lock;    /* for what follows, which the side channel's thread reads */
    struct {
        const coc_comm *comm; /* NULL: free */
        const char *what;
    } names[COC_MARK_NAMES];
    bool awaited;
};

static coc_nccl_mark read_mark(const coc_nccl_marks *marks)
{
    coc_nccl_mark mark = {.value = *marks->word};
    const uint32_t name = mark.value / COC_MARK_NUMBERS;

    if (mark.value >= TABLE || marks->names[name].comm == NULL) return mark;
    mark.begun = true;
    mark.number = (int)(mark.value % COC_MARK_NUMBERS);
    mark.comm = marks->names[name].comm;
    mark.what = marks->names[name].what;
    return mark;
}

static void tell(void *context, coc_where *where)
{
    coc_nccl_marks *marks = context;
    coc_nccl_mark mark;

    pthread_mutex_lock(&marks->lock);
    mark = read_mark(marks);
    where->device_awaited = marks->awaited;
    if (mark.begun) {
        where->device_id = mark.comm->id;
        where->device_number = mark.number;
        snprintf(where->device_what, sizeof where->device_what, "%s", mark.what);
    }
    pthread_mutex_unlock(&marks->lock);
}

static coc_status fill_table(coc_nccl_marks *marks)
{
    const coc_device *device = marks->device;
    uint32_t *numbers;
    coc_status status = coc_alloc(TABLE, sizeof *numbers, &numbers);

    if (status != COC_OK) return status;
    for (uint32_t i = 0; i < TABLE; i++)
        numbers[i] = i;
    status = device->copy(device, marks->table, numbers, TABLE * sizeof *numbers, NULL);
    if (status == COC_OK) status = device->wait(device, NULL);
    free(numbers);
    return status;
}

coc_status coc_nccl_marks_create(const coc_device *device, coc_nccl_marks **out)
{
    coc_nccl_marks *marks;
    void *word = NULL;
    coc_status status;

    *out = NULL;
    COC_TRY(coc_alloc(1, sizeof *marks, &marks));
    marks->device = device;
    pthread_mutex_init(&marks->lock, NULL);
    status = coc_device_alloc(device, TABLE, sizeof *marks->table, &marks->table);
    if (status == COC_OK) status = device->alloc_host(device, sizeof *marks->word, &word);
    marks->word = word;
    if (status == COC_OK) status = fill_table(marks);
    if (status != COC_OK) {
        coc_nccl_marks_destroy(&marks);
        return status;
    }
    *marks->word = none;
    coc_where_ask_device(tell, marks);
    *out = marks;
    return COC_OK;
}

void coc_nccl_marks_destroy(coc_nccl_marks **out)
{
    coc_nccl_marks *marks = *out;

    *out = NULL;
    if (marks == NULL) return;
    coc_where_ask_device(NULL, NULL);
    marks->device->release(marks->device, marks->table);
    marks->device->release_host(marks->device, (void *)marks->word);
    pthread_mutex_destroy(&marks->lock);
    free(marks);
}

/* The same literal may have several addresses. When there is no room left the last name stands for
 * all others. */
static uint32_t find_name(coc_nccl_marks *marks, const coc_comm *comm, const char *what)
{
    uint32_t place = COC_MARK_NAMES - 1;

    for (uint32_t i = COC_MARK_NAMES; i-- > 0;) {
        if (marks->names[i].comm == NULL)
            place = i;
        else if (marks->names[i].comm == comm && strcmp(marks->names[i].what, what) == 0)
            return i;
    }
    pthread_mutex_lock(&marks->lock);
    marks->names[place].comm = comm;
    marks->names[place].what = place < COC_MARK_NAMES - 1 ? what : "one of many";
    pthread_mutex_unlock(&marks->lock);
    return place;
}

coc_status coc_nccl_marks_set(coc_nccl_marks *marks, const coc_comm *comm, const char *what,
                              uint64_t number, coc_stream *stream)
{
    const uint32_t value =
        find_name(marks, comm, what) * COC_MARK_NUMBERS + (uint32_t)(number % COC_MARK_NUMBERS);

    return marks->device->copy(marks->device, (void *)marks->word, marks->table + value,
                               sizeof *marks->word, stream);
}

coc_nccl_mark coc_nccl_marks_get(coc_nccl_marks *marks)
{
    return read_mark(marks);
}

void coc_nccl_marks_forget(coc_nccl_marks *marks)
{
    *marks->word = none;
}

void coc_nccl_marks_await(coc_nccl_marks *marks, bool awaited)
{
    pthread_mutex_lock(&marks->lock);
    marks->awaited = awaited;
    pthread_mutex_unlock(&marks->lock);
}

void coc_nccl_marks_drop(coc_nccl_marks *marks, const coc_comm *comm)
{
    pthread_mutex_lock(&marks->lock);
    for (int i = 0; i < COC_MARK_NAMES; i++)
        if (marks->names[i].comm == comm) marks->names[i].comm = NULL;
    pthread_mutex_unlock(&marks->lock);
}
