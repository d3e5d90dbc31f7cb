/* configs/settings.h - every setting of the program, in one struct and one table.
 *
 * The table (configs/settings_table.c) drives everything that knows of settings: parsing a YAML
 * file and `--set section.key=value`, range checks, `cocola help settings`, docs/settings.md,
 * RUN/config.yaml and the copy in each checkpoint. Modules take the section they need. The defaults
 * are the published ones; what a value means is said in the table's help text.
 */
#ifndef COC_CONFIGS_SETTINGS_H
#define COC_CONFIGS_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { COC_SETTING_TEXT = 1024, COC_MAX_PREFETCH = 8 };

typedef enum { COC_FEATURES_HPS, COC_FEATURES_MEL, COC_FEATURE_KINDS } coc_feature_kind;
typedef enum { COC_CHANNELS_PAIR, COC_CHANNELS_STEP, COC_CHANNELS_BOTH } coc_channel_mode;
typedef enum { COC_WINDOWS_GRID, COC_WINDOWS_RANDOM } coc_window_mode;
typedef enum { COC_FP32, COC_BF16 } coc_precision;
typedef enum { COC_CONV_OWN, COC_CONV_CUDNN } coc_convolutions;
typedef enum {
    COC_LOSS_AUTO,
    COC_LOSS_FP32,
    COC_LOSS_TF32,
    COC_LOSS_TF32X3,
    COC_LOSS_BF16
} coc_loss_precision;
typedef enum { COC_SIMILARITY_NORMAL, COC_SIMILARITY_IDENTITY } coc_similarity_init;
typedef enum {
    COC_NEGATIVES_ALL,
    COC_NEGATIVES_SAME_MODE,
    COC_NEGATIVES_SAME_DATASET,
    COC_NEGATIVES_SAME_DATASET_AND_MODE
} coc_negatives;
typedef enum { COC_REDUCTION_FAST, COC_REDUCTION_FIXED_TREE } coc_reduction;
typedef enum { COC_PAIRING_SHUFFLED, COC_PAIRING_PAIRED } coc_bn_pairing;
typedef enum { COC_SCHEDULE_CONSTANT, COC_SCHEDULE_COSINE } coc_schedule;
typedef enum { COC_NAN_STOP, COC_NAN_SKIP } coc_on_nan;

typedef struct {
    /* lists (configs/list.h) */
    char train[COC_SETTING_TEXT];   /* stores */
    char weights[COC_SETTING_TEXT]; /* how often each of them is drawn from; empty: by windows */
    char valid[COC_SETTING_TEXT];   /* stores; empty: the validation splits of train */
    coc_feature_kind features;
    coc_channel_mode channel_mode;
    double both_first; /* share of the run before channel_mode holds */
    coc_window_mode windows;
    double overlap;    /* r: windows of a track overlap at most by this share; 0.5 */
    double crop;       /* seconds of a window that training sees; 5: all of it */
    double noise;      /* sigma of the noise on the positives' waveform; 1e-3 of full scale */
    bool submixtures;  /* false: one stem each (published generate_submixtures) */
    int threads;       /* threads that read, mix and compute features; 0: OMP_NUM_THREADS */
    int prefetch;      /* batches made ahead; 0: none, in the step's own thread */
    double feed_stems; /* stems a clip, on average, in page-locked memory of a GPU's batches */
} coc_data_settings;

typedef struct {
    char backend[32]; /* model.backend: ref, cpu, cuda */
    coc_precision precision;
    coc_convolutions conv;
    coc_loss_precision loss_precision; /* loss.precision: a backend is opened for it */
    bool graphs;      /* record a step's work and launch it again, where the device can */
    char profile[32]; /* model.profile: cocola-hps, cocola-mel; empty: from data.features */
    double width, depth;
    int64_t embedding; /* numbers of an embedding, d */
    coc_similarity_init similarity_init;
    double similarity_scale; /* std of W, or the factor of the identity */
    double bn_momentum;
    int64_t bn_group;          /* pairs that share batch statistics; 0: the batch */
    coc_bn_pairing bn_pairing; /* which positives a group holds */
    double dropout, stochastic_depth;
    int threads; /* of the encoder; 0: OMP_NUM_THREADS */
} coc_model_settings;

/* Whether gradients of the loss leave out what cannot be seen in them. */
typedef enum { COC_SCREENING_OFF, COC_SCREENING_AUTO } coc_screening;

/* How the columns of all ranks come to the rows of each: see model/similarity.h. */
typedef enum { COC_EXCHANGE_ALL_GATHER, COC_EXCHANGE_RING } coc_columns_exchange;

typedef struct {
    coc_negatives negatives; /* which columns count for a row */
    int64_t k;               /* pairs among which a row's columns are; 0: the whole batch */
    bool mask_same_track;    /* columns of the row's own track do not count, but the own one */
    coc_reduction reduction; /* the order in which all sums of a step over pairs are added */
    coc_screening screening;
    bool symmetric; /* the mean of the losses of rows and of columns */
    coc_columns_exchange exchange;
} coc_loss_settings;

