/* tests/emulator/nccl.cpp - NCCL's collectives over MPI, in stream order.
 *
 * As with a real communicator that does not block, a call only says that it is under way; its work
 * reaches the stream in the background, here at the second look at the communicator's state.
 *
 * COC_EMULATOR_NCCL="hang|deaf|error RANK N" makes a rank go wrong at its N-th collective (N > 1),
 * or in its start (N = 0). hang: its device stops before it begins that one, and those of all
 * others stop in it. deaf: likewise, and no abort ends. error: NCCL reports one there.
 *
 * What lies in windows: nccl_windows.cpp. */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#include "nccl_emulator.h"

using namespace coc_emulator;

ncclResult_t coc_emulator::fail_call(ncclComm *comm, ncclResult_t result, const std::string &text)
{
    comm->last = text;
    return result;
}

void coc_emulator::finish(MPI_Request request)
{
    int done = 0;

    for (int tries = 0; !done; tries++) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (!done && tries > 100) usleep(50);
    }
}

namespace
{

struct fault {
    std::string kind;
    int rank = -1, at = -1;

    fault()
    {
        char text[16] = "";
        const char *given = getenv("COC_EMULATOR_NCCL");

        if (given != nullptr && sscanf(given, "%15s %d %d", text, &rank, &at) == 3) kind = text;
    }
    bool stops() const
    {
        return kind == "hang" || kind == "deaf";
    }
};

const fault &planned()
{
    static const fault f;

    return f;
}

int executed; /* collectives of this process */
int group_depth;
std::vector<ncclComm *> in_group; /* communicators with calls of the open group */
std::set<ncclComm *> with_messages;

size_t bytes_of(ncclDataType_t type)
{
    switch (type) {
    case ncclInt8:
    case ncclUint8:
        return 1;
    case ncclInt32:
    case ncclFloat32:
        return 4;
    default:
        return 8;
    }
}

/* to [count] = the sum of parts [ranks][count], in rank order: the same bits everywhere. */
template <typename T>
void add_parts(void *to, const std::vector<char> &parts, size_t count, int ranks)
{
    const T *from = reinterpret_cast<const T *>(parts.data());
    T *sum = static_cast<T *>(to);

    for (size_t i = 0; i < count; i++) {
        T total = from[i];

        for (int r = 1; r < ranks; r++)
            total = static_cast<T>(total + from[static_cast<size_t>(r) * count + i]);
        sum[i] = total;
    }
}

void add(void *to, const std::vector<char> &parts, size_t count, ncclDataType_t type, int ranks)
{
    switch (type) {
    case ncclInt8:
        return add_parts<signed char>(to, parts, count, ranks);
    case ncclUint8:
        return add_parts<unsigned char>(to, parts, count, ranks);
    case ncclInt32:
        return add_parts<int>(to, parts, count, ranks);
    case ncclInt64:
        return add_parts<long long>(to, parts, count, ranks);
    case ncclFloat32:
        return add_parts<float>(to, parts, count, ranks);
    case ncclFloat64:
        return add_parts<double>(to, parts, count, ranks);
    }
}

/* Whether this collective is to be done; what is planned to go wrong at it does. */
bool may_begin(ncclComm *comm)
{
    const fault &f = planned();

    executed++;
    if (f.at < 1 || executed < f.at) return true;
    if (f.kind == "error" && comm->world_rank == f.rank) {
        comm->last = "emulated: the network is down";
        comm->state = ncclSystemError;
    }
    stop_device();
    return false;
}

void has_ended(const ncclComm *comm)
{
    if (planned().stops() && comm->world_rank == planned().rank && executed == planned().at - 1)
        stop_device();
}

/* A call that is checked: its work goes to the stream in the background. */
ncclResult_t give(ncclComm *comm, const void *send, size_t send_bytes, const void *recv,
                  size_t recv_bytes, cudaStream_t stream, const std::function<void()> &work)
{
    if (comm->state == ncclInProgress)
        return fail_call(comm, ncclInvalidArgument,
                         "emulated: used before the call of before has succeeded");
    if (comm->state != ncclSuccess) return comm->state;
    if (!on_device(send, send_bytes) || !on_device(recv, recv_bytes))
        return fail_call(comm, ncclInvalidArgument, "emulated: a buffer is not on the device");
    comm->pending.push_back({stream, [=] {
                                 if (!may_begin(comm)) return;
                                 work();
                                 has_ended(comm);
                             }});
    if (group_depth > 0) {
        in_group.push_back(comm);
        return ncclSuccess;
    }
    comm->state = ncclInProgress;
    comm->looks_left = NCCL_LOOKS;
    return ncclInProgress;
}

/* ---- messages between two ranks ---- */

/* All of a group are under way together; one alone waits until its other side has come. */
void exchange(ncclComm *comm, const std::vector<ncclComm::message> &messages)
{
    std::vector<MPI_Request> requests(messages.size());
    std::vector<MPI_Status> states(messages.size());
    int done = 0;

    for (size_t i = 0; i < messages.size(); i++) {
        const ncclComm::message &m = messages[i];

        if (m.send != nullptr)
            MPI_Issend(m.send, static_cast<int>(m.bytes), MPI_BYTE, m.peer, 0, comm->mpi,
                       &requests[i]);
        else
            MPI_Irecv(m.recv, static_cast<int>(m.bytes), MPI_BYTE, m.peer, 0, comm->mpi,
                      &requests[i]);
    }
    for (int tries = 0; !done; tries++) {
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, states.data());
        if (!done && tries > 100) usleep(50);
    }
    for (size_t i = 0; i < messages.size(); i++) {
        int count = 0;

        if (messages[i].send != nullptr) continue;
        MPI_Get_count(&states[i], MPI_BYTE, &count);
        if (static_cast<size_t>(count) == messages[i].bytes) continue;
        comm->last = "emulated: the two sides of a message are of different length";
        comm->state = ncclInternalError;
    }
}

