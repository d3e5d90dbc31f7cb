/* preprocess/shard_writer.c, store.c: what is written is read back, and damage is found. */
#include "preprocess/store.h"

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "preprocess/manifest.h"
#include "preprocess/shard_writer.h"
#include "tests/sounds.h"
#include "tests/test.h"

enum { LONG = 100003, SHORT = 41000 }; /* samples: over two blocks and a bit, one and a bit */

static char shard_path[COC_PATH_BYTES], manifest_path[COC_PATH_BYTES];
static const char *store_path;

/* ---- a small store --------------------------------------------------------------------------- */

static float wave[5][LONG]; /* stems of the two tracks, 2 + 3 */
static const int64_t lengths[5] = {LONG, SHORT, LONG, SHORT, SHORT};

static void make_waves(void)
{
    for (int s = 0; s < 5; s++)
        coc_test_random(wave[s], lengths[s], (uint32_t)s);
    for (int t = 0; t < LONG; t++) {
        wave[1][t] *= 0.01f;       /* exponent -6 */
        wave[2][t] *= 3.0f;        /* louder than full scale: exponent 2 */
        wave[3][t] = 0;            /* silence */
        wave[4][t] *= 1.0f / 4096; /* -72 dB: kept, but not audible */
    }
}

static coc_status add_stem(coc_shard_writer *w, int stem, const char *name)
{
    const coc_audio audio = {.samples = wave[stem],
                             .count = lengths[stem],
                             .source_rate = 16000,
                             .source_channels = 1,
                             .source_frames = lengths[stem]};
    const coc_stem_source source = {name, stem == 0 ? "Bass" : "", "x.wav", 1000 + stem, 7};

    return coc_shard_writer_add(w, &source, &audio);
}

static coc_status write_shard(const char *path, int64_t room)
{
    const coc_store_settings settings = coc_store_settings_of("folder");
    coc_shard_writer *w;

    COC_TRY(coc_shard_writer_create(path, &settings, room, &w));
    COC_TRY(coc_shard_writer_begin(w, COC_TEST, "test/a", 11));
    COC_TRY(add_stem(w, 0, "first"));
    COC_TRY(coc_shard_writer_skip(w, "a.wav: broken", 5));
    COC_TRY(coc_shard_writer_begin(w, COC_TEST, "test/b", 12));
    COC_TRY(add_stem(w, 0, "first"));
    COC_TRY(add_stem(w, 1, "second"));
    CHECK(coc_shard_writer_audible(w) == 2);
    COC_TRY(coc_shard_writer_keep(w));
    COC_TRY(coc_shard_writer_begin(w, COC_TRAIN, "train/c", 13));
    for (int s = 2; s < 5; s++)
        COC_TRY(add_stem(w, s, "third"));
    CHECK(coc_shard_writer_audible(w) == 1);
    COC_TRY(coc_shard_writer_keep(w));
    return coc_shard_writer_finish(&w);
}

static coc_status write_manifest(void)
{
    coc_manifest_shard row = {.tracks = 2, .stems = 5, .skipped = 1};
    const coc_manifest m = {.settings = coc_store_settings_of("folder"),
                            .shard = &row,
                            .shards = 1,
                            .tracks = {1, 0, 1},
                            .stems = 5,
                            .skipped = 1};

    coc_shard shard;

    COC_TRY(coc_shard_read(shard_path, &shard));
    row.bytes = shard.bytes;
    row.hash = shard.hash;
    coc_shard_free(&shard);
    coc_shard_name(0, row.file);
    return coc_manifest_write(store_path, &m);
}

/* A new store of that name; false and a failed check when it could not be made. */
static bool make_store(const char *name)
{
    store_path = coc_test_folder(name);
    snprintf(shard_path, sizeof shard_path, "%s/shard-00000.h5", store_path);
    snprintf(manifest_path, sizeof manifest_path, "%s/manifest.json", store_path);
    if (write_shard(shard_path, 2 * LONG + 3 * SHORT) == COC_OK && write_manifest() == COC_OK)
        return true;
    coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    return false;
}

