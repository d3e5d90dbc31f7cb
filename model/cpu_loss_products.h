/* model/cpu_loss_products.h - the three products of the loss on tiles of columns that stay in the
 * second cache. Private to the fast backend.
 *
 * A tile of logits lies transposed, s [columns][stride]: one column after another, with the rows of
 * a block side by side, so that vectors run over rows and a row's softmax is a lane's. What is read
 * most often is packed first, in panels of COC_TILE_WIDTH, padded with zeros:
 *
 *     a by rows   [row panels][d][COC_TILE_WIDTH]        coc_cpu_pack_rows
 *     by depth    [panels of d][count][COC_TILE_WIDTH]   coc_cpu_pack_depth
 */
#ifndef COC_MODEL_CPU_LOSS_PRODUCTS_H
#define COC_MODEL_CPU_LOSS_PRODUCTS_H

#include "model/cpu.h"

enum { COC_TILE_WIDTH = 2 * COC_LANES };

/* Panels of n rows, or of n numbers of a row. */
int64_t coc_cpu_panels(int64_t n);
/* Distance of two columns of s for so many rows: whole panels and room for a tile that overhangs;
 * an odd number of cache lines. */
int64_t coc_cpu_tile_stride(int64_t rows);

/* Row panels [first, end) of a [rows][d]. */
void coc_cpu_pack_rows(int64_t rows, int d, const float *a, int64_t first, int64_t end,
                       float *packed);
/* Panels [first, end) of the numbers of x [count][d], row i times factor [i] (NULL: 1). */
void coc_cpu_pack_depth(int64_t count, int d, const float *x, const float *factor, int64_t first,
                        int64_t end, float *packed);

/* s [columns][stride] = (a p')', rows up to the end of the last panel: those that are padded are 0.
 * a: by rows; p [columns][d]. */
void coc_cpu_tile_logits(int64_t rows, int64_t columns, int d, const float *a, const float *p,
                         float *s, int64_t stride);
/* da [rows][d] += s' p; p [columns] by depth. */
void coc_cpu_tile_rows(int64_t rows, int64_t columns, int d, const float *s, int64_t stride,
                       const float *p, float *da);
/* dp [columns][d] += s a; a [rows] by depth. */
void coc_cpu_tile_columns(int64_t rows, int64_t columns, int d, const float *s, int64_t stride,
                          const float *a, float *dp);

#endif