typedef struct {
    int64_t batch;            /* global pairs K */
    int64_t micro_batch;      /* pairs, of all ranks, that are embedded at a time (loss.reduction
                                 fixed-tree: of each rank); 0: the batch */
    int64_t keep_activations; /* micro-batches whose activations are kept for backward; 0: auto */
    int64_t steps;            /* 0: from minutes */
    double minutes;
    int64_t seed;
    int64_t log_every, checkpoint_every,
        valid_every;     /* steps; 0: never (the last is always saved) */
    int64_t valid_pairs; /* pairs of a validation; 0: all */
    double learning_rate;
    double similarity_rate; /* of W, times learning_rate */
    int64_t warmup;         /* steps */
    coc_schedule schedule;
    double clip; /* largest norm of the flat gradient; 0: off */
    double weight_decay;
    coc_on_nan on_nan;           /* what becomes of a step with a number that is not finite */
    char init[COC_SETTING_TEXT]; /* a checkpoint whose weights to start from */
    int64_t keep;                /* best checkpoints kept; 5 */
} coc_train_settings;

typedef struct {
    int64_t bn_reestimate; /* clips over which running statistics are measured anew before a
                              validation or a saved checkpoint; 0: off */
    /* of `cocola eval`, where its options do not say otherwise; orders also of validations */
    int64_t batch;     /* clips embedded at a time */
    int64_t orders;    /* shuffled orders whose accuracies are averaged */
    int64_t bootstrap; /* resamplings for the interval */
    int64_t seed;
} coc_eval_settings;

/* What NCCL's collectives of the step work on: ordinary memory; memory that every GPU of the
 * machine sees at one place (symmetric); that, and copy engines instead of kernels for all-gathers.
 */
typedef enum { COC_NCCL_PLAIN, COC_NCCL_SYMMETRIC, COC_NCCL_COPY_ENGINE } coc_nccl_memory;

typedef struct {
    char backend[32]; /* comm.backend: auto, mpi, nccl */
    coc_nccl_memory nccl_memory;
    bool share_gpu;    /* several ranks of a machine may use one GPU */
    int nccl_channels; /* most blocks of NCCL on a GPU; 0: its own choice */
    double deadline;   /* seconds that a rank waits for the others before it names who is late */
} coc_comm_settings;

typedef struct {
    coc_data_settings data;
    coc_model_settings model;
    coc_loss_settings loss;
    coc_train_settings train;
    coc_eval_settings eval;
    coc_comm_settings comm;
} coc_settings;

/* "hps": the kind as data.features, checkpoints and scores call it. */
const char *coc_feature_name(coc_feature_kind kind);

/* "copy-engine", as comm.nccl_memory. */
const char *coc_nccl_memory_name(coc_nccl_memory memory);

/* "bf16", likewise. */
const char *coc_precision_name(coc_precision precision);
const char *coc_convolutions_name(coc_convolutions conv);
const char *coc_loss_precision_name(coc_loss_precision precision);
/* What auto stands for: fp32, or tf32 beside bf16 activations. Any other is itself. */
coc_loss_precision coc_loss_precision_of(const coc_model_settings *model);

/* All defaults. */
void coc_settings_default(coc_settings *settings);

/* Read a YAML file of the form `section: {key: value}` over what is already there. Unknown or
 * repeated keys (with the nearest known name), wrong types and values out of range are refused with
 * file:line:column. Errors: COC_ERR_IO, COC_ERR_SETTING. */
coc_status coc_settings_read_file(coc_settings *settings, const char *path);

/* The same from text; `name` stands for the file in messages. */
coc_status coc_settings_read_text(coc_settings *settings, const char *text, const char *name);

/* One "section.key=value" from the command line. Errors: COC_ERR_SETTING. */
coc_status coc_settings_set(coc_settings *settings, const char *assignment);

/* Checks that need several settings at once, before training: no length of the run, a batch that is
 * no multiple of the batch-norm group. Errors: COC_ERR_SETTING. */
coc_status coc_settings_check(const coc_settings *settings);

/* All settings as YAML that reads back to the same values, with or without the help as comments.
 * The caller frees it; NULL without memory. */
char *coc_settings_print(const coc_settings *settings, bool with_help);

/* One text a difference ("train.batch: 32 there, 64 here"), joined by newlines, over the keys that
 * change what a run computes; keys that may change on continuing a run (logging, threads, places)
 * are left out. "" when there is none. The caller frees it. */
char *coc_settings_differences(const coc_settings *there, const coc_settings *here);

/* docs/settings.md and `cocola help settings`, from the table. The caller frees it. */
char *coc_settings_document(bool markdown);

/* The same for one section ("train") or one key ("train.batch", or "batch" alone); "" when there is
 * none of that name. part NULL: everything. The caller frees it. */
char *coc_settings_document_part(bool markdown, const char *part);

/* Fails, naming the nearest section or key. Errors: COC_ERR_SETTING. */
coc_status coc_settings_unknown(const char *name);

/* The known word nearest to `word` among count (edit distance), or NULL when none is near. */
const char *coc_nearest_word(const char *word, const char *const *words, int count);

#endif