static void check_refused(coc_status want, const char *file, const char *word)
{
    coc_store *store;
    const coc_status got = coc_store_open(store_path, &store);

    if (got != want || strstr(coc_error_text(), file) == NULL ||
        strstr(coc_error_text(), word) == NULL)
        coc_test_fail(__FILE__, __LINE__, "status %d, '%s'; wanted %d, '%s' and '%s'", got,
                      got != COC_OK ? coc_error_text() : "", want, file, word);
    CHECK(store == NULL);
    coc_store_close(&store);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Tracks come by split, stems in order, with all that was said of them. */
static void index_comes_back(void)
{
    coc_store *store;
    const coc_track *train, *test;

    REQUIRE(make_store("store_index"));
    REQUIRE_OK(coc_store_open(store_path, &store));
    REQUIRE(coc_store_tracks(store) == 2);
    train = coc_store_track(store, 0);
    test = coc_store_track(store, 1);
    CHECK(train->split == COC_TRAIN && strcmp(train->name, "train/c") == 0);
    CHECK(train->samples == LONG && train->stems == 3 && train->first_stem == 0);
    CHECK(test->split == COC_TEST && strcmp(test->name, "test/b") == 0);
    CHECK(test->samples == LONG && test->stems == 2 && test->first_stem == 3);
    CHECK(test->id != train->id);
    CHECK(strcmp(coc_store_stem(store, 3)->name, "first") == 0);
    CHECK(strcmp(coc_store_stem(store, 3)->instrument, "Bass") == 0);
    CHECK(strcmp(coc_store_stem(store, 4)->source, "x.wav") == 0);
    CHECK(coc_store_stem(store, 4)->samples == SHORT && coc_store_stem(store, 4)->track == 1);
    CHECK(coc_store_stem(store, 4)->levels == 26); /* ceil(41000 / 1600) */
    coc_store_close(&store);
}

/* Peaks lie in (0.5, 1] of full scale after the exponent; silence has exponent 0. */
static void exponents_fit_the_peaks(void)
{
    static const int32_t want[5] = {2, 0, -12, 0, -6}; /* in the order of the store */
    coc_store *store;

    REQUIRE(make_store("store_exponents"));
    REQUIRE_OK(coc_store_open(store_path, &store));
    for (int s = 0; s < 5; s++)
        CHECK(coc_store_stem(store, s)->exponent == want[s]);
    coc_store_close(&store);
}

/* Samples differ from the waveform by half a step of the scaled 16 bits at most, over block borders
 * as inside, and are zeros behind the end. */
static void samples_come_back(void)
{
    static const struct {
        int64_t first, count;
    } pieces[] = {{0, LONG},       {39990, 20}, {80001, 20002},
                  {100000, 80000}, {LONG, 10},  {LONG + 5, 3}};
    static int16_t pcm[LONG];
    coc_store *store;

    REQUIRE(make_store("store_samples"));
    REQUIRE_OK(coc_store_open(store_path, &store));
    for (int i = 0; i < 6; i++) {
        double worst = 0;

        memset(pcm, 0x55, sizeof pcm);
        REQUIRE_OK(coc_store_read(store, 0, pieces[i].first, pieces[i].count, pcm));
        for (int64_t t = 0; t < pieces[i].count; t++) {
            const int64_t at = pieces[i].first + t;
            const double want = at < LONG ? (double)wave[2][at] : 0;

            worst = fmax(worst, fabs(ldexp(pcm[t], 2 - 15) - want));
        }
        CHECK(worst <= ldexp(0.5, 2 - 15));
    }
    coc_store_close(&store);
}

/* Full scale in both directions, and a peak that is a power of two. */
static void full_scale_is_kept(void)
{
    const coc_store_settings settings = coc_store_settings_of("folder");
    float samples[4] = {1.0f, -1.0f, 0.5f, 0};
    const coc_audio audio = {.samples = samples, .count = 4};
    const coc_stem_source source = {"a", "", "a.wav", 1, 1};
    coc_shard_writer *w;
    coc_shard shard;
    int16_t pcm[4];
    FILE *file;

    store_path = coc_test_folder("store_full_scale");
    snprintf(shard_path, sizeof shard_path, "%s/shard-00000.h5", store_path);
    REQUIRE_OK(coc_shard_writer_create(shard_path, &settings, 4, &w));
    REQUIRE_OK(coc_shard_writer_begin(w, COC_TRAIN, "train/a", 1));
    REQUIRE_OK(coc_shard_writer_add(w, &source, &audio));
    REQUIRE_OK(coc_shard_writer_keep(w));
    REQUIRE_OK(coc_shard_writer_finish(&w));
    REQUIRE_OK(coc_shard_read(shard_path, &shard));
    CHECK(shard.index.stem[0].exponent == 0);
    file = fopen(shard_path, "rb"); /* at the offset that the index gives, without HDF5 */
    REQUIRE(file != NULL);
    fseek(file, (long)shard.index.stem[0].file_offset, SEEK_SET);
    REQUIRE(fread(pcm, 2, 4, file) == 4);
    fclose(file);
    CHECK(pcm[0] == 32767 && pcm[1] == -32768 && pcm[2] == 16384 && pcm[3] == 0);
    coc_shard_free(&shard);
}

/* The stored 100 ms values are the waveform's; a window takes partly covered ones by their share,
 * and nothing behind the end. */
static void mean_squares_are_the_waveforms(void)
{
    coc_store *store;
    double sum = 0;

    REQUIRE(make_store("store_levels"));
    REQUIRE_OK(coc_store_open(store_path, &store));
    for (int t = 1600; t < 3200; t++)
        sum += (double)wave[2][t] * (double)wave[2][t];
    /* rounding to 16 bits changes a sum of 1600 squares by about 1e-6 of it */
    CHECK_NEAR(coc_store_stem(store, 0)->mean_square[1], sum / 1600, 1e-5 * sum / 1600);
    CHECK_NEAR(coc_store_mean_square(store, 0, 1600, 1600), sum / 1600, 1e-5 * sum / 1600);
    CHECK_NEAR(coc_store_mean_square(store, 0, 1200, 800),
               0.5 * ((double)coc_store_stem(store, 0)->mean_square[0] +
                      (double)coc_store_stem(store, 0)->mean_square[1]),
               1e-7);
    CHECK_NEAR(coc_store_mean_square(store, 4, 40000, 80000),
               (double)coc_store_stem(store, 4)->mean_square[25] * 1000 / 80000, 1e-12);
    CHECK(coc_store_mean_square(store, 4, SHORT, 80000) == 0);
    CHECK(coc_store_mean_square(store, 1, 0, 80000) == 0);
    coc_store_close(&store);
}

/* Room for tracks that were skipped is given back: the same bytes come out as without it. */
static void skipped_tracks_leave_nothing(void)
{
    char other[COC_PATH_BYTES], *a = NULL, *b = NULL;
    size_t na, nb;

    REQUIRE(make_store("store_room"));
    snprintf(other, sizeof other, "%s/other.h5", store_path);
    REQUIRE_OK(write_shard(shard_path, 2 * LONG + 3 * SHORT));
    REQUIRE_OK(write_shard(other, 10 * LONG));
    REQUIRE_OK(coc_file_read(shard_path, 1 << 28, &a, &na));
    REQUIRE_OK(coc_file_read(other, 1 << 28, &b, &nb));
    CHECK(na == nb && memcmp(a, b, na) == 0);
    free(a);
    free(b);
}

/* A track's number is a function of its audio: not of its name, its place or its neighbours. */
static void track_numbers_follow_the_audio(void)
{
    coc_shard_stem stems[2] = {{.samples = 50000, .exponent = 1}, {.samples = 10}};
    uint64_t blocks[3] = {1, 2, 3}, id, again;

    REQUIRE_OK(coc_shard_track_id(stems, 2, blocks, &id));
    stems[0].first_sample = 99;
    stems[1].source_bytes = 5;
    REQUIRE_OK(coc_shard_track_id(stems, 2, blocks, &again));
    CHECK(id == again);
    blocks[2] = 4;
    REQUIRE_OK(coc_shard_track_id(stems, 2, blocks, &again));
    CHECK(id != again);
    blocks[2] = 3;
    stems[0].exponent = 2;
    REQUIRE_OK(coc_shard_track_id(stems, 2, blocks, &again));
    CHECK(id != again);
}

/* A flipped bit of audio is found when its block is read, not before, and by verifying; the line
 * names shard, track and stem. */
static void flipped_audio_is_found(void)
{
    static int16_t pcm[COC_STORE_BLOCK];
    coc_shard shard;
    coc_store *store;

    REQUIRE(make_store("store_flip"));
    REQUIRE_OK(coc_store_open(store_path, &store));
    REQUIRE_OK(coc_store_verify(store));
    coc_store_close(&store);
    REQUIRE_OK(coc_shard_read(shard_path, &shard));
    coc_test_flip(shard_path, shard.index.stem[0].file_offset + 2 * 80000, 0x01);
    coc_shard_free(&shard);
    REQUIRE_OK(coc_store_open(store_path, &store));
    CHECK(coc_store_read(store, 3, 0, 40000, pcm) == COC_OK);
    CHECK(coc_store_read(store, 3, 79999, 2, pcm) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "shard-00000.h5") != NULL);
    CHECK(strstr(coc_error_text(), "track test/b, stem first") != NULL);
    CHECK(coc_store_verify(store) == COC_ERR_INPUT);
    coc_store_close(&store);
}

