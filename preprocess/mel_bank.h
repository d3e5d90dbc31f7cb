/* preprocess/mel_bank.h - weights that sum a power spectrum into mel bands.
 *
 * COC_BANDS triangles between 60 Hz and 7800 Hz over the COC_BINS bins of the FFT, corners evenly
 * spaced in mel.
 *
 * COC_MEL_SLANEY: mel of Slaney's Auditory Toolbox (linear below 1 kHz, then logarithmic), every
 *     triangle scaled to unit area in Hz [librosa.filters.mel with its defaults].
 * COC_MEL_HTK: mel = 2595 log10(1 + f / 700), triangles of height 1
 *     [torchaudio.functional.melscale_fbanks with its defaults].
 */
#ifndef COC_PREPROCESS_MEL_BANK_H
#define COC_PREPROCESS_MEL_BANK_H

#include "preprocess/features.h"

typedef enum { COC_MEL_SLANEY, COC_MEL_HTK } coc_mel_scale;

/* weight [COC_BANDS][COC_BINS] out; the caller's. */
void coc_mel_bank(coc_mel_scale scale, double (*weight)[COC_BINS]);

#endif
