#include "train/check_output.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "preprocess/features.h"
#include "train/bench.h"

/* Stems are odd from here on. */
#define CLIPPED  1e-3 /* of all samples, in flat tops */
#define CONSTANT 0.05 /* mean over peak */

static bool is_silent(const coc_stem_facts *f)
{
    return f->active == 0;
}

static const coc_track *track_of(const coc_store *store, int64_t stem)
{
    return coc_store_track(store, coc_store_stem(store, stem)->track);
}

static bool is_overlap(const coc_store *store, const int64_t twice[2])
{
    return coc_store_track(store, twice[0])->split != coc_store_track(store, twice[1])->split;
}

bool coc_check_is_good(const coc_store *store, const coc_store_check *c)
{
    for (int64_t i = 0; i < c->twices; i++)
        if (is_overlap(store, c->twice[i])) return false;
    return c->damaged == 0;
}

/* ---- distributions -------------------------------------------------------------------------- */

typedef double pick(const coc_stem_facts *facts);

static double pick_level(const coc_stem_facts *f)
{
    return f->level_db;
}

static double pick_peak(const coc_stem_facts *f)
{
    return 20 * log10(f->peak);
}

static double pick_active(const coc_stem_facts *f)
{
    return 100 * f->active;
}

/* Over stems that are neither damaged nor silent; their number. */
static int64_t collect(const coc_store_check *c, pick *of, double *values)
{
    int64_t n = 0;

    for (int64_t i = 0; i < c->stems; i++)
        if (c->damage[i] == NULL && !is_silent(&c->facts[i])) values[n++] = of(&c->facts[i]);
    return n;
}

static const double quantiles[] = {0, 0.05, 0.5, 0.95, 1};
enum { QUANTILES = sizeof quantiles / sizeof quantiles[0] };

static void print_quantiles(const char *name, double *values, int64_t n, int digits)
{
    printf("%-24s", name);
    for (int q = 0; q < QUANTILES && n > 0; q++)
        printf(" %9.*f", digits, coc_bench_quantile(values, (int)n, quantiles[q]));
    printf("\n");
}

static void print_distributions(const coc_store *store, const coc_store_check *c)
{
    double *values;
    int64_t n;

    if (coc_alloc(c->stems + c->tracks, sizeof *values, &values) != COC_OK) return;
    printf("\n%-24s %9s %9s %9s %9s %9s\n", "", "least", "5 %", "median", "95 %", "most");
    for (n = 0; n < c->tracks; n++)
        values[n] = coc_store_track(store, n)->stems;
    print_quantiles("stems a track", values, n, 0);
    for (n = 0; n < c->tracks; n++)
        values[n] = (double)coc_store_track(store, n)->samples / COC_SAMPLE_RATE;
    print_quantiles("seconds a track", values, n, 1);
    n = collect(c, pick_active, values);
    print_quantiles("audible, % of a stem", values, n, 1);
    n = collect(c, pick_level, values);
    print_quantiles("level where audible, dB", values, n, 1);
    n = collect(c, pick_peak, values);
    print_quantiles("peak, dB", values, n, 1);
    free(values);
}

/* ---- what is wrong or odd ------------------------------------------------------------------- */

/* Counts the things of a kind, and says whether one is still to be printed. */
typedef struct {
    const char *kind;
    int most;
    int64_t count;
} kind;

static bool more(kind *k)
{
    if (k->count++ == 0) printf("\n%s\n", k->kind);
    return k->count <= k->most;
}

static void end_kind(const kind *k)
{
    if (k->count > k->most) printf("  ... %" PRId64 " in all; --json has them\n", k->count);
}

static void print_damage(const coc_store_check *c, int most)
{
    kind k = {"damaged: run `cocola preprocess` again, which makes these shards anew", most, 0};

    for (int64_t i = 0; i < c->stems; i++)
        if (c->damage[i] != NULL && more(&k)) printf("  %s\n", c->damage[i]);
    end_kind(&k);
}

static void print_twice(const coc_store *store, const coc_store_check *c, int most)
{
    kind overlap = {"in two splits: what is tested was trained on; take one out", most, 0};
    kind twice = {"the same audio twice in a split", most, 0};

    for (int pass = 0; pass < 2; pass++) {
        kind *k = pass == 0 ? &overlap : &twice;

        for (int64_t i = 0; i < c->twices; i++) {
            const coc_track *a = coc_store_track(store, c->twice[i][0]);
            const coc_track *b = coc_store_track(store, c->twice[i][1]);

            if (is_overlap(store, c->twice[i]) == (pass == 0) && more(k))
                printf("  %s and %s\n", a->name, b->name);
        }
        end_kind(k);
    }
}

static void print_echoes(const coc_store *store, const coc_store_check *c, int most)
{
    kind k = {"a stem and its echo, or the same recording: such pairs are found for nothing", most,
              0};

    for (int64_t i = 0; i < c->echoes; i++) {
        const coc_echo *e = &c->echo[i];

        if (more(&k))
            printf("  %s: %s and %s (likeness %.2f, %+.0f ms)\n", track_of(store, e->stem[0])->name,
                   coc_store_stem(store, e->stem[0])->name, coc_store_stem(store, e->stem[1])->name,
                   e->likeness, 1e3 * e->lag);
    }
    end_kind(&k);
}

