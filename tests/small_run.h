/* tests/small_run.h - a store of a few made-up songs, and settings of a small model that trains on
 * it, for tests of training. */
#ifndef COC_TESTS_SMALL_RUN_H
#define COC_TESTS_SMALL_RUN_H

#include "comm/comm.h"

/* Writes songs into folder/songs and a store of them into folder/store. By one rank; alone: a
 * communicator of it alone. */
coc_status coc_test_store(const char *folder, coc_comm *alone);

/* A model of a tenth of the width on that store; group: pairs of a batch-norm group, 0: one. */
coc_settings coc_test_settings(const char *folder, int64_t batch, int64_t group);

#endif
