/* train/evaluate.h - embeddings of held-out pairs, for an evaluation (train/measure.h).
 *
 * Every window of the split gives one fixed pair (coc_sampler_draw_fixed), without noise. All pairs
 * are embedded once, by all ranks; every figure then comes from that one pass.
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

/* Embeddings of n pairs in window order: this rank's share of the anchors (coc_share), all
 * positives; host memory, owned by the caller. */
typedef struct {
    int64_t n, first, count; /* all pairs; of this rank: first .. first + count - 1 */
    int d;
    float *h1;       /* [count][d] anchors of this rank */
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

/* What coc_embed_windows takes, in bytes. *work: on the backend's device, while it embeds, with an
 * encoder for so many clips. *kept: of the host, what it gives back of `pairs` pairs, of which
 * `share` are this rank's. */
void coc_embed_bytes(const coc_network *network, int64_t capacity, int64_t pairs, int64_t share,
                     int64_t *work, int64_t *kept);

/* The first `pairs` windows in a seeded order (0: all windows, in file order). Ranks share the
 * work; every rank gets all positives. progress: name of the progress line, or NULL. Collective.
 * Errors: of the store, of the features, COC_ERR_RANKS. */
coc_status coc_embed_windows(const coc_embedder *embedder, const coc_sampler *sampler,
                             int64_t pairs, uint64_t seed, coc_mode mode, const char *progress,
                             coc_embedded *embedded);

#endif
