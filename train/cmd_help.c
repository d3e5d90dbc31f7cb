/* train/cmd_help.c - `cocola help`: the overview, a command's page, the settings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/settings.h"
#include "train/cli.h"
#include "train/commands.h"

static const char *const exit_codes =
    "exit codes:\n"
    "   0  done\n"
    "   1  a fault of the program itself\n"
    "   2  command line or settings: nothing was started\n"
    "   3  a file's content is not what it must be\n"
    "   4  the system refused: missing file, permission, full disk\n"
    "   5  memory or device\n"
    "   6  ranks: MPI, a rank that hangs or failed\n"
    "  75  stopped by a signal, everything is saved: start the same command again to go on\n";

void coc_print_overview(void)
{
    printf("cocola %s: coherence models of musical stems\n\n"
           "usage: cocola COMMAND [options]\n\ncommands:\n",
           COCOLA_VERSION);
    for (const coc_command *c = coc_commands(); c->name != NULL; c++)
        printf("  %-11s %s%s\n", c->name, c->help, c->parallel ? "  [MPI]" : "");
    printf(
        "\n"
        "  cocola COMMAND --help            options of a command\n"
        "  cocola help settings             every setting of a training run; also: help settings "
        "train\n"
        "  mpirun -n 4 cocola train ...     commands marked [MPI] run on ranks, or alone as one\n"
        "  cocola --version                 version, compiler, libraries\n"
        "\nResults go to standard output, everything else to standard error.\n\n%s",
        exit_codes);
}

static coc_status print_settings(const char *part, bool markdown)
{
    char *page = coc_settings_document_part(markdown, part);
    coc_status status = COC_OK;

    if (page == NULL)
        status = COC_FAIL(COC_ERR_MEMORY, "no memory for the page");
    else if (page[0] == '\0')
        status = coc_settings_unknown(part);
    else
        fputs(page, stdout);
    free(page);
    return status;
}

static coc_status print_defaults(void)
{
    coc_settings settings;
    char *text;

    coc_settings_default(&settings);
    text = coc_settings_print(&settings, true);
    if (text == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the page");
    fputs(text, stdout);
    free(text);
    return COC_OK;
}

static coc_status help_on(const coc_words *words, bool markdown, bool yaml)
{
    const char *topic = words->count > 0 ? words->word[0] : NULL;
    const coc_command *command = topic != NULL ? coc_command_find(topic) : NULL;
    char option[] = "--help", *arguments[] = {NULL, option, NULL};
    char name[64];

    if ((markdown || yaml) && (topic == NULL || strcmp(topic, "settings") != 0))
        return COC_FAIL(COC_ERR_USAGE, "%s goes with `cocola help settings` only",
                        yaml ? "--yaml" : "--markdown");
    if (words->count > 1 && strcmp(topic, "settings") != 0)
        return COC_FAIL(COC_ERR_USAGE, "'%.80s' is one word too many; usage: cocola help %.80s",
                        words->word[1], topic);
    if (topic == NULL) {
        coc_print_overview();
        return COC_OK;
    }
    if (strcmp(topic, "settings") == 0 && yaml) return print_defaults();
    if (strcmp(topic, "settings") == 0)
        return print_settings(words->count > 1 ? words->word[1] : NULL, markdown);
    if (command == NULL) return coc_command_unknown(topic);
    snprintf(name, sizeof name, "%s", topic);
    arguments[0] = name;
    return command->run(2, arguments);
}

coc_status coc_cmd_help(int argc, char **argv)
{
    bool markdown = false, yaml = false, done;
    coc_words words = {0};
    const coc_option options[] = {
        {"--markdown", NULL, COC_OPTION_FLAG, &markdown, false, 0, 0,
         "with settings: the page as Markdown, which is docs/settings.md"},
        {"--yaml", NULL, COC_OPTION_FLAG, &yaml, false, 0, 0,
         "with settings: a commented configuration file with all defaults"},
    };
    const coc_cli cli = {
        .usage = "cocola help [COMMAND | settings [SECTION | KEY]] [options]",
        .purpose = "What a command does, or what a setting means.",
        .details = "examples:\n"
                   "  cocola help train\n"
                   "  cocola help settings train.batch\n"
                   "  cocola help settings --yaml > my.yaml\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words = &words,
        .max_words = 2,
    };
    coc_status status = coc_cli_parse(&cli, argc, argv, &done);

    if (status == COC_OK && !done) status = help_on(&words, markdown, yaml);
    coc_words_free(&words);
    return status;
}
