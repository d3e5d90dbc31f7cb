/* Similarity and loss alone, and accuracy at K, against the published code in double precision.
 *
 *     golden_loss [BACKEND]
 *
 * BACKEND: ref, cpu or cuda; otherwise those of the host. Groups that the file does not have are
 * passed over: machines for devices are given a part of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "comm/device_comm.h"
#include "model/similarity.h"
#include "tests/on_device.h"
#include "tests/test.h"
#include "train/measure.h"

static const char *backend_name;
static int groups; /* that were compared */
static char loss_path[4096], accuracy_path[4096];

static float *new_floats(int64_t n)
{
    return calloc((size_t)n, sizeof(float));
}

static float *read_part(const char *file, const char *group, const char *name, int64_t *count)
{
    char path[96];

    snprintf(path, sizeof path, "%s/%s", group, name);
    return coc_golden_read(file, path, count);
}

/* there: on the device */
static void check_gradient(coc_backend *b, const char *group, const char *name, const float *there,
                           double bar)
{
    int64_t count;
    float *got, *want = read_part(loss_path, group, name, &count);
    double error;

    REQUIRE(want != NULL);
    got = new_floats(count);
    coc_test_get(b, there, count, sizeof *got, got);
    error = coc_test_relative_error(got, want, count);
    if (!(error <= bar))
        coc_test_fail(__FILE__, __LINE__, "%s/%s: off by %.2g of its norm, allowed %.2g", group,
                      name, error, bar);
    free(got);
    free(want);
}

/* Parameters whose similarity is d x d; the rest of the network does not matter. */
static coc_status params_for(coc_backend *backend, int d, coc_network *network, coc_params **params)
{
    const coc_profile *profile;

    COC_TRY(coc_profile_find("cocola-hps", 2, &profile));
    COC_TRY(coc_network_build(profile, 0.1, 0.1, 64, 64, network));
    network->embedding = d;
    return coc_params_create(network, backend->device, true, params);
}

static coc_status open_all(coc_backend **backend, coc_comm **comm)
{
    const coc_comm_settings settings = {.backend = "auto", .deadline = 60};
    coc_comm *alone;

    *backend = coc_test_backend_named(backend_name);
    if (*backend == NULL) return COC_FAIL(COC_ERR_DEVICE, "%s does not open", backend_name);
    COC_TRY(coc_comm_self(&alone));
    return coc_comm_for_device(alone, (*backend)->device, &settings, comm);
}

/* One group of loss.h5: K pairs of d values. The logits of float arithmetic are exact to about
 * their size times 1e-7, and a gradient follows the exponential of a logit: so the bar grows with
 * `scale`, the size of the logits. */
static void check_group(const char *group, int64_t k, int d, double scale)
{
    const bool there_is = coc_golden_has(loss_path, group);
    const double want = there_is ? coc_golden_attribute(loss_path, group, "loss") : 0;
    const char *const names[] = {"h1", "h2", "w"};
    float *there[3], *gradient[2]; /* on the device */
    int64_t count, own[300], *label;
    coc_network network;
    coc_comm *comm = NULL;
    coc_backend *backend = NULL;
    coc_params *params = NULL;
    coc_similarity *similarity = NULL;
    coc_similarity_batch batch;
    coc_parts parts;
    coc_loss loss;

    if (!there_is) return;
    groups++;
    REQUIRE_OK(open_all(&backend, &comm));
    for (int i = 0; i < 3; i++) {
        float *host = read_part(loss_path, group, names[i], &count);

        REQUIRE(host != NULL && count == (i < 2 ? k : d) * (int64_t)d);
        there[i] = coc_test_put(backend, host, count, sizeof *host);
        free(host);
        if (i == 2) continue;
        REQUIRE_OK(coc_device_alloc(backend->device, count, sizeof **gradient, &gradient[i]));
    }
    for (int64_t i = 0; i < k; i++)
        own[i] = i;
    label = coc_test_put(backend, own, k, sizeof *own);
    REQUIRE_OK(params_for(backend, d, &network, &params));
    REQUIRE_OK(backend->device->copy(backend->device, params->value + params->at.similarity,
                                     there[2], (size_t)count * sizeof **there, NULL));
    batch = (coc_similarity_batch){.label = label,
                                   .row_track = (const uint64_t *)label,
                                   .column_track = (const uint64_t *)label};
    REQUIRE_OK(coc_parts_make(comm, k, 0, &parts));
    REQUIRE_OK(coc_similarity_create(backend, comm, &parts, d, NULL, &similarity));
    REQUIRE_OK(coc_similarity_columns(similarity, params, &batch, there[1], 0));
    REQUIRE_OK(coc_similarity_loss(similarity, params, there[0], there[1], &batch, gradient[0],
                                   gradient[1], NULL));
    REQUIRE_OK(backend->ops->finish(backend));
    loss = coc_similarity_result(similarity);
    CHECK_NEAR(loss.loss, want, 2e-6 * want);
    CHECK_NEAR(loss.accuracy * (double)k, coc_golden_attribute(loss_path, group, "correct"), 1e-9);
    CHECK_NEAR(loss.columns, k, 0);
    CHECK_NEAR(loss.same_track, 0, 0);
    check_gradient(backend, group, "d_h1", gradient[0], 3e-6 * scale);
    check_gradient(backend, group, "d_h2", gradient[1], 3e-6 * scale);
    check_gradient(backend, group, "d_w", params->grad + params->at.similarity, 3e-6 * scale);
    coc_similarity_destroy(&similarity);
    coc_params_destroy(&params);
    for (int i = 0; i < 3; i++)
        coc_test_release(backend, there[i]);
    coc_test_release(backend, gradient[0]);
    coc_test_release(backend, gradient[1]);
    coc_test_release(backend, label);
    coc_backend_destroy(&backend);
    coc_comm_destroy(&comm);
}