/* A flipped bit anywhere in the file either is refused when the store is opened, or is found by
 * verifying, or changes nothing that is read. 300 places, every column and the audio among them. */
static void flips_anywhere_are_found(void)
{
    int64_t bytes;
    int found = 0;

    REQUIRE(make_store("store_flips"));
    bytes = coc_file_bytes(shard_path);
    for (int i = 0; i < 300; i++) {
        /* half of them in the index, which is small and at both ends of the file */
        const int64_t at = i % 4 == 0 ? i * 12 : i % 4 == 1 ? bytes - 1 - i * 12 : i * bytes / 300;
        coc_store *store;
        bool good;

        coc_test_flip(shard_path, at, (uint8_t)(1 << i % 8));
        good = coc_store_open(store_path, &store) == COC_OK;
        good = good && coc_store_verify(store) == COC_OK;
        if (good) CHECK(strcmp(coc_store_track(store, 1)->name, "test/b") == 0);
        found += !good;
        coc_store_close(&store);
        coc_test_flip(shard_path, at, (uint8_t)(1 << i % 8));
    }
    CHECK(found > 150); /* the audio's half at least */
}

/* Every store that is not whole is refused by name. */
static void stores_that_are_not_whole_are_refused(void)
{
    REQUIRE(make_store("store_cut"));
    coc_test_cut(shard_path, coc_file_bytes(shard_path) - 1);
    check_refused(COC_ERR_INPUT, "shard-00000.h5", "cut");

    REQUIRE(make_store("store_missing"));
    unlink(shard_path);
    check_refused(COC_ERR_INPUT, "shard-00000.h5", "missing");

    REQUIRE(make_store("store_unfinished"));
    unlink(manifest_path);
    check_refused(COC_ERR_INPUT, "store_unfinished", "no manifest.json");

    store_path = "no_such_store";
    check_refused(COC_ERR_IO, "no_such_store", "no such store");
}

