#include "comm/libraries.h"

#include <stdio.h>
#include <string.h>

#include <mpi.h>

void coc_comm_libraries(coc_libraries *list)
{
    char here[MPI_MAX_LIBRARY_VERSION_STRING] = "", built[COC_LIBRARY_TEXT];
    int length;

    /* allowed before MPI_Init; the text goes on with build details */
    if (MPI_Get_library_version(here, &length) != MPI_SUCCESS) here[0] = '\0';
    here[strcspn(here, ",\n")] = '\0';
    snprintf(built, sizeof built, "standard %d.%d", MPI_VERSION, MPI_SUBVERSION);
    coc_libraries_add(list, "MPI", built, here);
    coc_nccl_libraries(list);
}
