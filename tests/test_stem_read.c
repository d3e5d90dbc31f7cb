/* preprocess/stem_read.c: a stem is a file, or a sum of files with offsets and gains; and
 * preprocess/stem_class.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "preprocess/stem_class.h"
#include "preprocess/stem_read.h"
#include "tests/sounds.h"
#include "tests/test.h"

enum { RATE = 16000 };

static const char *root;

static coc_source_stem stem_of(coc_source_file *files, int64_t count)
{
    return (coc_source_stem){
        .source = "s", .name = "s", .instrument = "", .file = files, .files = count};
}

static void put_tone(const char *name, int64_t frames, double hertz)
{
    char path[COC_PATH_BYTES];

    snprintf(path, sizeof path, "%s/%s", root, name);
    coc_test_tone(path, RATE, frames, hertz, 0.25);
}

static float tone_at(int64_t t, double hertz)
{
    return (float)(0.25 * sin(6.283185307179586 * hertz * (double)t / RATE));
}

/* Fails when an offset moves the wrong way, a gain is not applied, a file's end is lost, or what
 * the headers say of the length is not what comes. */
static void files_are_added_from_their_offsets(void)
{
    char one[] = "one.wav", two[] = "two.wav";
    coc_source_file files[] = {{one, 0.5, 2}, {two, -0.25, 1}};
    const coc_source_stem stem = stem_of(files, 2);
    double worst = 0;
    coc_audio audio;
    int64_t count;

    root = coc_test_folder("stem_sum");
    put_tone("one.wav", RATE, 440);     /* from 0.5 s to 1.5 s */
    put_tone("two.wav", 2 * RATE, 330); /* what is left: 1.75 s */
    REQUIRE_OK(coc_stem_probe(root, &stem, RATE, &count));
    REQUIRE_OK(coc_stem_read(root, &stem, RATE, &audio));
    CHECK(count == 7 * RATE / 4);
    REQUIRE(audio.count == count);
    CHECK(audio.source_rate == RATE && audio.source_frames == RATE);
    for (int64_t t = 0; t < count; t++) {
        const bool first = t >= RATE / 2 && t < 3 * RATE / 2;
        const float want =
            (first ? 2 * tone_at(t - RATE / 2, 440) : 0) + tone_at(t + RATE / 4, 330);

        worst = fmax(worst, fabs((double)(audio.samples[t] - want)));
    }
    CHECK(worst < 1e-4); /* 16 bits, twice */
    coc_audio_free(&audio);
}

/* A whole file is read as it always was, and its hash is the file's: stores of before stay. */
static void a_whole_file_is_itself(void)
{
    char one[] = "one.wav", path[COC_PATH_BYTES];
    coc_source_file file = {one, 0, 1};
    const coc_source_stem stem = stem_of(&file, 1);
    coc_audio audio;
    uint64_t hash, own;

    root = coc_test_folder("stem_whole");
    put_tone("one.wav", 1000, 440);
    snprintf(path, sizeof path, "%s/one.wav", root);
    REQUIRE_OK(coc_stem_read(root, &stem, RATE, &audio));
    CHECK(audio.count == 1000);
    coc_audio_free(&audio);
    REQUIRE_OK(coc_stem_hash(root, &stem, &hash));
    REQUIRE_OK(coc_hash_file(path, &own));
    CHECK(hash == own);
    CHECK(coc_stem_bytes(root, &stem) == coc_file_bytes(path));
}

