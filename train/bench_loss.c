/* train/bench_loss.c - `cocola bench loss`: the loss of one rank and all its gradients, by the
 * backend's own operations, as a training step calls them; its accuracy in double precision. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "train/bench.h"
#include "train/bench_loss_check.h"
#include "train/cli.h"
#include "train/open_backend.h"

enum { MOST_REPEATS = 101, MOST_SAMPLES = 4096 };

typedef struct {
    coc_backend_choice on;
    const char *screening, *loss_precision;
    int64_t rows, columns, d, distinct, repeats, samples, threads;
    double std;
} arguments;

typedef struct {
    arguments args;
    coc_backend *b;
    int64_t pool;       /* anchors that differ */
    int64_t taken;      /* bytes of a device that were in use before */
    float *h1, *h2, *w; /* [rows][d], [columns][d], [d][d] */
    float *p, *dp;      /* [columns][d]; in the end p is the gradient at h2 */
    float *d_h1, *d_w;  /* [rows][d], [d][d] */
    int64_t *label;     /* [rows] */
    double *results;    /* [COC_CONTRAST_RESULTS] */
    double found[COC_CONTRAST_RESULTS];
    double wall[2][MOST_REPEATS], core[2][MOST_REPEATS]; /* contrast; all */
} bench;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--rows", "N", COC_OPTION_INT, &a->rows, false, 1, 1 << 24,
         "anchors: pairs of this rank (default 8192)"},
        {"--columns", "K", COC_OPTION_INT, &a->columns, false, 1, 1 << 24,
         "positives: pairs of all ranks (default: as many as rows)"},
        {"--d", "N", COC_OPTION_INT, &a->d, false, 1, 65536, "size of an embedding (default 512)"},
        {"--std", "X", COC_OPTION_NUMBER, &a->std, false, 1e-3, 100,
         "standard deviation of the logits (default 10, as with published start values)"},
        {"--screening", "MODE", COC_OPTION_TEXT, &a->screening, false, 0, 0,
         "off (default) or auto, as the setting loss.screening"},
        {"--loss-precision", "NAME", COC_OPTION_TEXT, &a->loss_precision, false, 0, 0,
         "auto (default), fp32, tf32, tf32x3 or bf16, as the setting loss.precision"},
        {"--distinct", "N", COC_OPTION_INT, &a->distinct, false, 1, 1 << 24,
         "anchors that differ, over and over again (default 1024): accuracy costs so many rows"},
        {"--check", "N", COC_OPTION_INT, &a->samples, false, 0, MOST_SAMPLES,
         "rows and columns that are compared with double precision (default 64; 0: none)"},
        {"--repeats", "N", COC_OPTION_INT, &a->repeats, false, 1, MOST_REPEATS,
         "timed repeats (default 3)"},
        {"--threads", "N", COC_OPTION_INT, &a->threads, false, 1, 4096,
         "threads (default OMP_NUM_THREADS, or all processors)"},
        {"--backend", "NAME", COC_OPTION_TEXT, &a->on.backend, false, 0, 0, COC_BACKEND_HELP},
        {"--precision", "NAME", COC_OPTION_TEXT, &a->on.precision, false, 0, 0, COC_PRECISION_HELP},
    };
    const coc_cli cli = {
        .usage = "cocola bench loss [options]",
        .purpose = "Time, memory and accuracy of the loss: similarities of rows with columns,\n"
                   "softmax, gradients at all embeddings and at W. One process.",
        .details =
            "contrast    P = columns -> loss, gradients at rows and at P: 6 rows columns d\n"
            "            operations, whatever screening leaves out\n"
            "all         the same with P = h2 W', and gradients at h2 and W\n"
            "Embeddings are random, tanh of normal numbers. tests/bench/pytorch_loss.py does\n"
            "the same in PyTorch.\n\nExamples:\n"
            "  cocola bench loss --rows 16384 --screening auto --threads 2\n"
            "  cocola bench loss --rows 4096 --columns 1048576 --distinct 256 --repeats 1\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    COC_TRY(coc_cli_parse(&cli, argc, argv, done));
    if (a->columns == 0) a->columns = a->rows;
    if (strcmp(a->screening, "off") != 0 && strcmp(a->screening, "auto") != 0)
        return COC_FAIL(COC_ERR_USAGE, "--screening: '%.40s' is unknown; known: off, auto",
                        a->screening);
    a->on.threads = (int)a->threads;
    return COC_OK;
}

/* ---- data ---- */

