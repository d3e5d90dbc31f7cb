/* configs/settings_value.c - one value: from text, to text. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/list.h"
#include "configs/table.h"

/* The next code point of UTF-8 text that YAML can carry unchanged between quotes; 0 when the bytes
 * are none. *length gets its bytes. */
static uint32_t next_character(const unsigned char *c, int *length)
{
    static const uint32_t smallest[] = {0, 0x20, 0xA0, 0x800, 0x10000};
    uint32_t code = c[0];
    const int n = code < 0x80 ? 1 : code < 0xC0 ? 0 : code < 0xE0 ? 2 : code < 0xF0 ? 3 : 4;

    *length = n;
    if (n == 0 || code >= 0xF8) return 0;
    if (n > 1) code &= 0x7Fu >> n;
    for (int i = 1; i < n; i++) {
        if ((c[i] & 0xC0) != 0x80) return 0;
        code = code << 6 | (c[i] & 0x3F);
    }
    if (code < smallest[n] || code == 0x7F || code > 0x10FFFF) return 0;
    if (code >= 0xD800 && code <= 0xDFFF) return 0;
    if (code == 0x2028 || code == 0x2029 || code == 0xFEFF || (code & 0xFFFE) == 0xFFFE) return 0;
    return code;
}

static coc_status parse_string(const coc_setting *s, const char *text, const char *where,
                               void *field)
{
    int length;

    if (strlen(text) >= s->room)
        return COC_FAIL(COC_ERR_SETTING, "%s%s: %zu bytes; at most %zu are possible", where, s->key,
                        strlen(text), s->room - 1);
    for (const char *c = text; *c != '\0'; c += length)
        if (next_character((const unsigned char *)c, &length) == 0)
            return COC_FAIL(COC_ERR_SETTING,
                            "%s%s: byte %lld is a control character or no UTF-8; use another name",
                            where, s->key, (long long)(c - text) + 1);
    memset(field, 0, s->room); /* equal settings are equal bytes */
    memcpy(field, text, strlen(text));
    return COC_OK;
}

/* "[a,b ]" becomes "[a, b]", and "[a]" the same as "a". */
static coc_status parse_list(const coc_setting *s, const char *text, const char *where, void *field)
{
    char list[COC_SETTING_YAML] = "", item[COC_SETTING_TEXT];
    const int count = coc_list_count(text);
    const size_t length = strlen(text);
    size_t used = 0;

    if (text[0] != '[' || length >= s->room) return parse_string(s, text, where, field);
    if (text[length - 1] != ']')
        return COC_FAIL(COC_ERR_SETTING, "%s%s: '%.80s' begins as a list and does not end with ]",
                        where, s->key, text);
    for (int i = 0; i < count; i++) {
        coc_list_item(text, i, item);
        if (item[0] == '\0')
            return COC_FAIL(COC_ERR_SETTING, "%s%s: value %d of the list '%.80s' is empty", where,
                            s->key, i + 1, text);
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "[", item);
    }
    snprintf(list + used, sizeof list - used, "]");
    if (count == 1) coc_list_item(text, 0, list);
    return parse_string(s, list, where, field);
}

static coc_status parse_choice(const coc_setting *s, const char *text, const char *where,
                               void *field)
{
    char known[200] = "";
    int count = 0, found = -1;
    const char *nearest;

    for (; s->choices[count] != NULL; count++) {
        const size_t used = strlen(known);

        if (strcmp(s->choices[count], text) == 0) found = count;
        if (s->choices[count][0] == '\0') continue;
        snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "",
                 s->choices[count]);
    }
    if (found >= 0 && s->room > sizeof found) { /* kept as a name */
        memset(field, 0, s->room);
        memcpy(field, text, strlen(text));
        return COC_OK;
    }
    if (found >= 0) {
        memcpy(field, &found, sizeof found);
        return COC_OK;
    }
    nearest = coc_nearest_word(text, s->choices, count);
    if (nearest == NULL || nearest[0] == '\0')
        return COC_FAIL(COC_ERR_SETTING, "%s%s: '%.80s' is none of %s", where, s->key, text, known);
    return COC_FAIL(COC_ERR_SETTING, "%s%s: '%.80s' is none of %s; did you mean %s?", where, s->key,
                    text, known, nearest);
}

static coc_status out_of_range(const coc_setting *s, const char *text, const char *where)
{
    return COC_FAIL(COC_ERR_SETTING, "%s%s: %.80s is out of range: %.16g to %.16g%s%s", where,
                    s->key, text, s->min, s->max, s->unit[0] != '\0' ? " " : "", s->unit);
}

static coc_status parse_whole(const coc_setting *s, const char *text, const char *where,
                              void *field)
{
    char *end;
    long long value;
    int narrow;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || strchr("+-0123456789", text[0]) == NULL)
        return COC_FAIL(COC_ERR_SETTING, "%s%s: '%.80s' is no whole number", where, s->key, text);
    if (errno == ERANGE || (double)value < s->min || (double)value > s->max)
        return out_of_range(s, text, where);
    narrow = (int)value;
    if (s->kind == COC_SETTING_INT)
        memcpy(field, &narrow, sizeof narrow);
    else
        memcpy(field, &(int64_t){value}, sizeof(int64_t));
    return COC_OK;
}

static coc_status parse_number(const coc_setting *s, const char *text, const char *where,
                               void *field)
{
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    /* strtod also reads hexadecimal, inf and nan */
    if (end == text || *end != '\0' || text[strspn(text, "+-.0123456789eE")] != '\0')
        return COC_FAIL(COC_ERR_SETTING, "%s%s: '%.80s' is no number", where, s->key, text);
    if (!(value >= s->min && value <= s->max)) return out_of_range(s, text, where);
    value += 0.0; /* -0 is 0 */
    memcpy(field, &value, sizeof value);
    return COC_OK;
}