static void print_odd_stems(const coc_store *store, const coc_store_check *c, int most)
{
    kind silent = {"silent: in no pair", most, 0};
    kind clipped = {"clipped: flat tops (share of samples)", most, 0};
    kind constant = {"a constant offset (share of the peak)", most, 0};

    for (int64_t i = 0; i < c->stems; i++)
        if (c->damage[i] == NULL && is_silent(&c->facts[i]) && more(&silent))
            printf("  %s: %s\n", track_of(store, i)->name, coc_store_stem(store, i)->name);
    end_kind(&silent);
    for (int64_t i = 0; i < c->stems; i++)
        if (c->facts[i].clipped > CLIPPED && more(&clipped))
            printf("  %s: %s (%.2f %%)\n", track_of(store, i)->name, coc_store_stem(store, i)->name,
                   100 * c->facts[i].clipped);
    end_kind(&clipped);
    for (int64_t i = 0; i < c->stems; i++)
        if (fabs(c->facts[i].offset) > CONSTANT && more(&constant))
            printf("  %s: %s (%.1f %%)\n", track_of(store, i)->name, coc_store_stem(store, i)->name,
                   100 * c->facts[i].offset);
    end_kind(&constant);
}

void coc_check_print(const coc_store *store, const coc_store_check *c, int most)
{
    coc_summary_print(&c->summary, stdout);
    print_distributions(store, c);
    print_damage(c, most);
    print_twice(store, c, most);
    print_echoes(store, c, most);
    print_odd_stems(store, c, most);
    printf("\n%s: %" PRId64 " of %" PRId64 " stems damaged; %.1f GB read in %.1f s, %.0f MB/s\n",
           coc_store_path(store), c->damaged, c->stems, 1e-9 * c->bytes, c->seconds,
           1e-6 * c->bytes / c->seconds);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* JSON has no infinity; names may be no UTF-8. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *text(const char *value)
{
    json_t *string = json_string(value);

    return string != NULL ? string : json_null();
}

static json_t *stem_json(const coc_store *store, const coc_store_check *c, int64_t i)
{
    const coc_stem *s = coc_store_stem(store, i);
    const coc_stem_facts *f = &c->facts[i];

    if (c->damage[i] != NULL)
        return json_pack("{s:o, s:o, s:o}", "track", text(track_of(store, i)->name), "stem",
                         text(s->name), "damage", text(c->damage[i]));
    return json_pack("{s:o, s:o, s:s, s:s, s:f, s:o, s:o, s:f, s:f, s:f}", "track",
                     text(track_of(store, i)->name), "stem", text(s->name), "split",
                     coc_split_name(track_of(store, i)->split), "class",
                     coc_stem_class_name(coc_stem_class_of(s->instrument, s->name)), "seconds",
                     (double)s->samples / COC_SAMPLE_RATE, "level_db", number(f->level_db),
                     "peak_db", number(f->peak > 0 ? 20 * log10(f->peak) : -INFINITY), "audible",
                     f->active, "clipped", f->clipped, "offset", f->offset);
}

static json_t *echo_json(const coc_store *store, const coc_echo *e)
{
    return json_pack("{s:o, s:[o, o], s:f, s:f}", "track", text(track_of(store, e->stem[0])->name),
                     "stems", text(coc_store_stem(store, e->stem[0])->name),
                     text(coc_store_stem(store, e->stem[1])->name), "likeness", e->likeness,
                     "lag_seconds", e->lag);
}

json_t *coc_check_json(const coc_store *store, const coc_store_check *c)
{
    json_t *stems = json_array(), *echoes = json_array(), *twice = json_array();
    char hash[17];

    for (int64_t i = 0; i < c->stems; i++)
        json_array_append_new(stems, stem_json(store, c, i));
    for (int64_t i = 0; i < c->echoes; i++)
        json_array_append_new(echoes, echo_json(store, &c->echo[i]));
    for (int64_t i = 0; i < c->twices; i++)
        json_array_append_new(twice, json_pack("{s:[o, o], s:b}", "tracks",
                                               text(coc_store_track(store, c->twice[i][0])->name),
                                               text(coc_store_track(store, c->twice[i][1])->name),
                                               "two_splits", is_overlap(store, c->twice[i])));
    snprintf(hash, sizeof hash, "%016" PRIx64, coc_store_hash(store));
    return json_pack("{s:s, s:o, s:s, s:b, s:I, s:I, s:o, s:o, s:o, s:f, s:f}", "kind", "store",
                     "path", text(coc_store_path(store)), "content_hash", hash, "good",
                     coc_check_is_good(store, c), "tracks", (json_int_t)c->tracks, "damaged_stems",
                     (json_int_t)c->damaged, "echoes", echoes, "same_audio", twice, "stems", stems,
                     "bytes", c->bytes, "seconds", c->seconds);
}
