/* preprocess/fft.h - power spectra of several real frames at once.
 *
 * One of two files stands behind it: fft_builtin.c (the default) or fft_fftw.c
 * (cmake -DCOCOLA_FFT=fftw; FFTW is GPL). Double precision: the soft masks compare values that lie
 * 100 dB below the loudest one, where the rounding of a float transform would show
 * (docs/features.md).
 */
#ifndef COC_PREPROCESS_FFT_H
#define COC_PREPROCESS_FFT_H

#include <stdint.h>

#include "base/status.h"

enum {
    COC_FFT_LANES = 8,     /* frames transformed at once: one cache line of doubles */
    COC_FFT_SUPPORT = 512, /* samples of a frame that may be other than 0 */
    /* doubles of the work area: COC_FFT_SIZE samples and COC_BINS complex values of every lane */
    COC_FFT_WORK = (1024 + 2 * 513) * COC_FFT_LANES,
};

typedef struct coc_fft coc_fft; /* constant after creation: many threads may use it */

/* Tables of the transform of COC_FFT_SIZE. Not from several threads at once.
 * Errors: COC_ERR_MEMORY. The caller's, ended by coc_fft_destroy. */
coc_status coc_fft_create(coc_fft **fft);
void coc_fft_destroy(coc_fft **fft);

/* power[k][l] = |sum over i of x[i][l] exp(-2 pi j i k / COC_FFT_SIZE)|^2
 *
 * work   in   COC_FFT_WORK doubles, aligned to 64 bytes; the first [COC_FFT_SUPPORT][COC_FFT_LANES]
 *             are x, the rest need not be set; overwritten
 * power  out  COC_BINS rows of COC_FFT_LANES floats, `stride` floats apart
 */
void coc_fft_power(const coc_fft *fft, double *work, float *power, int64_t stride);

/* "builtin" or "fftw", for reports. */
const char *coc_fft_name(void);

#endif
