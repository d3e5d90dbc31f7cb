/* tests/emulator/streams.cpp - streams, events and recordings.
 *
 * A stream's work is done when it is given, or (COC_EMULATOR_STREAMS=late) as late as the order
 * that the program asked for allows: when something waits for it. Then what lacks a wait or an
 * event between two streams finds nothing done. With `uneven` each stream is now like
 * that and now does its work at once, for some pieces of work at a time, in a fixed random order:
 * streams run far ahead of each other, and what lacks an event finds memory overwritten that is
 * still to be read.
 *
 * A recording is the list of what was given, in that order. Each stream that takes part knows how
 * much of every other's work comes before its own next; at the end all of it must come before the
 * first stream's, or a stream did not join.
 */
#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>

#include "emulator.h"

using namespace coc_emulator;

namespace
{

struct recording_of {
    enum cudaStreamCaptureMode mode;
    std::thread::id owner;
    CUstream_st *first;
    std::set<CUstream_st *> streams; /* that take part */
    std::vector<work> calls;
    bool spoiled;
};

/* How much of each stream's part of a recording comes before. */
typedef std::map<CUstream_st *, size_t> before;

void take_over(before &mine, const before &other)
{
    for (const auto &[stream, count] : other)
        if (mine[stream] < count) mine[stream] = count;
}

/* Kept as long as an event or another stream's work needs it. */
struct queue {
    std::deque<work> waiting;
    size_t given, done;
};

typedef std::chrono::steady_clock::time_point moment;

enum { LEAST = 0, GREATEST = -5 }; /* priorities */

std::set<CUstream_st *> streams;
std::set<recording_of *> recordings;
thread_local cudaError_t last_error = cudaSuccess;
std::atomic<bool> stopped;

void finish_queue(queue &q, size_t count)
{
    while (q.done < count) {
        const work next = std::move(q.waiting.front());

        q.waiting.pop_front();
        q.done++;
        if (!stopped) next();
    }
}

} // namespace

struct CUstream_st {
    bool blocking; /* waits for the legacy stream, which waits for it */
    int priority;  /* changes nothing here */
    std::shared_ptr<queue> work_list = std::make_shared<queue>();
    std::shared_ptr<recording_of> recording;
    before known;
    bool late = false; /* with `uneven`: whether it waits now, and for how many pieces more */
    int pieces = 0;
};

struct CUevent_st {
    bool timed;
    std::shared_ptr<moment> when; /* NULL: never recorded */
    std::shared_ptr<queue> work_list;
    size_t position = 0;
    std::shared_ptr<recording_of> recording;
    before known;
};

struct CUgraph_st {
    std::vector<work> calls;
};

struct CUgraphExec_st {
    std::shared_ptr<const std::vector<work>> calls;
};

static CUstream_st legacy = {true, LEAST, std::make_shared<queue>(), nullptr, {}};

static CUstream_st *stream_of(cudaStream_t stream)
{
    return stream != nullptr ? stream : &legacy;
}

static bool known(cudaStream_t stream)
{
    return stream == nullptr || streams.count(stream) != 0;
}

