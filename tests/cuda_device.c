/* The GPU as a device: choosing one, memory, copies, streams, recordings. */
#include <stdlib.h>
#include <string.h>

#include "base/cuda/device.h"
#include "base/gpus.h"
#include "tests/test.h"

enum { COUNT = 1000, ROWS = 7, STRIDE = 40, WIDTH = 24 };

static const coc_device *device;
static unsigned char sent[COUNT], got[COUNT];

static void fill(unsigned char *bytes, int seed)
{
    for (int i = 0; i < COUNT; i++)
        bytes[i] = (unsigned char)(i * 7 + seed);
}

/* More ranks than devices are refused with the setting that allows it; one that is allowed, and a
 * Slurm task that sees a device of its own, are not. Before the device is opened. */
static void ranks_choose_a_device(void)
{
    const char *reason;
    const int count = coc_cuda_count(&reason);
    int sharers = 0;

    unsetenv("SLURM_LOCALID");
    CHECK(coc_cuda_choose(0, count + 1, false, &sharers) == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "comm.share_gpu: true") != NULL);
    REQUIRE_OK(coc_cuda_choose(count - 1, count, false, &sharers));
    CHECK(sharers == 1);
    REQUIRE_OK(coc_cuda_choose(count, count + 1, true, &sharers)); /* the first one again */
    CHECK(sharers == 2);
    if (count == 1) {
        setenv("SLURM_LOCALID", "3", 1);
        setenv("CUDA_VISIBLE_DEVICES", "0,1", 1);
        CHECK(coc_cuda_choose(3, 4, false, &sharers) == COC_ERR_SETTING);
        setenv("CUDA_VISIBLE_DEVICES", "2", 1);
        REQUIRE_OK(coc_cuda_choose(3, 4, false, &sharers));
        CHECK(sharers == 1);
        unsetenv("CUDA_VISIBLE_DEVICES");
    }
    REQUIRE_OK(coc_cuda_device(&device));
    CHECK(coc_cuda_here()->index == 0);
    CHECK(coc_cuda_here()->major >= 8);
    CHECK(device->side == COC_ACCELERATOR);
}

/* What there is not is refused in one line with the amounts, and leaves the device usable. */
static void memory_is_given_or_refused(void)
{
    void *memory, *host;
    int64_t left = 0, all = 0;

    REQUIRE_OK(device->memory(device, &left, &all));
    CHECK(0 < left && left <= all);
    CHECK(device->alloc(device, (size_t)all + (1u << 30), &memory) == COC_ERR_MEMORY);
    CHECK(memory == NULL);
    CHECK(strstr(coc_error_text(), "MB are left; set train.micro_batch") != NULL);
    REQUIRE_OK(device->alloc(device, 0, &memory));
    CHECK((uintptr_t)memory % 256 == 0);
    device->release(device, memory);
    device->release(device, NULL);
    REQUIRE_OK(device->alloc_host(device, COUNT, &host));
    memset(host, 1, COUNT);
    device->release_host(device, host);
    device->release_host(device, NULL);
}

/* Bytes come back as they were sent; rows keep to their strides and leave what lies between. */
static void copies_are_exact(void)
{
    unsigned char *memory;

    fill(sent, 3);
    REQUIRE_OK(coc_device_alloc(device, COUNT, 1, &memory));
    REQUIRE_OK(device->copy(device, memory, sent, COUNT, NULL));
    REQUIRE_OK(device->zero(device, memory + 100, 50, NULL));
    REQUIRE_OK(device->copy(device, memory + 200, memory, 150, NULL));
    REQUIRE_OK(device->copy(device, got, memory, COUNT, NULL));
    REQUIRE_OK(device->wait(device, NULL));
    memset(sent + 100, 0, 50);
    memcpy(sent + 200, sent, 150);
    CHECK(memcmp(sent, got, COUNT) == 0);

    fill(sent, 9);
    REQUIRE_OK(device->zero(device, memory, COUNT, NULL));
    REQUIRE_OK(device->copy_rows(device, memory, STRIDE, sent, WIDTH, WIDTH, ROWS, NULL));
    memset(got, 0xee, sizeof got);
    REQUIRE_OK(device->copy(device, got, memory, COUNT, NULL));
    REQUIRE_OK(device->wait(device, NULL));
    for (int i = 0; i < ROWS * STRIDE; i++)
        if (got[i] != (i % STRIDE < WIDTH ? sent[i / STRIDE * WIDTH + i % STRIDE] : 0)) {
            CHECK(got[i] == 0);
            break;
        }
    device->release(device, memory);
}

