/* tests/small_run.h - for tests of training on ranks: a store of a few made-up songs, settings of a
 * small model that trains on it, and the main of such a program. */
#ifndef COC_TESTS_SMALL_RUN_H
#define COC_TESTS_SMALL_RUN_H

#include "comm/comm.h"

/* Writes songs into folder/songs and a store of them into folder/store. By one rank; alone: a
 * communicator of it alone. */
coc_status coc_test_store(const char *folder, coc_comm *alone);

/* A model of a tenth of the width on that store; group: pairs of a batch-norm group, 0: one. */
coc_settings coc_test_settings(const char *folder, int64_t batch, int64_t group);

/* Starts the ranks, *world of all of them and *alone of this one, and ends them after `run`, whose
 * result is the program's. */
int coc_test_on_ranks(coc_comm **world, coc_comm **alone, int (*run)(void));

#endif
