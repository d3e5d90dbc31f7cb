/* train/version.c - what this program was built from, for reports of faults. */
#include <stdio.h>

#include <hdf5.h>
#include <jansson.h>
#include <mpi.h>
#include <yaml.h>

#include "train/cli.h"

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

void coc_print_version(void)
{
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING];
    unsigned major, minor, release;
    int length;

    printf("cocola %s\n", COCOLA_VERSION);
    printf("compiler  %s\n", COMPILER);
    if (H5get_libversion(&major, &minor, &release) >= 0)
        printf("hdf5      %u.%u.%u\n", major, minor, release);
    printf("jansson   %s\n", JANSSON_VERSION);
    printf("libyaml   %s\n", yaml_get_version_string());
    /* allowed before MPI_Init; the text goes on with build details */
    if (MPI_Get_library_version(mpi, &length) == MPI_SUCCESS) {
        for (int i = 0; i < length; i++)
            if (mpi[i] == ',' || mpi[i] == '\n') mpi[i] = '\0';
        printf("mpi       %s\n", mpi);
    }
}