/* Work of one stream is seen by another that was ordered after it. */
static void streams_can_be_ordered(void)
{
    coc_stream *first, *second;
    unsigned char *memory, *pinned;

    REQUIRE_OK(device->stream_create(device, false, &first));
    REQUIRE_OK(device->stream_create(device, true, &second));
    CHECK(first != NULL && second != NULL && first != second);
    CHECK(coc_cuda_stream(NULL) != coc_cuda_stream(first));
    REQUIRE_OK(coc_device_alloc(device, COUNT, 1, &memory));
    REQUIRE_OK(device->alloc_host(device, COUNT, (void **)&pinned));
    fill(pinned, 5);
    REQUIRE_OK(device->copy(device, memory, pinned, COUNT, first));
    REQUIRE_OK(device->order(device, second, first));
    REQUIRE_OK(device->copy(device, got, memory, COUNT, second));
    REQUIRE_OK(device->order(device, NULL, NULL));
    REQUIRE_OK(device->wait(device, second));
    CHECK(memcmp(got, pinned, COUNT) == 0);
    device->release_host(device, pinned);
    device->release(device, memory);
    device->stream_destroy(device, first);
    device->stream_destroy(device, second);
    device->stream_destroy(device, NULL);
}

/* Background streams have the lowest priority that the device knows, the main stream and others
 * the highest. */
static void background_streams_give_way(void)
{
    coc_stream *fore, *back;
    int least, greatest, priority;

    REQUIRE(cudaDeviceGetStreamPriorityRange(&least, &greatest) == cudaSuccess);
    REQUIRE_OK(device->stream_create(device, false, &fore));
    REQUIRE_OK(device->stream_create(device, true, &back));
    CHECK(cudaStreamGetPriority(coc_cuda_stream(back), &priority) == cudaSuccess);
    CHECK(priority == least);
    CHECK(cudaStreamGetPriority(coc_cuda_stream(fore), &priority) == cudaSuccess);
    CHECK(priority == greatest);
    CHECK(cudaStreamGetPriority(coc_cuda_stream(NULL), &priority) == cudaSuccess);
    CHECK(priority == greatest);
    device->stream_destroy(device, fore);
    device->stream_destroy(device, back);
}

/* A mark that was never set is not waited for; one that was has all before it done, also when it is
 * set again. */
static void marks_are_waited_for(void)
{
    coc_stream *stream;
    coc_mark *mark;
    unsigned char *memory;

    REQUIRE_OK(device->stream_create(device, true, &stream));
    REQUIRE_OK(device->mark_create(device, &mark));
    REQUIRE(mark != NULL);
    REQUIRE_OK(device->mark_wait(device, mark));
    REQUIRE_OK(coc_device_alloc(device, COUNT, 1, &memory));
    for (int seed = 1; seed < 3; seed++) {
        fill(sent, seed);
        REQUIRE_OK(device->copy(device, memory, sent, COUNT, stream));
        REQUIRE_OK(device->copy(device, got, memory, COUNT, stream));
        REQUIRE_OK(device->mark_set(device, mark, stream));
        REQUIRE_OK(device->zero(device, memory, COUNT, stream));
        REQUIRE_OK(device->mark_wait(device, mark));
        CHECK(memcmp(got, sent, COUNT) == 0);
    }
    REQUIRE_OK(device->wait(device, stream));
    device->release(device, memory);
    device->mark_destroy(device, mark);
    device->mark_destroy(device, NULL);
    device->stream_destroy(device, stream);
}