static coc_status parse_flag(const coc_setting *s, const char *text, const char *where, void *field)
{
    const bool yes = strcmp(text, "true") == 0;

    if (!yes && strcmp(text, "false") != 0)
        return COC_FAIL(COC_ERR_SETTING, "%s%s: '%.80s' is neither true nor false", where, s->key,
                        text);
    memcpy(field, &yes, sizeof yes);
    return COC_OK;
}

coc_status coc_setting_parse(const coc_setting *setting, const char *text, const char *where,
                             coc_settings *settings)
{
    void *field = (char *)settings + setting->offset;

    switch (setting->kind) {
    case COC_SETTING_STRING:
        return parse_string(setting, text, where, field);
    case COC_SETTING_LIST:
        return parse_list(setting, text, where, field);
    case COC_SETTING_CHOICE:
        return parse_choice(setting, text, where, field);
    case COC_SETTING_INT:
    case COC_SETTING_COUNT:
        return parse_whole(setting, text, where, field);
    case COC_SETTING_NUMBER:
        return parse_number(setting, text, where, field);
    case COC_SETTING_FLAG:
        break;
    }
    return parse_flag(setting, text, where, field);
}

/* Returns the end of what was written. */
static char *format_quoted(const char *value, char *out)
{

    *out++ = '\'';
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\'') *out++ = '\'';
        *out++ = *c;
    }
    *out++ = '\'';
    *out = '\0';
    return out;
}

static void format_list(const char *list, char text[COC_SETTING_YAML])
{
    char item[COC_SETTING_TEXT], *out = text;

    if (list[0] != '[') {
        format_quoted(list, text);
        return;
    }
    *out++ = '[';
    for (int i = 0; i < coc_list_count(list); i++) {
        if (i > 0) *out++ = ',';
        if (i > 0) *out++ = ' ';
        coc_list_item(list, i, item);
        out = format_quoted(item, out);
    }
    snprintf(out, 2, "]");
}

/* The fewest digits that read back to the same double. */
static void format_number(double value, char text[COC_SETTING_YAML])
{
    if (fabs(value) < 1e15 && value == floor(value)) {
        snprintf(text, 32, "%.0f", value); /* 120, not 1.2e+02 */
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, value);
        if (strtod(text, NULL) == value) return;
    }
}

static void format_choice(const coc_setting *s, const void *field, char text[COC_SETTING_YAML])
{
    int index;

    if (s->room > sizeof index) {
        const char *name = field;

        if (name[0] == '\0')
            format_quoted(name, text);
        else
            snprintf(text, COC_SETTING_YAML, "%s", name);
        return;
    }
    memcpy(&index, field, sizeof index);
    snprintf(text, COC_SETTING_YAML, "%s", s->choices[index]);
}

void coc_setting_format(const coc_setting *setting, const coc_settings *settings,
                        char text[COC_SETTING_YAML])
{
    const void *field = (const char *)settings + setting->offset;
    double number;
    int64_t count;
    int narrow;
    bool flag;

    switch (setting->kind) {
    case COC_SETTING_STRING:
        format_quoted(field, text);
        break;
    case COC_SETTING_LIST:
        format_list(field, text);
        break;
    case COC_SETTING_CHOICE:
        format_choice(setting, field, text);
        break;
    case COC_SETTING_INT:
        memcpy(&narrow, field, sizeof narrow);
        snprintf(text, COC_SETTING_YAML, "%d", narrow);
        break;
    case COC_SETTING_COUNT:
        memcpy(&count, field, sizeof count);
        snprintf(text, COC_SETTING_YAML, "%lld", (long long)count);
        break;
    case COC_SETTING_NUMBER:
        memcpy(&number, field, sizeof number);
        format_number(number, text);
        break;
    case COC_SETTING_FLAG:
        memcpy(&flag, field, sizeof flag);
        snprintf(text, COC_SETTING_YAML, "%s", flag ? "true" : "false");
        break;
    }
}

static void describe_choices(const coc_setting *s, char text[256])
{
    text[0] = '\0';
    for (int i = 0; s->choices[i] != NULL; i++) {
        const size_t used = strlen(text);

        snprintf(text + used, 256 - used, "%s%s", used > 0 ? " | " : "",
                 s->choices[i][0] != '\0' ? s->choices[i] : "''");
    }
}

void coc_setting_describe(const coc_setting *setting, char text[256])
{
    const char *unit = setting->unit, *comma = unit[0] != '\0' ? ", " : "";
    const bool whole = setting->kind == COC_SETTING_INT || setting->kind == COC_SETTING_COUNT;

    if (setting->kind == COC_SETTING_CHOICE)
        describe_choices(setting, text);
    else if (setting->kind == COC_SETTING_FLAG)
        snprintf(text, 256, "true | false");
    else if (setting->kind == COC_SETTING_STRING)
        snprintf(text, 256, "%s", unit[0] != '\0' ? unit : "text");
    else if (setting->kind == COC_SETTING_LIST)
        snprintf(text, 256, "%s, or a list of them", unit);
    else if (setting->max >= 1e15)
        snprintf(text, 256, "whole number from %g%s%s", setting->min, comma, unit);
    else
        snprintf(text, 256, "%snumber, %.10g to %.10g%s%s", whole ? "whole " : "", setting->min,
                 setting->max, comma, unit);
}