/* Loss, right rows and all three gradients, for several K, d and sizes of the logits. */
static void loss_and_gradients(void)
{
    groups = 0;
    check_group("K2_d512_x1", 2, 512, 1);
    check_group("K33_d512_x1", 33, 512, 1);
    check_group("K300_d512_x1", 300, 512, 1);
    check_group("K64_d128_x1", 64, 128, 1);
    check_group("K40_d512_x12", 40, 512, 12);
    fprintf(stderr, "  %d groups\n", groups);
    CHECK(groups > 0);
}

static void check_accuracy(coc_comm *comm, coc_backend *backend, const coc_embedded *e)
{
    static const int64_t ks[] = {2, 8, 16, 64};
    enum { KS = sizeof ks / sizeof ks[0] };
    const coc_measure_settings settings = {.k = ks, .ks = KS, .file_order = true};
    coc_accuracy accuracy[KS];
    char name[8];

    REQUIRE_OK(coc_measure(comm, backend, e, &settings, accuracy, NULL));
    for (int i = 0; i < KS; i++) {
        snprintf(name, sizeof name, "K%d", (int)ks[i]);
        /* the share of right rows is a count: only its division is rounded */
        CHECK_NEAR(accuracy[i].accuracy, coc_golden_attribute(accuracy_path, ".", name), 1e-12);
        CHECK(accuracy[i].batches == e->n / ks[i]);
    }
}

/* Accuracy at K = 2, 8, 16, 64 over full batches in file order is the published protocol's. */
static void accuracy_at_k(void)
{
    const int d = 512;
    int64_t count, n;
    float *h1 = coc_golden_read(accuracy_path, "h1", &count),
          *h2 = coc_golden_read(accuracy_path, "h2", &count),
          *w = coc_golden_read(accuracy_path, "w", &n), *p = new_floats(count);
    float *there[3]; /* h2, w, p on the device */
    uint64_t *track = calloc((size_t)(count / d), sizeof *track);
    coc_comm *comm = NULL;
    coc_backend *backend = NULL;

    REQUIRE(h1 != NULL && h2 != NULL && w != NULL && p != NULL && track != NULL);
    n = count / d;
    for (int64_t i = 0; i < n; i++)
        track[i] = (uint64_t)i;
    REQUIRE_OK(open_all(&backend, &comm));
    there[0] = coc_test_put(backend, h2, count, sizeof *h2);
    there[1] = coc_test_put(backend, w, (int64_t)d * d, sizeof *w);
    there[2] = coc_test_put(backend, p, count, sizeof *p);
    backend->ops->linear_forward(backend, n, d, d, there[0], there[1], NULL, there[2]);
    coc_test_get(backend, there[2], count, sizeof *p, p);
    for (int i = 0; i < 3; i++)
        coc_test_release(backend, there[i]);
    check_accuracy(comm, backend,
                   &(coc_embedded){.n = n, .count = n, .d = d, .h1 = h1, .p = p, .track = track});
    coc_backend_destroy(&backend);
    coc_comm_destroy(&comm);
    free(h1);
    free(h2);
    free(w);
    free(p);
    free(track);
}

static bool find(const char *name, char path[4096])
{
    const char *found = coc_golden_path(name);

    if (found != NULL) snprintf(path, 4096, "%s", found);
    return found != NULL;
}

int main(int argc, char **argv)
{
    const bool loss = find("loss.h5", loss_path), accuracy = find("accuracy.h5", accuracy_path);
    const char *const host[] = {"ref", "cpu", NULL}, *const only[] = {argv[1], NULL};

    if (!loss && !accuracy) return COC_TEST_SKIPPED;
    if (argc > 1 && !coc_test_backend_opens(argv[1])) return COC_TEST_SKIPPED;
    for (const char *const *b = argc > 1 ? only : host; *b != NULL; b++) {
        backend_name = *b;
        if (loss) RUN(loss_and_gradients);
        if (accuracy) RUN(accuracy_at_k);
    }
    return coc_test_result();
}
