/* configs/settings_table.c - every setting: what it is called, what it may be, what it means.
 * Defaults are those of the published COCOLA, where it has the setting. */
#include <string.h>

#include "base/memory.h"
#include "configs/table.h"

static const char *const backend_names[] = {"ref", "cpu", "cuda", NULL};
static const char *const precision_names[] = {"fp32", "bf16", NULL};
static const char *const conv_names[] = {"own", "cudnn", NULL};
static const char *const loss_precision_names[] = {"auto", "fp32", "tf32", "tf32x3", "bf16", NULL};
static const char *const comm_names[] = {"auto", "mpi", "nccl", NULL};
static const char *const nccl_memory_names[] = {"plain", "symmetric", "copy-engine", NULL};
static const char *const feature_names[] = {"hps", "mel", NULL};
static const char *const channel_names[] = {"pair", "step", "both", NULL};
static const char *const window_names[] = {"grid", "random", NULL};
static const char *const profile_names[] = {"", "cocola-hps", "cocola-mel", NULL};
static const char *const similarity_names[] = {"normal", "identity", NULL};
static const char *const negatives_names[] = {"all", "same-mode", "same-dataset",
                                              "same-dataset-and-mode", NULL};
static const char *const reduction_names[] = {"fast", "fixed-tree", NULL};
static const char *const screening_names[] = {"off", "auto", NULL};
static const char *const exchange_names[] = {"allgather", "ring", NULL};
static const char *const pairing_names[] = {"shuffled", "paired", NULL};
static const char *const schedule_names[] = {"constant", "cosine", NULL};
static const char *const on_nan_names[] = {"stop", "skip", NULL};

static const coc_setting_section sections[] = {
    {"data", "what is read, and how pairs of sub-mixes are drawn from it"},
    {"model", "the encoder, the similarity, and where they are computed"},
    {"loss", "the contrastive loss"},
    {"train", "batch, length, optimizer, and what is written while training"},
    {"eval", "validation, and what is done to a model before it is measured"},
    {"comm", "how ranks talk"},
};

/* Where a field lies and how big it is. */
#define FIELD(section, field)                                                                      \
    offsetof(coc_settings, section.field), sizeof(((coc_settings *)NULL)->section.field)
#define BIG 9007199254740992.0 /* 2^53: whole numbers up to here are exact in a double */

