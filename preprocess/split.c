#include <string.h>

#include "preprocess/store.h"

const char *coc_split_name(coc_split split)
{
    static const char *const names[COC_SPLITS] = {"train", "validation", "test"};

    return names[split];
}

coc_status coc_split_parse(const char *text, coc_split *split)
{
    static const struct {
        const char *text;
        coc_split split;
    } known[] = {{"train", COC_TRAIN},
                 {"validation", COC_VALIDATION},
                 {"valid", COC_VALIDATION},
                 {"val", COC_VALIDATION},
                 {"test", COC_TEST}};

    *split = COC_TRAIN;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(text, known[i].text) != 0) continue;
        *split = known[i].split;
        return COC_OK;
    }
    return COC_FAIL(COC_ERR_USAGE,
                    "--split: '%.80s' is unknown; known: train, validation (valid, val), test",
                    text);
}