/* Number i of tensor `view`: normal times scale, through tanh where that is 0. */
static void make_numbers(uint8_t view, double scale, int64_t first, int64_t count, float *x)
{
    const coc_rng_key key = {.draw = COC_DRAW_TEST, .view = view, .item = (uint32_t)(first >> 20)};

    coc_rng_normal(&key, 0, count, x);
    for (int64_t i = 0; i < count; i++)
        x[i] = scale == 0 ? tanhf(x[i]) : (float)scale * x[i];
}

/* x [count] on the device: numbers that repeat after `period`. Piece by piece: memory is what this
 * measures, too. */
static coc_status fill(const bench *k, float *x, int64_t count, int64_t period, uint8_t view,
                       double scale)
{
    const coc_device *device = k->b->device;
    const int64_t piece = 1 << 20;
    coc_status status = COC_OK;
    float *host;

    COC_TRY(coc_alloc(piece, sizeof *host, &host));
    for (int64_t at = 0, n; at < count && status == COC_OK; at += n) {
        const int64_t first = at % period / piece * piece, skip = at % period - first;

        n = period - first < piece ? period - first : piece;
        make_numbers(view, scale, first, n, host);
        n -= skip;
        n = n < count - at ? n : count - at;
        status = device->copy(device, x + at, host + skip, (size_t)n * sizeof *x, NULL);
        if (status == COC_OK) status = device->wait(device, NULL);
    }
    free(host);
    return status;
}

static coc_status fill_labels(const bench *k)
{
    const coc_device *device = k->b->device;
    const int64_t rows = k->args.rows;
    coc_status status;
    int64_t *label;

    COC_TRY(coc_alloc(rows, sizeof *label, &label));
    for (int64_t i = 0; i < rows; i++)
        label[i] = i % k->args.columns;
    status = device->copy(device, k->label, label, (size_t)rows * sizeof *label, NULL);
    if (status == COC_OK) status = device->wait(device, NULL);
    free(label);
    return status;
}

static coc_status device_used(const coc_device *device, int64_t *bytes)
{
    int64_t left, all;

    *bytes = 0;
    if (device->side == COC_HOST) return COC_OK;
    COC_TRY(device->memory(device, &left, &all));
    *bytes = all - left;
    return COC_OK;
}

static int64_t embedding_floats(const arguments *a)
{
    return (2 * a->rows + 3 * a->columns + 2 * a->d) * a->d;
}

static coc_status open_backend(bench *k)
{
    const char *name = k->args.loss_precision;
    coc_model_settings settings = {.graphs = false};

    COC_TRY(coc_backend_choice_set(&k->args.on, &settings));
    for (int i = COC_LOSS_AUTO; i <= COC_LOSS_BF16; i++) {
        settings.loss_precision = (coc_loss_precision)i;
        if (strcmp(coc_loss_precision_name(settings.loss_precision), name) == 0)
            return coc_backend_open(&settings, &k->b);
    }
    return COC_FAIL(COC_ERR_USAGE,
                    "--loss-precision: '%.40s' is unknown; known: auto, fp32, tf32, tf32x3, bf16",
                    name);
}

static coc_status prepare(bench *k)
{
    const arguments *a = &k->args;
    const int64_t rows = a->rows * a->d, columns = a->columns * a->d, w = a->d * a->d;
    /* of a logit: the squares of tanh of a normal number are 0.394 in the mean */
    const double of_w = a->std / (0.394 * (double)a->d);
    const coc_device *device;

    COC_TRY(open_backend(k));
    device = k->b->device;
    COC_TRY(device_used(device, &k->taken));
    k->pool = a->distinct < a->rows ? a->distinct : a->rows;
    COC_TRY(coc_device_alloc(device, rows, sizeof(float), &k->h1));
    COC_TRY(coc_device_alloc(device, columns, sizeof(float), &k->h2));
    COC_TRY(coc_device_alloc(device, w, sizeof(float), &k->w));
    COC_TRY(coc_device_alloc(device, columns, sizeof(float), &k->p));
    COC_TRY(coc_device_alloc(device, columns, sizeof(float), &k->dp));
    COC_TRY(coc_device_alloc(device, rows, sizeof(float), &k->d_h1));
    COC_TRY(coc_device_alloc(device, w, sizeof(float), &k->d_w));
    COC_TRY(coc_device_alloc(device, a->rows, sizeof *k->label, &k->label));
    COC_TRY(coc_device_alloc(device, COC_CONTRAST_RESULTS, sizeof *k->results, &k->results));
    COC_TRY(fill(k, k->h1, rows, k->pool * a->d, 0, 0));
    COC_TRY(fill(k, k->h2, columns, columns, 1, 0));
    COC_TRY(fill(k, k->w, w, w, 2, of_w));
    return fill_labels(k);
}