/* Replace a text in a file by one of the same length. */
static void edit(const char *path, const char *from, const char *to)
{
    char *text, *at;
    size_t n;

    REQUIRE_OK(coc_file_read(path, 1 << 28, &text, &n));
    at = strstr(text, from);
    if (at != NULL) memcpy(at, to, strlen(to));
    CHECK(at != NULL && coc_file_write(path, text, n) == COC_OK);
    free(text);
}

/* A manifest of another schema, with other settings or broken is refused by name. */
static void other_manifests_are_refused(void)
{
    REQUIRE(make_store("store_schema"));
    edit(manifest_path, "\"schema\": 1", "\"schema\": 2");
    check_refused(COC_ERR_INPUT, "manifest.json", "schema is 2");

    REQUIRE(make_store("store_settings"));
    edit(manifest_path, "\"layout\": \"folder\"", "\"layout\": \"slakhs\"");
    check_refused(COC_ERR_INPUT, "shard-00000.h5", "other settings");

    REQUIRE(make_store("store_manifest"));
    edit(manifest_path, "\"shards\"", "\"shrads\"");
    check_refused(COC_ERR_INPUT, "manifest.json", "shards");

    REQUIRE(make_store("store_json"));
    edit(manifest_path, "{", "[");
    check_refused(COC_ERR_INPUT, "manifest.json:", "damaged");

    REQUIRE(make_store("store_path"));
    edit(manifest_path, "shard-00000.h5", "../secret-0.h5");
    check_refused(COC_ERR_INPUT, "manifest.json", "a row of shards");

    REQUIRE(make_store("store_hash"));
    edit(manifest_path, "\"bytes\"", "\"byteZ\"");
    check_refused(COC_ERR_INPUT, "manifest.json", "a row of shards");
}

