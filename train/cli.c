#include "train/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "configs/settings.h"

enum { MAX_OPTIONS = 64, LONGEST_LEFT = 28, PAGE_WIDTH = 98 };

/* ---- the page ------------------------------------------------------------------------------- */

/* Words wrapped at the page's width; lines after the first begin in column `indent`. */
static void print_wrapped(const char *words, int indent)
{
    int column = indent;

    while (*words != '\0') {
        const int n = (int)strcspn(words, " ");

        if (column > indent && column + 1 + n > PAGE_WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        printf("%s%.*s", column > indent ? " " : "", n, words);
        column += n + (column > indent);
        words += n;
        words += strspn(words, " ");
    }
    putchar('\n');
}

static int left_width(const coc_option *o)
{
    return 2 + (int)strlen(o->name) + (o->value_name != NULL ? 1 + (int)strlen(o->value_name) : 0);
}

static void print_option(const coc_option *o, int column)
{
    const int width = left_width(o);

    printf("  %s%s%s", o->name, o->value_name != NULL ? " " : "",
           o->value_name != NULL ? o->value_name : "");
    if (width + 2 > column)
        printf("\n%*s", column, "");
    else
        printf("%*s", column - width, "");
    print_wrapped(o->help, column);
}

static void print_page(const coc_cli *cli)
{
    static const coc_option help = {.name = "--help", .help = "print this page"};
    static const coc_option version = {.name = "--version", .help = "print the program's version"};
    int column = left_width(&version) + 2;

    for (int i = 0; i < cli->option_count; i++) {
        const int width = left_width(&cli->options[i]) + 2;

        if (width > column && width <= LONGEST_LEFT) column = width;
    }
    printf("usage: %s\n\n%s\n\noptions:\n", cli->usage, cli->purpose);
    for (int i = 0; i < cli->option_count; i++)
        print_option(&cli->options[i], column);
    print_option(&help, column);
    print_option(&version, column);
    if (cli->details != NULL) {
        const size_t n = strlen(cli->details);

        printf("\n%s%s", cli->details, n > 0 && cli->details[n - 1] == '\n' ? "" : "\n");
    }
    printf("\nexit codes: 0 done, 2 command line or settings, 3 bad input, 4 system, 5 memory or "
           "device, 6 ranks,\n75 stopped and saved; `cocola help` says more\n");
}

/* ---- parsing -------------------------------------------------------------------------------- */

typedef struct {
    const coc_cli *cli;
    char **argv;
    int argc, next;
    char command[64]; /* "cocola train" */
    bool seen[MAX_OPTIONS];
} parsing;

static coc_status unknown_option(const parsing *p, const char *argument)
{
    const char *words[MAX_OPTIONS + 2], *nearest;
    char name[81];
    int count = 0;

    snprintf(name, sizeof name, "%.*s", (int)strcspn(argument, "="), argument);
    for (; count < p->cli->option_count; count++) /* compared without the dashes, all have them */
        words[count] = p->cli->options[count].name + 2;
    words[count++] = "help";
    words[count++] = "version";
    nearest = coc_nearest_word(name + strspn(name, "-"), words, count);
    if (nearest != NULL)
        return COC_FAIL(COC_ERR_USAGE, "unknown option '%s'; did you mean --%s? See %s --help",
                        name, nearest, p->command);
    return COC_FAIL(COC_ERR_USAGE, "unknown option '%s'; see %s --help", name, p->command);
}

static coc_status set_int(const coc_option *o, const char *value)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || strchr("+-0123456789", value[0]) == NULL)
        return COC_FAIL(COC_ERR_USAGE, "%s: '%.80s' is no whole number", o->name, value);
    if (errno == ERANGE || (double)number < o->min || (double)number > o->max)
        return COC_FAIL(COC_ERR_USAGE, "%s: %.80s is out of range: %.16g to %.16g", o->name, value,
                        o->min, o->max);
    *(int64_t *)o->target = number;
    return COC_OK;
}

static coc_status set_number(const coc_option *o, const char *value)
{
    char *end;
    const double number = strtod(value, &end);

    /* strtod also reads hexadecimal, inf and nan */
    if (end == value || *end != '\0' || value[strspn(value, "+-.0123456789eE")] != '\0')
        return COC_FAIL(COC_ERR_USAGE, "%s: '%.80s' is no number", o->name, value);
    if (!(number >= o->min && number <= o->max))
        return COC_FAIL(COC_ERR_USAGE, "%s: %.80s is out of range: %.16g to %.16g", o->name, value,
                        o->min, o->max);
    *(double *)o->target = number;
    return COC_OK;
}

static coc_status add_word(coc_words *words, const char *word)
{
    int64_t capacity = words->count; /* grown one by one: command lines are short */

    COC_TRY(coc_grow(&words->word, &capacity, words->count + 1, sizeof *words->word));
    words->word[words->count++] = word;
    return COC_OK;
}

static coc_status set_value(const coc_option *o, const char *value)
{
    switch (o->kind) {
    case COC_OPTION_TEXT:
        *(const char **)o->target = value;
        return COC_OK;
    case COC_OPTION_LIST:
        return add_word(o->target, value);
    case COC_OPTION_INT:
        return set_int(o, value);
    case COC_OPTION_NUMBER:
        return set_number(o, value);
    case COC_OPTION_FLAG:
        break;
    }
    *(bool *)o->target = true;
    return COC_OK;
}

