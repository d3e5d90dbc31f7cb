/* train/same.h - what ranks must have in common: a configuration, a store or a checkpoint may be a
 * copy on every machine, and one of the copies old. */
#ifndef COC_TRAIN_SAME_H
#define COC_TRAIN_SAME_H

#include "comm/comm.h"
#include "preprocess/store.h"

/* Fails on all ranks when one runs another program than rank 0: `mine` is coc_program_text, and the
 * first line that differs is named. Before anything else is compared: tables may differ, too.
 * Collective. Errors: COC_ERR_RANKS, COC_ERR_MEMORY. */
coc_status coc_same_program(coc_comm *comm, const char *mine);

/* Fails on all ranks when one has other settings than rank 0; the first difference is named. Names
 * of stores and numbers of threads may differ. Collective. Errors: COC_ERR_SETTING,
 * COC_ERR_MEMORY, COC_ERR_RANKS. */
coc_status coc_same_settings(coc_comm *comm, const coc_settings *settings);

/* Fails on all ranks when one has another hash than rank 0. `name` is the file or folder that it is
 * of, named in the message. Collective. Errors: COC_ERR_INPUT, COC_ERR_RANKS. */
coc_status coc_same_content(coc_comm *comm, const char *name, uint64_t hash);

/* The same of every folder that was opened. Collective. Errors: COC_ERR_INPUT, COC_ERR_RANKS. */
coc_status coc_same_store(coc_comm *comm, const coc_store *store);

#endif
