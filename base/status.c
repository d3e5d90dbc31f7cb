#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 2000, PLACE_BYTES = 160 };

static _Thread_local char last_text[TEXT_BYTES];
static _Thread_local char last_place[PLACE_BYTES];

int coc_exit_code(coc_status status)
{
    switch (status) {
    case COC_OK:
        return 0;
    case COC_ERR_USAGE:
    case COC_ERR_SETTING:
        return 2;
    case COC_ERR_INPUT:
        return 3;
    case COC_ERR_IO:
        return 4;
    case COC_ERR_MEMORY:
    case COC_ERR_DEVICE:
        return 5;
    case COC_ERR_RANKS:
    case COC_ERR_ELSEWHERE:
        return 6;
    case COC_ERR_STOPPED:
        return 75; /* EX_TEMPFAIL: batch systems read it as "run me again" */
    case COC_ERR_INTERNAL:
        break;
    }
    return 1;
}

/* The last two components say where: "comm/mpi.c". Build paths do not belong in a message. */
static const char *short_path(const char *file)
{
    const char *first = file, *second = file;

    for (const char *c = file; *c != '\0'; c++) {
        if (*c != '/') continue;
        first = second;
        second = c + 1;
    }
    return first;
}

coc_status coc_fail(coc_status status, const char *file, int line, const char *format, ...)
{
    char text[TEXT_BYTES]; /* arguments may point into last_text */
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(last_text, text, sizeof text);
    snprintf(last_place, sizeof last_place, "%s:%d", short_path(file), line);
    return status;
}

const char *coc_error_text(void)
{
    return last_text;
}

const char *coc_error_place(void)
{
    return last_place;
}

void coc_error_set(const char *text, const char *place)
{
    snprintf(last_text, sizeof last_text, "%s", text != NULL ? text : "");
    snprintf(last_place, sizeof last_place, "%s", place != NULL ? place : "");
}
