/* configs/table.h - the table behind configs/settings.h: one row a setting. Private to configs/.
 *
 * Everything that knows of settings walks this table, so a setting is added in two places: the
 * field in the struct and the row here.
 */
#ifndef COC_CONFIGS_TABLE_H
#define COC_CONFIGS_TABLE_H

#include <stddef.h>

#include "configs/settings.h"

typedef enum {
    COC_SETTING_STRING, /* char [room] */
    COC_SETTING_LIST,   /* the same: one value or several, configs/list.h */
    COC_SETTING_INT,    /* int */
    COC_SETTING_COUNT,  /* int64_t */
    COC_SETTING_NUMBER, /* double */
    COC_SETTING_FLAG,   /* bool */
    COC_SETTING_CHOICE, /* an enum that counts from 0 in the order of `choices` */
} coc_setting_kind;

/* Whether a run may go on when the value has changed. */
typedef enum {
    COC_EFFECT_NONE,     /* places, logging, threads: yes */
    COC_EFFECT_RESULT,   /* another value is another run */
    COC_EFFECT_SCHEDULE, /* only where the schedule depends on the length of the run */
} coc_effect;

typedef struct {
    const char *key; /* "train.batch" */
    coc_setting_kind kind;
    coc_effect effect;
    size_t offset;              /* in coc_settings */
    size_t room;                /* bytes of the field */
    const char *value;          /* the default, as one would write it */
    double min, max;            /* of numbers, both allowed */
    const char *const *choices; /* NULL at the end; NULL: none */
    const char *unit;           /* "" when it has none */
    const char *help;           /* sentences */
} coc_setting;

typedef struct {
    const char *name; /* "train" */
    const char *help;
} coc_setting_section;

enum { COC_MAX_SETTINGS = 128 };

/* The whole table, at most COC_MAX_SETTINGS rows, ordered by section. */
const coc_setting *coc_setting_table(int *count);
const coc_setting_section *coc_setting_sections(int *count);

/* The row of a key of `length` bytes, or NULL. */
const coc_setting *coc_setting_find(const char *key, size_t length);

/* Whether the row belongs to the section. */
bool coc_setting_in_section(const coc_setting *setting, const char *section);

/* The key behind "section.". */
const char *coc_setting_leaf(const coc_setting *setting);

/* Fail for an unknown key, naming the nearest; where: "" or "file:line:column: ". */
coc_status coc_setting_unknown(const char *key, const char *where);

/* Read a value from text into the settings. Errors: COC_ERR_SETTING, beginning with `where`. */
coc_status coc_setting_parse(const coc_setting *setting, const char *text, const char *where,
                             coc_settings *settings);

/* The value as YAML that coc_setting_parse reads back to the same bits. */
enum { COC_SETTING_YAML = 4 * COC_SETTING_TEXT };
void coc_setting_format(const coc_setting *setting, const coc_settings *settings,
                        char text[COC_SETTING_YAML]);

/* "whole number, 1 to 1048576, pairs" - what may be written. */
void coc_setting_describe(const coc_setting *setting, char text[256]);

/* A growing text; broken once memory has run out. */
typedef struct {
    char *text;
    int64_t length, capacity;
    bool broken;
} coc_text;
void coc_text_add(coc_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Add words, wrapped at `width` columns; every line begins with `prefix`. */
void coc_text_wrap(coc_text *text, const char *prefix, int width, const char *words);
/* The text, or NULL when memory ran out; the caller frees it. */
char *coc_text_finish(coc_text *text);

#endif
