/* model/network.h - the encoder as data: a row of the profile table, and the network built from it.
 *
 * EfficientNet as in efficientnet_pytorch 0.7.1: width and depth are rounded as that
 * library rounds (round_filters, round_repeats), padding is static, computed for a 224 x 224 image
 * whatever the input.
 */
#ifndef COC_MODEL_NETWORK_H
#define COC_MODEL_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "configs/settings.h"

enum { COC_MAX_BLOCKS = 64, COC_STAGES = 7 };

typedef struct {
    int repeats, kernel, stride, expand, in, out;
} coc_stage;

/* A row of the profile table: what a checkpoint's name for its encoder stands for. */
typedef struct {
    const char *name; /* "cocola-hps" */
    const char *help;
    const char *prefix;        /* of the encoder's tensors under their published names */
    coc_feature_kind features; /* what it is given */
    int channels;              /* of those: 2 harmonic and percussive, 1 log-mel */
    coc_stage stages[COC_STAGES];
    int stem, head, embedding; /* channels before width scaling; embedding size */
    double se_ratio;           /* squeeze channels: this share of the block's *input* channels */
    double bn_eps, layer_norm_eps;
    int padding_image; /* side of the image for which static padding is computed; 224 */
} coc_profile;

/* By name; "" stands for the first row with `channels` inputs. NULL and an error with the known
 * names. Errors: COC_ERR_SETTING. */
coc_status coc_profile_find(const char *name, int channels, const coc_profile **profile);
int coc_profiles(const coc_profile **table); /* the whole table; returns the number of rows */

/* One convolution: NHWC, square kernel, no bias. Depthwise: in_c == out_c. */
typedef struct {
    int in_h, in_w, in_c;
    int out_h, out_w, out_c;
    int kernel, stride;
    int pad; /* rows and columns of zeros before; those after follow from the sizes */
} coc_conv;

/* y = depthwise(...), SE on its activated output, project; expand only when has_expand. */
typedef struct {
    bool has_expand, has_skip;
    coc_conv expand, depthwise, project; /* expand and project: 1 x 1 */
    int squeeze;                         /* SE channels */
} coc_block;

typedef struct {
    const coc_profile *profile;
    double width, depth;
    int channels, bands, frames; /* input [C][F][T] */
    coc_conv stem, head;         /* head: 1 x 1 */
    int blocks;
    coc_block block[COC_MAX_BLOCKS];
    int embedding;
} coc_network;

/* Errors: COC_ERR_SETTING (sizes that do not work out, more blocks than COC_MAX_BLOCKS). */
coc_status coc_network_build(const coc_profile *profile, double width, double depth, int bands,
                             int frames, coc_network *network);

#endif
