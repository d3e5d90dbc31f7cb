#include "comm/comm.h"

size_t coc_type_bytes(coc_type type)
{
    switch (type) {
    case COC_BYTE:
        return 1;
    case COC_INT32:
    case COC_FLOAT:
        return 4;
    case COC_INT64:
    case COC_DOUBLE:
        break;
    }
    return 8;
}

int64_t coc_share(int64_t n, int size, int rank, int64_t *first)
{
    const int64_t base = n / size, extra = n % size;

    if (first != NULL) *first = base * rank + (rank < extra ? rank : extra);
    return base + (rank < extra ? 1 : 0);
}

void coc_shares(int64_t n, int size, int64_t *counts)
{
    for (int rank = 0; rank < size; rank++)
        counts[rank] = coc_share(n, size, rank, NULL);
}
