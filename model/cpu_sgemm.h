/* model/cpu_sgemm.h - plain matrix products for the dense operations. Private to the fast backend.
 * The convolutions have their own, fused, product (model/cpu_gemm.h).
 */
#ifndef COC_MODEL_CPU_SGEMM_H
#define COC_MODEL_CPU_SGEMM_H

#include <stdbool.h>
#include <stdint.h>

/* c [m][n] = op(a) op(b) + beta c, rows lda, ldb, ldc numbers apart; op(a) [m][k] is a or its
 * transpose, op(b) [k][n] likewise. beta is 0 or 1. Run by the calling thread alone: callers cut
 * the work. A row of the result has the same bits whatever m is and wherever the row stands: what a
 * clip's forward pass gives must not depend on the batch around it, or the rounding of N ranks
 * would differ from that of one. For all products with a row a clip. */
void coc_cpu_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                   int64_t ldc);

#endif
