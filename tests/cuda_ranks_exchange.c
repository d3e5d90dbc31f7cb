/* loss.exchange: ring on GPUs, over NCCL and through the host; emulated there is a GPU a rank. */
#include <stdlib.h>
#include <string.h>

#include "base/cuda/device.h"
#include "comm/device_comm.h"
#include "tests/exchanges.h"
#include "tests/on_device.h"
#include "tests/test.h"

static coc_comm *world;
static coc_backend *backend;
static coc_comm_settings settings = {.backend = "mpi", .deadline = 60};

static void check_over(coc_comm *comm)
{
    if (comm == NULL) return;
    coc_test_exchanges(comm, backend, 1e-6);
    coc_comm_destroy(&comm);
}

static void over_nccl(void)
{
    /* Slabs travel from device to device beside kernels, and nobody waits for the device. */
    coc_comm *comm = NULL;

    if (coc_comm_nccl(world, backend->device, &settings, &comm) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    check_over(comm);
}

static void through_the_host(void)
{
    coc_comm *comm = NULL;

    REQUIRE_OK(coc_comm_for_device(world, backend->device, &settings, &comm));
    check_over(comm);
}

static coc_status open_backend(void)
{
    const char *reason;
    int sharers;

    settings.share_gpu = coc_cuda_count(&reason) < world->local_size;
    COC_TRY(
        coc_backend_choose_device("cuda", world->local_rank, world->local_size, true, &sharers));
    backend = coc_test_backend("cuda", COC_FP32);
    return backend != NULL ? COC_OK : COC_FAIL(COC_ERR_DEVICE, "no GPU");
}

int main(void)
{
    coc_status status;
    int result = COC_TEST_SKIPPED;

    setenv("COC_EMULATOR_DEVICES", "4", 0);
    status = coc_comm_start(&settings, &world);
    if (status != COC_OK) coc_comm_abort(status);
    if (coc_comm_agree(world, "opening", open_backend()) == COC_OK) {
        RUN(over_nccl);
        RUN(through_the_host);
        result = coc_test_result();
    }
    coc_backend_destroy(&backend);
    coc_comm_destroy(&world);
    coc_comm_finish();
    return result;
}
