/* Gradients of the reference operations between features and the pooled output, driven as an
 * encoder drives them: stem, norm, depthwise, squeeze and excitation, project, join, expand, pool.
 */
#include <stdlib.h>
#include <string.h>

#include "model/ops.h"
#include "tests/gradients.h"
#include "tests/test.h"

static coc_backend *b;

/* ---- the way of a block ---- */

enum { CLIPS = 5, GROUPS = 2, IN = 2, STEM = 3, SQUEEZE = 2, OUT = 4, WIDE = 5 };

/* Clips of a group are not neighbours, and the groups differ in size. */
static const int32_t group_of[CLIPS] = {0, 1, 0, 1, 0};
static const double clips_of[GROUPS] = {3, 2};

/* A batch norm in training: what an encoder keeps of it. */
typedef struct {
    int channels;
    int64_t gamma, beta;
    double sums[GROUPS * 2 * WIDE], back[GROUPS * 2 * WIDE], positions[GROUPS];
    double mean[GROUPS * WIDE], inverse_std[GROUPS * WIDE], scale[GROUPS * WIDE];
    double shift[GROUPS * WIDE], mean_du[GROUPS * WIDE], mean_dux[GROUPS * WIDE];
    coc_norm norm;
} norm_state;

typedef struct {
    coc_test_numbers all;
    int ranges; /* operations are called on so many ranges of clips */
    coc_conv stem, depthwise, project, expand;
    int64_t features_count, skip_count;
    int64_t stem_w, depthwise_w, w1, b1, w2, b2, project_w, skip, expand_w;
    norm_state norm[4]; /* after stem, depthwise, project, expand */
    double *features, *y[4], *dz[4], *joined, *dskip;
    double keep[CLIPS * IN], clip[CLIPS];
    double pooled[CLIPS * STEM], hidden[CLIPS * SQUEEZE], gate[CLIPS * STEM];
    double dgate[CLIPS * STEM], dpooled[CLIPS * STEM], end[CLIPS * WIDE], weight[CLIPS * WIDE];
} block;

static int64_t positions_in(const coc_conv *s)
{
    return (int64_t)s->in_h * s->in_w;
}

static int64_t positions_out(const coc_conv *s)
{
    return (int64_t)s->out_h * s->out_w;
}

static coc_conv conv(int h, int w, int in, int out, int kernel, int stride, int pad, int after)
{
    return (coc_conv){.in_h = h,
                      .in_w = w,
                      .in_c = in,
                      .out_h = (h + pad + after - kernel) / stride + 1,
                      .out_w = (w + pad + after - kernel) / stride + 1,
                      .out_c = out,
                      .kernel = kernel,
                      .stride = stride,
                      .pad = pad};
}

static void make_norm(block *m, int at, int channels, bool silu, int64_t positions)
{
    norm_state *s = &m->norm[at];

    s->channels = channels;
    s->gamma = coc_test_part(&m->all, "gamma", channels);
    s->beta = coc_test_part(&m->all, "beta", channels);
    for (int g = 0; g < GROUPS; g++)
        s->positions[g] = clips_of[g] * (double)positions;
    s->norm = (coc_norm){s->mean, s->inverse_std, s->scale, s->shift, group_of, silu};
}

static double *make_tensor(int64_t positions, int channels)
{
    return calloc((size_t)(CLIPS * positions * channels), sizeof(double));
}

static void make_block(block *m, int kernel, int stride, int ranges)
{
    memset(m, 0, sizeof *m);
    m->ranges = ranges;
    m->stem = conv(9, 8, IN, STEM, 3, 2, 0, 1); /* as the encoder pads: nothing before */
    m->depthwise = conv(m->stem.out_h, m->stem.out_w, STEM, STEM, kernel, stride,
                        (kernel - stride) / 2, (kernel - stride + 1) / 2);
    m->project = conv(m->depthwise.out_h, m->depthwise.out_w, STEM, OUT, 1, 1, 0, 0);
    m->expand = conv(m->depthwise.out_h, m->depthwise.out_w, OUT, WIDE, 1, 1, 0, 0);
    m->stem_w = coc_test_part(&m->all, "stem", STEM * IN * 9);
    make_norm(m, 0, STEM, true, positions_out(&m->stem));
    m->depthwise_w = coc_test_part(&m->all, "depthwise", STEM * kernel * kernel);
    make_norm(m, 1, STEM, true, positions_out(&m->depthwise));
    m->w1 = coc_test_part(&m->all, "w1", SQUEEZE * STEM);
    m->b1 = coc_test_part(&m->all, "b1", SQUEEZE);
    m->w2 = coc_test_part(&m->all, "w2", STEM * SQUEEZE);
    m->b2 = coc_test_part(&m->all, "b2", STEM);
    m->project_w = coc_test_part(&m->all, "project", OUT * STEM);
    make_norm(m, 2, OUT, false, positions_out(&m->project));
    m->skip = coc_test_part(&m->all, "skip", CLIPS * positions_out(&m->project) * OUT);
    m->expand_w = coc_test_part(&m->all, "expand", WIDE * OUT);
    make_norm(m, 3, WIDE, true, positions_out(&m->expand));
    coc_test_make_numbers(&m->all, (uint32_t)(10 * kernel + stride));

    m->features = make_tensor(positions_in(&m->stem), IN);
    coc_test_random_double(CLIPS * positions_in(&m->stem) * IN, 77, 1, 0, m->features);
    for (int i = 0; i < 4; i++) {
        const coc_conv *s[4] = {&m->stem, &m->depthwise, &m->project, &m->expand};

        m->y[i] = make_tensor(positions_out(s[i]), s[i]->out_c);
        m->dz[i] = make_tensor(positions_in(s[i]), s[i]->in_c);
    }
    m->joined = make_tensor(positions_out(&m->project), OUT);
    for (int i = 0; i < CLIPS * IN; i++)
        m->keep[i] = i != 3;
    for (int i = 0; i < CLIPS; i++)
        m->clip[i] = i == 1 ? 0 : 1.25;
    coc_test_random_double(CLIPS * WIDE, 78, 1, 0, m->weight);
}

