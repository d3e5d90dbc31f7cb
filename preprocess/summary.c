#include "preprocess/summary.h"

#include <inttypes.h>

#include "preprocess/features.h"

void coc_summary_add(coc_summary *s, coc_split split, const char *instrument, const char *name,
                     int64_t samples)
{
    const coc_stem_class stem_class = coc_stem_class_of(instrument, name);

    s->stems[split][stem_class]++;
    s->samples[split][stem_class] += samples;
}

static double hours(int64_t samples)
{
    return (double)samples / COC_SAMPLE_RATE / 3600;
}

static void print_row(const char *name, const int64_t stems[COC_SPLITS],
                      const int64_t samples[COC_SPLITS], FILE *out)
{
    fprintf(out, "%-10s", name);
    for (int split = 0; split < COC_SPLITS; split++)
        fprintf(out, "  %7" PRId64 " %8.2f h", stems[split], hours(samples[split]));
    fprintf(out, "\n");
}

void coc_summary_print(const coc_summary *s, FILE *out)
{
    int64_t all_stems[COC_SPLITS] = {0}, all_samples[COC_SPLITS] = {0};

    fprintf(out, "%-10s", "");
    for (int split = 0; split < COC_SPLITS; split++)
        fprintf(out, "  %18s", coc_split_name((coc_split)split));
    fprintf(out, "\n");
    for (int c = 0; c < COC_STEM_CLASSES; c++) {
        int64_t stems[COC_SPLITS], samples[COC_SPLITS], sum = 0;

        for (int split = 0; split < COC_SPLITS; split++) {
            stems[split] = s->stems[split][c];
            samples[split] = s->samples[split][c];
            all_stems[split] += stems[split];
            all_samples[split] += samples[split];
            sum += stems[split];
        }
        if (sum > 0) print_row(coc_stem_class_name((coc_stem_class)c), stems, samples, out);
    }
    print_row("stems", all_stems, all_samples, out);
    fprintf(out, "%-10s", "tracks");
    for (int split = 0; split < COC_SPLITS; split++)
        fprintf(out, "  %7" PRId64 "%11s", s->tracks[split], "");
    fprintf(out, "\n");
}
