/* configs/settings_print.c - all settings as YAML, as differences, as a reference page. */
#include <stdio.h>
#include <string.h>

#include "configs/table.h"

enum { PAGE_WIDTH = 98 };

static void print_row(coc_text *out, const coc_setting *s, const coc_settings *settings,
                      bool with_help)
{
    char value[COC_SETTING_YAML], kind[256];

    coc_setting_format(s, settings, value);
    if (with_help) {
        coc_text_wrap(out, "  # ", PAGE_WIDTH, s->help);
        coc_setting_describe(s, kind);
        coc_text_add(out, "  # (%s)\n", kind);
    }
    coc_text_add(out, "  %s: %s\n", coc_setting_leaf(s), value);
}

char *coc_settings_print(const coc_settings *settings, bool with_help)
{
    int rows, sections;
    const coc_setting *table = coc_setting_table(&rows);
    const coc_setting_section *section = coc_setting_sections(&sections);
    coc_text out = {0};

    for (int i = 0; i < sections; i++) {
        if (with_help) coc_text_add(&out, "%s# %s\n", i > 0 ? "\n" : "", section[i].help);
        coc_text_add(&out, "%s:\n", section[i].name);
        for (int row = 0; row < rows; row++)
            if (coc_setting_in_section(&table[row], section[i].name))
                print_row(&out, &table[row], settings, with_help);
    }
    return coc_text_finish(&out);
}

/* Whether the row decides what a run computes, for either of the two. */
static bool counts(const coc_setting *s, const coc_settings *there, const coc_settings *here)
{
    if (s->effect == COC_EFFECT_SCHEDULE)
        return there->train.schedule != COC_SCHEDULE_CONSTANT ||
               here->train.schedule != COC_SCHEDULE_CONSTANT || there->data.both_first > 0 ||
               here->data.both_first > 0;
    return s->effect == COC_EFFECT_RESULT;
}

char *coc_settings_differences(const coc_settings *there, const coc_settings *here)
{
    char a[COC_SETTING_YAML], b[COC_SETTING_YAML];
    int rows;
    const coc_setting *table = coc_setting_table(&rows);
    coc_text out = {0};

    for (int i = 0; i < rows; i++) {
        if (!counts(&table[i], there, here)) continue;
        coc_setting_format(&table[i], there, a);
        coc_setting_format(&table[i], here, b);
        if (strcmp(a, b) == 0) continue;
        coc_text_add(&out, "%s%s: %s there, %s here", out.length > 0 ? "\n" : "", table[i].key, a,
                     b);
    }
    return coc_text_finish(&out);
}

static const char *effect_text(coc_effect effect)
{
    switch (effect) {
    case COC_EFFECT_RESULT:
        return "no";
    case COC_EFFECT_SCHEDULE:
        return "with a constant schedule, and data.both_first 0";
    case COC_EFFECT_NONE:
        break;
    }
    return "yes";
}

static void document_markdown(coc_text *out, const coc_setting *s)
{
    char kind[256];

    coc_setting_describe(s, kind);
    coc_text_add(out, "### `%s`\n\n", s->key);
    coc_text_wrap(out, "", PAGE_WIDTH, s->help);
    coc_text_add(out, "\n* value: `%s`\n* default: `%s`\n* may change when a run goes on: %s\n\n",
                 kind, s->value[0] != '\0' ? s->value : "''", effect_text(s->effect));
}

static void document_plain(coc_text *out, const coc_setting *s)
{
    char kind[256];

    coc_setting_describe(s, kind);
    coc_text_add(out, "  %s: %s   (%s)\n", s->key, s->value[0] != '\0' ? s->value : "''", kind);
    coc_text_wrap(out, "      ", PAGE_WIDTH, s->help);
}

static void document_head(coc_text *out, bool markdown)
{
    static const char *const about =
        "Settings are written in a YAML file as `section: {key: value}`, and on a command line as "
        "`--set section.key=value`, which wins over the file. Unknown or repeated keys, wrong "
        "types "
        "and values out of range are refused with their place. A run keeps all settings in force "
        "in its `config.yaml` and in each checkpoint; on continuing, those that decide what is "
        "computed must be the same.";

    if (markdown) coc_text_add(out, "# Settings\n\n");
    coc_text_wrap(out, "", PAGE_WIDTH, about);
    if (markdown)
        coc_text_add(out, "\nThis page is made from the table in `configs/settings_table.c` by "
                          "`cocola help settings --markdown`.\n");
    coc_text_add(out, "\n");
}

/* A part names a section, else a key, with or without its section. */
static bool is_section(const char *part)
{
    int count;
    const coc_setting_section *section = coc_setting_sections(&count);

    for (int i = 0; i < count; i++)
        if (strcmp(section[i].name, part) == 0) return true;
    return false;
}

static bool is_wanted(const coc_setting *s, const char *part)
{
    if (part == NULL) return true;
    if (is_section(part)) return coc_setting_in_section(s, part);
    return strcmp(part, s->key) == 0 || strcmp(part, coc_setting_leaf(s)) == 0;
}

static void document_row(coc_text *out, bool markdown, const coc_setting *s)
{
    if (markdown)
        document_markdown(out, s);
    else
        document_plain(out, s);
}

char *coc_settings_document_part(bool markdown, const char *part)
{
    int rows, sections;
    const coc_setting *table = coc_setting_table(&rows);
    const coc_setting_section *section = coc_setting_sections(&sections);
    coc_text out = {0};

    if (part == NULL) document_head(&out, markdown);
    for (int i = 0; i < sections; i++) {
        if (part == NULL || strcmp(part, section[i].name) == 0)
            coc_text_add(&out, "%s%s%s: %s\n\n", markdown ? "## " : "",
                         !markdown && part == NULL && i > 0 ? "\n" : "", section[i].name,
                         section[i].help);
        for (int row = 0; row < rows; row++)
            if (coc_setting_in_section(&table[row], section[i].name) &&
                is_wanted(&table[row], part))
                document_row(&out, markdown, &table[row]);
    }
    return coc_text_finish(&out);
}

char *coc_settings_document(bool markdown)
{
    return coc_settings_document_part(markdown, NULL);
}
