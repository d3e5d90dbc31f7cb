/* train/check_output.h - what `cocola check` found in a store, for people and for programs. */
#ifndef COC_TRAIN_CHECK_OUTPUT_H
#define COC_TRAIN_CHECK_OUTPUT_H

#include <jansson.h>

#include "preprocess/store_check.h"

/* Tables, then a line each thing that is wrong or odd, at most so many of a kind. */
void coc_check_print(const coc_store *store, const coc_store_check *check, int most);

/* The same with every stem; the caller's. NULL without memory. */
json_t *coc_check_json(const coc_store *store, const coc_store_check *check);

/* Whether everything is as it must be: nothing damaged, no track in two splits. Odd stems are no
 * fault. */
bool coc_check_is_good(const coc_store *store, const coc_store_check *check);

#endif
