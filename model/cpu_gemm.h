/* model/cpu_gemm.h - matrix products on blocks in the caches. Private to the fast backend.
 *
 * A panel is a block (model/cpu.h) of up to `stride` rows of one matrix:
 * [vectors][stride][COC_LANES]. Weights are packed once per call into column blocks. Two products
 * serve all convolutions:
 *
 *     out [rows][N] = panel [rows][K] packed [K][N]             coc_cpu_multiply
 *     dw  [N][K]   += dy [rows][N]' z [rows][K]                 coc_cpu_outer
 */
#ifndef COC_MODEL_CPU_GEMM_H
#define COC_MODEL_CPU_GEMM_H

#include "model/cpu.h"

/* A thread's rows, cut into panels: a panel lies in one clip, or holds whole clips. */
typedef struct {
    int64_t clip, position; /* of the first row */
    int clips, rows;        /* rows of each clip */
} coc_cpu_panel;

/* Most rows of a panel when all blocks of a product have `channels` channels together; and the
 * stride of a block with so many rows, which leaves room for a tile that overhangs. */
int coc_cpu_panel_rows(int64_t channels);
int64_t coc_cpu_panel_stride(int rows);
/* Step to the next panel of the clips before `end`; begin with {.clip = first}. False at the end.
 */
bool coc_cpu_next_panel(coc_cpu_panel *panel, int64_t end, int64_t positions, int most);

/* Floats of packed weights. */
int64_t coc_cpu_packed_size(int k, int n);
/* Pack element (k, n) = w[k * k_stride + n * n_stride]; thread number `thread` of `threads` does
 * its share. */
void coc_cpu_pack(int k, int n, const float *w, int64_t k_stride, int64_t n_stride, int threads,
                  int thread, float *packed);

/* out [clips][rows][n] = or += panel [clips][rows][k] packed [k][n] */
typedef struct {
    int clips, rows;
    int k, n;
    const float *panel;
    int64_t stride; /* of panel and other */
    const float *packed;
    float *out;
    bool add;
    double *sums;       /* [clips][2][n] += sum over rows of out, of its squares; NULL: none */
    const float *other; /* panel of n columns, or NULL */
    float *dots;        /* [clips][n] += sum over rows of other * out */
} coc_cpu_product;

void coc_cpu_multiply(const coc_cpu_product *p);

/* dw [n][k] += dy [rows][n]' z [rows][k], both panels. dw is in an order of its own and has
 * coc_cpu_outer_size floats. */
int64_t coc_cpu_outer_size(int n, int k);
void coc_cpu_outer(int rows, int n, int k, const float *dy, const float *z, int64_t stride,
                   float *dw);
/* dw [n][k] += sum over `parts` of what coc_cpu_outer made, parts[i] at i * coc_cpu_outer_size;
 * thread number `thread` of `threads` does its share. */
void coc_cpu_outer_add(int n, int k, int parts, const float *part, int threads, int thread,
                       float *dw);

#endif