static const coc_setting table[] = {
    {"data.train", COC_SETTING_LIST, COC_EFFECT_NONE, FIELD(data, train), "", 0, 0, NULL, "folder",
     "The store to train on (cocola preprocess makes it), or several: [a, b]. Must be given for "
     "training."},
    {"data.weights", COC_SETTING_LIST, COC_EFFECT_RESULT, FIELD(data, weights), "", 0, 0, NULL,
     "number",
     "How often windows of each store of data.train are drawn, one number a store, relative to "
     "each other: [3, 1] takes three pairs of four from the first. Empty: every window as often as "
     "any other."},
    {"data.valid", COC_SETTING_LIST, COC_EFFECT_NONE, FIELD(data, valid), "", 0, 0, NULL, "folder",
     "A store whose validation split is used, or several. Empty: those of data.train."},
    {"data.features", COC_SETTING_CHOICE, COC_EFFECT_RESULT, FIELD(data, features), "hps", 0, 0,
     feature_names, "",
     "What the encoder sees of a clip. hps: mel spectra of the harmonic and of the percussive "
     "part, two channels. mel: one log-mel spectrum."},
    {"data.channel_mode", COC_SETTING_CHOICE, COC_EFFECT_RESULT, FIELD(data, channel_mode), "pair",
     0, 0, channel_names, "",
     "With hps features, which channels are kept: harmonic only, percussive only, or both. pair: "
     "drawn for every pair, as published; negatives of another mode are then told apart by an "
     "empty channel. step: drawn once for all pairs of a step. both: always both."},
    {"data.both_first", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(data, both_first), "0", 0, 1,
     NULL, "of the run",
     "Share of a run in which both channels are always kept, before data.channel_mode begins: what "
     "is found with both is then soon found with one. With loss.negatives: same-mode the training "
     "loss falls at the change, as a row then has fewer columns. 0, as published: modes from the "
     "first step."},
    {"data.windows", COC_SETTING_CHOICE, COC_EFFECT_RESULT, FIELD(data, windows), "grid", 0, 0,
     window_names, "",
     "Where the 5 s windows of a track begin. grid: the published grids. random: a grid with one "
     "random offset a track and epoch."},
    {"data.overlap", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(data, overlap), "0.5", 0, 0.9,
     NULL, "", "Windows of a track overlap at most by this share of their length."},
    {"data.crop", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(data, crop), "5", 1, 5, NULL,
     "seconds",
     "How much of a window training sees: a random part of its features, the same of anchor and "
     "positive. The encoder's time falls in proportion; features are still computed of the whole "
     "window. Validation, evaluation and scores always see whole windows."},
    {"data.noise", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(data, noise), "0.001", 0, 1, NULL,
     "of full scale",
     "Standard deviation of the noise that is added to the waveform of positives. 0: none."},
    {"data.submixtures", COC_SETTING_FLAG, COC_EFFECT_RESULT, FIELD(data, submixtures), "true", 0,
     0, NULL, "",
     "true: the two members of a pair are sums of disjoint random sets of stems. false: one stem "
     "each."},
    {"data.threads", COC_SETTING_INT, COC_EFFECT_NONE, FIELD(data, threads), "0", 0, 1024, NULL,
     "threads",
     "Threads of a rank that read, mix and compute features. 0: OMP_NUM_THREADS, or all cores of "
     "the rank."},
    {"data.prefetch", COC_SETTING_INT, COC_EFFECT_NONE, FIELD(data, prefetch), "1", 0,
     COC_MAX_PREFETCH, NULL, "batches",
     "Batches that are made ahead while the model computes. 0: each batch is made when it is "
     "needed."},
    {"data.feed_stems", COC_SETTING_NUMBER, COC_EFFECT_NONE, FIELD(data, feed_stems), "6", 0, 128,
     NULL, "stems a clip",
     "On a GPU with model.graphs, the stems of a whole batch lie in page-locked memory of the "
     "host, where the GPU fetches them by itself; two batches take turns. This is how many there "
     "is room for, on average over the batch: 6 take 1.9 MB a clip, of which there are two a pair. "
     "A batch with more is handed over piece by piece, as all are with 0."},

    {"model.backend", COC_SETTING_CHOICE, COC_EFFECT_NONE, FIELD(model, backend), "cpu", 0, 0,
     backend_names, "",
     "Where features and model are computed. ref: plain loops, slow, the specification. cpu: "
     "fast. cuda: on a GPU, one a rank, where it is built in (`cocola info` tells)."},
    {"model.precision", COC_SETTING_CHOICE, COC_EFFECT_NONE, FIELD(model, precision), "fp32", 0, 0,
     precision_names, "",
     "How activations are stored. fp32: as floats. bf16: half the memory and traffic, products on "
     "tensor cores; sums, statistics, loss, gradients of weights and weights stay fp32. Backend "
     "cuda only."},
    {"model.conv", COC_SETTING_CHOICE, COC_EFFECT_NONE, FIELD(model, conv), "own", 0, 0, conv_names,
     "",
     "Whose convolutions backend cuda uses. own: this program's, which normalise on the way in and "
     "add up statistics on the way out. cudnn: NVIDIA's library, with passes of its own for the "
     "rest: another way to the same numbers, to check and to compare with; it takes up to 1 GB "
     "more "
     "memory, and time at the start to find its plans. Results differ by rounding."},
    {"model.graphs", COC_SETTING_FLAG, COC_EFFECT_NONE, FIELD(model, graphs), "true", 0, 0, NULL,
     "",
     "On a GPU, launch all the work of a step at once (a CUDA graph), which saves time on small "
     "batches. false: call by call, to find faults."},
    {"model.profile", COC_SETTING_CHOICE, COC_EFFECT_RESULT, FIELD(model, profile), "", 0, 0,
     profile_names, "", "The encoder family. Empty: the one that fits data.features."},
    {"model.width", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(model, width), "1", 0.1, 4, NULL,
     "times the profile's channels", "Width multiplier of the EfficientNet family."},
    {"model.depth", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(model, depth), "1", 0.1, 3.5, NULL,
     "times the profile's blocks", "Depth multiplier of the EfficientNet family."},
    {"model.embedding", COC_SETTING_COUNT, COC_EFFECT_RESULT, FIELD(model, embedding), "512", 8,
     8192, NULL, "",
     "Numbers of an embedding, and rows and columns of W: a multiple of 8. The loss takes time and "
     "memory in proportion. Published: 512."},
    {"model.similarity_init", COC_SETTING_CHOICE, COC_EFFECT_RESULT, FIELD(model, similarity_init),
     "normal", 0, 0, similarity_names, "",
     "How the similarity matrix W begins. normal: random numbers, as published. identity: a "
     "multiple of the identity, so that training begins at loss ln K."},
    {"model.similarity_scale", COC_SETTING_NUMBER, COC_EFFECT_RESULT,
     FIELD(model, similarity_scale), "0.05", 0, 100, NULL, "",
     "Standard deviation of W's numbers (normal), or the factor of the identity."},
    {"model.bn_momentum", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(model, bn_momentum), "0.01",
     1e-6, 1, NULL, "",
     "Share of a step's batch statistics in the running ones. Short runs need 0.1 or "
     "eval.bn_reestimate."},
    {"model.bn_group", COC_SETTING_COUNT, COC_EFFECT_RESULT, FIELD(model, bn_group), "32", 0,
     1048576, NULL, "pairs",
     "Pairs that share batch statistics, whatever the number of ranks. 0, or more than the batch: "
     "the whole batch. Otherwise train.batch must be a multiple of it."},
    {"model.bn_pairing", COC_SETTING_CHOICE, COC_EFFECT_RESULT, FIELD(model, bn_pairing),
     "shuffled", 0, 0, pairing_names, "",
     "Which positives a batch-norm group holds, where a batch has several. shuffled: any, dealt "
     "anew in every step. paired: those of its anchors, as published; then the statistics of a "
     "group tell its own pairs from all others, which lowers the loss without anything learned "
     "(`cocola selftest leak` measures it)."},
    {"model.dropout", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(model, dropout), "0.1", 0, 0.95,
     NULL, "", "Probability with which a pooled feature is dropped in training."},
    {"model.stochastic_depth", COC_SETTING_NUMBER, COC_EFFECT_RESULT,
     FIELD(model, stochastic_depth), "0.2", 0, 0.95, NULL, "",
     "Probability with which the last block is skipped in training; it grows from 0 at the first "
     "block."},
    {"model.threads", COC_SETTING_INT, COC_EFFECT_NONE, FIELD(model, threads), "0", 0, 1024, NULL,
     "threads",
     "Threads of a rank that compute the model. 0: OMP_NUM_THREADS, or all cores of the rank."},

    {"loss.negatives", COC_SETTING_CHOICE, COC_EFFECT_RESULT, FIELD(loss, negatives), "all", 0, 0,
     negatives_names, "",
     "Which pairs of a batch a row is compared with. all, as published. same-mode: those of its "
     "own channel mode, so that with data.channel_mode: pair no negative is told apart by an empty "
     "channel; the loss is then near ln(train.batch / 3) at the start. same-dataset: those of its "
     "own store of data.train, so that none is told apart by how its data set sounds. "
     "same-dataset-and-mode: both. log.jsonl has the mean number of columns."},

    {"loss.k", COC_SETTING_COUNT, COC_EFFECT_RESULT, FIELD(loss, k), "0", 0, 1048576, NULL, "pairs",
     "Columns that a row is compared with: every step deals the batch into groups of so many "
     "pairs, "
     "anew each time, and a row sees its own group. So K can be varied alone, at the same batch, "
     "steps and samples. Divides train.batch. 0: all of the batch."},
    {"loss.precision", COC_SETTING_CHOICE, COC_EFFECT_NONE, FIELD(model, loss_precision), "auto", 0,
     0, loss_precision_names, "",
     "How backend cuda rounds what goes into the products of the loss; all are summed as floats. "
     "fp32: not at all. tf32: to 11 bits, on tensor cores. tf32x3: as two numbers of 11 bits each "
     "and in three products on tensor cores, as exact as fp32. bf16: to 8 bits. auto: fp32 with "
     "model.precision: fp32, tf32 with bf16. Logits are large, so rounding shows: docs/gpu.md "
     "has the errors of gradients. Other backends: fp32 only."},
    {"loss.mask_same_track", COC_SETTING_FLAG, COC_EFFECT_RESULT, FIELD(loss, mask_same_track),
     "false", 0, 0, NULL, "",
     "Leave out columns that come from the row's own track, but its own positive: they may well "
     "belong to it. Published: false. log.jsonl has their number either way."},
    {"loss.reduction", COC_SETTING_CHOICE, COC_EFFECT_NONE, FIELD(loss, reduction), "fast", 0, 0,
     reduction_names, "",
     "In which order gradients, loss and statistics are summed over pairs. fast: as it comes, so "
     "that another number of ranks rounds otherwise. fixed-tree: over one binary tree whose leaves "
     "are micro-batches, each on one rank, so that 1, 2, 4, ... ranks with equal threads give the "
     "same weights bit for bit, at the price of time and memory. Needs a power of two of "
     "micro-batches, a number of ranks that divides it, and comm.backend other than nccl."},
    {"loss.symmetric", COC_SETTING_FLAG, COC_EFFECT_RESULT, FIELD(loss, symmetric), "false", 0, 0,
     NULL, "",
     "true: the mean of two losses, that of each anchor among all positives, and that of each "
     "positive among all anchors. Twice the time and memory of the loss. Published: false."},
    {"loss.screening", COC_SETTING_CHOICE, COC_EFFECT_NONE, FIELD(loss, screening), "off", 0, 0,
     screening_names, "",
     "auto: gradients of the loss are summed over the columns that matter to a row, where they are "
     "few; what is left out has at most 1e-7 of the weight of the row's negatives, which is known "
     "exactly, and changes rounding alone. Loss and accuracy stay the same. Saves about half of "
     "the time of the loss from some thousand columns on with logits as large as those of the "
     "published start values. Backend cpu; ref and cuda sum over all columns. log.jsonl says what "
     "was "
     "kept."},

    {"loss.exchange", COC_SETTING_CHOICE, COC_EFFECT_NONE, FIELD(loss, exchange), "allgather", 0, 0,
     exchange_names, "",
     "How the columns of all ranks come to a rank's rows; loss and gradients are the same. "
     "allgather: all at once, the fastest where there is room for twice the columns of all ranks. "
     "ring: those of one rank after another, each in memory for as long as it is worked on, so "
     "that memory does not grow with the number of ranks; a third more work in the loss, since "
     "similarities are computed twice."},

    {"train.batch", COC_SETTING_COUNT, COC_EFFECT_RESULT, FIELD(train, batch), "32", 2, 1048576,
     NULL, "pairs",
     "Pairs of a step on all ranks together: a row of the loss sees this many columns."},
    {"train.micro_batch", COC_SETTING_COUNT, COC_EFFECT_NONE, FIELD(train, micro_batch), "0", 0,
     1048576, NULL, "pairs",
     "Pairs, on all ranks together, that are embedded at a time, so that a batch needs no more "
     "memory than they do: the batch is embedded once for the loss and, part by part, once more "
     "for the gradient, which is that of the whole batch. A multiple of model.bn_group, which must "
     "not be 0. With loss.reduction: fixed-tree so many pairs on each rank. 0: the whole batch at "
     "once."},
    {"train.keep_activations", COC_SETTING_COUNT, COC_EFFECT_NONE, FIELD(train, keep_activations),
     "0", 0, 4096, NULL, "micro-batches",
     "Of so many micro-batches the activations are kept until the gradient, which saves embedding "
     "them twice. 0: as many as the memory has room for."},
    {"train.steps", COC_SETTING_COUNT, COC_EFFECT_SCHEDULE, FIELD(train, steps), "0", 0,
     4294967295.0, NULL, "steps", "Length of the run. 0: from train.minutes."},
    {"train.minutes", COC_SETTING_NUMBER, COC_EFFECT_SCHEDULE, FIELD(train, minutes), "0", 0, 1e6,
     NULL, "minutes",
     "Length of the run by time: the first steps are measured, the number of steps is then fixed "
     "and kept in the checkpoint. Used only when train.steps is 0."},
    {"train.seed", COC_SETTING_COUNT, COC_EFFECT_RESULT, FIELD(train, seed), "1", 0, BIG, NULL, "",
     "Start of all random draws: weights, order, sub-mixes, noise, masks."},
    {"train.log_every", COC_SETTING_COUNT, COC_EFFECT_NONE, FIELD(train, log_every), "10", 0, BIG,
     NULL, "steps", "A line in log.jsonl every so many steps. 0: none."},
    {"train.checkpoint_every", COC_SETTING_COUNT, COC_EFFECT_NONE, FIELD(train, checkpoint_every),
     "500", 0, BIG, NULL, "steps",
     "A checkpoint every so many steps. 0: only at the end and on a signal."},
    {"train.valid_every", COC_SETTING_COUNT, COC_EFFECT_NONE, FIELD(train, valid_every), "500", 0,
     BIG, NULL, "steps", "A validation every so many steps. 0: none."},
    {"train.valid_pairs", COC_SETTING_COUNT, COC_EFFECT_RESULT, FIELD(train, valid_pairs), "0", 0,
     BIG, NULL, "pairs", "Pairs of a validation. 0: all windows of the split."},
    {"train.learning_rate", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(train, learning_rate),
     "0.001", 0, 10, NULL, "", "Adam's learning rate, at its highest."},
    {"train.similarity_rate", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(train, similarity_rate),
     "1", 0, 100, NULL, "times the learning rate",
     "Learning rate of the similarity matrix W beside that of all other weights. A logit is a sum "
     "over all of W, so that a step of 0.001 in each of its numbers can move it by tens: less "
     "than 1 keeps the start of a short run at a high rate steady. 1, as published."},
    {"train.warmup", COC_SETTING_COUNT, COC_EFFECT_RESULT, FIELD(train, warmup), "0", 0, BIG, NULL,
     "steps", "The learning rate rises linearly over the first steps."},
    {"train.schedule", COC_SETTING_CHOICE, COC_EFFECT_RESULT, FIELD(train, schedule), "constant", 0,
     0, schedule_names, "",
     "The learning rate after the warm-up. constant, as published. cosine: falls to 0 at the last "
     "step."},
    {"train.clip", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(train, clip), "0", 0, 1e9, NULL, "",
     "A gradient with a larger norm (of all weights together) is scaled down to it. 0: never."},
    {"train.weight_decay", COC_SETTING_NUMBER, COC_EFFECT_RESULT, FIELD(train, weight_decay), "0",
     0, 10, NULL, "", "L2 penalty that is added to the gradient, as in PyTorch's Adam."},
    {"train.on_nan", COC_SETTING_CHOICE, COC_EFFECT_NONE, FIELD(train, on_nan), "stop", 0, 0,
     on_nan_names, "",
     "What becomes of a step whose gradient is not finite (NaN or infinite). Neither weights nor "
     "running statistics take anything from it, and the first such number is named: layer, rank, "
     "pair, track. stop: the run ends, and its last checkpoint stays. skip: a warning, then the "
     "next step; log.jsonl counts them (skipped). The tenth in a row, weights that are not finite, "
     "or a loss that alone is not, end the run all the same."},
    {"train.init", COC_SETTING_STRING, COC_EFFECT_RESULT, FIELD(train, init), "", 0, 0, NULL,
     "file",
     "A checkpoint whose weights a new run begins with; its optimizer and step are not taken "
     "over."},
    {"train.keep", COC_SETTING_COUNT, COC_EFFECT_NONE, FIELD(train, keep), "5", 0, 1000, NULL,
     "checkpoints", "Checkpoints with the best validation loss that are kept beside the last one."},

    {"eval.bn_reestimate", COC_SETTING_COUNT, COC_EFFECT_RESULT, FIELD(eval, bn_reestimate), "0", 0,
     1e7, NULL, "clips",
     "Clips of the training split, as training sees them, over which the running statistics are "
     "measured anew before a validation and before a checkpoint is saved. 0: off, as published."},
    {"eval.batch", COC_SETTING_COUNT, COC_EFFECT_NONE, FIELD(eval, batch), "32", 2, 65536, NULL,
     "clips",
     "Clips that a rank embeds at a time in `cocola eval` of this run's checkpoints, unless its "
     "--batch says otherwise."},
    {"eval.orders", COC_SETTING_COUNT, COC_EFFECT_NONE, FIELD(eval, orders), "100", 1, 1e6, NULL,
     "orders",
     "Random orders of the pairs over whose batches an accuracy is averaged: in validations, and "
     "in `cocola eval` of this run's checkpoints unless its --orders says otherwise."},
    {"eval.bootstrap", COC_SETTING_COUNT, COC_EFFECT_NONE, FIELD(eval, bootstrap), "1000", 0, 1e6,
     NULL, "resamplings",
     "Resamplings of tracks behind the 95 % interval in `cocola eval` of this run's checkpoints, "
     "unless its --bootstrap says otherwise. 0: no interval."},
    {"eval.seed", COC_SETTING_COUNT, COC_EFFECT_RESULT, FIELD(eval, seed), "1", 0, BIG, NULL, "",
     "Start of the random draws of validation: the sub-mixes of each window, and the orders."},

    {"comm.backend", COC_SETTING_CHOICE, COC_EFFECT_NONE, FIELD(comm, backend), "auto", 0, 0,
     comm_names, "",
     "What carries tensors between ranks whose model is on GPUs. nccl: from GPU to GPU. mpi: "
     "through the host's memory, which works with any MPI and where ranks share a GPU. auto: nccl "
     "where it is built in and no GPU is shared. Everything else, and all of the cpu backend, goes "
     "over MPI."},
    {"comm.share_gpu", COC_SETTING_FLAG, COC_EFFECT_NONE, FIELD(comm, share_gpu), "false", 0, 0,
     NULL, "",
     "Let several ranks of a machine use one GPU, for trials: they take turns. false: more ranks "
     "than GPUs are refused."},
    {"comm.nccl_channels", COC_SETTING_INT, COC_EFFECT_NONE, FIELD(comm, nccl_channels), "0", 0, 64,
     NULL, "blocks",
     "The most blocks of a GPU that NCCL takes for a collective. They compute nothing meanwhile: a "
     "few are enough within a machine. 0: NCCL's own choice."},
    {"comm.nccl_memory", COC_SETTING_CHOICE, COC_EFFECT_NONE, FIELD(comm, nccl_memory), "plain", 0,
     0, nccl_memory_names, "",
     "What NCCL works on. plain: any memory. symmetric: gradients and embeddings lie in memory "
     "that "
     "all GPUs of a machine see at one place, for which NCCL has faster collectives that take "
     "fewer "
     "blocks. copy-engine: also all-gathers by the GPUs' copy engines, which take none. The last "
     "two need one machine whose GPUs reach each other's memory, one rank a GPU, and NCCL 2.28; "
     "they cannot be aborted, so a rank that is late ends the job at once. Not yet run on real "
     "hardware."},
    {"comm.deadline", COC_SETTING_NUMBER, COC_EFFECT_NONE, FIELD(comm, deadline), "120", 1, 1e6,
     NULL, "seconds",
     "How long a rank waits for the others in a collective before it names who is late and ends "
     "the job."},
};