/* The messages since the group was opened, as one piece of work. */
ncclResult_t give_messages(ncclComm *comm)
{
    const std::vector<ncclComm::message> messages = comm->messages;
    const cudaStream_t stream = messages[0].stream;
    const void *buffer = messages[0].send != nullptr ? messages[0].send : messages[0].recv;

    comm->messages.clear();
    for (const ncclComm::message &m : messages)
        if (m.stream != stream)
            return fail_call(comm, ncclInvalidUsage, "emulated: messages of two streams");
    return give(comm, buffer, messages[0].bytes, buffer, messages[0].bytes, stream,
                [=] { exchange(comm, messages); });
}

ncclResult_t give_message(ncclComm *comm, const ncclComm::message &m)
{
    if (m.peer < 0 || m.peer >= comm->size)
        return fail_call(comm, ncclInvalidArgument, "emulated: no such rank");
    if (!on_device(m.send != nullptr ? m.send : m.recv, m.bytes))
        return fail_call(comm, ncclInvalidArgument, "emulated: a buffer is not on the device");
    comm->messages.push_back(m);
    if (group_depth == 0) return give_messages(comm);
    with_messages.insert(comm);
    return ncclSuccess;
}

/* ---- start ---- */

struct member {
    int world_rank, rank, device;
    char host[64];
};

member self(int rank)
{
    member m = {};
    const char *id = getenv("NCCL_HOSTID");

    MPI_Comm_rank(MPI_COMM_WORLD, &m.world_rank);
    m.rank = rank;
    cudaGetDevice(&m.device);
    if (id != nullptr)
        snprintf(m.host, sizeof m.host, "%s", id);
    else
        gethostname(m.host, sizeof m.host - 1);
    return m;
}

