/* preprocess/layout_slakh2100.c - Slakh2100 and what `cocola render` writes:
 * {split}/TrackNNNNN/{metadata.yaml, stems/SNN.flac}.
 *
 * What lies in stems/ counts: a stem that metadata.yaml lists without a file (audio_rendered:
 * false, or lost) is normal, and its numbers have gaps. metadata.yaml only gives classes;
 * audio_dir in it may point anywhere and is not followed. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <yaml.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "preprocess/layout.h"

enum { METADATA_LIMIT = 4 << 20, WORD = 64 };

/* ---- metadata.yaml --------------------------------------------------------------------------- */

/* Value of a key in a mapping, or NULL. */
static yaml_node_t *value_of(yaml_document_t *document, yaml_node_t *mapping, const char *key)
{
    if (mapping == NULL || mapping->type != YAML_MAPPING_NODE) return NULL;
    for (yaml_node_pair_t *p = mapping->data.mapping.pairs.start;
         p < mapping->data.mapping.pairs.top; p++) {
        const yaml_node_t *name = yaml_document_get_node(document, p->key);

        if (name != NULL && name->type == YAML_SCALAR_NODE &&
            strcmp((const char *)name->data.scalar.value, key) == 0)
            return yaml_document_get_node(document, p->value);
    }
    return NULL;
}

typedef struct {
    bool loaded;
    yaml_document_t document;
} metadata;

/* A track without readable metadata keeps its stems; only their classes are unknown. */
static void load_metadata(const char *track_path, metadata *m)
{
    char path[COC_PATH_BYTES], *text = NULL;
    yaml_parser_t parser;
    size_t length;

    m->loaded = false;
    if (coc_path_join(path, track_path, "metadata.yaml") != COC_OK) return;
    if (!coc_file_exists(path)) return;
    if (coc_file_read(path, METADATA_LIMIT, &text, &length) != COC_OK) {
        coc_log_warn("%s; classes of its stems stay unknown", coc_error_text());
        return;
    }
    if (yaml_parser_initialize(&parser)) {
        yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
        m->loaded = yaml_parser_load(&parser, &m->document) != 0;
        if (!m->loaded)
            coc_log_warn("%s:%zu: no valid YAML (%s); classes of its stems stay unknown", path,
                         parser.problem_mark.line + 1,
                         parser.problem != NULL ? parser.problem : "unknown problem");
        yaml_parser_delete(&parser);
    }
    free(text);
}

static void copy_class(metadata *m, const char *stem, char out[WORD])
{
    yaml_node_t *node;

    out[0] = '\0';
    if (!m->loaded) return;
    node = value_of(&m->document, yaml_document_get_root_node(&m->document), "stems");
    node = value_of(&m->document, value_of(&m->document, node, stem), "inst_class");
    if (node == NULL || node->type != YAML_SCALAR_NODE) return;
    snprintf(out, WORD, "%s", (const char *)node->data.scalar.value);
}

/* ---- folders --------------------------------------------------------------------------------- */

/* S00.flac, S1.flac: S, digits, flac. */
static bool is_stem(const char *name)
{
    const size_t digits = name[0] == 'S' ? strspn(name + 1, "0123456789") : 0;

    return digits > 0 && digits < 10 && strcasecmp(name + 1 + digits, ".flac") == 0;
}

static coc_status add_stems(coc_source_list *list, const coc_names *names, const char *folder,
                            metadata *m)
{
    for (int64_t i = 0; i < names->count; i++) {
        char source[COC_PATH_BYTES], name[WORD], instrument[WORD];

        if (!is_stem(names->name[i])) continue;
        COC_TRY(coc_path_join(source, folder, names->name[i]));
        snprintf(name, sizeof name, "%.*s", (int)strcspn(names->name[i], "."), names->name[i]);
        copy_class(m, name, instrument);
        COC_TRY(coc_source_add_whole(list, source, name, instrument));
    }
    return COC_OK;
}

static coc_status add_track(const char *root, const char *track, coc_split split,
                            coc_source_list *list)
{
    char full[COC_PATH_BYTES], stems[COC_PATH_BYTES];
    metadata m;
    coc_names names = {0};
    coc_status status;

    COC_TRY(coc_source_add_track(list, split, track));
    COC_TRY(coc_path_join(stems, track, "stems"));
    COC_TRY(coc_path_join(full, root, stems));
    if (!coc_is_folder(full)) return COC_OK; /* a track without stems is counted and skipped */
    COC_TRY(coc_list_folder(full, &names));
    status = coc_path_join(full, root, track);
    if (status == COC_OK) {
        load_metadata(full, &m);
        status = add_stems(list, &names, stems, &m);
        if (m.loaded) yaml_document_delete(&m.document);
    }
    coc_names_free(&names);
    return status;
}

static coc_status list_split(const char *root, const char *folder, coc_split split,
                             const coc_layout_options *options, coc_source_list *list)
{
    char full[COC_PATH_BYTES], track[COC_PATH_BYTES];
    coc_names names;
    coc_status status = COC_OK;

    (void)options;
    COC_TRY(coc_path_join(full, root, folder));
    COC_TRY(coc_list_folder(full, &names));
    for (int64_t i = 0; i < names.count; i++) {
        if (strncmp(names.name[i], "Track", 5) != 0) continue;
        COC_TRY_GOTO(status, coc_path_join(track, folder, names.name[i]), done);
        COC_TRY_GOTO(status, coc_path_join(full, root, track), done);
        if (coc_is_folder(full)) COC_TRY_GOTO(status, add_track(root, track, split, list), done);
    }

done:
    coc_names_free(&names);
    return status;
}

coc_status coc_list_slakh2100(const char *root, const coc_layout_options *options,
                              coc_source_list *list)
{
    return coc_list_splits(root, list_split, options, list);
}

/* Stems whose audio is not what the song has there, as users have reported them: other pitches, or
 * nothing but one tone. Silent ones need no row, as they are in no pair. */
const coc_known_bad coc_bad_slakh2100[] = {
    {"Track00262", "S01", "plays something else"}, {"Track00496", "S01", "wrong pitch"},
    {"Track01500", "S12", "one tone throughout"},  {"Track01500", "S13", "one tone throughout"},
    {"Track01918", "S10", "wrong pitch"},          {"Track01931", "S01", "wrong pitch"},
    {"Track01937", "S03", "wrong pitch"},          {NULL, NULL, NULL},
};
