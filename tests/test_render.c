/* Songs to stems, on the songs of tests/make_midi_songs.py. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <sndfile.h>

#include "base/memory.h"
#include "preprocess/render_song.h"
#include "tests/test.h"

enum { RATE = 16000 };

static const coc_render_settings settings = {.soundfont = "scratch_render_songs/tiny.sf2",
                                             .out = "scratch_render_out",
                                             .max_seconds = 90,
                                             .rate = RATE,
                                             .jobs = 2};
static const char *const songs_folder = "scratch_render_songs/songs";

static bool make_songs(void)
{
    const char *source = getenv("COCOLA_SOURCE");
    char *command = coc_format("python3 '%s/tests/make_midi_songs.py' %s",
                               source != NULL ? source : "..", coc_test_folder("render_songs"));
    const bool made = command != NULL && system(command) == 0;

    free(command);
    return made;
}

static char *read_song(const char *name, int64_t *count)
{
    char path[COC_PATH_BYTES], *bytes = NULL;
    size_t size = 0;

    *count = 0;
    if (coc_path_join(path, songs_folder, name) != COC_OK ||
        coc_file_read(path, 1 << 20, &bytes, &size) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s cannot be read", name);
    *count = (int64_t)size;
    return bytes;
}

/* ---- finding songs --------------------------------------------------------------------------- */

/* Each song is found once, under the name of its first copy; hidden files and links to folders are
 * passed over; files that only look like songs are counted as broken. */
static void songs_are_found_once(void)
{
    coc_songs songs;
    int modules = 0, lumps = 0, hidden = 0;

    REQUIRE_OK(coc_songs_collect(&songs_folder, 1, &songs));
    /* plain, running, 8 more, one lump, chip, short, thin, cut */
    CHECK(songs.count == 15);
    CHECK(songs.duplicates == 2); /* copy.mid and the second lump */
    CHECK(songs.broken == 2);     /* empty.mid and text.xm */
    for (int64_t i = 0; i < songs.count; i++) {
        const coc_song *song = &songs.song[i];

        modules += song->kind == COC_SONG_MODULE;
        lumps += strcmp(song->name, "doom.wad:D_E1M1") == 0;
        hidden += strstr(song->name, "hidden") != NULL || strstr(song->name, "round") != NULL;
        CHECK(song->split == coc_song_split(song->hash));
        CHECK(i == 0 || songs.song[i - 1].hash < song->hash);
    }
    CHECK(modules == 1 && lumps == 1 && hidden == 0);
    coc_songs_free(&songs);
}

/* A path that does not exist is refused by name. */
static void a_missing_path_is_named(void)
{
    const char *const paths[] = {songs_folder, "no/such/place"};
    coc_songs songs;

    CHECK(coc_songs_collect(paths, 2, &songs) == COC_ERR_IO);
    CHECK(strstr(coc_error_text(), "no/such/place") != NULL);
    coc_songs_free(&songs);
}

/* A WAD that is cut anywhere gives a count of broken files or fewer songs, never a failure and
 * (under the sanitizer) never a read beyond its bytes. */
static void cut_wads_are_survived(void)
{
    int64_t count;
    char *bytes = read_song("doom.wad", &count), path[COC_PATH_BYTES];
    const char *const folder = coc_test_folder("render_cut"), *const paths[] = {path};

    REQUIRE(bytes != NULL && coc_path_join(path, folder, "cut.wad") == COC_OK);
    for (int64_t cut = 0; cut < count; cut += cut < 20 || cut > count - 60 ? 1 : 97) {
        FILE *file = fopen(path, "wb");
        coc_songs songs;

        REQUIRE(file != NULL && fwrite(bytes, 1, (size_t)cut, file) == (size_t)cut);
        fclose(file);
        REQUIRE_OK(coc_songs_collect(paths, 1, &songs));
        CHECK(songs.count == 0 && songs.broken == 1); /* the directory is at the end */
        coc_songs_free(&songs);
    }
    free(bytes);
}