_Static_assert(sizeof table / sizeof table[0] <= COC_MAX_SETTINGS, "raise COC_MAX_SETTINGS");

const char *coc_feature_name(coc_feature_kind kind)
{
    return feature_names[kind];
}

const char *coc_nccl_memory_name(coc_nccl_memory memory)
{
    return nccl_memory_names[memory];
}

const char *coc_precision_name(coc_precision precision)
{
    return precision_names[precision];
}

const char *coc_convolutions_name(coc_convolutions conv)
{
    return conv_names[conv];
}

const char *coc_loss_precision_name(coc_loss_precision precision)
{
    return loss_precision_names[precision];
}

coc_loss_precision coc_loss_precision_of(const coc_model_settings *model)
{
    if (model->loss_precision != COC_LOSS_AUTO) return model->loss_precision;
    return model->precision == COC_BF16 ? COC_LOSS_TF32 : COC_LOSS_FP32;
}

const coc_setting *coc_setting_table(int *count)
{
    *count = (int)(sizeof table / sizeof table[0]);
    return table;
}

const coc_setting_section *coc_setting_sections(int *count)
{
    *count = (int)(sizeof sections / sizeof sections[0]);
    return sections;
}

const coc_setting *coc_setting_find(const char *key, size_t length)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strlen(table[i].key) == length && memcmp(table[i].key, key, length) == 0)
            return &table[i];
    return NULL;
}

