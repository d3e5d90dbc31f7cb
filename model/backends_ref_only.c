#include "model/backends.h"
#include "model/ref.h"

const coc_backend_row coc_backend_rows[] = {
    {&coc_ref_ops, coc_ref_open, false, NULL, false, false},
    {NULL, NULL, false, NULL, false, false},
};
