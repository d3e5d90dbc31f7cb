/* train/version.c - what this program was built from, for reports of faults. */
#include "train/version.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <hdf5.h>
#include <jansson.h>
#include <yaml.h>

#include "comm/libraries.h"
#include "model/libraries.h"
#include "preprocess/libraries.h"
#include "train/cli.h"
#include "train/revision.h" /* made by the build */

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

const char *coc_compiler(void)
{
    return COMPILER;
}

static void add_hdf5(coc_libraries *list)
{
    unsigned here[3];

    if (H5get_libversion(&here[0], &here[1], &here[2]) < 0) return;
    coc_libraries_add_numbers(list, "HDF5", (int[]){H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE},
                              (int[]){(int)here[0], (int)here[1], (int)here[2]});
}

void coc_program_libraries(coc_libraries *list)
{
    list->count = 0;
    add_hdf5(list);
    coc_libraries_add(list, "jansson", JANSSON_VERSION, NULL);
    coc_libraries_add(list, "libyaml", COC_YAML_BUILT, yaml_get_version_string());
    coc_comm_libraries(list);
    coc_base_libraries(list);
    coc_preprocess_libraries(list);
    coc_model_libraries(list);
}

static const char *version_of(const coc_library *row)
{
    return row->here[0] != '\0' ? row->here : row->built;
}

/* Others read and write files, which are compared by their content. */
static bool counts(const char *name)
{
    static const char *const names[] = {"MPI",   "NCCL", "matrix product", "CUDA runtime", "cuBLAS",
                                        "cuDNN", "FFT"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

const char *coc_program_text(void)
{
    static char text[2048];
    coc_libraries libraries;
    size_t used;

    coc_program_libraries(&libraries);
    used = (size_t)snprintf(text, sizeof text, "cocola: %s\nrevision: %s\ncompiler: %s\n",
                            COCOLA_VERSION, COCOLA_REVISION, COMPILER);
    for (int i = 0; i < libraries.count && used < sizeof text; i++)
        if (counts(libraries.row[i].name))
            used += (size_t)snprintf(text + used, sizeof text - used, "%s: %s\n",
                                     libraries.row[i].name, version_of(&libraries.row[i]));
    return text;
}

void coc_print_version(void)
{
    coc_libraries libraries;

    coc_program_libraries(&libraries);
    printf("cocola %s\n", COCOLA_VERSION);
    if (COCOLA_REVISION[0] != '\0') printf("%-15s %s\n", "revision", COCOLA_REVISION);
    printf("%-15s %s\n", "compiler", COMPILER);
    for (int i = 0; i < libraries.count; i++) {
        const coc_library *row = &libraries.row[i];
        const char *version = version_of(row);

        if (version[0] != '\0') printf("%-15s %s\n", row->name, version);
    }
}