/* Recorded calls are done when launched, as often as they are, with what memory holds then; also
 * those of a second stream that joins. */
static void recordings_are_launched(void)
{
    coc_stream *side;
    coc_graph *graph;
    unsigned char *memory, *pinned;

    REQUIRE_OK(device->stream_create(device, false, &side));
    REQUIRE_OK(coc_device_alloc(device, 2 * COUNT, 1, &memory));
    REQUIRE_OK(device->alloc_host(device, 2 * COUNT, (void **)&pinned));
    memset(pinned, 0, 2 * COUNT);
    CHECK(device->records);
    REQUIRE_OK(device->record(device, NULL));
    REQUIRE_OK(device->copy(device, memory, pinned, COUNT, NULL));
    REQUIRE_OK(device->order(device, side, NULL));
    REQUIRE_OK(device->copy(device, memory + COUNT, memory, COUNT, side));
    REQUIRE_OK(device->order(device, NULL, side));
    REQUIRE_OK(device->copy(device, pinned + COUNT, memory + COUNT, COUNT, NULL));
    REQUIRE_OK(device->recorded(device, NULL, &graph));
    REQUIRE(graph != NULL);
    REQUIRE_OK(device->wait(device, NULL));
    for (int seed = 1; seed < 4; seed++) {
        fill(pinned, seed);
        REQUIRE_OK(device->launch(device, graph, NULL));
        REQUIRE_OK(device->wait(device, NULL));
        CHECK(memcmp(pinned, pinned + COUNT, COUNT) == 0);
    }
    device->graph_destroy(device, graph);
    device->graph_destroy(device, NULL);
    device->release_host(device, pinned);
    device->release(device, memory);
    device->stream_destroy(device, side);
}

/* What cannot be recorded fails the recording with a line, and the stream can be used again. */
static void a_spoilt_recording_is_told(void)
{
    void *memory;
    coc_graph *graph;
    unsigned char *held;

    REQUIRE_OK(coc_device_alloc(device, COUNT, 1, &held));
    REQUIRE_OK(device->record(device, NULL));
    CHECK(device->alloc(device, COUNT, &memory) != COC_OK || memory != NULL);
    CHECK(device->wait(device, NULL) != COC_OK);
    CHECK(device->recorded(device, NULL, &graph) == COC_ERR_DEVICE);
    CHECK(graph == NULL);
    CHECK(strncmp(coc_error_text(), "GPU: ", 5) == 0);
    (void)cudaGetLastError(); /* the runtime keeps it for whoever asks */
    REQUIRE_OK(device->zero(device, held, COUNT, NULL));
    REQUIRE_OK(device->wait(device, NULL));
    device->release(device, held);
}

/* Looking at all devices, as `cocola info` does, leaves a thread with the one that it had. */
static void looking_at_devices_changes_none(void)
{
    coc_gpus gpus;
    int now = -1;

    setenv("COC_EMULATOR_DEVICES", "3", 1); /* of a GPU nothing can be asked for */
    REQUIRE(cudaSetDevice(0) == cudaSuccess);
    coc_gpus_find(&gpus);
    CHECK(gpus.count >= 1 && gpus.gpu[gpus.count - 1].left >= 0);
    CHECK(cudaGetDevice(&now) == cudaSuccess && now == 0);
    unsetenv("COC_EMULATOR_DEVICES");
}

int main(void)
{
    const char *reason;

    if (coc_cuda_count(&reason) == 0) {
        fprintf(stderr, "skipped: no device: %s\n", reason);
        return COC_TEST_SKIPPED;
    }
    RUN(looking_at_devices_changes_none);
    RUN(ranks_choose_a_device);
    if (device != NULL) {
        RUN(memory_is_given_or_refused);
        RUN(copies_are_exact);
        RUN(streams_can_be_ordered);
        RUN(background_streams_give_way);
        RUN(marks_are_waited_for);
        RUN(recordings_are_launched);
        RUN(a_spoilt_recording_is_told);
    }
    return coc_test_result();
}
