/* base/libraries.h - what the program is built on, for `cocola info` and `cocola --version`. Each
 * folder lists its own libraries; where a build does without one, a file of CMake's choice says so.
 */
#ifndef COC_BASE_LIBRARIES_H
#define COC_BASE_LIBRARIES_H

#include <stddef.h> /* NULL, which rows are given */

enum { COC_LIBRARIES = 24, COC_LIBRARY_TEXT = 96 };

typedef struct {
    const char *name;
    char built[COC_LIBRARY_TEXT]; /* version of the headers; "": this build is without it */
    char here[COC_LIBRARY_TEXT];  /* version that runs now; "": it does not say */
} coc_library;

typedef struct {
    coc_library row[COC_LIBRARIES];
    int count;
} coc_libraries;

/* Names are literals. NULL stands for "". Texts are cut; rows beyond the last are dropped. */
void coc_libraries_add(coc_libraries *list, const char *name, const char *built, const char *here);
/* The same for versions of three numbers; negative ones: not known. */
void coc_libraries_add_numbers(coc_libraries *list, const char *name, const int built[3],
                               const int here[3]);

void coc_base_libraries(coc_libraries *list);

#endif
