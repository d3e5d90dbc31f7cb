#include <nccl.h>

#include "comm/libraries.h"

void coc_nccl_libraries(coc_libraries *list)
{
    int version = 0;

    if (ncclGetVersion(&version) != ncclSuccess) version = -10000;
    coc_libraries_add_numbers(list, "NCCL", (int[]){NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH},
                              (int[]){version / 10000, version / 100 % 100, version % 100});
}
