/* tests/exchanges.h - loss.exchange: ring beside allgather, for the memory of any backend. A
 * failure fails the test. Collective over comm, which is for the memory of the backend's device. */
#ifndef COC_TESTS_EXCHANGES_H
#define COC_TESTS_EXCHANGES_H

#include "comm/comm.h"
#include "model/ops.h"

/* Loss, counts and gradients of the two are the same: even and uneven shares, one part or several,
 * few and many columns, sets, masks; a second call of the same similarity too. bound: of the
 * difference of a gradient, of its norm; the loss differs by a tenth of it. */
void coc_test_exchanges(coc_comm *comm, coc_backend *backend, double bound);

/* loss.symmetric is the mean of the two losses, and its gradients are theirs: beside a calculation
 * in double from the definition. */
void coc_test_symmetric(coc_comm *comm, coc_backend *backend, double bound);

/* Slabs that go round the other way, or not at all, are refused in the first call. */
void coc_test_wrong_way_round(coc_comm *comm, coc_backend *backend);

#endif