namespace coc_emulator
{

cudaError_t note(cudaError_t error)
{
    if (error != cudaSuccess) last_error = error;
    return error;
}

static bool streams_are(const char *kind)
{
    const char *text = getenv("COC_EMULATOR_STREAMS");

    return text != nullptr && std::string(text) == kind;
}

bool streams_are_late()
{
    return streams_are("late") || streams_are("uneven");
}

/* Whether a stream that was given something does all it has. */
static bool runs_now(CUstream_st *s)
{
    static std::minstd_rand random(1);

    if (!streams_are("uneven")) return !streams_are_late();
    if (s->pieces-- == 0) {
        s->late = random() % 2 == 0;
        s->pieces = (int)(random() % 16);
    }
    return !s->late;
}

bool recording(cudaStream_t stream)
{
    return stream_of(stream)->recording != nullptr;
}

cudaError_t spoil(cudaStream_t stream, cudaError_t error)
{
    if (recording(stream)) stream_of(stream)->recording->spoiled = true;
    return note(error);
}

bool forbidden()
{
    bool found = false;

    for (recording_of *r : recordings) {
        const bool mine = r->owner == std::this_thread::get_id();

        if (r->mode == cudaStreamCaptureModeRelaxed) continue;
        if (r->mode == cudaStreamCaptureModeThreadLocal && !mine) continue;
        r->spoiled = found = true;
    }
    return found;
}

void stop_device()
{
    stopped = true;
}

void free_device()
{
    stopped = false;
}

void wait_while_stopped()
{
    while (stopped)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

/* The legacy stream and the blocking ones wait for each other; it cannot while one is recorded. */
static cudaError_t meet_legacy(CUstream_st *s)
{
    for (CUstream_st *other : streams) {
        if (s != &legacy || !other->blocking) continue;
        if (other->recording != nullptr) return spoil(other, cudaErrorStreamCaptureImplicit);
        finish(other);
    }
    if (s != &legacy && s->blocking) finish(nullptr);
    return cudaSuccess;
}

cudaError_t enqueue(cudaStream_t stream, work what)
{
    const guard lock(device);
    CUstream_st *s = stream_of(stream);

    if (!known(stream)) return note(cudaErrorInvalidResourceHandle);
    if (s->recording != nullptr) {
        if (s->recording->spoiled) return note(cudaErrorStreamCaptureInvalidated);
        s->recording->calls.push_back(std::move(what));
        s->known[s]++;
        return cudaSuccess;
    }
    const cudaError_t error = meet_legacy(s);

    if (error != cudaSuccess) return error;
    s->work_list->given++;
    s->work_list->waiting.push_back(std::move(what));
    if (runs_now(s)) finish(stream);
    return cudaSuccess;
}

void finish(cudaStream_t stream)
{
    queue &q = *stream_of(stream)->work_list;

    finish_queue(q, q.given);
}

void finish_all()
{
    finish(nullptr);
    for (CUstream_st *s : streams)
        finish(s);
}

} // namespace coc_emulator

cudaError_t coc_emulator_enqueue(cudaStream_t stream, const std::function<void()> &work)
{
    return enqueue(stream, [=] {
        const access here;

        work();
    });
}

extern "C" {

/* ---- streams --------------------------------------------------------------------------------- */

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = LEAST;
    *greatest = GREATEST;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    const guard lock(device);

    *stream = new CUstream_st();
    (*stream)->blocking = (flags & cudaStreamNonBlocking) == 0;
    (*stream)->priority = std::clamp(priority, (int)GREATEST, (int)LEAST);
    streams.insert(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithPriority(stream, cudaStreamDefault, 0);
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority)
{
    const guard lock(device);

    if (!known(stream)) return note(cudaErrorInvalidResourceHandle);
    *priority = stream_of(stream)->priority;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    const guard lock(device);

    if (stream == nullptr || !known(stream)) return note(cudaErrorInvalidResourceHandle);
    finish(stream);
    if (stream->recording != nullptr) {
        stream->recording->spoiled = true;
        stream->recording->streams.erase(stream);
        if (stream->recording->first == stream) recordings.erase(stream->recording.get());
    }
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

static cudaError_t synchronize(cudaStream_t stream)
{
    const guard lock(device);

    if (!known(stream)) return note(cudaErrorInvalidResourceHandle);
    if (recording(stream)) return spoil(stream, cudaErrorStreamCaptureUnsupported);
    const cudaError_t error = meet_legacy(stream_of(stream));

    finish(stream);
    return error;
}

/* The device can stop in the very work that is waited for. */
cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    wait_while_stopped();
    const cudaError_t error = synchronize(stream);

    wait_while_stopped();
    return error;
}

/* A late stream comes one piece nearer to its end each time it is asked. */
static cudaError_t ask_queue(queue &q, size_t position)
{
    if (stopped) return note(cudaErrorNotReady);
    if (q.done >= position) return cudaSuccess;
    finish_queue(q, q.done + 1);
    return q.done >= position ? cudaSuccess : note(cudaErrorNotReady);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    const guard lock(device);

    if (!known(stream)) return note(cudaErrorInvalidResourceHandle);
    if (recording(stream)) return spoil(stream, cudaErrorStreamCaptureUnsupported);
    return ask_queue(*stream_of(stream)->work_list, stream_of(stream)->work_list->given);
}

cudaError_t cudaDeviceSynchronize(void)
{
    wait_while_stopped();
    const guard lock(device);

    if (forbidden()) return note(cudaErrorStreamCaptureUnsupported);
    finish_all();
    return cudaSuccess;
}

/* ---- events ---------------------------------------------------------------------------------- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    *event = new CUevent_st();
    (*event)->timed = (flags & cudaEventDisableTiming) == 0;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    const guard lock(device);
    CUstream_st *s = stream_of(stream);
    const std::shared_ptr<moment> when = std::make_shared<moment>();

    if (!known(stream)) return note(cudaErrorInvalidResourceHandle);
    event->when = when;
    event->recording = s->recording;
    event->known = s->known;
    if (s->recording != nullptr) return cudaSuccess;
    const cudaError_t error = enqueue(stream, [=] { *when = std::chrono::steady_clock::now(); });

    event->work_list = s->work_list;
    event->position = s->work_list->given;
    return error;
}

/* The stream's recording becomes (or is) that of the event. */
static cudaError_t join(CUstream_st *s, const CUevent_st *event)
{
    const auto &r = event->recording;

    if (recordings.count(r.get()) == 0) return spoil(s, cudaErrorStreamCaptureIsolation);
    if (s == &legacy) return note(cudaErrorStreamCaptureImplicit);
    if (s->recording != nullptr && s->recording != r) {
        r->spoiled = true;
        return spoil(s, cudaErrorStreamCaptureMerge);
    }
    s->recording = r;
    r->streams.insert(s);
    take_over(s->known, event->known);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    const guard lock(device);
    CUstream_st *s = stream_of(stream);

    if (!known(stream)) return note(cudaErrorInvalidResourceHandle);
    if (event->when == nullptr) return cudaSuccess;
    if (event->recording != nullptr) return join(s, event);
    if (s->recording != nullptr) return spoil(stream, cudaErrorStreamCaptureIsolation);
    const auto first = event->work_list;
    const size_t position = event->position;

    return enqueue(stream, [=] { finish_queue(*first, position); });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    wait_while_stopped();
    const guard lock(device);

    if (event->when == nullptr) return cudaSuccess;
    if (event->recording != nullptr) return note(cudaErrorCapturedEvent);
    if (forbidden()) return note(cudaErrorStreamCaptureUnsupported);
    finish_queue(*event->work_list, event->position);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    const guard lock(device);

    if (event->when == nullptr) return cudaSuccess;
    if (event->recording != nullptr) return note(cudaErrorCapturedEvent);
    if (forbidden()) return note(cudaErrorStreamCaptureUnsupported);
    return ask_queue(*event->work_list, event->position);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end)
{
    const guard lock(device);

    for (const CUevent_st *event : {begin, end}) {
        if (!event->timed || event->when == nullptr || event->recording != nullptr)
            return note(cudaErrorInvalidResourceHandle);
        if (event->work_list->done < event->position) return note(cudaErrorNotReady);
    }
    *milliseconds = std::chrono::duration<float, std::milli>(*end->when - *begin->when).count();
    return cudaSuccess;
}

/* What waits for it has what it needs. */
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

/* ---- recordings ------------------------------------------------------------------------------ */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    const guard lock(device);

    if (!known(stream)) return note(cudaErrorInvalidResourceHandle);
    if (stream == nullptr) return note(cudaErrorStreamCaptureUnsupported);
    if (stream->recording != nullptr) return spoil(stream, cudaErrorIllegalState);
    stream->recording.reset(
        new recording_of{mode, std::this_thread::get_id(), stream, {stream}, {}, false});
    stream->known.clear();
    recordings.insert(stream->recording.get());
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    const guard lock(device);

    if (!known(stream)) return note(cudaErrorInvalidResourceHandle);
    *status = cudaStreamCaptureStatusNone;
    if (recording(stream))
        *status = stream->recording->spoiled ? cudaStreamCaptureStatusInvalidated
                                             : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

static bool all_joined(const recording_of &r)
{
    for (CUstream_st *s : r.streams)
        if (r.first->known[s] < s->known[s]) return false;
    return true;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    const guard lock(device);

    *graph = nullptr;
    if (stream == nullptr || !known(stream) || stream->recording == nullptr)
        return note(cudaErrorIllegalState);
    const std::shared_ptr<recording_of> r = stream->recording;

    if (r->first != stream) return spoil(stream, cudaErrorStreamCaptureUnmatched);
    if (r->mode != cudaStreamCaptureModeRelaxed && r->owner != std::this_thread::get_id())
        return note(cudaErrorStreamCaptureWrongThread);
    const cudaError_t error = r->spoiled        ? cudaErrorStreamCaptureInvalidated
                              : !all_joined(*r) ? cudaErrorStreamCaptureUnjoined
                                                : cudaSuccess;

    for (CUstream_st *s : r->streams) {
        s->recording = nullptr;
        s->known.clear();
    }
    recordings.erase(r.get());
    if (error == cudaSuccess) *graph = new CUgraph_st{std::move(r->calls)};
    return note(error);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = nullptr;
    if (graph == nullptr) return note(cudaErrorInvalidValue);
    *exec = new CUgraphExec_st{std::make_shared<const std::vector<work>>(graph->calls)};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    if (exec == nullptr) return note(cudaErrorInvalidValue);
    const auto calls = exec->calls;

    return enqueue(stream, [=] {
        for (const work &call : *calls)
            if (!stopped) call();
    });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

/* ---- errors ---------------------------------------------------------------------------------- */

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = last_error;

    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

} /* extern "C" */
