#include <string.h>

#include "configs/settings.h"

enum { MAX_WORD = 64 };

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* Levenshtein distance; words beyond MAX_WORD bytes count as far. */
static int edit_distance(const char *a, const char *b)
{
    const size_t na = strlen(a), nb = strlen(b);
    int row[MAX_WORD + 1];

    if (na > MAX_WORD || nb > MAX_WORD) return MAX_WORD;
    for (size_t j = 0; j <= nb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int diagonal = row[0];

        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            const int above = row[j];

            row[j] = smaller(diagonal + (a[i - 1] != b[j - 1]), smaller(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[nb];
}

const char *coc_nearest_word(const char *word, const char *const *words, int count)
{
    const char *best = NULL;
    const int length = (int)strlen(word);
    int best_distance = (length + 1) / 2; /* farther than half of it is no typing error */

    for (int i = 0; i < count; i++) {
        const int distance = edit_distance(word, words[i]);

        if (distance > best_distance || (distance == best_distance && best != NULL)) continue;
        if (distance >= length) continue; /* not one letter in common */
        best = words[i];
        best_distance = distance;
    }
    return best;
}
