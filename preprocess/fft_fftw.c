/* The transform by FFTW (GPL: so is a program linked with it). FFTW is fastest on one contiguous
 * frame at a time, so every lane is copied out and back. */
#include "preprocess/fft.h"

#include <stdlib.h>
#include <string.h>

#include <fftw3.h>

#include "base/device.h"
#include "base/memory.h"
#include "preprocess/features.h"

/* doubles in the work area: the lanes' samples, one frame, its spectrum */
enum { LANES = COC_FFT_LANES, FRAME = COC_FFT_SUPPORT * LANES, SPECTRUM = FRAME + COC_FFT_SIZE };

_Static_assert((int)COC_FFT_WORK >= (int)SPECTRUM + 2 * (int)COC_BINS, "all of it fits");

struct coc_fft {
    fftw_plan plan;
};

static coc_status make_plan(coc_fft *fft)
{
    const coc_device *host = coc_device_host();
    void *work;

    COC_TRY(host->alloc(host, COC_FFT_WORK * sizeof(double), &work));
    fft->plan = fftw_plan_dft_r2c_1d(COC_FFT_SIZE, (double *)work + FRAME,
                                     (fftw_complex *)((double *)work + SPECTRUM), FFTW_MEASURE);
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
    double *frame = work + FRAME, *spectrum = work + SPECTRUM;

    memset(frame + COC_FFT_SUPPORT, 0, (COC_FFT_SIZE - COC_FFT_SUPPORT) * sizeof *frame);
    for (int l = 0; l < LANES; l++) {
        for (int i = 0; i < COC_FFT_SUPPORT; i++)
            frame[i] = work[i * LANES + l];
        fftw_execute_dft_r2c(fft->plan, frame, (fftw_complex *)spectrum);
        for (int k = 0; k < COC_BINS; k++) {
            const double re = spectrum[2 * k], im = spectrum[2 * k + 1];

            power[k * stride + l] = (float)(re * re + im * im);
        }
    }
}