/* All meet at the one that made the id, and learn of each other. */
std::vector<member> meet(const member &mine, int ranks, int root, int tag)
{
    std::vector<member> all(static_cast<size_t>(ranks));
    const int bytes = static_cast<int>(sizeof(member));

    if (mine.world_rank != root) {
        MPI_Send(&mine, bytes, MPI_BYTE, root, tag, MPI_COMM_WORLD);
        MPI_Recv(all.data(), bytes * ranks, MPI_BYTE, root, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        return all;
    }
    all[static_cast<size_t>(mine.rank)] = mine;
    for (int i = 1; i < ranks; i++) {
        member m;

        MPI_Recv(&m, bytes, MPI_BYTE, MPI_ANY_SOURCE, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        all[static_cast<size_t>(m.rank)] = m;
    }
    for (const member &m : all)
        if (m.world_rank != root)
            MPI_Send(all.data(), bytes * ranks, MPI_BYTE, m.world_rank, tag, MPI_COMM_WORLD);
    return all;
}

ncclResult_t refuse_duplicates(ncclComm *comm, const std::vector<member> &all)
{
    for (const member &a : all)
        for (const member &b : all)
            if (a.rank < b.rank && a.device == b.device && strcmp(a.host, b.host) == 0)
                return fail_call(comm, ncclInvalidUsage,
                                 "Duplicate GPU detected : rank " + std::to_string(a.rank) +
                                     " and rank " + std::to_string(b.rank));
    return ncclSuccess;
}

void connect(ncclComm *comm, const std::vector<member> &all, int tag)
{
    std::vector<int> ranks;
    MPI_Group world, group;

    for (const member &m : all)
        ranks.push_back(m.world_rank);
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_incl(world, comm->size, ranks.data(), &group);
    MPI_Comm_create_group(MPI_COMM_WORLD, group, tag, &comm->mpi);
    MPI_Comm_create_group(MPI_COMM_WORLD, group, tag, &comm->words);
    MPI_Group_free(&world);
    MPI_Group_free(&group);
}

std::string last_error; /* of no communicator */

} // namespace

extern "C" {

ncclResult_t ncclGetVersion(int *version)
{
    const char *given = getenv("COC_EMULATOR_NCCL_VERSION");

    *version = given != nullptr ? atoi(given) : NCCL_VERSION_CODE;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    static int made;
    int root, tag;

    MPI_Comm_rank(MPI_COMM_WORLD, &root);
    tag = 10000 + made++ % 20000;
    memset(id, 0, sizeof *id);
    memcpy(id->internal, &root, sizeof root);
    memcpy(id->internal + sizeof root, &tag, sizeof tag);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    ncclComm *comm = new ncclComm();
    const member mine = self(rank);
    int root, tag;

    *out = nullptr;
    if (config->magic != 0xcafebeef || config->blocking != 0 || rank < 0 || rank >= ranks) {
        last_error = "emulated: only communicators that do not block are";
        delete comm;
        return ncclInvalidArgument;
    }
    memcpy(&root, id.internal, sizeof root);
    memcpy(&tag, id.internal + sizeof root, sizeof tag);
    comm->copies = config->CTAPolicy == NCCL_CTA_POLICY_ZERO;
    comm->rank = rank;
    comm->size = ranks;
    comm->world_rank = mine.world_rank;
    comm->state = ncclInProgress;
    comm->looks_left = NCCL_LOOKS;
    *out = comm;
    if (planned().at == 0 && planned().stops()) {
        comm->looks_left = -1;
        return ncclInProgress;
    }
    if (planned().at == 0 && comm->world_rank == planned().rank) {
        comm->last = "emulated: no network";
        comm->state = ncclSystemError;
        return ncclInProgress;
    }
    if (planned().at == 0) {
        comm->looks_left = -1; /* nobody else can finish */
        return ncclInProgress;
    }
    const std::vector<member> all = meet(mine, ranks, root, tag);
    const ncclResult_t result = refuse_duplicates(comm, all);

    if (result == ncclSuccess)
        connect(comm, all, tag);
    else
        comm->state = result;
    return ncclInProgress;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    if (comm->state != ncclSuccess) return ncclInvalidArgument;
    comm->state = ncclInProgress;
    comm->looks_left = NCCL_LOOKS;
    return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    if (comm->mpi != MPI_COMM_NULL) MPI_Comm_free(&comm->mpi);
    if (comm->words != MPI_COMM_NULL) MPI_Comm_free(&comm->words);
    delete comm;
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    while (planned().kind == "deaf" || !comm->windows.empty()) /* symmetric kernels see no abort */
        sleep(1);
    free_device();
    delete comm;
    return ncclSuccess;
}

/* The background gets on only when it is looked at. */
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    if (comm->state == ncclInProgress && comm->looks_left > 0 && --comm->looks_left == 0) {
        std::vector<ncclComm::call> calls;

        comm->state = ncclSuccess;
        if (comm->registering) comm->state = comm->registering();
        comm->registering = nullptr;
        calls.swap(comm->pending);
        for (const ncclComm::call &c : calls)
            coc_emulator_enqueue(c.stream, c.work);
    }
    *error = comm->state;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    switch (result) {
    case ncclSuccess:
        return "no error";
    case ncclUnhandledCudaError:
        return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
    case ncclSystemError:
        return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
    case ncclInternalError:
        return "internal error - please report this issue to the NCCL developers";
    case ncclInvalidArgument:
        return "invalid argument (run with NCCL_DEBUG=WARN for details)";
    case ncclInvalidUsage:
        return "invalid usage (run with NCCL_DEBUG=WARN for details)";
    case ncclRemoteError:
        return "remote process exited or there was a network error";
    case ncclInProgress:
        return "NCCL operation in progress";
    }
    return "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    return comm != nullptr ? comm->last.c_str() : last_error.c_str();
}

/* ---- collectives ---- */

ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    const size_t bytes = count * bytes_of(type), ranks = static_cast<size_t>(comm->size);

    const reach mine = reach_of(comm, send, bytes, recv, ranks * bytes, false, true);

    return give(comm, send, bytes, recv, ranks * bytes, stream, [=] {
        if (!agree_on_places(comm, mine, comm->copies)) return;
        memmove(static_cast<char *>(recv) + static_cast<size_t>(comm->rank) * bytes, send, bytes);
        MPI_Request request;

        MPI_Iallgather(MPI_IN_PLACE, 0, MPI_BYTE, recv, static_cast<int>(bytes), MPI_BYTE,
                       comm->mpi, &request);
        finish(request);
    });
}

ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type,
                               ncclRedOp_t, ncclComm_t comm, cudaStream_t stream)
{
    const size_t bytes = count * bytes_of(type), ranks = static_cast<size_t>(comm->size);

    const reach mine = type != ncclFloat32
                           ? reach()
                           : reach_of(comm, send, ranks * bytes, recv, bytes, true, false);

    return give(comm, send, ranks * bytes, recv, bytes, stream, [=] {
        if (!agree_on_places(comm, mine, false)) return;
        std::vector<char> parts(ranks * bytes);
        MPI_Request request;

        MPI_Ialltoall(send, static_cast<int>(bytes), MPI_BYTE, parts.data(),
                      static_cast<int>(bytes), MPI_BYTE, comm->mpi, &request);
        finish(request);
        add(recv, parts, count, type, comm->size);
    });
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t comm, cudaStream_t stream)
{
    const size_t bytes = count * bytes_of(type), ranks = static_cast<size_t>(comm->size);

    const reach mine =
        type != ncclFloat32 ? reach() : reach_of(comm, send, bytes, recv, bytes, true, true);

    return give(comm, send, bytes, recv, bytes, stream, [=] {
        if (!agree_on_places(comm, mine, false)) return;
        std::vector<char> parts(ranks * bytes);
        MPI_Request request;

        MPI_Iallgather(send, static_cast<int>(bytes), MPI_BYTE, parts.data(),
                       static_cast<int>(bytes), MPI_BYTE, comm->mpi, &request);
        finish(request);
        add(recv, parts, count, type, comm->size);
    });
}

ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream)
{
    const size_t bytes = count * bytes_of(type);

    return give(comm, comm->rank == root ? send : recv, bytes, recv, bytes, stream, [=] {
        MPI_Request request;

        if (comm->rank == root) memmove(recv, send, bytes);
        MPI_Ibcast(recv, static_cast<int>(bytes), MPI_BYTE, root, comm->mpi, &request);
        finish(request);
    });
}

