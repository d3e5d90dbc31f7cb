/* base/memory.h - checked host memory for everything that is not a tensor (tensors: base/device.h).
 */
#ifndef COC_BASE_MEMORY_H
#define COC_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Zeroed memory for count elements of the given size; *out NULL after a failure (also when the
 * product overflows). count 0 gives a valid pointer. The caller frees it with free(). */
coc_status coc_alloc(int64_t count, size_t size, void *out_pointer);

/* Make room for at least `needed` elements, growing by half; *capacity is kept in elements.
 * New elements are not initialised. The array stays as it was after a failure. */
coc_status coc_grow(void *array_pointer, int64_t *capacity, int64_t needed, size_t size);

/* The largest memory, bytes, that this process has had resident; 0 where the system does not tell.
 */
int64_t coc_peak_memory(void);

/* A copy of a text, or of printf output; NULL only without memory. Freed with free(). */
char *coc_strdup(const char *text);
char *coc_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
