#include "train/same.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* These may be a machine's own. */
static const char *const own[] = {"data.train", "data.valid", "data.threads", "model.threads"};

/* One line of printed settings: "section:" or "  key: value". */
typedef struct {
    const char *text;
    int length;
} line;

static line next_line(const char **text)
{
    const line l = {*text, (int)strcspn(*text, "\n")};

    *text += l.length + ((*text)[l.length] != '\0');
    return l;
}

static line value_of(line l)
{
    const char *colon = memchr(l.text, ':', (size_t)l.length);
    const int gone = colon != NULL ? (int)(colon - l.text) + 2 : 0;

    return gone <= l.length ? (line){l.text + gone, l.length - gone} : l;
}

static bool is_empty(line value)
{
    return value.length == 2 && strncmp(value.text, "''", 2) == 0;
}

/* Names and numbers, but not whether there is one: that decides what collectives there are. */
static bool may_differ(const char *key, line there, line here)
{
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(key, own[i]) == 0) return is_empty(there) == is_empty(here);
    return false;
}

/* Both texts come from the same table: line for line the same keys. */
static coc_status compare(const char *there, const char *here)
{
    char section[64] = "", key[192];

    while (*there != '\0' && *here != '\0') {
        const line a = next_line(&there), b = next_line(&here);
        const int name = (int)strcspn(b.text, ":") - 2;

        if (b.text[0] != ' ') snprintf(section, sizeof section, "%.*s", b.length - 1, b.text);
        if (a.length == b.length && memcmp(a.text, b.text, (size_t)a.length) == 0) continue;
        snprintf(key, sizeof key, "%s.%.*s", section, name, b.text + 2);
        if (may_differ(key, value_of(a), value_of(b))) continue;
        return COC_FAIL(COC_ERR_SETTING,
                        "%s: %.*s here, %.*s on rank 0; all ranks need the same settings: is the "
                        "configuration of this machine an old copy?",
                        key, value_of(b).length, value_of(b).text, value_of(a).length,
                        value_of(a).text);
    }
    return COC_OK;
}

/* *text: rank 0's; the others get a copy, which is the caller's like rank 0's own. */
static coc_status share_text(coc_comm *comm, const char *what, const char *mine, char **text)
{
    int64_t bytes = (int64_t)strlen(mine) + 1;
    coc_status status;

    COC_TRY(coc_broadcast(coc_comm_over_host(comm), what, &bytes, 1, COC_INT64, 0));
    status = coc_alloc(bytes, 1, text);
    COC_TRY(coc_comm_agree(comm, what, status));
    if (comm->rank == 0) memcpy(*text, mine, (size_t)bytes);
    return coc_broadcast(coc_comm_over_host(comm), what, *text, bytes, COC_BYTE, 0);
}

/* Line by line; one that only one of them has differs, too. */
static coc_status compare_programs(const char *there, const char *here)
{
    while (*there != '\0' || *here != '\0') {
        const line a = next_line(&there), b = next_line(&here);

        if (a.length == b.length && memcmp(a.text, b.text, (size_t)a.length) == 0) continue;
        return COC_FAIL(COC_ERR_RANKS,
                        "another program than on rank 0: '%.*s' here, '%.*s' there; install the "
                        "same build on all machines",
                        b.length, b.text, a.length, a.text);
    }
    return COC_OK;
}

coc_status coc_same_program(coc_comm *comm, const char *mine)
{
    char *there;
    coc_status status;

    if (comm->size == 1) return COC_OK;
    COC_TRY(share_text(comm, "program of rank 0", mine, &there));
    status = coc_comm_agree(comm, "comparing programs", compare_programs(there, mine));
    free(there);
    return status;
}

coc_status coc_same_settings(coc_comm *comm, const coc_settings *settings)
{
    char *mine = coc_settings_print(settings, false), *there = NULL;
    coc_status status =
        mine != NULL ? COC_OK : COC_FAIL(COC_ERR_MEMORY, "no memory to compare settings");

    status = coc_comm_agree(comm, "printing settings", status);
    if (status == COC_OK) status = share_text(comm, "settings of rank 0", mine, &there);
    if (status == COC_OK) status = coc_comm_agree(comm, "comparing settings", compare(there, mine));
    free(there);
    free(mine);
    return status;
}

coc_status coc_same_content(coc_comm *comm, const char *name, uint64_t hash)
{
    uint64_t there = hash;
    coc_status status = COC_OK;

    COC_TRY(coc_broadcast(coc_comm_over_host(comm), "hash", &there, sizeof there, COC_BYTE, 0));
    if (there != hash)
        status = COC_FAIL(COC_ERR_INPUT,
                          "%s: its content (%016" PRIx64 ") is not that of rank 0 (%016" PRIx64
                          "); all ranks must read the same: is it an old copy?",
                          name, hash, there);
    return coc_comm_agree(comm, "comparing content", status);
}

coc_status coc_same_store(coc_comm *comm, const coc_store *store)
{
    int64_t sources = coc_store_sources(store);
    coc_status status = COC_OK;

    COC_TRY(coc_broadcast(coc_comm_over_host(comm), "number of stores", &sources, 1, COC_INT64, 0));
    if (sources != coc_store_sources(store))
        status = COC_FAIL(COC_ERR_INPUT,
                          "%s: %d stores here, %lld on rank 0; all ranks must read the same",
                          coc_store_path(store), coc_store_sources(store), (long long)sources);
    COC_TRY(coc_comm_agree(comm, "comparing stores", status));
    for (int i = 0; i < sources; i++)
        COC_TRY(
            coc_same_content(comm, coc_store_source(store, i), coc_store_source_hash(store, i)));
    return COC_OK;
}