/* Change an attribute of the shard, and let the manifest name the new size. */
static void set_attribute(const char *name, uint64_t value)
{
    const hid_t file = H5Fopen(shard_path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t attribute = file >= 0 ? H5Aopen(file, name, H5P_DEFAULT) : -1;

    CHECK(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_UINT64, &value) >= 0);
    if (attribute >= 0) H5Aclose(attribute);
    if (file >= 0) H5Fclose(file);
}

/* A shard of another schema or with other blocks is refused by name. */
static void other_shards_are_refused(void)
{
    REQUIRE(make_store("store_shard_schema"));
    set_attribute("schema", 9);
    check_refused(COC_ERR_INPUT, "shard-00000.h5", "schema is 9");

    REQUIRE(make_store("store_shard_blocks"));
    set_attribute("block_samples", 20000);
    check_refused(COC_ERR_INPUT, "shard-00000.h5", "block_samples");

    REQUIRE(make_store("store_shard_hash"));
    set_attribute("content_hash", 1);
    check_refused(COC_ERR_INPUT, "shard-00000.h5", "hash");
}

/* Replace /tracks/id by one of another shape. */
static void replace_ids(hid_t type, int rank, const hsize_t *dims, bool chunked)
{
    const hid_t file = H5Fopen(shard_path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t space = H5Screate_simple(rank, dims, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dataset;

    if (chunked) H5Pset_chunk(create, rank, (const hsize_t[]){1, 1});
    H5Ldelete(file, "tracks/id", H5P_DEFAULT);
    dataset = H5Dcreate2(file, "tracks/id", type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    CHECK(dataset >= 0);
    H5Dclose(dataset);
    H5Pclose(create);
    H5Sclose(space);
    H5Fclose(file);
}

/* Sizes and types of a foreign file are checked before memory is taken for them: a table of 2^40
 * rows in a small file is refused at once. */
static void forged_tables_are_refused(void)
{
    static const hsize_t two[] = {2, 2}, many[] = {(hsize_t)1 << 40, 1};
    coc_shard shard;

    for (int i = 0; i < 4; i++) {
        REQUIRE(make_store("store_forged"));
        if (i == 0) replace_ids(H5T_STD_U64LE, 1, many, false);
        if (i == 1) replace_ids(H5T_STD_U64LE, 2, two, false);
        if (i == 2) replace_ids(H5T_IEEE_F64LE, 1, two, false);
        if (i == 3) replace_ids(H5T_STD_U64LE, 1, many, true);
        CHECK(coc_shard_read(shard_path, &shard) == COC_ERR_INPUT);
        CHECK(strstr(coc_error_text(), "tracks/id") != NULL);
    }
    REQUIRE_OK(coc_file_write(shard_path, "no HDF5", 7));
    CHECK(coc_shard_read(shard_path, &shard) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "no HDF5 file") != NULL);
}

/* A shard that the system will not open just now is not called damaged: it stays where it is. */
static void refusals_of_the_system_are_no_damage(void)
{
    struct rlimit limit, none;
    coc_shard shard;
    coc_status status;

    REQUIRE(make_store("store_refusal"));
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = limit;
    none.rlim_cur = 0; /* no further file */
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    status = coc_shard_read(shard_path, &shard);
    setrlimit(RLIMIT_NOFILE, &limit);
    CHECK(status == COC_ERR_IO);
    CHECK(strstr(coc_error_text(), "Too many open files") != NULL);
    CHECK(strstr(coc_error_text(), shard_path) != NULL);
    REQUIRE_OK(coc_shard_read(shard_path, &shard));
    coc_shard_free(&shard);
}

/* A discarded writer, and one without room, leave no file; a failed track can be skipped. */
static void unfinished_shards_leave_nothing(void)
{
    const coc_store_settings settings = coc_store_settings_of("folder");
    coc_shard_writer *w;
    coc_names names;

    store_path = coc_test_folder("store_discard");
    snprintf(shard_path, sizeof shard_path, "%s/shard-00000.h5", store_path);
    REQUIRE_OK(coc_shard_writer_create(shard_path, &settings, LONG - 1, &w));
    REQUIRE_OK(coc_shard_writer_begin(w, COC_TRAIN, "a", 1));
    CHECK(add_stem(w, 0, "too long") == COC_ERR_INPUT);
    CHECK(!coc_file_exists(shard_path));
    coc_shard_writer_discard(&w);
    CHECK(w == NULL);
    REQUIRE_OK(coc_list_folder(store_path, &names));
    CHECK(names.count == 0);
    coc_names_free(&names);
    CHECK(coc_shard_writer_create("no/such/folder/shard-00000.h5", &settings, 1, &w) == COC_ERR_IO);
    CHECK(w == NULL);
}

/* Several folders are read as one store: all tracks, folder by folder, each with its own audio and
 * its folder; the hash follows their order. The same store twice is refused. */
static void folders_are_read_together(void)
{
    static int16_t one[SHORT], both[SHORT];
    coc_store *first, *second, *store;

    REQUIRE(make_store("store_first"));
    for (int i = 0; i < SHORT; i++)
        wave[0][i] = -wave[0][i];
    REQUIRE(make_store("store_second"));
    REQUIRE_OK(coc_store_open("scratch_store_first", &first));
    REQUIRE_OK(coc_store_open("scratch_store_second", &second));
    REQUIRE_OK(coc_store_open("[scratch_store_second, scratch_store_first]", &store));
    REQUIRE(coc_store_sources(store) == 2 && coc_store_tracks(store) == 4);
    CHECK(strcmp(coc_store_source(store, 1), "scratch_store_first") == 0);
    CHECK(coc_store_source_hash(store, 1) == coc_store_hash(first));
    for (int64_t t = 0; t < 4; t++) {
        const coc_store *from = t < 2 ? second : first;
        const coc_track *a = coc_store_track(store, t), *b = coc_store_track(from, t % 2);

        CHECK(a->source == t / 2 && a->id == b->id && a->stems == b->stems);
        CHECK(a->first_stem == b->first_stem + t / 2 * 5);
        for (int32_t i = 0; i < a->stems; i++) {
            REQUIRE_OK(coc_store_read((coc_store *)from, b->first_stem + i, 0, SHORT, one));
            REQUIRE_OK(coc_store_read(store, a->first_stem + i, 0, SHORT, both));
            CHECK(memcmp(one, both, sizeof one) == 0);
        }
    }
    CHECK(coc_store_track(store, 1)->id != coc_store_track(store, 3)->id);
    CHECK(coc_store_hash(store) != coc_store_hash(first));
    coc_store_close(&store);
    CHECK(coc_store_open("[scratch_store_first, scratch_store_first]", &store) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "the same store as") != NULL);
    CHECK(coc_store_open("[scratch_store_first, scratch_none]", &store) == COC_ERR_IO);
    CHECK(strstr(coc_error_text(), "scratch_none") != NULL);
    coc_store_close(&second);
    coc_store_close(&first);
    make_waves();
}

int main(void)
{
    make_waves();
    RUN(index_comes_back);
    RUN(exponents_fit_the_peaks);
    RUN(samples_come_back);
    RUN(full_scale_is_kept);
    RUN(mean_squares_are_the_waveforms);
    RUN(skipped_tracks_leave_nothing);
    RUN(track_numbers_follow_the_audio);
    RUN(flipped_audio_is_found);
    RUN(flips_anywhere_are_found);
    RUN(stores_that_are_not_whole_are_refused);
    RUN(other_manifests_are_refused);
    RUN(other_shards_are_refused);
    RUN(forged_tables_are_refused);
    RUN(refusals_of_the_system_are_no_damage);
    RUN(unfinished_shards_leave_nothing);
    RUN(folders_are_read_together);
    return coc_test_result();
}
