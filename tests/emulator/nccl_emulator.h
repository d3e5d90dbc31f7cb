/* tests/emulator/nccl_emulator.h - inside of the emulated NCCL: nccl.cpp, nccl_windows.cpp. */
#ifndef COC_TESTS_NCCL_EMULATOR_H
#define COC_TESTS_NCCL_EMULATOR_H

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>
#include <nccl.h>
#include <set>
#include <string>
#include <vector>

#include "tests/emulator/emulator.h"

/* A range of memory that all ranks have registered. */
struct ncclWindow_vidmem {
    const char *memory;
    size_t bytes;
    long number; /* in the order of registration */
};

struct ncclComm {
    MPI_Comm mpi = MPI_COMM_NULL;
    MPI_Comm words = MPI_COMM_NULL; /* for what is not done in stream order */
    bool copies = false;            /* all-gathers by copy engines, where they can */
    std::set<ncclWindow_t> windows;
    long registered = 0;
    std::function<ncclResult_t()> registering; /* under way */
    int rank = 0, size = 1, world_rank = 0;
    ncclResult_t state = ncclSuccess;
    std::string last;
    struct call {
        cudaStream_t stream;
        std::function<void()> work;
    };
    std::vector<call> pending; /* under way to the stream */
    struct message {
        const void *send; /* or */
        void *recv;
        size_t bytes;
        int peer;
        cudaStream_t stream;
    };
    std::vector<message> messages; /* of the open group */
    int looks_left = 0;
};

namespace coc_emulator
{

enum { NCCL_LOOKS = 2 }; /* at a communicator, until what it began is done */

ncclResult_t fail_call(ncclComm *comm, ncclResult_t result, const std::string &text);
/* MPI's own waiting takes all of a core, which ranks that are late may need. */
void finish(MPI_Request request);

/* ---- nccl_windows.cpp */

/* Where a buffer lies: which window, how far from its beginning; -1: in none. */
struct place {
    long window = -1;
    long long distance = -1;

    bool operator==(const place &other) const
    {
        return window == other.window && distance == other.distance;
    }
};

/* What the others reach into, and whether this rank's buffers are all in windows. Kept from when
 * the call is given: the windows may be gone when it is done. */
struct reach {
    place into[2];
    bool all = false;
};

/* into_send, into_recv: whether a symmetric kernel of this collective reaches there. */
reach reach_of(const ncclComm *comm, const void *send, size_t send_bytes, const void *recv,
               size_t recv_bytes, bool into_send, bool into_recv);
/* Where some ranks would start one kind of kernel and some another, or a kernel would reach into
 * the wrong place: false, and the communicator fails. copied: copy engines would do it. */
bool agree_on_places(ncclComm *comm, const reach &mine, bool copied);

} // namespace coc_emulator

#endif
