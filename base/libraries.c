#include "base/libraries.h"

#include <stdio.h>

#include <xxhash.h>

#include "base/gpus.h"

void coc_libraries_add(coc_libraries *list, const char *name, const char *built, const char *here)
{
    coc_library *row = &list->row[list->count];

    if (list->count == COC_LIBRARIES) return;
    list->count++;
    row->name = name;
    snprintf(row->built, sizeof row->built, "%s", built != NULL ? built : "");
    snprintf(row->here, sizeof row->here, "%s", here != NULL ? here : "");
}

void coc_libraries_add_numbers(coc_libraries *list, const char *name, const int built[3],
                               const int here[3])
{
    char texts[2][COC_LIBRARY_TEXT];

    for (int i = 0; i < 2; i++) {
        const int *version = i == 0 ? built : here;

        texts[i][0] = '\0';
        if (version[0] >= 0)
            snprintf(texts[i], sizeof texts[i], "%d.%d.%d", version[0], version[1], version[2]);
    }
    coc_libraries_add(list, name, texts[0], texts[1]);
}

void coc_base_libraries(coc_libraries *list)
{
    const int here = (int)XXH_versionNumber();

    coc_libraries_add_numbers(list, "xxhash",
                              (int[]){XXH_VERSION_MAJOR, XXH_VERSION_MINOR, XXH_VERSION_RELEASE},
                              (int[]){here / 10000, here / 100 % 100, here % 100});
    coc_gpus_libraries(list);
}
