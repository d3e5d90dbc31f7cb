/* train/eval_output.h - what `cocola eval` prints: a table, or one JSON object. Rank 0's.
 * docs/evaluation.md has every field.
 */
#ifndef COC_TRAIN_EVAL_OUTPUT_H
#define COC_TRAIN_EVAL_OUTPUT_H

#include <jansson.h>

#include "train/measure.h"

/* Of all modes together. Texts are borrowed. */
typedef struct {
    const char *checkpoint, *profile, *store, *split;
    uint64_t checkpoint_hash, store_hash;
    int64_t step;
    bool file_order;
    int64_t orders, seed;
} coc_eval_subject;

void coc_eval_print_head(const coc_eval_subject *subject, int64_t pairs, int64_t tracks);
void coc_eval_print_accuracy(coc_mode mode, const coc_accuracy *accuracy);
void coc_eval_print_retrieval_head(int64_t pairs);
void coc_eval_print_retrieval(coc_mode mode, const coc_retrieval *retrieval);

/* Append a row to a JSON array. Errors: COC_ERR_MEMORY. */
coc_status coc_eval_add_accuracy(json_t *rows, coc_mode mode, const coc_accuracy *accuracy);
coc_status coc_eval_add_retrieval(json_t *rows, coc_mode mode, const coc_retrieval *retrieval);
/* Errors: COC_ERR_MEMORY. */
coc_status coc_eval_print_json(const coc_eval_subject *subject, json_t *accuracies,
                               json_t *retrievals);

#endif
