/* train/cmd_info.c - `cocola info`: what the program is built from and what it finds here. Starts
 * no ranks, and needs no GPU: the first thing to run on a new machine, and what a report of a fault
 * begins with. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/device.h"
#include "base/gpus.h"
#include "base/processor.h"
#include "model/ops.h"
#include "train/cli.h"
#include "train/commands.h"
#include "train/version.h"

typedef struct {
    char processor[160], compiled_for[80];
    int threads;
    int64_t memory_left, memory;
    coc_libraries libraries;
    coc_gpus gpus;
} report;

static coc_status parse_arguments(int argc, char **argv, bool *json, bool *done)
{
    const coc_option options[] = {
        {"--json", NULL, COC_OPTION_FLAG, json, false, 0, 0, "the same as one JSON object"},
    };
    const coc_cli cli = {
        .usage = "cocola info [options]",
        .purpose = "What this program is built from (backends, libraries and their versions) and "
                   "what it finds\nhere: processor, memory, GPUs. To be sent with a report of a "
                   "fault.",
        .details = "examples:\n"
                   "  cocola info\n"
                   "  srun cocola info --json       what a task of a job sees\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

static coc_status collect(report *r)
{
    coc_processor_describe(r->processor, sizeof r->processor, &r->threads);
    coc_processor_names(coc_processor_needs, r->compiled_for);
    coc_program_libraries(&r->libraries);
    coc_gpus_find(&r->gpus);
    return coc_device_host()->memory(coc_device_host(), &r->memory_left, &r->memory);
}

/* "13.0"; "none" for 0. */
static const char *version_text(int version, char text[16])
{
    snprintf(text, 16, "none");
    if (version > 0) snprintf(text, 16, "%d.%d", version / 1000, version % 1000 / 10);
    return text;
}

/* ---- the table ------------------------------------------------------------------------------ */

static void print_gpus(const coc_gpus *gpus)
{
    char driver[16], runtime[16];

    if (gpus->count == 0) {
        printf("no device: %s\n", gpus->reason);
        return;
    }
    printf("driver for CUDA up to %s, program for CUDA %s\n\n", version_text(gpus->driver, driver),
           version_text(gpus->runtime, runtime));
    printf("device  %-36s %10s %10s %10s %8s\n", "name", "capability", "processors", "memory GB",
           "free GB");
    for (int i = 0; i < gpus->count; i++) {
        const coc_gpu *g = &gpus->gpu[i];

        printf("%6d  %-36s %8d.%d %10d %10.1f", g->index, g->name, g->major, g->minor,
               g->processors, 1e-9 * (double)g->memory);
        if (g->left >= 0)
            printf(" %8.1f\n", 1e-9 * (double)g->left);
        else
            printf(" %8s\n", "?");
        if (g->problem[0] != '\0') printf("        cannot be used: %s\n", g->problem);
    }
}

static void print_table(const report *r)
{
    const char *const *names = coc_backend_names();

    printf("cocola %s\n", COCOLA_VERSION);
    printf("compiler   %s\n", coc_compiler());
    printf("processor  %s, %d threads for this process; program compiled for%s\n", r->processor,
           r->threads, r->compiled_for[0] != '\0' ? r->compiled_for : " any");
    printf("memory     %.1f GB, %.1f GB free\n", 1e-9 * (double)r->memory,
           1e-9 * (double)r->memory_left);
    printf("backends   ");
    for (int i = 0; names[i] != NULL; i++)
        printf("%s%s", i > 0 ? ", " : "", names[i]);
    printf("\n\n%-15s %-15s %s\n", "library", "built with", "here");
    for (int i = 0; i < r->libraries.count; i++) {
        const coc_library *row = &r->libraries.row[i];
        const bool missing = row->built[0] == '\0';

        printf("%-15s %s", row->name, missing ? "-" : row->built);
        if (missing || row->here[0] != '\0')
            printf("%*s %s", 15 - (int)strlen(missing ? "-" : row->built), "",
                   missing ? "not in this build" : row->here);
        printf("\n");
    }
    printf("\n");
    print_gpus(&r->gpus);
}

/* ---- the object ----------------------------------------------------------------------------- */

static json_t *text_or_null(const char *text)
{
    return text[0] != '\0' ? json_string(text) : json_null();
}

static json_t *version_or_null(int version)
{
    char text[16];

    return version > 0 ? json_string(version_text(version, text)) : json_null();
}

static json_t *pack_libraries(const coc_libraries *libraries)
{
    json_t *list = json_array();

    for (int i = 0; i < libraries->count; i++)
        json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "name", libraries->row[i].name,
                                              "built", text_or_null(libraries->row[i].built),
                                              "here", text_or_null(libraries->row[i].here)));
    return list;
}

static json_t *pack_gpus(const coc_gpus *gpus)
{
    json_t *list = json_array();

    for (int i = 0; i < gpus->count; i++) {
        const coc_gpu *g = &gpus->gpu[i];
        char capability[16];

        snprintf(capability, sizeof capability, "%d.%d", g->major, g->minor);
        json_array_append_new(
            list, json_pack("{s:i, s:s, s:s, s:i, s:I, s:o, s:o}", "index", g->index, "name",
                            g->name, "capability", capability, "processors", g->processors,
                            "memory", (json_int_t)g->memory, "free",
                            g->left >= 0 ? json_integer((json_int_t)g->left) : json_null(),
                            "problem", text_or_null(g->problem)));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "driver", version_or_null(gpus->driver), "runtime",
                     version_or_null(gpus->runtime), "devices", list, "reason",
                     text_or_null(gpus->reason));
}

static json_t *pack_backends(void)
{
    const char *const *names = coc_backend_names();
    json_t *list = json_array();

    for (int i = 0; names[i] != NULL; i++)
        json_array_append_new(list, json_string(names[i]));
    return list;
}

static coc_status print_json(const report *r)
{
    const char *compiled_for = r->compiled_for[0] != '\0' ? r->compiled_for + 1 : "";
    json_t *root = json_pack("{s:s, s:s, s:{s:s, s:i, s:s}, s:{s:I, s:I}, s:o, s:o, s:o}",
                             "version", COCOLA_VERSION, "compiler", coc_compiler(), "processor",
                             "name", r->processor, "threads", r->threads, "compiled_for",
                             compiled_for, "memory", "bytes", (json_int_t)r->memory, "free",
                             (json_int_t)r->memory_left, "backends", pack_backends(), "libraries",
                             pack_libraries(&r->libraries), "cuda", pack_gpus(&r->gpus));
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;

    json_decref(root);
    if (text == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the report");
    puts(text);
    free(text);
    return COC_OK;
}

coc_status coc_cmd_info(int argc, char **argv)
{
    bool json = false, done;
    static report r; /* too large for a stack */

    COC_TRY(parse_arguments(argc, argv, &json, &done));
    if (done) return COC_OK;
    COC_TRY(collect(&r));
    if (json) return print_json(&r);
    print_table(&r);
    return COC_OK;
}
