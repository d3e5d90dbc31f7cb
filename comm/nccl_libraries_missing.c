#include "comm/libraries.h"

void coc_nccl_libraries(coc_libraries *list)
{
    coc_libraries_add(list, "NCCL", NULL, NULL);
}
