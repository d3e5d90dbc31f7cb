/* The transform by FFTW (GPL: so is a program linked with it). */
#include "preprocess/fft.h"

#include <stdlib.h>
#include <string.h>

#include <fftw3.h>

#include "base/device.h"
#include "base/memory.h"
#include "preprocess/features.h"

enum { LANES = COC_FFT_LANES, ROW = 2 * COC_FFT_LANES };

_Static_assert((int)COC_FFT_WORK >= ((int)COC_FFT_SIZE + 2 * (int)COC_BINS) * (int)LANES,
               "the spectrum stands in the work area behind the samples");

struct coc_fft {
    fftw_plan plan;
};

static coc_status make_plan(coc_fft *fft)
{
    const fftw_iodim transform = {.n = COC_FFT_SIZE, .is = LANES, .os = ROW};
    const fftw_iodim lanes = {.n = LANES, .is = 1, .os = 1};
    const coc_device *host = coc_device_host();
    double *spectrum;
    void *work;

    COC_TRY(host->alloc(host, COC_FFT_WORK * sizeof(double), &work));
    spectrum = (double *)work + COC_FFT_SIZE * LANES;
    fft->plan = fftw_plan_guru_split_dft_r2c(1, &transform, 1, &lanes, work, spectrum,
                                             spectrum + LANES, FFTW_MEASURE);
    host->release(host, work);
    if (fft->plan == NULL) return COC_FAIL(COC_ERR_MEMORY, "FFTW could not plan the transform");
    return COC_OK;
}

coc_status coc_fft_create(coc_fft **fft)
{
    coc_status status;

    COC_TRY(coc_alloc(1, sizeof **fft, fft));
    status = make_plan(*fft);
    if (status != COC_OK) coc_fft_destroy(fft);
    return status;
}

void coc_fft_destroy(coc_fft **fft)
{
    if (*fft == NULL) return;
    if ((*fft)->plan != NULL) fftw_destroy_plan((*fft)->plan);
    free(*fft);
    *fft = NULL;
}

const char *coc_fft_name(void)
{
    return "fftw";
}

void coc_fft_power(const coc_fft *fft, double *work, float *power, int64_t stride)
{
    double *spectrum = work + COC_FFT_SIZE * LANES;

    memset(work + COC_FFT_SUPPORT * LANES, 0,
           (COC_FFT_SIZE - COC_FFT_SUPPORT) * LANES * sizeof *work);
    fftw_execute_split_dft_r2c(fft->plan, work, spectrum, spectrum + LANES);
    for (int k = 0; k < COC_BINS; k++) {
        const double *re = spectrum + k * ROW, *im = re + LANES;
        float *row = power + k * stride;

#pragma omp simd
        for (int l = 0; l < LANES; l++)
            row[l] = (float)(re[l] * re[l] + im[l] * im[l]);
    }
}
