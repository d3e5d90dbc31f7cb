/* train/version.c - what this program was built from, for reports of faults. */
#include "train/version.h"

#include <stdio.h>

#include <hdf5.h>
#include <jansson.h>
#include <yaml.h>

#include "comm/libraries.h"
#include "model/libraries.h"
#include "preprocess/libraries.h"
#include "train/cli.h"

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

void coc_print_version(void)
{
    coc_libraries libraries;

    coc_program_libraries(&libraries);
    printf("cocola %s\n", COCOLA_VERSION);
    printf("%-15s %s\n", "compiler", COMPILER);
    for (int i = 0; i < libraries.count; i++) {
        const coc_library *row = &libraries.row[i];
        const char *version = row->here[0] != '\0' ? row->here : row->built;

        if (version[0] != '\0') printf("%-15s %s\n", row->name, version);
    }
}
