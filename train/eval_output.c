#include "train/eval_output.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { INTERVAL = 32 };

/* ---- table ---------------------------------------------------------------------------------- */

void coc_eval_print_head(const coc_eval_subject *s, int64_t pairs, int64_t tracks)
{
    printf("checkpoint  %s (%016" PRIx64 ", step %" PRId64 ")\n", s->checkpoint, s->checkpoint_hash,
           s->step);
    printf("pairs       %" PRId64 " of %" PRId64 " tracks, %s split of %s\n", pairs, tracks,
           s->split, s->store);
    if (s->file_order)
        printf("batches     in file order, one pass (the published protocol)\n\n");
    else
        printf("batches     full ones of %" PRId64 " shuffled orders\n\n", s->orders);
    printf("%-11s %6s  %10s  %15s  %8s  %7s  %18s\n", "mode", "K", "accuracy %", "95 % interval",
           "chance %", "loss", "same-track columns");
}

static const char *format_interval(double low, double high, double factor, int digits,
                                   char text[INTERVAL])
{
    if (isfinite(low))
        snprintf(text, INTERVAL, "%.*f to %.*f", digits, factor * low, digits, factor * high);
    else
        snprintf(text, INTERVAL, "-");
    return text;
}

void coc_eval_print_accuracy(coc_mode mode, const coc_accuracy *a)
{
    char interval[INTERVAL];

    printf("%-11s %6" PRId64 "  %10.1f  %15s  %8.1f  %7.3f  %18.2f\n", coc_mode_name(mode), a->k,
           100 * a->accuracy, format_interval(a->low, a->high, 100, 1, interval), 100 * a->chance,
           a->loss, a->same_track);
}

void coc_eval_print_retrieval_head(int64_t pairs)
{
    printf("\nranks of the own positive among all %" PRId64 "\n\n", pairs);
    printf("%-11s %-20s  %10s  %17s  %10s\n", "mode", "figure", "value", "95 % interval", "chance");
}

static void print_figure(coc_mode mode, const char *name, double factor, int digits,
                         const coc_figure *f)
{
    char interval[INTERVAL];

    printf("%-11s %-20s  %10.*f  %17s  %10.*f\n", coc_mode_name(mode), name, digits,
           factor * f->value, format_interval(f->low, f->high, factor, digits, interval), digits,
           factor * f->chance);
}

void coc_eval_print_retrieval(coc_mode mode, const coc_retrieval *r)
{
    char name[32];

    print_figure(mode, "median rank", 1, 1, &r->median_rank);
    for (int i = 0; i < COC_RECALLS; i++) {
        snprintf(name, sizeof name, "recall at %" PRId64 " (%%)", coc_recall_at[i]);
        print_figure(mode, name, 100, 1, &r->recall[i]);
    }
    print_figure(mode, "mean reciprocal rank", 1, 4, &r->mean_reciprocal_rank);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* JSON has no NaN and no infinity (the loss of a model that diverged). */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static coc_status append(json_t *rows, json_t *row)
{
    if (json_array_append_new(rows, row) == 0) return COC_OK; /* fails for NULL, too */
    return COC_FAIL(COC_ERR_MEMORY, "no memory for the JSON result");
}

coc_status coc_eval_add_accuracy(json_t *rows, coc_mode mode, const coc_accuracy *a)
{
    return append(rows, json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I}", "mode",
                                  coc_mode_name(mode), "k", (json_int_t)a->k, "accuracy",
                                  number(a->accuracy), "low", number(a->low), "high",
                                  number(a->high), "chance", number(a->chance), "loss",
                                  number(a->loss), "same_track_columns", number(a->same_track),
                                  "pairs", (json_int_t)a->pairs, "tracks", (json_int_t)a->tracks,
                                  "batches", (json_int_t)a->batches));
}

static json_t *figure(const coc_figure *f)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "value", number(f->value), "low", number(f->low),
                     "high", number(f->high), "chance", number(f->chance));
}

static json_t *curve(const coc_retrieval *r)
{
    json_t *k = json_array(), *recall = json_array(), *accuracy = json_array();

    for (int i = 0; i < r->points; i++) {
        json_array_append_new(k, json_integer((json_int_t)r->k[i]));
        json_array_append_new(recall, number(r->recall_curve[i]));
        json_array_append_new(accuracy, number(r->accuracy_curve[i]));
    }
    return json_pack("{s:o, s:o, s:o}", "k", k, "recall", recall, "accuracy", accuracy);
}

coc_status coc_eval_add_retrieval(json_t *rows, coc_mode mode, const coc_retrieval *r)
{
    json_t *row =
        json_pack("{s:s, s:I, s:I, s:o, s:o}", "mode", coc_mode_name(mode), "pairs",
                  (json_int_t)r->pairs, "tracks", (json_int_t)r->tracks, "same_track_columns",
                  number(r->same_track), "median_rank", figure(&r->median_rank));
    char name[32];

    for (int i = 0; i < COC_RECALLS; i++) {
        snprintf(name, sizeof name, "recall_at_%" PRId64, coc_recall_at[i]);
        json_object_set_new(row, name, figure(&r->recall[i]));
    }
    json_object_set_new(row, "mean_reciprocal_rank", figure(&r->mean_reciprocal_rank));
    json_object_set_new(row, "curve", curve(r));
    return append(rows, row);
}

coc_status coc_eval_print_json(const coc_eval_subject *s, json_t *accuracies, json_t *retrievals)
{
    char hash[17], store[17];
    json_t *root;
    char *text;

    snprintf(hash, sizeof hash, "%016" PRIx64, s->checkpoint_hash);
    snprintf(store, sizeof store, "%016" PRIx64, s->store_hash);
    root = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:O, s:O}", "checkpoint",
                     s->checkpoint, "checkpoint_hash", hash, "profile", s->profile, "store",
                     s->store, "store_hash", store, "split", s->split, "order",
                     s->file_order ? "file" : "shuffled", "orders",
                     (json_int_t)(s->file_order ? 1 : s->orders), "seed", (json_int_t)s->seed,
                     "rows", accuracies, "retrieval", retrievals);
    text = root != NULL ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    if (text != NULL) puts(text);
    free(text);
    json_decref(root);
    return text != NULL ? COC_OK : COC_FAIL(COC_ERR_MEMORY, "no memory for the JSON result");
}
