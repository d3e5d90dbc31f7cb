#include <string.h>

#include "model/ops.h"
#include "tests/test.h"

/* A backend that does not exist is refused with the names of those that do. */
static void unknown_names_are_refused(void)
{
    coc_backend *b = NULL;

    CHECK(coc_backend_create("gpu", 1, &b) == COC_ERR_SETTING);
    CHECK(b == NULL);
    CHECK(strstr(coc_error_text(), "'gpu'") != NULL);
    for (int i = 0; coc_backend_names()[i] != NULL; i++)
        CHECK(strstr(coc_error_text(), coc_backend_names()[i]) != NULL);
}

/* Every backend opens under its name, with a device, at least one thread, and every operation: a
 * hole in a table would be a crash in the middle of training. */
static void tables_are_complete(void)
{
    CHECK(coc_backend_names()[0] != NULL);
    for (int i = 0; coc_backend_names()[i] != NULL; i++) {
        void (*entry[sizeof(coc_ops) / sizeof(void (*)(void))])(void);
        coc_backend *b;

        REQUIRE_OK(coc_backend_create(coc_backend_names()[i], 0, &b));
        CHECK(strcmp(b->ops->name, coc_backend_names()[i]) == 0);
        CHECK(b->device != NULL && b->threads >= 1);
        memcpy(entry, b->ops, sizeof entry);
        for (size_t k = 0; k < sizeof entry / sizeof entry[0]; k++)
            CHECK(entry[k] != NULL);
        CHECK(b->ops->finish(b) == COC_OK);
        coc_backend_destroy(&b);
        CHECK(b == NULL);
    }
}

int main(void)
{
    RUN(unknown_names_are_refused);
    RUN(tables_are_complete);
    return coc_test_result();
}