/* ---- one loss ---- */

static coc_status one_loss(bench *k, double *wall, double *core)
{
    const arguments *a = &k->args;
    const coc_device *device = k->b->device;
    const coc_ops *ops = k->b->ops;
    const int d = (int)a->d;
    const coc_contrast contrast = {.rows = a->rows,
                                   .columns = a->columns,
                                   .d = d,
                                   .a = k->h1,
                                   .p = k->p,
                                   .label = k->label,
                                   .scale = 1.0 / (double)a->rows,
                                   .screen = strcmp(a->screening, "auto") == 0};

    COC_TRY(device->zero(device, k->results, sizeof k->found, NULL));
    COC_TRY(device->zero(device, k->dp, (size_t)(a->columns * d) * sizeof *k->dp, NULL));
    COC_TRY(device->zero(device, k->d_w, (size_t)(d * d) * sizeof *k->d_w, NULL));
    COC_TRY(device->wait(device, NULL));
    wall[1] = coc_clock_seconds();
    core[1] = coc_core_seconds();
    ops->linear_forward(k->b, a->columns, d, d, k->h2, k->w, NULL, k->p);
    COC_TRY(ops->finish(k->b));
    wall[0] = coc_clock_seconds();
    core[0] = coc_core_seconds();
    ops->contrast(k->b, &contrast, k->d_h1, k->dp, k->results);
    COC_TRY(ops->finish(k->b));
    wall[0] = coc_clock_seconds() - wall[0];
    core[0] = coc_core_seconds() - core[0];
    ops->linear_backward(k->b, a->columns, d, d, k->h2, k->w, k->dp, k->p, k->d_w, NULL);
    COC_TRY(ops->finish(k->b));
    wall[1] = coc_clock_seconds() - wall[1];
    core[1] = coc_core_seconds() - core[1];
    COC_TRY(device->copy(device, k->found, k->results, sizeof k->found, NULL));
    return device->wait(device, NULL);
}

static coc_status run_repeats(bench *k)
{
    double wall[2], core[2];

    for (int64_t i = 0; i < k->args.repeats; i++) {
        COC_TRY(one_loss(k, wall, core));
        for (int part = 0; part < 2; part++) {
            k->wall[part][i] = wall[part];
            k->core[part][i] = core[part];
        }
    }
    return COC_OK;
}

/* ---- accuracy ---- */

/* Sampled rows of x [n][d] on the device. */
static coc_status get_samples(const bench *k, const float *x, int64_t n, float **host)
{
    const coc_device *device = k->b->device;
    const int64_t samples = k->args.samples < n ? k->args.samples : n, d = k->args.d;

    COC_TRY(coc_alloc(samples * d, sizeof **host, host));
    for (int64_t s = 0; s < samples; s++)
        COC_TRY(device->copy(device, *host + s * d, x + coc_loss_sample(n, samples, s) * d,
                             (size_t)d * sizeof **host, NULL));
    return device->wait(device, NULL);
}

/* All of x [n][d], where it lies on the host already, or a copy in *own. */
static coc_status get_all(const bench *k, const float *x, int64_t n, float **own, const float **all)
{
    const coc_device *device = k->b->device;
    const int64_t count = n * k->args.d;

    *all = x;
    if (device->side == COC_HOST) return COC_OK;
    COC_TRY(coc_alloc(count, sizeof **own, own));
    *all = *own;
    COC_TRY(device->copy(device, *own, x, (size_t)count * sizeof **own, NULL));
    return device->wait(device, NULL);
}

static coc_status check(const bench *k, coc_loss_error *error)
{
    const arguments *a = &k->args;
    coc_loss_problem problem = {.rows = a->rows,
                                .columns = a->columns,
                                .pool_size = k->pool,
                                .d = (int)a->d,
                                .scale = 1.0 / (double)a->rows,
                                .samples = a->samples,
                                .threads = k->b->threads > 0 ? k->b->threads : 1};
    float *own[3] = {NULL}, *sample[3] = {NULL};
    coc_status status;

    COC_TRY_GOTO(status, get_all(k, k->h1, k->pool, &own[0], &problem.pool), done);
    COC_TRY_GOTO(status, get_all(k, k->h2, a->columns, &own[1], &problem.h2), done);
    COC_TRY_GOTO(status, get_all(k, k->w, a->d, &own[2], &problem.w), done);
    COC_TRY_GOTO(status, get_samples(k, k->d_h1, a->rows, &sample[0]), done);
    COC_TRY_GOTO(status, get_samples(k, k->p, a->columns, &sample[1]), done);
    COC_TRY_GOTO(status, get_samples(k, k->d_w, a->d, &sample[2]), done);
    status = coc_loss_check(&problem,
                            &(coc_loss_found){.loss = k->found[COC_CONTRAST_LOSS],
                                              .d_h1 = sample[0],
                                              .d_h2 = sample[1],
                                              .d_w = sample[2]},
                            error);

done:
    for (int i = 0; i < 3; i++) {
        free(own[i]);
        free(sample[i]);
    }
    return status;
}