static const coc_option *find_option(const coc_cli *cli, const char *name, size_t length)
{
    for (int i = 0; i < cli->option_count; i++)
        if (strlen(cli->options[i].name) == length &&
            memcmp(cli->options[i].name, name, length) == 0)
            return &cli->options[i];
    return NULL;
}

/* argv[next] begins with "--": set what it names. */
static coc_status parse_option(parsing *p)
{
    const char *argument = p->argv[p->next++];
    const char *equals = strchr(argument, '=');
    const size_t length = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
    const coc_option *o = find_option(p->cli, argument, length);
    const char *value = equals != NULL ? equals + 1 : NULL;
    bool *seen;

    if (o == NULL) return unknown_option(p, argument);
    seen = &p->seen[o - p->cli->options];
    if (*seen && o->kind != COC_OPTION_LIST)
        return COC_FAIL(COC_ERR_USAGE, "%s is given twice", o->name);
    *seen = true;
    if (o->kind == COC_OPTION_FLAG && value != NULL)
        return COC_FAIL(COC_ERR_USAGE, "%s takes no value", o->name);
    if (o->kind == COC_OPTION_FLAG) return set_value(o, NULL);
    if (value == NULL && p->next < p->argc && strncmp(p->argv[p->next], "--", 2) != 0)
        value = p->argv[p->next++];
    if (value == NULL || value[0] == '\0')
        return COC_FAIL(COC_ERR_USAGE, "%s needs a value: %s %s", o->name, o->name, o->value_name);
    return set_value(o, value);
}

static coc_status parse_word(const parsing *p, const char *word)
{
    const coc_cli *cli = p->cli;

    if (cli->words == NULL)
        return COC_FAIL(COC_ERR_USAGE, "'%.80s': %s takes options only; see %s --help", word,
                        p->command, p->command);
    if (cli->max_words >= 0 && cli->words->count == cli->max_words)
        return COC_FAIL(COC_ERR_USAGE, "'%.80s' is one word too many; usage: %s", word, cli->usage);
    return add_word(cli->words, word);
}

static coc_status parse_all(parsing *p)
{
    bool options_end = false;

    while (p->next < p->argc) {
        const char *argument = p->argv[p->next];

        if (!options_end && strcmp(argument, "--") == 0) {
            options_end = true;
            p->next++;
        } else if (!options_end && argument[0] == '-' && argument[1] == '-') {
            COC_TRY(parse_option(p));
        } else if (!options_end && argument[0] == '-' && argument[1] != '\0') {
            return unknown_option(p, argument);
        } else {
            COC_TRY(parse_word(p, argument));
            p->next++;
        }
    }
    return COC_OK;
}

static coc_status check_complete(const parsing *p)
{
    const coc_cli *cli = p->cli;

    for (int i = 0; i < cli->option_count; i++)
        if (cli->options[i].required && !p->seen[i])
            return COC_FAIL(COC_ERR_USAGE, "%s %s is missing; see %s --help", cli->options[i].name,
                            cli->options[i].value_name, p->command);
    if (cli->words != NULL && cli->words->count < cli->min_words)
        return COC_FAIL(COC_ERR_USAGE, "%s needs %d more word%s; usage: %s", p->command,
                        cli->min_words - cli->words->count,
                        cli->min_words - cli->words->count == 1 ? "" : "s", cli->usage);
    return COC_OK;
}

/* --help and --version count wherever they stand, also beside a mistake. */
static bool asks_for(int argc, char **argv, const char *name, const char *brief)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], name) == 0 || (brief != NULL && strcmp(argv[i], brief) == 0))
            return true;
    return false;
}

/* The first two words of the usage line. */
static void command_name(const char *usage, char name[64])
{
    const char *end = strchr(usage, ' ');

    end = end != NULL ? end + 1 + strcspn(end + 1, " ") : usage + strlen(usage);
    snprintf(name, 64, "%.*s", (int)(end - usage), usage);
}

coc_status coc_cli_parse(const coc_cli *cli, int argc, char **argv, bool *done)
{
    parsing p = {.cli = cli, .argv = argv, .argc = argc, .next = 1};

    *done = false;
    if (cli->option_count > MAX_OPTIONS)
        return COC_FAIL(COC_ERR_INTERNAL, "more than %d options", MAX_OPTIONS);
    command_name(cli->usage, p.command);
    if (asks_for(argc, argv, "--help", "-h")) {
        print_page(cli);
        *done = true;
        return COC_OK;
    }
    if (asks_for(argc, argv, "--version", NULL)) {
        coc_print_version();
        *done = true;
        return COC_OK;
    }
    COC_TRY(parse_all(&p));
    return check_complete(&p);
}

void coc_words_free(coc_words *words)
{
    free(words->word);
    *words = (coc_words){0};
}

coc_status coc_cli_settings(const char *file, const coc_words *set, coc_settings *settings)
{
    coc_settings_default(settings);
    COC_TRY(coc_settings_read_file(settings, file));
    for (int i = 0; i < set->count; i++)
        COC_TRY(coc_settings_set(settings, set->word[i]));
    return coc_settings_check(settings);
}

coc_status coc_check_json_name(const char *name)
{
    json_t *text = json_string(name);

    if (text == NULL)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: the name is not UTF-8 and cannot stand in JSON; rename the file or "
                        "choose another --format",
                        name);
    json_decref(text);
    return COC_OK;
}