static void free_block(block *m)
{
    coc_test_free_numbers(&m->all);
    free(m->features);
    free(m->joined);
    for (int i = 0; i < 4; i++) {
        free(m->y[i]);
        free(m->dz[i]);
    }
}

/* The same norm for a range of clips that begins at `first`. */
static coc_norm norm_from(const block *m, int at, int64_t first)
{
    coc_norm norm = m->norm[at].norm;

    norm.group += first;
    return norm;
}

static void finish_norm(block *m, int at)
{
    norm_state *s = &m->norm[at];
    const double *value = m->all.value;

    b->ops->norm_finish(b, s->channels, GROUPS, s->sums, s->positions, value + s->gamma,
                        value + s->beta, 1e-3, s->mean, s->inverse_std, s->scale, s->shift);
}

/* What a range of clips needs: first clip and number. */
typedef struct {
    int64_t first, n;
} range;

static range range_of(const block *m, int i)
{
    const int64_t first = CLIPS * i / m->ranges;

    return (range){first, CLIPS * (i + 1) / m->ranges - first};
}

static void stem_forward(block *m, range r)
{
    b->ops->stem_forward(b, &m->stem, r.n, m->features + r.first * IN * positions_in(&m->stem),
                         m->keep + r.first * IN, m->all.value + m->stem_w,
                         m->y[0] + r.first * positions_out(&m->stem) * STEM, group_of + r.first,
                         m->norm[0].sums);
}

static void depthwise_forward(block *m, range r)
{
    const coc_norm norm = norm_from(m, 0, r.first);

    b->ops->depthwise_forward(
        b, &m->depthwise, r.n, m->y[0] + r.first * positions_out(&m->stem) * STEM, &norm,
        m->all.value + m->depthwise_w, m->y[1] + r.first * positions_out(&m->depthwise) * STEM,
        group_of + r.first, m->norm[1].sums);
}

static void project_forward(block *m, range r)
{
    const coc_norm norm = norm_from(m, 1, r.first);
    const int64_t p = positions_out(&m->depthwise);
    const double *value = m->all.value, *x = m->y[1] + r.first * p * STEM;

    b->ops->pool_forward(b, r.n, p, STEM, x, &norm, m->pooled + r.first * STEM);
    b->ops->squeeze_forward(b, r.n, STEM, SQUEEZE, m->pooled + r.first * STEM, value + m->w1,
                            value + m->b1, value + m->w2, value + m->b2,
                            m->hidden + r.first * SQUEEZE, m->gate + r.first * STEM);
    b->ops->pointwise_forward(b, &m->project, r.n, x, &norm, m->gate + r.first * STEM,
                              value + m->project_w, m->y[2] + r.first * p * OUT, group_of + r.first,
                              m->norm[2].sums);
}

static void expand_forward(block *m, range r)
{
    const coc_norm norm = norm_from(m, 2, r.first);
    const int64_t p = positions_out(&m->project);

    b->ops->join_forward(b, r.n, p, OUT, m->y[2] + r.first * p * OUT, &norm, m->clip + r.first,
                         m->all.value + m->skip + r.first * p * OUT, m->joined + r.first * p * OUT);
    b->ops->pointwise_forward(b, &m->expand, r.n, m->joined + r.first * p * OUT, NULL, NULL,
                              m->all.value + m->expand_w, m->y[3] + r.first * p * WIDE,
                              group_of + r.first, m->norm[3].sums);
}