ncclResult_t ncclReduce(const void *send, void *recv, size_t count, ncclDataType_t type,
                        ncclRedOp_t, int root, ncclComm_t comm, cudaStream_t stream)
{
    const size_t bytes = count * bytes_of(type), ranks = static_cast<size_t>(comm->size);

    return give(comm, send, bytes, comm->rank == root ? recv : send, bytes, stream, [=] {
        std::vector<char> parts(comm->rank == root ? ranks * bytes : 0);
        MPI_Request request;

        MPI_Igather(send, static_cast<int>(bytes), MPI_BYTE, parts.data(), static_cast<int>(bytes),
                    MPI_BYTE, root, comm->mpi, &request);
        finish(request);
        if (comm->rank == root) add(recv, parts, count, type, comm->size);
    });
}

ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream)
{
    return give_message(comm, {send, nullptr, count * bytes_of(type), peer, stream});
}

ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    return give_message(comm, {nullptr, recv, count * bytes_of(type), peer, stream});
}

ncclResult_t ncclGroupStart(void)
{
    group_depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    const std::set<ncclComm *> comms = with_messages;

    if (group_depth == 0) return ncclInvalidUsage;
    if (group_depth > 1) {
        group_depth--;
        return ncclSuccess;
    }
    with_messages.clear();
    for (ncclComm *comm : comms) {
        const ncclResult_t result = give_messages(comm);

        if (result != ncclSuccess) {
            group_depth = 0;
            in_group.clear();
            return result;
        }
    }
    group_depth = 0;
    if (in_group.empty()) return ncclSuccess;
    for (ncclComm *comm : in_group) {
        comm->state = ncclInProgress;
        comm->looks_left = NCCL_LOOKS;
    }
    in_group.clear();
    return ncclInProgress;
}

} /* extern "C" */