/* Directory entries that point beyond the file, also past 2^31, are broken songs. */
static void wild_lumps_are_broken_songs(void)
{
    static const unsigned char bad[][8] = {{12, 0, 0, 0, 255, 255, 255, 127},
                                           {255, 255, 255, 255, 8, 0, 0, 0},
                                           {0, 0, 1, 0, 4, 0, 0, 0}};
    char path[COC_PATH_BYTES];
    const char *const folder = coc_test_folder("render_wild"), *const paths[] = {path};

    REQUIRE_OK(coc_path_join(path, folder, "wild.wad"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        unsigned char wad[12 + 16] = "PWAD\1\0\0\0\14\0\0\0";
        FILE *file = fopen(path, "wb");
        coc_songs songs;

        memcpy(wad + 12, bad[i], 8);
        memcpy(wad + 20, "D_E1M1\0", 8);
        REQUIRE(file != NULL && fwrite(wad, 1, sizeof wad, file) == sizeof wad);
        fclose(file);
        REQUIRE_OK(coc_songs_collect(paths, 1, &songs));
        CHECK(songs.count == 0 && songs.broken == 1);
        coc_songs_free(&songs);
    }
}

/* ---- splits and numbers ---------------------------------------------------------------------- */

/* The split is a function of the hash alone, 80/10/10: 100,000 hashes fall within 4 standard
 * deviations (95) of the expected 10,000. */
static void the_hash_decides_the_split(void)
{
    int64_t count[COC_SPLITS] = {0};

    for (uint32_t i = 0; i < 100000; i++)
        count[coc_song_split(coc_hash(&i, sizeof i))]++;
    CHECK_NEAR(count[COC_TEST], 10000, 380);
    CHECK_NEAR(count[COC_VALIDATION], 10000, 380);
    CHECK(coc_song_split(30) == COC_TEST && coc_song_split(31) == COC_VALIDATION &&
          coc_song_split(32) == COC_TRAIN && coc_song_split(39) == COC_TRAIN);
}

/* Songs of these hashes, in this order, numbered beside the tracks of a data set. */
static void number(const coc_dataset *dataset, const uint64_t *hash, int count, int32_t *numbers)
{
    coc_song song[8] = {{0}};
    coc_songs songs = {.song = song, .count = count};

    for (int i = 0; i < count; i++)
        song[i] = (coc_song){.hash = hash[i], .split = coc_song_split(hash[i]), .number = -1};
    REQUIRE_OK(coc_dataset_number(dataset, &songs));
    for (int i = 0; i < count; i++)
        numbers[i] = song[i].number;
}

/* Songs that want the same number get the next ones in the order of their hashes; whatever part of
 * them has tracks already, the rest gets the same numbers again, and a track keeps its own when a
 * song with a smaller hash comes. */
static void tracks_keep_their_numbers(void)
{
    /* numbers 7, 7, 8, 7 wanted, split train */
    static const uint64_t hash[4] = {72, 1000072, 1000082, 2000072};
    int32_t all[4], again[4];
    const coc_dataset empty = {0};

    number(&empty, hash, 4, all);
    CHECK(all[0] == 7 && all[1] == 8 && all[2] == 9 && all[3] == 10);
    for (int part = 1; part < 15; part++) {
        coc_numbered there[4];
        coc_dataset dataset = {.numbered = there};

        for (int i = 0; i < 4; i++)
            if ((part >> i & 1) != 0)
                there[dataset.tracks++] = (coc_numbered){hash[i], COC_TRAIN, all[i]};
        number(&dataset, hash, 4, again);
        CHECK(memcmp(again, all, sizeof all) == 0);
    }
    {
        coc_numbered there[1] = {{hash[1], COC_TRAIN, 7}};
        const coc_dataset dataset = {.numbered = there, .tracks = 1};

        number(&dataset, hash, 2, again);
        CHECK(again[0] == 8 && again[1] == 7);
    }
}

/* ---- which stems stay ------------------------------------------------------------------------ */

static void add_stem(coc_stems *stems, int64_t from, int64_t to, float level)
{
    coc_rendered_stem *stem = &stems->stem[stems->count++];

    REQUIRE_OK(coc_alloc(stems->samples, sizeof(float), &stem->samples));
    for (int64_t i = from * RATE; i < to * RATE; i++)
        stem->samples[i] = i % 2 == 0 ? level : -level;
}

/* A stem needs 10 active seconds and 15 % of them, at the level that the song is written with; a
 * song needs three stems and 15 s. */
static void quiet_and_rare_stems_go(void)
{
    coc_stems stems = {.samples = 80 * RATE};
    char why[128] = "";

    add_stem(&stems, 0, 80, 0.01f);
    add_stem(&stems, 0, 12, 0.01f);    /* 12 s are 15 % of 80 s */
    add_stem(&stems, 10, 21, 0.01f);   /* 11 s are 13 % */
    add_stem(&stems, 0, 80, 0.00005f); /* with the gain of 30 at -57 dBFS: audible */
    add_stem(&stems, 0, 80, 0.00001f); /* at -71 dBFS: not */
    CHECK(coc_stems_keep(&stems, RATE, why) && stems.count == 3);
    CHECK(stems.stem[1].samples[12 * RATE - 1] != 0 && stems.stem[1].samples[12 * RATE] == 0);
    coc_stems_free(&stems);

    stems.samples = 60 * RATE;
    add_stem(&stems, 0, 60, 0.1f);
    add_stem(&stems, 0, 10, 0.1f);
    add_stem(&stems, 0, 9, 0.1f); /* 15 % of 60 s, but not 10 s */
    CHECK(!coc_stems_keep(&stems, RATE, why) && strstr(why, "2; 3") != NULL);
    coc_stems_free(&stems);

    stems.samples = 15 * RATE - 1;
    for (int s = 0; s < 3; s++)
        add_stem(&stems, 0, 14, 0.1f);
    CHECK(!coc_stems_keep(&stems, RATE, why) && strstr(why, "long") != NULL);
    coc_stems_free(&stems);
}

/* The gain brings the larger of the sum's and the stems' peaks to -1 dBFS; silence has none. */
static void the_gain_fits_stems_and_sum(void)
{
    coc_stems stems = {.samples = RATE};

    add_stem(&stems, 0, 1, 0.5f);
    add_stem(&stems, 0, 1, 0.25f);
    CHECK_NEAR(coc_stems_gain(&stems), 0.89125 / 0.75, 1e-4);
    for (int i = 0; i < RATE; i++)
        stems.stem[1].samples[i] *= -1; /* they cancel: the stem is the larger one */
    CHECK_NEAR(coc_stems_gain(&stems), 0.89125 / 0.5, 1e-4);
    memset(stems.stem[0].samples, 0, RATE * sizeof(float));
    memset(stems.stem[1].samples, 0, RATE * sizeof(float));
    CHECK(coc_stems_gain(&stems) == 0);
    coc_stems_free(&stems);
}

/* ---- the synthesisers ------------------------------------------------------------------------ */

/* Power of (sum of stems - mix) over that of the mix, in dB. */
static double residual(const coc_stems *stems, const coc_stems *mix)
{
    double difference = 0, power = 0;

    if (stems->samples != mix->samples || mix->count != 1) return INFINITY;
    for (int64_t i = 0; i < mix->samples; i++) {
        const double x = (double)mix->stem[0].samples[i];
        double sum = 0;

        for (int s = 0; s < stems->count; s++)
            sum += (double)stems->stem[s].samples[i];
        difference += (sum - x) * (sum - x);
        power += x * x;
    }
    return 10 * log10(difference / power + 1e-30);
}

/* The sum of a MIDI song's stems is the synthesiser's full mix: float rounding is at -140 dB, while
 * rendering parts one by one would be off by -40 to -50 dB. */
static void midi_stems_add_up_to_the_mix(void)
{
    int64_t count;
    char *bytes = read_song("plain.mid", &count);
    coc_stems stems, mix;

    REQUIRE_OK(coc_render_midi(&settings, bytes, count, 16, &stems));
    REQUIRE_OK(coc_render_midi(&settings, bytes, count, 1, &mix));
    CHECK(stems.count == 4);
    CHECK(stems.samples >= 19 * RATE && stems.samples <= 23 * RATE);
    CHECK(residual(&stems, &mix) < -100);
    CHECK(strcmp(stems.stem[1].name, "Electric Bass (finger)") == 0 &&
          strcmp(stems.stem[1].instrument, "Bass") == 0 && stems.stem[1].program == 33);
    CHECK(stems.stem[3].drums && stems.stem[3].program == 128 &&
          strcmp(stems.stem[3].instrument, "Drums") == 0);
    coc_stems_free(&stems);
    coc_stems_free(&mix);
    free(bytes);
}

/* Format 0 with running status and a bad key signature sounds like the same notes in format 1. */
static void how_a_song_is_written_does_not_matter(void)
{
    int64_t count, other_count;
    char *bytes = read_song("plain.mid", &count), *other = read_song("running.mid", &other_count);
    coc_stems a, b;

    REQUIRE_OK(coc_render_midi(&settings, bytes, count, 16, &a));
    REQUIRE_OK(coc_render_midi(&settings, other, other_count, 16, &b));
    CHECK(a.count == 4 && b.count == 4 && a.samples == b.samples);
    for (int s = 0; s < 4 && a.samples == b.samples; s++)
        CHECK(coc_test_relative_error(b.stem[s].samples, a.stem[s].samples, a.samples) < 1e-6);
    coc_stems_free(&a);
    coc_stems_free(&b);
    free(bytes);
    free(other);
}

/* The sum of a module's instruments is its full mix (libopenmpt rounds to about -110 dB). */
static void module_stems_add_up_to_the_mix(void)
{
    int64_t count;
    char *bytes = read_song("chip.mod", &count);
    coc_stems stems, mix;

    REQUIRE_OK(coc_render_module(&settings, bytes, count, false, &stems));
    REQUIRE_OK(coc_render_module(&settings, bytes, count, true, &mix));
    CHECK(stems.count == 4);
    CHECK_NEAR(stems.samples, 3 * 7.68 * RATE, 0.1 * RATE);
    CHECK(residual(&stems, &mix) < -100);
    CHECK(strcmp(stems.stem[2].name, "sound 2") == 0 && stems.stem[2].program == 2);
    coc_stems_free(&stems);
    coc_stems_free(&mix);
    free(bytes);
}

/* Songs that are cut anywhere are rendered as far as they go or are broken songs. */
static void cut_songs_are_survived(void)
{
    static const char *const names[] = {"plain.mid", "chip.mod"};
    coc_render_settings brief = settings;

    brief.max_seconds = 0.5;
    for (int n = 0; n < 2; n++) {
        int64_t count;
        char *bytes = read_song(names[n], &count);

        for (int64_t cut = 4; cut < count; cut += count / 40 + 1) {
            coc_stems stems;
            const coc_status status = n == 0 ? coc_render_midi(&brief, bytes, cut, 16, &stems)
                                             : coc_render_module(&brief, bytes, cut, false, &stems);

            CHECK(status == COC_OK || status == COC_ERR_INPUT);
            CHECK(status == COC_OK || coc_error_text()[0] != '\0');
            coc_stems_free(&stems);
        }
        free(bytes);
    }
}

/* ---- a whole data set ------------------------------------------------------------------------ */

/* One track: equal lengths, 16 kHz mono, and the larger of sum and stems at -1 dBFS (16-bit steps
 * of each stem: 1e-4). Returns the number of stems. */
static int check_track(const char *track)
{
    float *sum = NULL, peak = 0;
    int64_t samples = 0;
    int stems = 0;

    for (;; stems++) {
        char *path = coc_format("%s/stems/S%02d.flac", track, stems);
        SF_INFO info = {0};
        SNDFILE *file = sf_open(path, SFM_READ, &info);
        float *x = NULL;

        free(path);
        if (file == NULL) break;
        if (stems == 0) samples = info.frames;
        CHECK(info.frames == samples && info.samplerate == RATE && info.channels == 1 &&
              info.format == (SF_FORMAT_FLAC | SF_FORMAT_PCM_16));
        if (sum == NULL) CHECK(coc_alloc(samples, sizeof *sum, &sum) == COC_OK);
        CHECK(coc_alloc(samples, sizeof *x, &x) == COC_OK);
        CHECK(sf_read_float(file, x, samples) == samples);
        for (int64_t i = 0; i < samples; i++) {
            sum[i] += x[i];
            peak = fmaxf(peak, fabsf(x[i]));
        }
        free(x);
        sf_close(file);
    }
    for (int64_t i = 0; i < samples; i++)
        peak = fmaxf(peak, fabsf(sum[i]));
    free(sum);
    CHECK_NEAR(peak, 0.89125, 2e-4);
    return stems;
}

/* The whole data set: counts, one track a song, sound of equal length that does not clip; a second
 * run finds all of it done. */
static void a_data_set_is_whole(void)
{
    coc_render_report report, again;
    coc_dataset dataset;
    int64_t stems = 0;

    coc_test_folder("render_out");
    REQUIRE_OK(coc_render(&settings, &songs_folder, 1, &report));
    CHECK(report.songs == 15 && report.duplicates == 2 && report.before == 0);
    CHECK(report.broken == 3 && report.left_out == 2);
    CHECK(report.tracks[0] + report.tracks[1] + report.tracks[2] == 12 && report.stems == 48);

    REQUIRE_OK(coc_dataset_open(&settings, &dataset));
    CHECK(dataset.tracks == 12 && dataset.skips == 3);
    for (int64_t i = 0; i < dataset.tracks; i++) {
        const coc_numbered *n = &dataset.numbered[i];
        char path[COC_PATH_BYTES];

        CHECK(n->split == coc_song_split(n->song));
        REQUIRE_OK(coc_track_path(settings.out, &(coc_song){.split = n->split, .number = n->number},
                                  path));
        stems += check_track(path);
    }
    CHECK(stems == 48);
    coc_dataset_close(&dataset);

    REQUIRE_OK(coc_render(&settings, &songs_folder, 1, &again));
    CHECK(again.before == 15 && again.stems == 0 && again.broken == 3 && again.left_out == 2);
    CHECK(memcmp(again.tracks, report.tracks, sizeof report.tracks) == 0);
}

int main(void)
{
    if (!make_songs()) {
        fprintf(stderr, "python3 cannot make the songs: skipped\n");
        return COC_TEST_SKIPPED;
    }
    RUN(songs_are_found_once);
    RUN(a_missing_path_is_named);
    RUN(cut_wads_are_survived);
    RUN(wild_lumps_are_broken_songs);
    RUN(the_hash_decides_the_split);
    RUN(tracks_keep_their_numbers);
    RUN(quiet_and_rare_stems_go);
    RUN(the_gain_fits_stems_and_sum);
    RUN(midi_stems_add_up_to_the_mix);
    RUN(how_a_song_is_written_does_not_matter);
    RUN(module_stems_add_up_to_the_mix);
    RUN(cut_songs_are_survived);
    RUN(a_data_set_is_whole);
    return coc_test_result();
}