bool coc_setting_in_section(const coc_setting *setting, const char *section)
{
    const size_t n = strlen(section);

    return strncmp(setting->key, section, n) == 0 && setting->key[n] == '.';
}

const char *coc_setting_leaf(const coc_setting *setting)
{
    return strchr(setting->key, '.') + 1;
}

/* A key that lacks its section, or stands in the wrong one, is meant more likely than a key with
 * other letters. */
static int same_leaf(const char *key, const char **words)
{
    const char *dot = strrchr(key, '.');
    const char *leaf = dot != NULL ? dot + 1 : key;
    int found = 0;

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(coc_setting_leaf(&table[i]), leaf) == 0) words[found++] = table[i].key;
    return found;
}

coc_status coc_setting_unknown(const char *key, const char *where)
{
    enum { ROWS = sizeof table / sizeof table[0] };
    const char *words[ROWS], *nearest;
    int count = same_leaf(key, words);

    nearest = coc_nearest_word(key, words, count);
    if (nearest == NULL && count > 0) nearest = words[0];
    for (count = 0; count < ROWS; count++)
        words[count] = table[count].key;
    if (nearest == NULL) nearest = coc_nearest_word(key, words, ROWS);
    if (nearest == NULL)
        return COC_FAIL(COC_ERR_SETTING, "%sno setting is called '%.80s'; see cocola help settings",
                        where, key);
    return COC_FAIL(COC_ERR_SETTING, "%sno setting is called '%.80s'; did you mean %s?", where, key,
                    nearest);
}
