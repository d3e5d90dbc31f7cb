/* train/evaluate.h - how well embeddings of held-out pairs find each other: loss and accuracy at K.
 *
 * Every window of the split gives one fixed pair (coc_sampler_draw_fixed), without noise. All pairs
 * are embedded once, by all ranks; accuracies at any K then come from that one pass. Accuracy at K
 * (paper, eq. 4): the share of rows of a batch of K pairs whose largest similarity is the own
 * positive's, averaged over full batches.
 */
#ifndef COC_TRAIN_EVALUATE_H
#define COC_TRAIN_EVALUATE_H

#include "model/encoder.h"
#include "train/clips.h"

/* Which channels the encoder sees: what the three COCOLA scores stand for. */
typedef enum { COC_MODE_BOTH, COC_MODE_HARMONIC, COC_MODE_PERCUSSIVE, COC_MODES } coc_mode;
const char *coc_mode_name(coc_mode mode);
/* Fill keep [n][channels], host, for a mode; one-channel models only have COC_MODE_BOTH. */
void coc_mode_keep(coc_mode mode, int channels, int64_t n, real *keep);
/* The same on a device, for the caller to release. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_mode_mask(coc_mode mode, int channels, int64_t n, const coc_device *device,
                         real **keep);
/* "both", "harmonic", "percussive" or "all": the modes to run, in order; returns their number.
 * channels 1: only both. Errors: COC_ERR_USAGE. */
coc_status coc_mode_parse(const char *text, int channels, coc_mode modes[COC_MODES], int *count);

/* Embeddings of n pairs on every rank, in window order; host memory, owned by the caller. */
typedef struct {
    int64_t n;
    int d;
    float *h1;       /* [n][d] anchors */
    float *p;        /* [n][d] positives times W': similarities are plain products with h1 */
    uint64_t *track; /* [n] */
} coc_embedded;
void coc_embedded_free(coc_embedded *embedded);

/* What embeds: borrowed parts of a trainer or of a model opened for use. */
typedef struct {
    coc_comm *comm;
    coc_backend *backend;
    const coc_params *params;
    coc_encoder *encoder;
    int64_t capacity; /* clips that the encoder takes at a time */
    coc_clips *clips;
} coc_embedder;

/* The first `pairs` windows in a seeded order (0: all windows, in file order). Ranks share the
 * work; every rank gets everything. progress: name of the progress line, or NULL. Collective.
 * Errors: of the store, of the features, COC_ERR_RANKS. */
coc_status coc_embed_windows(const coc_embedder *embedder, const coc_sampler *sampler,
                             int64_t pairs, uint64_t seed, coc_mode mode, const char *progress,
                             coc_embedded *embedded);

typedef struct {
    int64_t k;
    int64_t orders; /* averaged; 1 for file order */
    bool file_order;
    int64_t bootstrap; /* resamplings over tracks for the interval; 0: none */
    uint64_t seed;
} coc_accuracy_settings;

typedef struct {
    int64_t k, pairs, tracks, batches;
    double accuracy, low, high; /* share of rows; 95 % interval */
    double loss;                /* mean over rows of the contrastive loss at this K */
    double chance;              /* 1 / K */
    double same_track;          /* mean number of columns of the row's own track besides its own */
} coc_accuracy;

/* Mean over the full batches of `orders` seeded orders (the remainder of an order is left out), or
 * of the file order. Orders are shared among ranks. Collective.
 * Errors: COC_ERR_USAGE when K is larger than the number of pairs. */
coc_status coc_accuracy_at(coc_comm *comm, coc_backend *backend, const coc_embedded *embedded,
                           const coc_accuracy_settings *settings, coc_accuracy *accuracy);

#endif
