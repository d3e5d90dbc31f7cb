/* tests/emulator/nccl_windows.cpp - memory that is registered with NCCL (windows).
 *
 * Collectives whose buffers lie in windows do the same as others here, but first all ranks must
 * agree that theirs do, and how far from the windows' beginnings: symmetric kernels reach into the
 * others' memory at their own distance. COC_EMULATOR_NCCL_WINDOWS=0: there are no windows, as
 * between devices that do not reach each other. */
#include "nccl_emulator.h"

using namespace coc_emulator;

static int symmetric_done, copied_done;

static place place_of(const ncclComm *comm, const void *p, size_t bytes)
{
    const char *at = static_cast<const char *>(p);

    for (const ncclWindow_t w : comm->windows)
        if (at >= w->memory && at + bytes <= w->memory + w->bytes)
            return {w->number, at - w->memory};
    return {};
}

reach coc_emulator::reach_of(const ncclComm *comm, const void *send, size_t send_bytes,
                             const void *recv, size_t recv_bytes, bool into_send, bool into_recv)
{
    const place s = place_of(comm, send, send_bytes), r = place_of(comm, recv, recv_bytes);
    reach found;

    if (into_send) found.into[0] = s;
    if (into_recv) found.into[1] = r;
    found.all = s.window >= 0 && r.window >= 0;
    return found;
}

bool coc_emulator::agree_on_places(ncclComm *comm, const reach &mine, bool copied)
{
    std::vector<reach> all(static_cast<size_t>(comm->size));
    MPI_Request request;

    MPI_Iallgather(&mine, static_cast<int>(sizeof mine), MPI_BYTE, all.data(),
                   static_cast<int>(sizeof mine), MPI_BYTE, comm->mpi, &request);
    finish(request);
    for (const reach &other : all) {
        if (other.all == mine.all &&
            (!mine.all || (other.into[0] == mine.into[0] && other.into[1] == mine.into[1])))
            continue;
        comm->last = "emulated: buffers do not lie alike in the ranks' windows";
        comm->state = ncclInvalidUsage;
        return false;
    }
    symmetric_done += mine.all;
    copied_done += mine.all && copied;
    return true;
}

static ncclResult_t register_window(ncclComm *comm, void *memory, size_t bytes,
                                    ncclWindow_t *window)
{
    const unsigned long long mine = bytes;
    std::vector<unsigned long long> all(static_cast<size_t>(comm->size));
    MPI_Request request;

    MPI_Iallgather(&mine, 1, MPI_UNSIGNED_LONG_LONG, all.data(), 1, MPI_UNSIGNED_LONG_LONG,
                   comm->words, &request);
    finish(request);
    for (const unsigned long long other : all)
        if (other != mine)
            return fail_call(comm, ncclInvalidArgument,
                             "emulated: windows of unequal sizes on the ranks");
    if (number_from("COC_EMULATOR_NCCL_WINDOWS", 1) == 0) return ncclSuccess;
    *window = new ncclWindow_vidmem{static_cast<const char *>(memory), bytes, comm->registered++};
    comm->windows.insert(*window);
    return ncclSuccess;
}

extern "C" {

static std::set<void *> &allocated()
{
    static std::set<void *> all;

    return all;
}

ncclResult_t ncclMemAlloc(void **memory, size_t bytes)
{
    const size_t page = NCCL_WIN_REQUIRED_ALIGNMENT;

    if (cudaMalloc(memory, (bytes + page - 1) / page * page) != cudaSuccess)
        return ncclUnhandledCudaError;
    allocated().insert(*memory);
    return ncclSuccess;
}

ncclResult_t ncclMemFree(void *memory)
{
    if (allocated().erase(memory) == 0) return ncclInvalidArgument;
    return cudaFree(memory) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void *memory, size_t bytes,
                                    ncclWindow_t *window, int flags)
{
    if (comm->state == ncclInProgress)
        return fail_call(comm, ncclInvalidArgument,
                         "emulated: used before the call of before has succeeded");
    if (comm->state != ncclSuccess) return comm->state;
    if (allocated().count(memory) == 0 || flags != NCCL_WIN_COLL_SYMMETRIC ||
        bytes % NCCL_WIN_REQUIRED_ALIGNMENT != 0 || !on_device(memory, bytes))
        return fail_call(comm, ncclInvalidArgument,
                         "emulated: only whole pages of ncclMemAlloc's memory are registered");
    comm->registering = [=] { return register_window(comm, memory, bytes, window); };
    comm->state = ncclInProgress;
    comm->looks_left = NCCL_LOOKS;
    return ncclInProgress;
}

ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t window)
{
    if (comm->windows.erase(window) == 0) return ncclInvalidArgument;
    delete window;
    return ncclSuccess;
}

void coc_emulator_nccl_counts(int *symmetric, int *copied)
{
    *symmetric = symmetric_done;
    *copied = copied_done;
}

} /* extern "C" */