/* sum of weight * pool(silu(norm(expand(...)))) */
static double block_loss(void *context)
{
    block *m = context;
    void (*const stage[4])(block *, range) = {stem_forward, depthwise_forward, project_forward,
                                              expand_forward};
    double loss = 0;

    for (int at = 0; at < 4; at++) {
        memset(m->norm[at].sums, 0, sizeof m->norm[at].sums);
        for (int i = 0; i < m->ranges; i++)
            stage[at](m, range_of(m, i));
        finish_norm(m, at);
    }
    b->ops->pool_forward(b, CLIPS, positions_out(&m->expand), WIDE, m->y[3], &m->norm[3].norm,
                         m->end);
    for (int i = 0; i < CLIPS * WIDE; i++)
        loss += m->weight[i] * m->end[i];
    return loss;
}

/* Sums of a norm's gradient to its parameters and means. */
static void finish_gradient(block *m, int at)
{
    norm_state *s = &m->norm[at];

    b->ops->norm_backward_params(b, s->channels, GROUPS, s->back, m->all.grad + s->gamma,
                                 m->all.grad + s->beta);
    b->ops->norm_backward_finish(b, s->channels, GROUPS, s->back, s->positions, s->mean_du,
                                 s->mean_dux);
}

static coc_gradient gradient_at(const block *m, int at, const coc_norm *norm, range r,
                                int64_t positions)
{
    const norm_state *s = &m->norm[at];

    return (coc_gradient){.x = m->y[at] + r.first * positions * s->channels,
                          .norm = norm,
                          .mean_du = s->mean_du,
                          .mean_dux = s->mean_dux};
}

/* Pool and expand: the gradient that all positions share, no gradient of their own. */
static void expand_backward(block *m, range r, bool sums)
{
    const coc_norm norm = norm_from(m, 3, r.first);
    const int64_t p = positions_out(&m->expand);
    coc_gradient g = gradient_at(m, 3, &norm, r, p);
    double pooled[CLIPS * WIDE];

    for (int i = 0; i < CLIPS * WIDE; i++)
        pooled[i] = m->weight[i] / (double)p;
    g.pooled = pooled + r.first * WIDE;
    if (sums)
        b->ops->norm_backward_sums(b, r.n, p, WIDE, &g, m->norm[3].back);
    else
        b->ops->pointwise_backward(b, &m->expand, r.n, m->joined + r.first * p * OUT, NULL, NULL,
                                   &g, m->all.value + m->expand_w, m->dz[3] + r.first * p * OUT,
                                   true, m->all.grad + m->expand_w, NULL);
}

static void project_backward(block *m, range r, bool sums)
{
    const coc_norm norm = norm_from(m, 2, r.first), read = norm_from(m, 1, r.first);
    const int64_t p = positions_out(&m->project);
    coc_gradient g = gradient_at(m, 2, &norm, r, p);

    g.dz = m->dz[3] + r.first * p * OUT;
    g.clip = m->clip + r.first;
    if (sums)
        b->ops->norm_backward_sums(b, r.n, p, OUT, &g, m->norm[2].back);
    else
        b->ops->pointwise_backward(b, &m->project, r.n, m->y[1] + r.first * p * STEM, &read,
                                   m->gate + r.first * STEM, &g, m->all.value + m->project_w,
                                   m->dz[2] + r.first * p * STEM, false, m->all.grad + m->project_w,
                                   m->dgate + r.first * STEM);
}

static void squeeze_backward(block *m, range r)
{
    const double *value = m->all.value;
    double *grad = m->all.grad;

    b->ops->squeeze_backward(
        b, r.n, STEM, SQUEEZE, m->pooled + r.first * STEM, m->hidden + r.first * SQUEEZE,
        m->gate + r.first * STEM, m->dgate + r.first * STEM, value + m->w1, value + m->w2,
        1.0 / (double)positions_out(&m->depthwise), m->dpooled + r.first * STEM, grad + m->w1,
        grad + m->b1, grad + m->w2, grad + m->b2);
}

static void depthwise_backward(block *m, range r, bool sums)
{
    const coc_norm norm = norm_from(m, 1, r.first), read = norm_from(m, 0, r.first);
    const int64_t p = positions_out(&m->depthwise), in = positions_in(&m->depthwise);
    coc_gradient g = gradient_at(m, 1, &norm, r, p);

    g.dz = m->dz[2] + r.first * p * STEM;
    g.gate = m->gate + r.first * STEM;
    g.pooled = m->dpooled + r.first * STEM;
    if (sums)
        b->ops->norm_backward_sums(b, r.n, p, STEM, &g, m->norm[1].back);
    else
        b->ops->depthwise_backward(b, &m->depthwise, r.n, m->y[0] + r.first * in * STEM, &read, &g,
                                   m->all.value + m->depthwise_w, m->dz[1] + r.first * in * STEM,
                                   false, m->all.grad + m->depthwise_w, m->norm[0].back);
}