/* ---- what is said ---- */

static void print_times(bench *k)
{
    static const char *const name[] = {"contrast", "all"};
    const arguments *a = &k->args;
    const double d = (double)a->d, products = (double)a->rows * (double)a->columns;
    const double flop[] = {6 * products * d, 6 * products * d + 6 * (double)a->columns * d * d};

    printf("\n%-12s %14s %14s %10s   median of %lld\n", "", "core seconds", "seconds", "TFLOP/s",
           (long long)a->repeats);
    for (int part = 0; part < 2; part++) {
        const double wall = coc_bench_quantile(k->wall[part], a->repeats, 0.5);

        printf("%-12s %14.6f %14.6f %10.3f\n", name[part],
               coc_bench_quantile(k->core[part], a->repeats, 0.5), wall, 1e-12 * flop[part] / wall);
    }
}

static void print_result(bench *k, double megabytes, int64_t device_bytes)
{
    const arguments *a = &k->args;
    const double *r = k->found, rows = (double)a->rows;

    printf("loss        %lld rows, %lld columns, d %lld, logits of standard deviation %g\n",
           (long long)a->rows, (long long)a->columns, (long long)a->d, a->std);
    printf("backend     %s, %s, %d threads, screening %s\n", a->on.backend, a->on.precision,
           k->b->threads, a->screening);
    print_times(k);
    printf("\nmemory      %.0f MB of the process at most; embeddings and gradients: %.0f MB",
           megabytes, 4e-6 * (double)embedding_floats(a));
    if (device_bytes > 0) printf("; on the device %.0f MB", 1e-6 * (double)device_bytes);
    printf("\nresult      loss %.9g, %g of %lld rows right\n", r[COC_CONTRAST_LOSS],
           r[COC_CONTRAST_RIGHT], (long long)a->rows);
    printf("kept        %.4g %% of the entries",
           100 * r[COC_CONTRAST_KEPT] / r[COC_CONTRAST_COUNTED]);
    if (r[COC_CONTRAST_BLOCKS] > 0)
        printf("; dense: %g of %g blocks; left out: %.2g of a row's weight", r[COC_CONTRAST_DENSE],
               r[COC_CONTRAST_BLOCKS], r[COC_CONTRAST_DROPPED] / rows);
    printf("\n");
}

static coc_status run(bench *k)
{
    coc_loss_error error;
    int64_t used;
    double megabytes;

    COC_TRY(prepare(k));
    COC_TRY(run_repeats(k));
    COC_TRY(device_used(k->b->device, &used));
    megabytes = coc_peak_megabytes();
    print_result(k, megabytes, used - k->taken);
    if (k->args.samples == 0) return COC_OK;
    fflush(stdout);
    COC_TRY(check(k, &error));
    printf("accuracy    relative to double precision: loss %.2g, d h1 %.2g, d h2 %.2g, d W %.2g\n",
           error.loss, error.d_h1, error.d_h2, error.d_w);
    return COC_OK;
}

static void release(bench *k)
{
    void *const memory[] = {k->h1, k->h2, k->w, k->p, k->dp, k->d_h1, k->d_w, k->label, k->results};

    for (size_t i = 0; k->b != NULL && i < sizeof memory / sizeof memory[0]; i++)
        k->b->device->release(k->b->device, memory[i]);
    coc_backend_destroy(&k->b);
}

coc_status coc_bench_loss(int argc, char **argv)
{
    bench *k;
    bool done;
    coc_status status;

    COC_TRY(coc_alloc(1, sizeof *k, &k));
    k->args = (arguments){.on = {.backend = "cpu", .precision = "fp32", .conv = "own"},
                          .screening = "off",
                          .loss_precision = "auto",
                          .rows = 8192,
                          .d = 512,
                          .distinct = 1024,
                          .repeats = 3,
                          .samples = 64,
                          .std = 10};
    status = parse_arguments(argc, argv, &k->args, &done);
    if (status == COC_OK && !done) status = run(k);
    release(k);
    free(k);
    return status;
}
