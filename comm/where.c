#include "comm/where.h"

#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static coc_where here;
static double since;
static coc_where_count *counts;
static void (*tell_device)(void *context, coc_where *where);
static void *device_context;

void coc_where_add(coc_where_count *count)
{
    pthread_mutex_lock(&lock);
    count->next = counts;
    counts = count;
    pthread_mutex_unlock(&lock);
}

void coc_where_remove(coc_where_count *count)
{
    pthread_mutex_lock(&lock);
    for (coc_where_count **c = &counts; *c != NULL; c = &(*c)->next) {
        if (*c != count) continue;
        *c = count->next;
        break;
    }
    pthread_mutex_unlock(&lock);
}

uint64_t coc_where_start(coc_where_count *count, int64_t step, const char *what)
{
    uint64_t number = 0;

    pthread_mutex_lock(&lock);
    if (count != NULL) number = ++count->started;
    here.step = step;
    here.waiting = 0;
    snprintf(here.what, sizeof here.what, "%s", what);
    since = coc_clock_seconds();
    pthread_mutex_unlock(&lock);
    return number;
}

void coc_where_wait(bool waiting)
{
    pthread_mutex_lock(&lock);
    here.waiting = waiting;
    since = coc_clock_seconds();
    pthread_mutex_unlock(&lock);
}

void coc_where_ask_device(void (*tell)(void *context, coc_where *where), void *context)
{
    pthread_mutex_lock(&lock);
    tell_device = tell;
    device_context = context;
    pthread_mutex_unlock(&lock);
}

void coc_where_get(uint64_t id, coc_where *where)
{
    pthread_mutex_lock(&lock);
    *where = here;
    where->seconds = coc_clock_seconds() - since;
    where->started = 0;
    for (const coc_where_count *c = counts; c != NULL; c = c->next)
        if (c->id == id) where->started = c->started;
    if (tell_device != NULL) tell_device(device_context, where);
    pthread_mutex_unlock(&lock);
}
