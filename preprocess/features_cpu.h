/* preprocess/features_cpu.h - the parts of the fast features; used by features_cpu.c, tests and
 * tests/bench.
 *
 * Everything is computed on powers |X|^2: the median of powers is the power of the median, so the
 * soft mask harm^2 / (harm^2 + perc^2) needs no square root. Spectra are stored [bin][frame], the
 * frames side by side: the transforms write them so (several frames at once), medians along
 * frequency, masks and mel bands work along whole rows, and the result needs no transposition.
 *
 * Bins go through medians, masks and bands in blocks of COC_BLOCK, all in the second-level cache.
 */
#ifndef COC_PREPROCESS_FEATURES_CPU_H
#define COC_PREPROCESS_FEATURES_CPU_H

#include "base/status.h"
#include "preprocess/features.h"
#include "preprocess/fft.h"
#include "preprocess/mel_bank.h"

enum {
    COC_BLOCK = 16,        /* bins; also neighbouring medians of the sorting network */
    COC_BLOCKS = 33,       /* that cover all bins */
    COC_ROW = 528,         /* floats from a bin to the next; no power of two, see docs */
    COC_FRAMES_USED = 504, /* frames and what fills the last vector */
    COC_MARGIN = 15,       /* mirrored values beyond an edge that medians read */
    COC_POWER_ROWS = COC_BLOCKS * COC_BLOCK + 2 * COC_MARGIN,
    COC_TILE_ROWS = 512 + 2 * COC_MARGIN, /* frames of a transposed block */
    COC_EDGE = COC_FFT_WINDOW / 2,        /* samples that the first frame reaches before the clip */
    COC_PADDED_SAMPLES = (COC_FRAMES_USED - 1) * COC_FFT_HOP + COC_FFT_WINDOW,
};

/* ---- constant tables, shared by threads */

typedef struct {
    coc_fft *fft;
    double window[COC_FFT_WINDOW];
} coc_stft;

/* The bands that are not 0 at a bin, and their weights: neighbouring triangles overlap, so at most
 * two. */
typedef struct {
    int first[COC_BINS]; /* band of weight[bin][0]; the next one has weight[bin][1] */
    float weight[COC_BINS][2];
} coc_mel_table;

coc_status coc_stft_create(coc_stft *stft);
void coc_stft_destroy(coc_stft *stft);
void coc_mel_table_fill(coc_mel_table *table, coc_mel_scale scale);

/* ---- parts, in order. All memory is the caller's, on the host, aligned to 64 bytes. */

/* wave [COC_CLIP_SAMPLES] = sum of the stems, with noise. */
void coc_mix_clip(const coc_mix *mix, float *wave);

/* padded [COC_PADDED_SAMPLES]: frame t begins at t * COC_FFT_HOP. Beyond the clip: zeros, or the
 * clip mirrored at its first and last sample, which are not repeated. */
void coc_pad_zeros(const float *wave, float *padded);
void coc_pad_mirrored(const float *wave, float *padded);

/* power [COC_POWER_ROWS][COC_ROW], bin k in row COC_MARGIN + k; the rows before and after the bins
 * are mirrored. Frames from COC_FRAMES on have no meaning. work [COC_FFT_WORK]. */
void coc_stft_power(const coc_stft *stft, const float *padded, double *work, float *power);

/* Set the rows before and after the bins as the medians along frequency need them: the edge value
 * is repeated, b a | a b c. */
void coc_mirror_rows(float *power);

/* Medians of one block: out [COC_BLOCK][COC_ROW]. `power` points to the block's first bin.
 * tile [2][COC_TILE_ROWS][COC_BLOCK]. */
void coc_median_along_time(const float *power, float *tile, float *out);
void coc_median_along_frequency(const float *power, float *out);

/* harmonic, percussive [COC_BLOCK][COC_ROW]: medians in, powers (S M)^2 of both parts out. */
void coc_mask_block(const float *power, float *harmonic, float *percussive);

/* Add the powers of the block that begins at `bin` to the bands [COC_BANDS][COC_ROW]. */
void coc_mel_add(const coc_mel_table *table, int bin, const float *power, float *bands);

/* Bands to decibels: out [COC_BANDS][COC_FRAMES]. Relative: to the loudest value, >= -80. */
void coc_decibels_relative(const float *bands, float *out);
void coc_decibels_absolute(const float *bands, float *out);

#endif