static void stem_backward(block *m, range r)
{
    const coc_norm norm = norm_from(m, 0, r.first);
    const int64_t p = positions_out(&m->stem);
    coc_gradient g = gradient_at(m, 0, &norm, r, p);

    g.dz = m->dz[1] + r.first * p * STEM;
    b->ops->stem_backward(b, &m->stem, r.n, m->features + r.first * IN * positions_in(&m->stem),
                          m->keep + r.first * IN, &g, m->all.grad + m->stem_w);
}

static void block_gradients(block *m)
{
    void (*const stage[4])(block *, range, bool) = {NULL, depthwise_backward, project_backward,
                                                    expand_backward};

    for (int at = 0; at < 4; at++)
        memset(m->norm[at].back, 0, sizeof m->norm[at].back);
    (void)block_loss(m);
    for (int at = 3; at > 0; at--) {
        for (int i = 0; i < m->ranges && at == 1; i++)
            squeeze_backward(m, range_of(m, i));
        for (int i = 0; i < m->ranges; i++)
            stage[at](m, range_of(m, i), true);
        finish_gradient(m, at);
        for (int i = 0; i < m->ranges; i++)
            stage[at](m, range_of(m, i), false);
    }
    finish_gradient(m, 0); /* its sums came from depthwise_backward */
    for (int i = 0; i < m->ranges; i++)
        stem_backward(m, range_of(m, i));
    memcpy(m->all.grad + m->skip, m->dz[3],
           (size_t)(CLIPS * positions_out(&m->project) * OUT) * sizeof(double));
}

static void check_block(int kernel, int stride)
{
    block m;

    make_block(&m, kernel, stride, 1);
    block_gradients(&m);
    coc_test_gradients(&m.all, block_loss, &m);
    free_block(&m);
}

/* Gradients of all weights of a block, with batch norm over two uneven groups, are those of
 * differences, for every kernel and stride of the encoder. */
static void block_gradients_are_differences(void)
{
    check_block(3, 1);
    check_block(3, 2);
    check_block(5, 1);
    check_block(5, 2);
}

/* Operations called on ranges of clips add up to the call on all: the leaves of reductions may be
 * of any size. A sum that is set instead of added to makes it fail. */
static void ranges_of_clips_add_up(void)
{
    block whole, parts;

    make_block(&whole, 3, 1, 1);
    make_block(&parts, 3, 1, 3);
    block_gradients(&whole);
    block_gradients(&parts);
    CHECK_NEAR(block_loss(&parts), block_loss(&whole), 1e-12);
    for (int64_t i = 0; i < whole.all.count; i++)
        CHECK_NEAR(parts.all.grad[i], whole.all.grad[i], 1e-11);
    free_block(&whole);
    free_block(&parts);
}

/* Gradients are added to what is there, and a gradient accumulated into dz too: the second backward
 * over the same buffers gives twice the first. */
static void gradients_accumulate(void)
{
    const coc_conv s = conv(2, 3, 2, 2, 1, 1, 0, 0);
    const int32_t group[1] = {0};
    double x[12], w[4], y[12], dz[12] = {0}, once[12], dw[4] = {0}, dw_once[4], dy[12];
    double zero[2] = {0}, one[2] = {1, 1};
    const coc_norm norm = {zero, one, one, zero, group, false};
    const coc_gradient g = {.x = y, .norm = &norm, .dz = dy, .mean_du = zero, .mean_dux = zero};

    coc_test_random_double(12, 1, 1, 0, x);
    coc_test_random_double(4, 2, 1, 0, w);
    coc_test_random_double(12, 3, 1, 0, dy);
    b->ops->pointwise_forward(b, &s, 1, x, NULL, NULL, w, y, group, NULL);
    b->ops->pointwise_backward(b, &s, 1, x, NULL, NULL, &g, w, dz, false, dw, NULL);
    memcpy(once, dz, sizeof once);
    memcpy(dw_once, dw, sizeof dw_once);
    b->ops->pointwise_backward(b, &s, 1, x, NULL, NULL, &g, w, dz, true, dw, NULL);
    for (int i = 0; i < 12; i++)
        CHECK_NEAR(dz[i], 2 * once[i], 1e-14);
    for (int i = 0; i < 4; i++)
        CHECK_NEAR(dw[i], 2 * dw_once[i], 1e-14);
}

int main(void)
{
    if (coc_backend_create("ref", 1, &b) != COC_OK) return 1;
    RUN(block_gradients_are_differences);
    RUN(ranges_of_clips_add_up);
    RUN(gradients_accumulate);
    if (b->ops->finish(b) != COC_OK) return 1;
    coc_backend_destroy(&b);
    return coc_test_result();
}
