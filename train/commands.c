#include "train/commands.h"

#include <stddef.h>
#include <string.h>

#include "configs/settings.h"

/* One row a command, in the order in which one uses them. A command stands here when it works. */
static const coc_command commands[] = {
    {"render", "songs (MIDI, WADs, tracker modules) -> a data set of stems", false, coc_cmd_render},
    {"preprocess", "a data set of stems on disk -> a store", true, coc_cmd_preprocess},
    {"check", "whether a store, a checkpoint or a data set is whole, and what is odd", false,
     coc_cmd_check},
    {"train", "a store -> checkpoints and a log", true, coc_cmd_train},
    {"plan", "what a training run will take of memory, work and traffic", false, coc_cmd_plan},
    {"eval", "accuracy at K of a checkpoint on held-out pairs", true, coc_cmd_eval},
    {"sweep", "the same training at several K: one run each, and their evaluations", false,
     coc_cmd_sweep},
    {"report", "what the runs in a folder show, as a table and a page of charts", false,
     coc_cmd_report},
    {"score", "how well pairs of sound files go together", false, coc_cmd_score},
    {"import", "published weights (safetensors) -> checkpoint", false, coc_cmd_import},
    {"export", "checkpoint -> published weights (safetensors)", false, coc_cmd_export},
    {"bench", "how fast this machine trains, computes features, preprocesses", true, coc_cmd_bench},
    {"selftest", "whether N ranks compute what one would, before a long run", true,
     coc_cmd_selftest},
    {"info", "what this program is built from, and the GPUs and processor that it sees", false,
     coc_cmd_info},
    {"help", "what a command or a setting means: help COMMAND, help settings [NAME]", false,
     coc_cmd_help},
    {NULL, NULL, false, NULL},
};

const coc_command *coc_commands(void)
{
    return commands;
}

const coc_command *coc_command_find(const char *name)
{
    for (const coc_command *c = commands; c->name != NULL; c++)
        if (strcmp(name, c->name) == 0) return c;
    return NULL;
}

coc_status coc_command_unknown(const char *name)
{
    const char *names[sizeof commands / sizeof commands[0] + 3];
    const char *nearest;
    int count = 0;

    for (; commands[count].name != NULL; count++)
        names[count] = commands[count].name;
    names[count++] = "settings"; /* a topic of help */
    names[count++] = "--help";
    names[count++] = "--version";
    nearest = coc_nearest_word(name, names, count);
    if (nearest != NULL && strcmp(nearest, "settings") == 0) nearest = "help settings";
    if (nearest == NULL)
        return COC_FAIL(COC_ERR_USAGE, "no command is called '%.80s'; see cocola help", name);
    return COC_FAIL(COC_ERR_USAGE, "no command is called '%.80s'; did you mean %s? See cocola help",
                    name, nearest);
}
