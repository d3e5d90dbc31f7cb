/* tests/device_collectives.h - what every communicator for the memory of a device must do. Values
 * are small integers, so sums are exact and every comparison is without tolerance. The device's
 * memory is touched by copies of the device only. A failure fails the test. Collective. */
#ifndef COC_TESTS_DEVICE_COLLECTIVES_H
#define COC_TESTS_DEVICE_COLLECTIVES_H

#include "comm/comm.h"

/* Every collective, with uneven and zero counts, equal ones, of all types, in place; in memory of
 * the communicator's. */
void coc_test_collectives(coc_comm *comm, const coc_device *device);

/* A collective sees what its stream was given before, and the stream's later work sees what the
 * collective brings, though nobody waits for the device between; many are in flight. */
void coc_test_collectives_in_order(coc_comm *comm, const coc_device *device, coc_stream *stream);

/* Groups of two ranks and the rest, and groups in them, beside the whole. */
void coc_test_collectives_of_groups(coc_comm *comm, const coc_device *device);

#endif
