/* Time and memory of the figures of an evaluation, without embedding.
 *
 *     bench_measure [pairs [orders [K ...]]]       default: 16384 pairs, 100 orders, K = 2 16 64
 * 1024 all
 *
 * Wall and CPU seconds of one rank with OMP_NUM_THREADS threads, and the largest resident memory of
 * the process, of which the embeddings themselves are 4 KB a pair. K = 0 is all pairs. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "train/measure.h"

enum { D = 512, MOST_K = 32, WINDOWS = 40 };

static coc_status fill(int64_t n, coc_embedded *e)
{
    const coc_rng_key anchors = {.seed = 1, .draw = COC_DRAW_TEST};
    const coc_rng_key positives = {.seed = 2, .draw = COC_DRAW_TEST};

    *e = (coc_embedded){.n = n, .count = n, .d = D};
    COC_TRY(coc_alloc(n * D, sizeof *e->h1, &e->h1));
    COC_TRY(coc_alloc(n * D, sizeof *e->p, &e->p));
    COC_TRY(coc_alloc(n, sizeof *e->track, &e->track));
    coc_rng_normal(&anchors, 0, n * D, e->h1);
    coc_rng_normal(&positives, 0, n * D, e->p);
    for (int64_t i = 0; i < n * D; i++) /* logits of standard deviation 2.3, own ones 2.3 higher */
        e->p[i] = 0.1f * (e->p[i] + 0.045f * e->h1[i]);
    for (int64_t i = 0; i < n; i++)
        e->track[i] = (uint64_t)(i / WINDOWS);
    return COC_OK;
}

static coc_status run(const coc_embedded *e, const coc_measure_settings *settings)
{
    static coc_retrieval r;
    coc_accuracy a[MOST_K];
    coc_backend *backend;
    coc_comm *comm;
    struct rusage usage;
    double begin;
    clock_t cpu;

    COC_TRY(coc_comm_self(&comm));
    COC_TRY(coc_backend_create("cpu", 0, &backend));
    begin = coc_clock_seconds();
    cpu = clock();
    COC_TRY(coc_measure(comm, backend, e, settings, a, &r));
    printf("%.1f s, %.1f CPU s on %d threads", coc_clock_seconds() - begin,
           (double)(clock() - cpu) / CLOCKS_PER_SEC, backend->threads);
    getrusage(RUSAGE_SELF, &usage);
    printf(", %.0f MB in all, %.0f MB of embeddings\n", (double)usage.ru_maxrss / 1024,
           8.0 * (double)(e->n * e->d) / (1 << 20));
    for (int i = 0; i < settings->ks; i++)
        printf("K %8lld  accuracy %.4f  loss %.4f\n", (long long)a[i].k, a[i].accuracy, a[i].loss);
    printf("median rank %.1f, recall at 1 %.4f\n", r.median_rank.value, r.recall[0].value);
    coc_backend_destroy(&backend);
    coc_comm_destroy(&comm);
    return COC_OK;
}

int main(int argc, char **argv)
{
    const int64_t n = argc > 1 ? atoll(argv[1]) : 16384;
    int64_t k[MOST_K] = {2, 16, 64, 1024, n};
    coc_measure_settings settings = {
        .k = k, .ks = 5, .orders = argc > 2 ? atoll(argv[2]) : 100, .bootstrap = 1000, .seed = 1};
    coc_embedded e;

    if (argc > 3) settings.ks = 0;
    for (int i = 3; i < argc && settings.ks < MOST_K; i++)
        k[settings.ks++] = atoll(argv[i]) > 0 ? atoll(argv[i]) : n;
    if (fill(n, &e) != COC_OK || run(&e, &settings) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return 1;
    }
    coc_embedded_free(&e);
    return 0;
}
