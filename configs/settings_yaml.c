/* configs/settings_yaml.c - a settings file: `section: {key: value}`, two levels and no more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/file.h"
#include "configs/table.h"

enum { MAX_FILE = 1 << 20 };

typedef struct {
    coc_settings *settings;
    const char *name; /* of the file */
    yaml_document_t *document;
    size_t line[COC_MAX_SETTINGS]; /* where a row of the table was set; 0: nowhere */
} reading;

/* "file:line:column: " into text; a very long file name is cut at its front. */
static const char *place(const reading *r, const yaml_node_t *node, char text[300])
{
    const size_t length = strlen(r->name);

    snprintf(text, 300, "%s:%zu:%zu: ", r->name + (length > 200 ? length - 200 : 0),
             node->start_mark.line + 1, node->start_mark.column + 1);
    return text;
}

/* The text of a scalar node, or NULL. YAML allows a zero byte in one; a C text does not. */
static const char *scalar(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE) return NULL;
    if (strlen((const char *)node->data.scalar.value) != node->data.scalar.length) return NULL;
    return (const char *)node->data.scalar.value;
}

/* A sequence of scalars as one text, which coc_setting_parse takes. */
static coc_status read_list(reading *r, const coc_setting *setting, const yaml_node_t *node)
{
    char text[COC_SETTING_YAML], where[300];
    size_t used = 0;

    for (const yaml_node_item_t *i = node->data.sequence.items.start;
         i < node->data.sequence.items.top; i++) {
        const yaml_node_t *one = yaml_document_get_node(r->document, *i);
        const char *value = scalar(one);

        place(r, one, where);
        if (value == NULL || value[0] == '\0' || strchr(value, ',') != NULL)
            return COC_FAIL(COC_ERR_SETTING, "%s%s: a value without a comma in it must stand here",
                            where, setting->key);
        if (used + strlen(value) + 4 > sizeof text)
            return COC_FAIL(COC_ERR_SETTING, "%s%s: the list is too long", where, setting->key);
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%s", used > 0 ? ", " : "[", value);
    }
    snprintf(text + used, sizeof text - used, "%s", used > 0 ? "]" : "");
    return coc_setting_parse(setting, text, place(r, node, where), r->settings);
}

static coc_status read_value(reading *r, const coc_setting *setting, const yaml_node_t *node)
{
    const char *text = scalar(node);
    const bool plain = text != NULL && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    const bool list = setting->kind == COC_SETTING_LIST;
    const bool words =
        list || setting->kind == COC_SETTING_STRING || setting->kind == COC_SETTING_CHOICE;
    char where[300], wanted[256];

    if (list && node->type == YAML_SEQUENCE_NODE) return read_list(r, setting, node);
    coc_setting_describe(setting, wanted);
    place(r, node, where);
    if (text == NULL)
        return COC_FAIL(COC_ERR_SETTING, "%s%s: a list or map where one value must stand (%s)",
                        where, setting->key, wanted);
    if (plain && (strcmp(text, "~") == 0 || strcmp(text, "null") == 0)) text = "";
    if (!words && text[0] == '\0')
        return COC_FAIL(COC_ERR_SETTING, "%s%s: no value (%s)", where, setting->key, wanted);
    if (!words && !plain)
        return COC_FAIL(COC_ERR_SETTING, "%s%s: a text in quotes; write it without them (%s)",
                        where, setting->key, wanted);
    return coc_setting_parse(setting, text, where, r->settings);
}

static coc_status read_key(reading *r, const char *section, const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = yaml_document_get_node(r->document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(r->document, pair->value);
    char where[300], full[128];
    const coc_setting *setting;
    int count, row;

    place(r, key, where);
    if (scalar(key) == NULL)
        return COC_FAIL(COC_ERR_SETTING, "%sthe name of a setting must stand here", where);
    snprintf(full, sizeof full, "%s.%.80s", section, scalar(key));
    setting = coc_setting_find(full, strlen(full));
    if (setting == NULL) return coc_setting_unknown(full, where);
    row = (int)(setting - coc_setting_table(&count));
    if (r->line[row] != 0)
        return COC_FAIL(COC_ERR_SETTING, "%s%s stands twice; the first one is in line %zu", where,
                        setting->key, r->line[row]);
    r->line[row] = key->start_mark.line + 1;
    return read_value(r, setting, value);
}

static coc_status unknown_section(const char *name, const char *where)
{
    const char *words[16], *nearest;
    char known[128] = "";
    int count, rows;
    const coc_setting_section *sections = coc_setting_sections(&count);
    const coc_setting *table = coc_setting_table(&rows);

    if (strchr(name, '.') != NULL && coc_setting_find(name, strlen(name)) != NULL)
        return COC_FAIL(COC_ERR_SETTING, "%swrite %s as a section with the key below it", where,
                        name);
    for (int i = 0; i < rows; i++)
        if (strcmp(coc_setting_leaf(&table[i]), name) == 0)
            return COC_FAIL(COC_ERR_SETTING, "%s%s belongs below its section: %.*s: {%s: ...}",
                            where, name, (int)strcspn(table[i].key, "."), table[i].key, name);
    for (int i = 0; i < count && i < 16; i++)
        words[i] = sections[i].name;
    nearest = coc_nearest_word(name, words, count);
    for (int i = 0; i < count && nearest == NULL; i++) {
        strncat(known, i > 0 ? ", " : "", sizeof known - 1 - strlen(known));
        strncat(known, sections[i].name, sizeof known - 1 - strlen(known));
    }
    if (nearest == NULL)
        return COC_FAIL(COC_ERR_SETTING, "%sno section is called '%.80s'; known are %s", where,
                        name, known);
    return COC_FAIL(COC_ERR_SETTING, "%sno section is called '%.80s'; did you mean %s?", where,
                    name, nearest);
}

static coc_status read_section(reading *r, const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = yaml_document_get_node(r->document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(r->document, pair->value);
    const coc_setting_section *sections;
    const char *name = scalar(key);
    char where[300];
    int count, known = 0;

    place(r, key, where);
    if (name == NULL)
        return COC_FAIL(COC_ERR_SETTING, "%sthe name of a section must stand here", where);
    sections = coc_setting_sections(&count);
    while (known < count && strcmp(sections[known].name, name) != 0)
        known++;
    if (known == count) return unknown_section(name, where);
    if (value->type == YAML_SCALAR_NODE && value->data.scalar.length == 0) return COC_OK;
    if (value->type != YAML_MAPPING_NODE)
        return COC_FAIL(COC_ERR_SETTING, "%s%s: keys and values must stand below it",
                        place(r, value, where), name);
    for (const yaml_node_pair_t *p = value->data.mapping.pairs.start;
         p < value->data.mapping.pairs.top; p++)
        COC_TRY(read_key(r, name, p));
    return COC_OK;
}

static coc_status read_document(reading *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(r->document);
    char where[300];

    if (root == NULL) return COC_OK; /* an empty file sets nothing */
    if (root->type != YAML_MAPPING_NODE)
        return COC_FAIL(COC_ERR_SETTING, "%ssections (data:, model:, train:, ...) must stand here",
                        place(r, root, where));
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start;
         p < root->data.mapping.pairs.top; p++)
        COC_TRY(read_section(r, p));
    return COC_OK;
}

static coc_status bad_yaml(const yaml_parser_t *parser, const char *name)
{
    const bool reader = parser->error == YAML_READER_ERROR;

    if (parser->error == YAML_MEMORY_ERROR)
        return COC_FAIL(COC_ERR_MEMORY, "%s: no memory to read it", name);
    if (reader)
        return COC_FAIL(COC_ERR_SETTING, "%s: byte %zu: %s; save the file as UTF-8", name,
                        parser->problem_offset + 1, parser->problem);
    return COC_FAIL(COC_ERR_SETTING, "%s:%zu:%zu: not YAML: %s%s%s", name,
                    parser->problem_mark.line + 1, parser->problem_mark.column + 1,
                    parser->problem != NULL ? parser->problem : "cannot be parsed",
                    parser->context != NULL ? ", " : "",
                    parser->context != NULL ? parser->context : "");
}

/* One document and no second one, which would be passed over in silence. */
static coc_status parse(yaml_parser_t *parser, coc_settings *settings, const char *name)
{
    yaml_document_t document, second;
    reading r = {.settings = settings, .name = name, .document = &document};
    coc_status status;

    if (!yaml_parser_load(parser, &document)) return bad_yaml(parser, name);
    status = read_document(&r);
    if (status == COC_OK && yaml_document_get_root_node(&document) != NULL) {
        if (!yaml_parser_load(parser, &second)) {
            status = bad_yaml(parser, name);
        } else {
            if (yaml_document_get_root_node(&second) != NULL)
                status = COC_FAIL(COC_ERR_SETTING, "%s:%zu: a second YAML document; one is allowed",
                                  name, second.start_mark.line + 1);
            yaml_document_delete(&second);
        }
    }
    yaml_document_delete(&document);
    return status;
}

static coc_status read_bytes(coc_settings *settings, const char *text, size_t bytes,
                             const char *name)
{
    coc_settings fresh = *settings; /* a refused file changes nothing */
    yaml_parser_t parser;
    coc_status status;

    if (!yaml_parser_initialize(&parser))
        return COC_FAIL(COC_ERR_MEMORY, "%s: no memory to read it", name);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    status = parse(&parser, &fresh, name);
    yaml_parser_delete(&parser);
    if (status == COC_OK) *settings = fresh;
    return status;
}

coc_status coc_settings_read_text(coc_settings *settings, const char *text, const char *name)
{
    return read_bytes(settings, text, strlen(text), name);
}

coc_status coc_settings_read_file(coc_settings *settings, const char *path)
{
    coc_status status;
    char *text;
    size_t bytes;

    status = coc_file_read(path, MAX_FILE, &text, &bytes);
    if (status == COC_ERR_INPUT) return COC_ERR_SETTING; /* too big: the text says so */
    COC_TRY(status);
    status = read_bytes(settings, text, bytes, path);
    free(text);
    return status;
}
