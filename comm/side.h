/* comm/side.h - the side channel: ranks tell each other where they are without MPI.
 *
 * Every rank has a UDP socket and a thread that answers from it, so a rank answers while it
 * computes, while it is inside MPI, and while others hang; it does not when it is stopped, dead or
 * cut off. Packets carry the job's own random number; others are ignored. Lost packets are sent
 * again. One channel a process.
 */
#ifndef COC_COMM_SIDE_H
#define COC_COMM_SIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "comm/where.h"

enum { COC_SIDE_ADDRESSES = 6, COC_HOST_BYTES = 64 };

/* Where a rank can be reached, and its name in messages; gathered over MPI at the start. */
typedef struct {
    char host[COC_HOST_BYTES];
    uint64_t key;                         /* rank 0's is the job's */
    uint32_t address[COC_SIDE_ADDRESSES]; /* IPv4, network order; the last one used is loopback */
    int32_t address_count;
    uint16_t port; /* network order; 0: no socket */
} coc_peer;

/* Open the socket and fill in what others must know, except for the host. Without a network the
 * program runs all the same: the port is 0, and the rank never answers. */
void coc_side_open(coc_peer *self);

/* Start the thread. peers [size] is copied. Errors: COC_ERR_MEMORY, COC_ERR_RANKS. */
coc_status coc_side_start(const coc_peer *peers, int rank, int size);
void coc_side_stop(void);

int coc_side_size(void);             /* ranks on the channel; 0 without one */
int coc_side_rank(void);             /* this one; 0 without one */
const char *coc_side_host(int rank); /* "?" without a channel */
bool coc_side_can_answer(int rank);  /* has a socket */

/* Ask every rank where it is on the communicator with this id, until all have answered, somebody
 * has spoken, or the seconds are over. where [size], answered [size]; the own ones are filled. */
void coc_side_ask(uint64_t id, double seconds, coc_where *where, bool *answered);

/* Tell all that this rank is about to print why the job ends. */
void coc_side_speak(void);

/* The lowest rank that has told so, or -1. */
int coc_side_speaker(void);

#endif