/* Fails when another gain, offset, file or content passes for the same stem. */
static void uses_are_told_apart(void)
{
    char one[] = "one.wav", two[] = "two.wav";
    coc_source_file sets[][2] = {{{one, 0, 1}, {two, 0, 1}},
                                 {{one, 0, 1}, {two, 0, 2}},
                                 {{one, 0, 1}, {two, 1, 1}},
                                 {{two, 0, 1}, {one, 0, 1}},
                                 {{one, 0, 1}, {one, 0, 1}}};
    enum { SETS = sizeof sets / sizeof sets[0] };
    uint64_t hash[SETS], signature[SETS], again;

    root = coc_test_folder("stem_uses");
    put_tone("one.wav", 1000, 440);
    put_tone("two.wav", 1000, 330);
    for (int i = 0; i < SETS; i++) {
        const coc_source_stem stem = stem_of(sets[i], 2);

        REQUIRE_OK(coc_stem_hash(root, &stem, &hash[i]));
        signature[i] = coc_stem_signature(root, &stem);
        for (int j = 0; j < i; j++)
            CHECK(hash[i] != hash[j] && signature[i] != signature[j]);
    }
    put_tone("two.wav", 1000, 331);
    const coc_source_stem stem = stem_of(sets[0], 2);
    REQUIRE_OK(coc_stem_hash(root, &stem, &again));
    CHECK(again != hash[0]);
    CHECK(coc_stem_signature(root, &stem) != signature[0]);
}

/* What cannot be read is refused with its file. */
static void bad_files_are_named(void)
{
    char one[] = "one.wav", none[] = "none.wav";
    coc_source_file cut[] = {{one, 0, 1}, {one, -2, 1}}, missing[] = {{one, 0, 1}, {none, 0, 1}};
    coc_source_stem stem = stem_of(cut, 2);
    coc_audio audio;
    int64_t count;

    root = coc_test_folder("stem_bad");
    put_tone("one.wav", RATE, 440);
    CHECK(coc_stem_read(root, &stem, RATE, &audio) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "one.wav: an offset of -2 s cuts all of it away") != NULL);
    CHECK(coc_stem_probe(root, &stem, RATE, &count) == COC_ERR_INPUT);
    stem = stem_of(missing, 2);
    CHECK(coc_stem_read(root, &stem, RATE, &audio) == COC_ERR_IO);
    CHECK(strstr(coc_error_text(), "none.wav") != NULL);
    CHECK(audio.samples == NULL);
    CHECK(coc_stem_bytes(root, &stem) == -1);
}

/* The words of each data set, and of people's own files. */
static void classes_have_one_vocabulary(void)
{
    static const struct {
        const char *instrument, *name;
        coc_stem_class want;
    } cases[] = {
        {"Chromatic Percussion", "S03", COC_STEM_PERCUSSION},
        {"Strings (continued)", "S11", COC_STEM_STRINGS},
        {"Synth Pad", "S00", COC_STEM_SYNTH},
        {"Sound Effects", "S00", COC_STEM_OTHER},
        {"bowed_strings", "bowed_strings/1a", COC_STEM_STRINGS},
        {"other_plucked", "x", COC_STEM_PLUCKED},
        {"violin", "0_violin", COC_STEM_STRINGS},
        {"vocals", "vocals", COC_STEM_VOCALS},
        {"", "Backing/Guitar 2", COC_STEM_GUITAR},
        {"", "01 - Lead_Vocals", COC_STEM_VOCALS},
        {"", "drums/kick", COC_STEM_DRUMS},
        {"", "guitar/5f1c", COC_STEM_GUITAR},
        {"", "bassline", COC_STEM_OTHER},
        {"", "", COC_STEM_OTHER},
        {"", "42", COC_STEM_OTHER},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (coc_stem_class_of(cases[i].instrument, cases[i].name) != cases[i].want)
            coc_test_fail(
                __FILE__, __LINE__, "'%s' '%s' is %s", cases[i].instrument, cases[i].name,
                coc_stem_class_name(coc_stem_class_of(cases[i].instrument, cases[i].name)));
}

int main(void)
{
    RUN(files_are_added_from_their_offsets);
    RUN(a_whole_file_is_itself);
    RUN(uses_are_told_apart);
    RUN(bad_files_are_named);
    RUN(classes_have_one_vocabulary);
    return coc_test_result();
}
