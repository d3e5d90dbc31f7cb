#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

coc_status coc_alloc(int64_t count, size_t size, void *out_pointer)
{
    void *memory = NULL;

    if (count >= 0) memory = calloc(count > 0 ? (size_t)count : 1, size); /* checks the product */
    memcpy(out_pointer, &memory, sizeof memory);
    if (memory == NULL)
        return COC_FAIL(COC_ERR_MEMORY, "no memory for %lld x %zu bytes", (long long)count, size);
    return COC_OK;
}

coc_status coc_grow(void *array_pointer, int64_t *capacity, int64_t needed, size_t size)
{
    void *array, *grown;
    int64_t room = *capacity;

    if (needed <= room) return COC_OK;
    while (room < needed)
        room += room / 2 + 16;
    memcpy(&array, array_pointer, sizeof array);
    grown = (size_t)room <= SIZE_MAX / size ? realloc(array, (size_t)room * size) : NULL;
    if (grown == NULL)
        return COC_FAIL(COC_ERR_MEMORY, "no memory for %lld x %zu bytes", (long long)room, size);
    memcpy(array_pointer, &grown, sizeof grown);
    *capacity = room;
    return COC_OK;
}

char *coc_strdup(const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = malloc(bytes);

    if (copy != NULL) memcpy(copy, text, bytes);
    return copy;
}

char *coc_format(const char *format, ...)
{
    va_list arguments, again;
    char *text = NULL;
    int length;

    va_start(arguments, format);
    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, arguments);
    if (length >= 0) text = malloc((size_t)length + 1);
    if (text != NULL) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}

int64_t coc_peak_memory(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    int64_t kilobytes = 0;

    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0) kilobytes = strtoll(line + 6, NULL, 10);
    fclose(file);
    return 1024 * kilobytes;
}
