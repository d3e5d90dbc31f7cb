/* train/cmd_bench.c - `cocola bench`: how fast this machine trains, computes losses and
 * features, preprocesses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/memory.h"
#include "configs/settings.h"
#include "train/bench.h"
#include "train/cli.h"
#include "train/commands.h"

typedef struct {
    const char *name;
    coc_status (*run)(int argc, char **argv);
} part;

static const part parts[] = {
    {"step", coc_bench_step},
    {"loss", coc_bench_loss},
    {"features", coc_bench_features},
    {"preprocess", coc_bench_preprocess},
};

enum { PARTS = sizeof parts / sizeof parts[0] };

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double coc_bench_quantile(double *values, int64_t count, double p)
{
    const double place = p * (double)(count - 1);
    const int64_t below = (int64_t)place;

    qsort(values, (size_t)count, sizeof *values, by_value);
    if (below + 1 >= count) return values[count - 1];
    return values[below] + (place - (double)below) * (values[below + 1] - values[below]);
}

double coc_core_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

double coc_peak_megabytes(void)
{
    return 1e-6 * (double)coc_peak_memory();
}

static coc_status print_help(int argc, char **argv, bool *done)
{
    const coc_cli cli = {
        .usage = "cocola bench step|loss|features|preprocess [options]",
        .purpose = "How fast this machine is.\n"
                   "  step        training steps on random features, by kind of operation\n"
                   "  loss        similarities, softmax and gradients alone, with accuracy\n"
                   "  features    waveforms of 5 s clips to the encoder's input\n"
                   "  preprocess  a data set to a store, which is thrown away",
        .details = "`cocola bench step --help` and so on show each one's options.\n"};

    return coc_cli_parse(&cli, argc, argv, done);
}

coc_status coc_cmd_bench(int argc, char **argv)
{
    const char *names[PARTS];
    const char *nearest;
    bool done = false;

    if (argc < 2 || argv[1][0] == '-') {
        COC_TRY(print_help(argc, argv, &done));
        return done
                   ? COC_OK
                   : COC_FAIL(COC_ERR_USAGE, "bench: say what: step, loss, features or preprocess");
    }
    for (int i = 0; i < PARTS; i++) {
        if (strcmp(argv[1], parts[i].name) == 0) return parts[i].run(argc - 1, argv + 1);
        names[i] = parts[i].name;
    }
    nearest = coc_nearest_word(argv[1], names, PARTS);
    return COC_FAIL(COC_ERR_USAGE, "bench: '%.80s' is unknown; %s%s", argv[1],
                    nearest != NULL ? "did you mean " : "known: step, loss, features, preprocess",
                    nearest != NULL ? nearest : "");
}
