/* train/cmd_plan.c - `cocola plan`: what a run will take of a rank, before it is started. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/cli.h"
#include "train/commands.h"
#include "train/open_backend.h"
#include "train/step_time.h"

typedef struct {
    const char *config;
    coc_words set;
    int64_t ranks, ranks_on_device;
    double gpu_memory, link; /* GB, GB/s; 0: not given */
    const char *gpu;         /* TFLOPS,GB/S */
    double flop, bytes;      /* of it, a second; 0: not given */
    bool measure, json;
} arguments;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--config", "FILE", COC_OPTION_TEXT, &a->config, true, 0, 0,
         "settings (YAML), as configs/*.yaml"},
        {"--set", "KEY=VALUE", COC_OPTION_LIST, &a->set, false, 0, 0,
         "a setting that wins over the file; may be repeated"},
        {"--ranks", "N", COC_OPTION_INT, &a->ranks, false, 1, 65536,
         "ranks that will run (default 1)"},
        {"--ranks-on-device", "N", COC_OPTION_INT, &a->ranks_on_device, false, 1, 65536,
         "of them, those that share a GPU, or a machine without one (default 1)"},
        {"--gpu-mem", "GB", COC_OPTION_NUMBER, &a->gpu_memory, false, 0.1, 1e5,
         "memory of the device; default: what is left on this machine's"},
        {"--link", "GB/S", COC_OPTION_NUMBER, &a->link, false, 1e-3, 1e5,
         "what a rank receives from others in a second; adds times to the traffic"},
        {"--measure", NULL, COC_OPTION_FLAG, &a->measure, false, 0, 0,
         "run a few small steps on this machine, and say how long one of these settings takes"},
        {"--gpu", "TFLOPS,GB/S", COC_OPTION_TEXT, &a->gpu, false, 0, 0,
         "peak figures of a GPU: the least time that a step can take on it"},
        {"--json", NULL, COC_OPTION_FLAG, &a->json, false, 0, 0, "the same as one JSON object"},
    };
    const coc_cli cli = {
        .usage = "cocola plan --config FILE [options]",
        .purpose = "What a training step of these settings takes of a rank: memory by part, work, "
                   "traffic;\nwhether it fits, and what to change. Needs no data, no ranks, no "
                   "GPU.",
        .details =
            "examples:\n"
            "  cocola plan --config configs/quickstart.yaml --set train.batch=4096 --ranks "
            "4\n"
            "  cocola plan --config C --set model.backend=cuda --gpu-mem 80 --link 25 --ranks "
            "16\n"
            "\nWorking memory of operations and libraries comes on top: leave a tenth.\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

/* The memory of this machine's device: opening the backend finds it. */
static coc_status memory_here(const coc_settings *s, int64_t *left)
{
    coc_backend *backend = NULL;
    coc_status status;
    int64_t all;

    COC_TRY(coc_backend_open(&s->model, &backend));
    status = backend->device->memory(backend->device, left, &all);
    coc_backend_destroy(&backend);
    return status;
}

static coc_status parse_gpu(arguments *a)
{
    char rest;

    if (a->gpu == NULL) return COC_OK;
    if (sscanf(a->gpu, "%lf,%lf%c", &a->flop, &a->bytes, &rest) != 2 || !(a->flop > 0) ||
        !(a->bytes > 0))
        return COC_FAIL(
            COC_ERR_USAGE,
            "--gpu: '%s': give its peaks as TFLOPS,GB/S: 67,3350 or, for bf16, 989,3350", a->gpu);
    if (a->measure) return COC_FAIL(COC_ERR_USAGE, "--gpu and --measure: give one of them");
    a->flop *= 1e12;
    a->bytes *= 1e9;
    return COC_OK;
}

static coc_status make_plan(const arguments *a, const coc_settings *s, coc_plan_for *f,
                            coc_step_plan *plan)
{
    *f = (coc_plan_for){.settings = s,
                        .ranks = (int)a->ranks,
                        .memory = (int64_t)(1e9 * a->gpu_memory),
                        .side = strcmp(s->model.backend, "cuda") == 0 ? COC_ACCELERATOR : COC_HOST,
                        .stored_bytes = s->model.precision == COC_BF16 ? 2 : sizeof(real)};
    if (a->gpu_memory == 0) COC_TRY(memory_here(s, &f->memory));
    f->memory /= a->ranks_on_device;
    return coc_step_plan_make(f, plan);
}

/* ---- the table ------------------------------------------------------------------------------ */

static void print_batch(const coc_settings *s, const coc_step_plan *p)
{
    printf("model    %s, width %g, depth %g: %.2f million weights; %s, %s, loss in %s\n",
           p->whole.profile->name, p->whole.width, p->whole.depth, 1e-6 * (double)p->weights,
           s->model.backend, coc_precision_name(s->model.precision),
           coc_loss_precision_name(coc_loss_precision_of(&s->model)));
    printf("batch    %" PRId64 " pairs on %d rank%s; a row sees %" PRId64 " columns\n",
           p->parts.batch, p->parts.ranks, p->parts.ranks > 1 ? "s" : "",
           s->loss.k > 0 ? s->loss.k : p->parts.batch);
    if (p->parts.ranks > 1)
        printf("columns  %s\n", s->loss.exchange == COC_EXCHANGE_RING
                                    ? "of one rank after another (loss.exchange: ring)"
                                    : "of all ranks at once (loss.exchange: allgather)");
    if (p->parts.count == 1)
        printf("parts    one: every clip is embedded once\n");
    else
        printf("parts    %" PRId64 " of %" PRId64 " pairs, activations of %d kept: a clip is "
               "embedded %.2f times\n",
               p->parts.count, p->parts.size, p->places, p->embeddings_of_clip);
}

static void print_parts(const char *title, const coc_memory_plan *plan)
{
    printf("\n%-36s %10s\n", title, "GB");
    for (int i = 0; i < plan->parts; i++)
        printf("  %-34s %10.3f\n", plan->part[i].name, 1e-9 * (double)plan->part[i].bytes);
    printf("  %-34s %10.3f\n", "in all", 1e-9 * (double)plan->bytes);
}

static void print_memory(const coc_plan_for *f, const coc_step_plan *p)
{
    if (p->host.parts > 0) print_parts("memory of the host for a rank", &p->host);
    print_parts("memory of a rank", &p->memory);
    if (f->settings->train.valid_pairs == 0)
        printf(
            "  (a validation of all windows takes more: with train.valid_pairs it is counted)\n");
    if (f->memory > 0) printf("  %-34s %10.3f\n", "there is", 1e-9 * (double)f->memory);
}

static void print_traffic(const arguments *a, const char *what, double bytes)
{
    printf("  %-34s %10.2f", what, 1e-6 * bytes);
    if (a->link > 0) printf(" %10.2f", 1e3 * bytes / (1e9 * a->link));
    printf("\n");
}

static void print_work(const arguments *a, const coc_step_plan *p)
{
    printf("\n%-36s %10s\n", "work of a rank and step", "GFLOP");
    printf("  %-34s %10.1f\n", "encoder, forward and back", 1e-9 * (p->flop - p->loss_flop));
    printf("  %-34s %10.1f   %.1f %% of all\n", "similarity and loss", 1e-9 * p->loss_flop,
           100 * p->loss_flop / p->flop);
    if (p->parts.ranks == 1) return;
    printf("\n%-36s %10s%s\n", "received by a rank in a step", "MB",
           a->link > 0 ? "         ms" : "");
    print_traffic(a, "columns of all ranks", p->gathered);
    print_traffic(a, "gradients of its own", p->scattered);
    print_traffic(a, "gradients of weights", p->gradients);
}

static double traffic_seconds(const arguments *a, const coc_step_plan *p)
{
    return a->link > 0 ? (p->gathered + p->scattered + p->gradients) / (1e9 * a->link) : 0;
}

/* Batches are made by threads of their own, beside the step. On the host those need cores too. */
static void print_time(const arguments *a, const coc_plan_for *f, const coc_step_plan *p,
                       const coc_step_rates *r)
{
    const coc_step_time t = coc_step_time_of(p, r);
    const bool host = a->measure && f->side == COC_HOST;
    const double model = t.encoder + t.loss + t.step;

    printf("\n%-36s %10s\n",
           a->measure ? (host ? "core time of a rank and step" : "time of a rank and step")
                      : "least time of a rank and step",
           "s");
    printf("  %-34s %10.3f\n  %-34s %10.3f\n  %-34s %10.3f\n", "encoder, forward and back",
           t.encoder, "similarity and loss", t.loss, "update and starts", t.step);
    if (a->measure) printf("  %-34s %10.3f\n", "making batches, beside it", t.batches);
    printf("  %-34s %10.3f", "in all", model + (host ? t.batches : 0));
    if (host)
        printf("   on %d thread%s: %.3f s or more", r->threads, r->threads > 1 ? "s" : "",
               (model + t.batches) / r->threads);
    printf("\n");
    if (a->measure && f->settings->loss.exchange == COC_EXCHANGE_RING)
        printf(
            "  (one rank has no ring: the loss of an all-gather was timed, for the ring's work)\n");
    if (a->link > 0)
        printf("  %-34s %10.3f   hides behind backward in part\n", "traffic",
               traffic_seconds(a, p));
}

static void print_largest(const coc_step_plan *p)
{
    if (p->largest[0] == 0 && p->largest[1] == 0) return;
    printf("\nLargest train.batch that fits: %" PRId64 " at once", p->largest[0]);
    if (p->largest[1] > p->largest[0])
        printf(", %" PRId64 " in parts of a batch-norm group (train.micro_batch)", p->largest[1]);
    printf(".\n");
}

static void print_advice(const coc_settings *s, const coc_step_plan *p)
{
    if (p->fits) {
        printf("\nIt fits.\n");
        return;
    }
    printf("\nIt does not fit. ");
    if (p->fitting_ring && p->fitting_part == p->parts.size)
        printf("Set loss.exchange: ring.\n");
    else if (p->fitting_ring)
        printf("Set loss.exchange: ring, and train.micro_batch: %" PRId64 ".\n", p->fitting_part);
    else if (p->fitting_part > 0)
        printf("Set train.micro_batch: %" PRId64 ".\n", p->fitting_part);
    else if (s->model.bn_group == 0 || s->model.bn_group >= s->train.batch)
        printf("Set model.bn_group (now the whole batch) to what fits at once, and "
               "train.micro_batch to a multiple of it.\n");
    else
        printf("Not even one batch-norm group at a time: use more ranks, lower model.bn_group or "
               "model.width.\n");
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *time_object(const coc_step_plan *p, const coc_step_rates *r)
{
    const coc_step_time t = coc_step_time_of(p, r);

    return json_pack("{s:f, s:f, s:f, s:f}", "encoder", t.encoder, "loss", t.loss, "step", t.step,
                     "batches", t.batches);
}

static json_t *json_parts(const coc_memory_plan *plan)
{
    json_t *memory = json_object();

    for (int i = 0; i < plan->parts; i++)
        json_object_set_new(memory, plan->part[i].name, json_integer(plan->part[i].bytes));
    return memory;
}

static coc_status print_json(const coc_plan_for *f, const coc_step_plan *p,
                             const coc_step_rates *rates)
{
    json_t *all;

    all = json_pack(
        "{s:o, s:o, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f}",
        "memory", json_parts(&p->memory), "host_memory", json_parts(&p->host), "bytes",
        (json_int_t)p->memory.bytes, "host_bytes", (json_int_t)p->host.bytes, "there_is",
        (json_int_t)f->memory, "fits", p->fits, "fitting_micro_batch", (json_int_t)p->fitting_part,
        "batch", (json_int_t)p->parts.batch, "parts", (json_int_t)p->parts.count, "ranks",
        p->parts.ranks, "kept", p->places, "embeddings_of_clip", p->embeddings_of_clip, "flop",
        p->flop, "loss_flop", p->loss_flop, "gathered_bytes", p->gathered, "scattered_bytes",
        p->scattered, "gradient_bytes", p->gradients);
    if (all == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the plan's JSON");
    json_object_set_new(all, "fitting_ring", json_boolean(p->fitting_ring));
    json_object_set_new(all, "largest_batch", json_integer(p->largest[0]));
    json_object_set_new(all, "largest_batch_in_parts", json_integer(p->largest[1]));
    if (rates != NULL) json_object_set_new(all, "seconds", time_object(p, rates));
    (void)json_dumpf(all, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(all);
    return COC_OK;
}

static coc_status plan(arguments *a)
{
    coc_settings s;
    coc_plan_for f;
    coc_step_plan p;
    coc_step_rates rates;
    const bool timed = a->measure || a->gpu != NULL;

    COC_TRY(parse_gpu(a));
    COC_TRY(coc_cli_settings(a->config, &a->set, &s));
    COC_TRY(make_plan(a, &s, &f, &p));
    if (a->measure) COC_TRY(coc_step_rates_measure(&s, &rates));
    if (a->gpu != NULL) rates = coc_step_rates_of_peaks(&p, a->flop, a->bytes, f.stored_bytes);
    if (a->json) return print_json(&f, &p, timed ? &rates : NULL);
    print_batch(&s, &p);
    print_memory(&f, &p);
    print_work(a, &p);
    if (timed) print_time(a, &f, &p, &rates);
    print_largest(&p);
    print_advice(&s, &p);
    return COC_OK;
}

coc_status coc_cmd_plan(int argc, char **argv)
{
    arguments a = {.ranks = 1, .ranks_on_device = 1};
    bool done;
    coc_status status = parse_arguments(argc, argv, &a, &done);

    if (!done && status == COC_OK) status = plan(&a);
    coc_words_free(&a.set);
    return status;
}
