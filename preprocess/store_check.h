/* preprocess/store_check.h - all of a store read once: what is damaged, and what its stems are
 * like.
 */
#ifndef COC_PREPROCESS_STORE_CHECK_H
#define COC_PREPROCESS_STORE_CHECK_H

#include "preprocess/stem_facts.h"
#include "preprocess/summary.h"

/* Likeness from which two stems of a track count as one and its echo. */
#define COC_ECHO 0.9

typedef struct {
    int64_t stem[2];
    double likeness, lag; /* coc_stem_likeness */
} coc_echo;

typedef struct {
    int64_t stems, tracks;
    coc_stem_facts *facts; /* [stems]; of a damaged one nothing is said */
    char **damage;         /* [stems] the line that says it; NULL: whole */
    int64_t damaged;
    coc_echo *echo; /* [echoes] by track */
    int64_t echoes, echo_room;
    int64_t (*twice)[2]; /* [twices] tracks of the same audio in two places */
    int64_t twices, twice_room;
    coc_summary summary;
    double seconds, bytes; /* of reading; of the audio */
} coc_store_check;

/* threads: that read at once. The result is the caller's, freed with coc_store_check_free, also
 * after a failure. Shows progress. Errors: COC_ERR_MEMORY, COC_ERR_STOPPED (a signal). */
coc_status coc_store_check_all(coc_store *store, int threads, coc_store_check *check);
void coc_store_check_free(coc_store_check *check);

#endif
