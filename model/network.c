#include "model/network.h"

#include <stdio.h>
#include <string.h>

/* EfficientNet-B0's stages: repeats, kernel, stride of the first, expand, in, out. */
#define B0_STAGES                                                                                  \
    {                                                                                              \
        {1, 3, 1, 1, 32, 16}, {2, 3, 2, 6, 16, 24}, {2, 5, 2, 6, 24, 40}, {3, 3, 2, 6, 40, 80},    \
            {3, 5, 1, 6, 80, 112}, {4, 5, 2, 6, 112, 192},                                         \
        {                                                                                          \
            1, 3, 1, 6, 192, 320                                                                   \
        }                                                                                          \
    }

/* Where efficientnet_pytorch's model lies in the published one. */
#define PUBLISHED_PREFIX "encoder.encoder.model.0."

static const coc_profile profiles[] = {
    {.name = "cocola-hps",
     .help = "COCOLA on harmonic and percussive channels",
     .prefix = PUBLISHED_PREFIX,
     .features = COC_FEATURES_HPS,
     .channels = 2,
     .stages = B0_STAGES,
     .stem = 32,
     .head = 1280,
     .embedding = 512,
     .se_ratio = 0.25,
     .bn_eps = 1e-3,
     .layer_norm_eps = 1e-5,
     .padding_image = 224},
    {.name = "cocola-mel",
     .help = "COCOLA on one log-mel channel",
     .prefix = PUBLISHED_PREFIX,
     .features = COC_FEATURES_MEL,
     .channels = 1,
     .stages = B0_STAGES,
     .stem = 32,
     .head = 1280,
     .embedding = 512,
     .se_ratio = 0.25,
     .bn_eps = 1e-3,
     .layer_norm_eps = 1e-5,
     .padding_image = 224},
};

enum { PROFILES = sizeof profiles / sizeof profiles[0] };

int coc_profiles(const coc_profile **table)
{
    *table = profiles;
    return PROFILES;
}

static coc_status unknown_profile(const char *name)
{
    char known[256];
    int used = 0;

    for (int i = 0; i < PROFILES && used < (int)sizeof known; i++)
        used += snprintf(known + used, sizeof known - (size_t)used, "%s%s", i > 0 ? ", " : "",
                         profiles[i].name);
    return COC_FAIL(COC_ERR_SETTING, "model.profile: '%s' is unknown; known: %s", name, known);
}

coc_status coc_profile_find(const char *name, int channels, const coc_profile **profile)
{
    *profile = NULL;
    for (int i = 0; i < PROFILES && *profile == NULL; i++)
        if (name[0] != '\0' ? strcmp(name, profiles[i].name) == 0
                            : profiles[i].channels == channels)
            *profile = &profiles[i];
    if (*profile != NULL) return COC_OK;
    if (name[0] == '\0')
        return COC_FAIL(COC_ERR_SETTING, "no encoder profile takes %d input channels", channels);
    return unknown_profile(name);
}

/* efficientnet_pytorch.utils.round_filters: to the nearest multiple of 8, never below 90 %. */
static int round_channels(int channels, double width)
{
    const double scaled = channels * width;
    int rounded;

    if (width == 1.0) return channels;
    rounded = (int)(scaled + 4.0) / 8 * 8;
    if (rounded < 8) rounded = 8;
    if (rounded < 0.9 * scaled) rounded += 8;
    return rounded;
}

/* efficientnet_pytorch.utils.round_repeats */
static int round_repeats(int repeats, double depth)
{
    const double scaled = repeats * depth;
    const int whole = (int)scaled;

    return whole < scaled ? whole + 1 : whole;
}

/* The side of the image for which static padding is computed, followed through the network. */
static int padded_side(int side, int stride)
{
    return (side + stride - 1) / stride;
}

static coc_conv make_conv(int in_h, int in_w, int in_c, int out_c, int kernel, int stride, int side)
{
    const int needed = (padded_side(side, stride) - 1) * stride + kernel - side;
    const int pad = needed > 0 ? needed : 0;

    return (coc_conv){.in_h = in_h,
                      .in_w = in_w,
                      .in_c = in_c,
                      .out_h = (in_h + pad - kernel) / stride + 1,
                      .out_w = (in_w + pad - kernel) / stride + 1,
                      .out_c = out_c,
                      .kernel = kernel,
                      .stride = stride,
                      .pad = pad / 2};
}

/* What the next layer starts from. */
typedef struct {
    int h, w, c, side;
} shape;

/* Only repeats have a skip: efficientnet_pytorch compares the stride of a stage's first block,
 * there a list of one number, with a number, so that one has none even where shapes allow it. */
static coc_block make_block(const coc_profile *profile, int in, int out, const coc_stage *stage,
                            bool repeat, shape *at)
{
    const int stride = repeat ? 1 : stage->stride;
    const int expanded = in * stage->expand;
    const int squeeze = (int)(in * profile->se_ratio);
    coc_block block = {.has_expand = stage->expand != 1,
                       .has_skip = repeat && in == out,
                       .squeeze = squeeze > 1 ? squeeze : 1};

    block.expand = make_conv(at->h, at->w, in, expanded, 1, 1, at->side);
    block.depthwise = make_conv(at->h, at->w, expanded, expanded, stage->kernel, stride, at->side);
    *at = (shape){block.depthwise.out_h, block.depthwise.out_w, out, padded_side(at->side, stride)};
    block.project = make_conv(at->h, at->w, expanded, out, 1, 1, at->side);
    return block;
}

coc_status coc_network_build(const coc_profile *profile, double width, double depth, int bands,
                             int frames, coc_network *network)
{
    shape at = {bands, frames, profile->channels, profile->padding_image};

    *network = (coc_network){.profile = profile,
                             .width = width,
                             .depth = depth,
                             .channels = profile->channels,
                             .bands = bands,
                             .frames = frames,
                             .embedding = profile->embedding};
    network->stem =
        make_conv(at.h, at.w, at.c, round_channels(profile->stem, width), 3, 2, at.side);
    at = (shape){network->stem.out_h, network->stem.out_w, network->stem.out_c,
                 padded_side(at.side, 2)};
    for (int i = 0; i < COC_STAGES; i++) {
        const coc_stage *stage = &profile->stages[i];
        const int out = round_channels(stage->out, width);
        const int repeats = round_repeats(stage->repeats, depth);

        for (int r = 0; r < repeats; r++) {
            if (network->blocks == COC_MAX_BLOCKS)
                return COC_FAIL(COC_ERR_SETTING, "model.depth: %g gives more than %d blocks", depth,
                                COC_MAX_BLOCKS);
            if (at.h < 1 || at.w < 1)
                return COC_FAIL(COC_ERR_SETTING, "input of %d x %d is too small for the encoder",
                                bands, frames);
            network->block[network->blocks++] = make_block(profile, at.c, out, stage, r > 0, &at);
        }
    }
    network->head =
        make_conv(at.h, at.w, at.c, round_channels(profile->head, width), 1, 1, at.side);
    return COC_OK;
}
