/* train/score.h - COCOLA Scores of pairs of sound files.
 *
 * Both files are read as the store's stems are (mono, 16 kHz) and cut into windows; a score is the
 * mean over windows of the similarity of the two embeddings, in evaluation mode. Features
 * are those of training (preprocess/features.h), so a score means what the model has learned.
 */
#ifndef COC_TRAIN_SCORE_H
#define COC_TRAIN_SCORE_H

#include "train/checkpoint.h"
#include "train/evaluate.h"

typedef struct {
    const char *context, *output; /* paths */
} coc_score_pair;

typedef struct {
    const char *backend;
    double window, hop; /* seconds; the window at most 5 s, which is what the encoder sees */
    coc_mode modes[COC_MODES];
    int mode_count;
    int64_t batch;   /* clips embedded at a time, >= 2 */
    bool keep_going; /* a file that cannot be read makes a row with an error */
} coc_score_settings;

typedef struct {
    double score[COC_MODES]; /* NAN: not asked for, or an error */
    int64_t windows;
    double seconds;                         /* compared: the shorter of the two */
    double context_seconds, output_seconds; /* lengths of the files */
    bool padded;                            /* less than 5 s: zeros behind the end */
    char *error;                            /* NULL: none */
} coc_score_row;

typedef struct coc_scorer coc_scorer;

/* Borrows model and backend. Errors: COC_ERR_MEMORY, COC_ERR_SETTING. */
coc_status coc_scorer_create(const coc_model *model, coc_backend *backend,
                             const coc_score_settings *settings, coc_scorer **scorer);
void coc_scorer_destroy(coc_scorer **scorer);

/* Score n pairs; `done` gets every row in order, as soon as it is complete. Windows of several
 * pairs share a batch. Errors: those of coc_audio_read (the first, unless keep_going) and of
 * `done`. */
typedef coc_status (*coc_score_done)(void *context, int64_t index, const coc_score_row *row);
coc_status coc_scorer_run(coc_scorer *scorer, const coc_score_pair *pairs, int64_t n,
                          coc_score_done done, void *context);

/* Windows of a length, in samples: one for anything up to a window, then as many as fit. */
int64_t coc_score_windows(int64_t length, int64_t window, int64_t hop);

/* Pairs from a CSV file: a header line with the columns context and output (others are allowed),
 * fields separated by commas, in double quotes where they hold commas, quotes ("") or newlines.
 * The list owns its texts. Errors: COC_ERR_IO, COC_ERR_INPUT (file:line). */
typedef struct {
    int64_t n, capacity;
    coc_score_pair *pair;
    int64_t *line; /* of the file, for messages */
    int64_t line_capacity;
    char *bytes;
} coc_pair_list;
coc_status coc_pair_list_read(const char *path, coc_pair_list *list);
void coc_pair_list_free(coc_pair_list *list);

#endif
