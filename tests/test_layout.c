/* preprocess/layout*.c: which files of a data set are stems, and of which track. Listing reads no
 * audio, so the files here are empty. */
#include "preprocess/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/test.h"

static const char *root;
static coc_layout_options options;

static void put_text(const char *name, const char *text)
{
    char path[COC_PATH_BYTES], parent[COC_PATH_BYTES];

    snprintf(path, sizeof path, "%s/%s", root, name);
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = '\0';
    if (coc_make_folders(parent) != COC_OK || coc_file_write(path, text, strlen(text)) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
}

static void put(const char *name)
{
    put_text(name, "");
}

static coc_status list(const char *layout_name, coc_source_list *sources)
{
    const coc_layout *layout;

    *sources = (coc_source_list){0};
    COC_TRY(coc_layout_find(layout_name, &layout));
    return coc_layout_list(layout, root, &options, sources);
}

/* "split name: stem(class)=source ..." a line a track. */
static void describe(const coc_source_list *sources, char *text, size_t room)
{
    size_t used = 0;

    text[0] = '\0';
    for (int64_t t = 0; t < sources->tracks; t++) {
        const coc_source_track *track = &sources->track[t];

        used += (size_t)snprintf(text + used, room - used, "%s %s:", coc_split_name(track->split),
                                 track->name);
        for (int64_t s = 0; s < track->stems; s++)
            used += (size_t)snprintf(text + used, room - used, " %s(%s)=%s", track->stem[s].name,
                                     track->stem[s].instrument, track->stem[s].source);
        used += (size_t)snprintf(text + used, room - used, "\n");
    }
}

static void check_list(const char *layout, const char *want)
{
    static char got[8192];
    coc_source_list sources;

    REQUIRE_OK(list(layout, &sources));
    describe(&sources, got, sizeof got);
    if (strcmp(got, want) != 0)
        coc_test_fail(__FILE__, __LINE__, "%s lists\n%swanted\n%s", layout, got, want);
    coc_source_list_free(&sources);
}

static void check_refused(const char *layout, coc_status want, const char *word)
{
    coc_source_list sources;
    const coc_status got = list(layout, &sources);

    if (got != want || strstr(coc_error_text(), word) == NULL)
        coc_test_fail(__FILE__, __LINE__, "status %d, '%s'; wanted %d with '%s'", got,
                      coc_error_text(), want, word);
    CHECK(sources.track == NULL && sources.tracks == 0);
}

/* Stems are what lies in stems/ as SNN.flac: numbers with gaps, stems of the metadata without a
 * file and a foreign audio_dir change nothing, and omitted/, mix.flac and folders are left alone.
 */
static void slakh2100_lists_what_lies_there(void)
{
    root = coc_test_folder("layout_slakh");
    put("train/Track00002/stems/S03.flac");
    put("train/Track00002/stems/S10.flac");
    put("train/Track00002/stems/S01.flac");
    put("train/Track00002/stems/S01.wav");
    put("train/Track00002/stems/notes.txt");
    put("train/Track00002/stems/.S02.flac");
    put("train/Track00002/stems/guitar/S05.flac");
    put("train/Track00002/mix.flac");
    put_text("train/Track00002/metadata.yaml",
             "audio_dir: /nowhere/else\n"
             "stems:\n"
             "  S00: {audio_rendered: false, inst_class: Piano}\n"
             "  S01:\n    audio_rendered: true\n    inst_class: Chromatic Percussion\n"
             "  S02: {audio_rendered: true, inst_class: Organ}\n"
             "  S03: {audio_rendered: true, is_drum: false}\n"
             "  S10: {inst_class: [not, text]}\n");
    put("train/Track00001/all_src.mid"); /* no stems at all: counted later as skipped */
    put("train/readme/stems/S01.flac");
    put("omitted/Track00003/stems/S01.flac");
    put("validation/Track00004/stems/S00.flac"); /* no metadata */
    put_text("test/Track00005/metadata.yaml", "stems: [unclosed\n");
    put("test/Track00005/stems/S07.flac");
    check_list("slakh2100",
               "test test/Track00005: S07()=test/Track00005/stems/S07.flac\n"
               "train train/Track00001:\n"
               "train train/Track00002: S01(Chromatic Percussion)=train/Track00002/stems/S01.flac "
               "S03()=train/Track00002/stems/S03.flac S10()=train/Track00002/stems/S10.flac\n"
               "validation validation/Track00004: S00()=validation/Track00004/stems/S00.flac\n");
}

/* valid and val are read as validation, beside each other too. */
static void splits_have_other_names(void)
{
    root = coc_test_folder("layout_splits");
    put("valid/Track1/stems/S1.flac");
    put("val/Track1/stems/S1.flac");
    put("extra/Track1/stems/S1.flac");
    put("train.txt");
    check_list("slakh2100", "validation val/Track1: S1()=val/Track1/stems/S1.flac\n"
                            "validation valid/Track1: S1()=valid/Track1/stems/S1.flac\n");
}

/* Every sound file below a track is a stem, at any depth and in any case, whatever its name holds;
 * hidden files, sums of stems, other formats and files outside a track are not. */
static void folder_lists_all_sound_files(void)
{
    root = coc_test_folder("layout_folder");
    put("train/Ann & Bo's \"Song\"/drums/kick in.WAV");
    put("train/Ann & Bo's \"Song\"/drums/kick.out.flac");
    put("train/Ann & Bo's \"Song\"/b\xc3\xa4ss.ogg");
    put("train/Ann & Bo's \"Song\"/vox.Mp3");
    put("train/Ann & Bo's \"Song\"/mixture.wav");
    put("train/Ann & Bo's \"Song\"/Mix.flac");
    put("train/Ann & Bo's \"Song\"/mixed feelings.wav");
    put("train/Ann & Bo's \"Song\"/cover.jpg");
    put("train/Ann & Bo's \"Song\"/song.stem.mp4");
    put("train/Ann & Bo's \"Song\"/._vox.mp3");
    put("train/Ann & Bo's \"Song\"/.hidden/x.wav");
    put("train/Ann & Bo's \"Song\"/wav");
    put("train/.DS_Store");
    put("train/.hidden/x.wav");
    put("train/loose.wav");
    put("test/empty/notes.txt");
    check_list("folder", "test test/empty:\n"
                         "train train/Ann & Bo's \"Song\":"
                         " b\xc3\xa4ss()=train/Ann & Bo's \"Song\"/b\xc3\xa4ss.ogg"
                         " drums/kick in()=train/Ann & Bo's \"Song\"/drums/kick in.WAV"
                         " drums/kick.out()=train/Ann & Bo's \"Song\"/drums/kick.out.flac"
                         " mixed feelings()=train/Ann & Bo's \"Song\"/mixed feelings.wav"
                         " vox()=train/Ann & Bo's \"Song\"/vox.Mp3\n");
}

/* A link that leads back up ends after some levels instead of never. */
static void links_in_a_circle_end(void)
{
    char link[COC_PATH_BYTES];
    coc_source_list sources;

    root = coc_test_folder("layout_links");
    put("train/song/a.wav");
    snprintf(link, sizeof link, "%s/train/song/again", root);
    REQUIRE(symlink(".", link) == 0);
    REQUIRE_OK(list("folder", &sources));
    CHECK(sources.tracks == 1);
    CHECK(sources.tracks == 1 && sources.track[0].stems < 100);
    coc_source_list_free(&sources);
    unlink(link);
}

/* What is no data set is refused, and the line says what was looked for. */
static void other_folders_are_refused(void)
{
    root = coc_test_folder("layout_none");
    check_refused("folder", COC_ERR_INPUT, "train, validation");
    put("train/readme.txt");
    check_refused("folder", COC_ERR_INPUT, "no track");
    check_refused("musdb", COC_ERR_USAGE,
                  "slakh2100, musdb18hq, moisesdb, cocochorales, folder, csv");
    root = "no/such/folder";
    check_refused("slakh2100", COC_ERR_IO, "no/such/folder");
}

static coc_status list_flat(const char *folder, const coc_layout_options *unused,
                            coc_source_list *sources)
{
    coc_names names;
    coc_status status = COC_OK;

    (void)unused;
    COC_TRY(coc_list_folder(folder, &names));
    for (int64_t i = names.count - 1; i >= 0 && status == COC_OK; i--)
        status = coc_source_add_track(sources, COC_TEST, names.name[i]);
    coc_names_free(&names);
    return status;
}

/* Names hold blanks, quotes, & and other letters; the sum is no stem; 14 songs of train validate;
 * what is missing is passed over. MUSDB18, whose stems are packed, is refused. */
static void musdb18hq_has_named_songs_for_validation(void)
{
    root = coc_test_folder("layout_musdb");
    put("train/Johnny Lokke - Promises & Lies/vocals.wav");
    put("train/Johnny Lokke - Promises & Lies/drums.wav");
    put("train/Johnny Lokke - Promises & Lies/mixture.wav");
    put("train/Beyonc\xc3\xa9's \"Song\" - A/bass.wav");
    put("train/Beyonc\xc3\xa9's \"Song\" - A/notes.txt");
    put("test/Triviul - Angelsaint/other.wav"); /* only songs of train validate */
    put("train/.DS_Store");
    check_list("musdb18hq",
               "test test/Triviul - Angelsaint: other(other)=test/Triviul - Angelsaint/other.wav\n"
               "train train/Beyonc\xc3\xa9's \"Song\" - A: "
               "bass(bass)=train/Beyonc\xc3\xa9's \"Song\" - A/bass.wav\n"
               "validation train/Johnny Lokke - Promises & Lies: "
               "drums(drums)=train/Johnny Lokke - Promises & Lies/drums.wav "
               "vocals(vocals)=train/Johnny Lokke - Promises & Lies/vocals.wav\n");
    put("test/Al James - Schoolboy Facination.stem.mp4");
    check_refused("musdb18hq", COC_ERR_INPUT, "MUSDB18-HQ");
}

#define UUID(digit) "0000000" digit "-0000-4000-8000-000000000000"

/* The tracks of the list as "stem+stem;": of each stem the number of its files. */
static const char *files_of(const coc_source_list *sources)
{
    static char text[512];
    size_t used = 0;

    text[0] = '\0';
    for (int64_t t = 0; t < sources->tracks; t++)
        for (int64_t s = 0; s < sources->track[t].stems; s++)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s=%lld ",
                                     sources->track[t].stem[s].name,
                                     (long long)sources->track[t].stem[s].files);
    return text;
}

/* Every file is a stem, or every folder; click tracks are none; folders say the split. */
static void moisesdb_files_or_folders_are_stems(void)
{
    coc_source_list sources;

    root = coc_test_folder("layout_moises");
    put("moisesdb_v0.1/valid/" UUID("1") "/guitar/b.wav");
    put("moisesdb_v0.1/valid/" UUID("1") "/guitar/a.wav");
    put("moisesdb_v0.1/valid/" UUID("1") "/drums/d.mp3");
    put("moisesdb_v0.1/valid/" UUID("1") "/other/click.wav");
    put_text("moisesdb_v0.1/valid/" UUID("1") "/data.json",
             "{\"song\": \"x\", \"stems\": [{\"stemName\": \"other\", \"tracks\": "
             "[{\"id\": \"click\", \"trackType\": \"click track\"}, {\"id\": 3}]}, 7]}");
    put("moisesdb_v0.1/readme.txt");
    put("moisesdb_v0.1/train/notes/guitar/a.wav"); /* no UUID */
    check_list("moisesdb", "validation moisesdb_v0.1/valid/" UUID(
                               "1") ": "
                                    "drums/d(drums)=moisesdb_v0.1/valid/" UUID(
                                        "1") "/drums/d.mp3 "
                                             "guitar/a(guitar)=moisesdb_v0.1/valid/" UUID(
                                                 "1") "/guitar/a.wav "
                                                      "guitar/b(guitar)=moisesdb_v0.1/valid/" UUID(
                                                          "1") "/guitar/b.wav\n");
    options.folder_stems = true;
    REQUIRE_OK(list("moisesdb", &sources));
    options.folder_stems = false;
    CHECK(strcmp(files_of(&sources), "drums=1 guitar=2 ") == 0);
    CHECK(strcmp(sources.track[0].stem[1].file[0].path,
                 "moisesdb_v0.1/valid/" UUID("1") "/guitar/a.wav") == 0);
    coc_source_list_free(&sources);
}

/* Without folders of splits a track's split follows from its UUID: about 0.8, 0.1, 0.1, and the
 * same whatever lies beside it. */
static void moisesdb_is_dealt_by_hash(void)
{
    char name[128];
    coc_split split[300];
    int64_t count[COC_SPLITS] = {0};
    coc_source_list sources;

    root = coc_test_folder("layout_moises_hash");
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "%08x-0000-4000-8000-000000000000/bass/x.wav", i);
        put(name);
    }
    REQUIRE_OK(list("moisesdb", &sources));
    REQUIRE(sources.tracks == 300);
    for (int i = 0; i < 300; i++) {
        split[i] = sources.track[i].split;
        count[split[i]]++;
    }
    coc_source_list_free(&sources);
    CHECK(count[COC_TRAIN] > 215 && count[COC_TRAIN] < 265);
    CHECK(count[COC_VALIDATION] > 12 && count[COC_TEST] > 12);
    for (int i = 1; i < 300; i++) {
        snprintf(name, sizeof name, "%s/%08x-0000-4000-8000-000000000000", root, i);
        coc_remove_tree(name);
    }
    REQUIRE_OK(list("moisesdb", &sources));
    CHECK(sources.tracks == 1 && sources.track[0].split == split[0]);
    coc_source_list_free(&sources);
}

/* Ensembles can be chosen; the track that is known to be cut short, the mix and MIDI are left out.
 */
static void cocochorales_has_ensembles(void)
{
    root = coc_test_folder("layout_coco");
    put("train/string_track000001/stems_audio/0_violin.wav");
    put("train/string_track000001/stems_audio/3_cello.wav");
    put("train/string_track000001/stems_MIDI/0_violin.mid");
    put("train/string_track000001/mix.wav");
    put("train/string_track001353/stems_audio/0_violin.wav");
    put("valid/random_track200001/stems_audio/2_double_bass.wav");
    put("valid/random_track200001/stems_audio/mix.wav");
    put("valid/1.tar.bz2");
    check_list(
        "cocochorales",
        "train train/string_track000001: "
        "0_violin(violin)=train/string_track000001/stems_audio/0_violin.wav "
        "3_cello(cello)=train/string_track000001/stems_audio/3_cello.wav\n"
        "validation valid/random_track200001: "
        "2_double_bass(double_bass)=valid/random_track200001/stems_audio/2_double_bass.wav\n");
    options.ensembles = "brass,random";
    check_list(
        "cocochorales",
        "validation valid/random_track200001: "
        "2_double_bass(double_bass)=valid/random_track200001/stems_audio/2_double_bass.wav\n");
    options.ensembles = "random,strings";
    check_refused("cocochorales", COC_ERR_USAGE, "'strings' is unknown");
    options.ensembles = NULL;
}

static void check_table(const char *text, const char *want)
{
    static char got[2048];
    coc_source_list sources;

    put_text("songs.csv", text);
    root = "scratch_layout_csv/songs.csv";
    REQUIRE_OK(list("csv", &sources));
    describe(&sources, got, sizeof got);
    if (strcmp(got, want) != 0) coc_test_fail(__FILE__, __LINE__, "got\n%swanted\n%s", got, want);
    coc_source_list_free(&sources);
    root = "scratch_layout_csv";
}

static void check_bad_table(const char *text, const char *word)
{
    root = "scratch_layout_csv";
    put_text("songs.csv", text);
    root = "scratch_layout_csv/songs.csv";
    check_refused("csv", COC_ERR_INPUT, word);
    root = "scratch_layout_csv";
}

/* Columns in any order, quotes, carriage returns, a byte order mark, the user's own columns. */
static void csv_lists_what_the_table_says(void)
{
    coc_source_list sources;

    root = coc_test_folder("layout_csv");
    check_table("track,split,stem,path\na,train,x,1.wav\n", "train a: x()=1.wav\n");
    check_table(
        "\xEF\xBB\xBFpath,mood,split,track,class,stem\r\n"
        "\"a, \"\"b\"\".wav\",sad,val,song,Bass,low\r\n\r\n/x/c.wav,,test,\"other\n\",,high",
        "test other\n: high()=/x/c.wav\nvalidation song: low(Bass)=a, \"b\".wav\n");
    root = "scratch_layout_csv";
    put_text("songs.csv", "track,split,stem,path,offset,gain\n"
                          "b,train,y,3.wav,,\na,train,x,2.wav,-0.5,2\na,train,x,1.wav,1e1,\n");
    root = "scratch_layout_csv/songs.csv";
    REQUIRE_OK(list("csv", &sources));
    root = "scratch_layout_csv";
    CHECK(sources.tracks == 2);
    CHECK(strcmp(files_of(&sources), "x=2 y=1 ") == 0);
    CHECK(sources.track[0].stem[0].file[0].offset == 10);
    CHECK(sources.track[0].stem[0].file[0].gain == 1);
    CHECK(sources.track[0].stem[0].file[1].offset == -0.5);
    CHECK(sources.track[0].stem[0].file[1].gain == 2);
    coc_source_list_free(&sources);
    check_bad_table("", "empty");
    check_bad_table("track,split,stem\n", "no column 'path'");
    check_bad_table("track,split,stem,path,stem\n", "two columns");
    check_bad_table("track,split,stem,path\na,train,x\n", "songs.csv:2: 3 fields");
    check_bad_table("track,split,stem,path\na,dev,x,1.wav\n", "songs.csv:2: split: 'dev'");
    check_bad_table("track,split,stem,path\na,train,x,\n", "songs.csv:2: no path");
    check_bad_table("track,split,stem,path,gain\na,train,x,1.wav,loud\n", "gain: 'loud'");
    check_bad_table("track,split,stem,path,offset\na,train,x,1.wav,1e6\n", "offset: '1e6' is no");
    check_bad_table("track,split,stem,path\na,train,x,1\na,test,y,2\n",
                    "in line 2 of the same track");
    check_bad_table("track,split,stem,path\na,train,\"x,1\n", "songs.csv:2: a quote that is not");
    check_bad_table("track,split,stem,path\na,train,x\"y\",1\n", "in the middle");
    check_bad_table("track,split,stem,path\na,train,\"x\"y,1\n", "behind a closing quote");
    check_bad_table("track,split,stem,path\n", "no track of layout csv");
}

/* Tracks and stems by name; a name may be the end of a track's, but no part of a word. */
static void excluded_tracks_and_stems_are_left_out(void)
{
    root = coc_test_folder("layout_exclude");
    put("train/Track00262/stems/S01.flac"); /* known to be wrong */
    put("train/Track00262/stems/S02.flac");
    put("train/Track00007/stems/S01.flac");
    put("train/Track00007/stems/S10.flac");
    put("train/XTrack00007/stems/S10.flac");
    put("test/Track00008/stems/S01.flac");
    put("test/Track00009/stems/S01.flac");
    put_text("out.txt",
             "# not these\n\nTrack00008\r\nTrack00007/S1\ntrain/Track00007/S10  \nnobody\n");
    options.exclude = "scratch_layout_exclude/out.txt";
    check_list("slakh2100", "test test/Track00009: S01()=test/Track00009/stems/S01.flac\n"
                            "train train/Track00007: S01()=train/Track00007/stems/S01.flac\n"
                            "train train/Track00262: S02()=train/Track00262/stems/S02.flac\n");
    options.exclude = "scratch_layout_exclude/none.txt";
    check_refused("slakh2100", COC_ERR_IO, "none.txt");
    options.exclude = NULL;
}

/* A layout may do without folders of splits: its row lists from the root, and says the splits. */
static void a_row_may_have_no_splits(void)
{
    const coc_layout flat = {"flat", "tracks", list_flat, NULL};
    coc_source_list sources;

    root = coc_test_folder("layout_flat");
    put("one/bass.wav");
    put("two/bass.wav");
    REQUIRE_OK(coc_layout_list(&flat, root, &options, &sources));
    REQUIRE(sources.tracks == 2);
    CHECK(strcmp(sources.track[0].name, "one") == 0);
    CHECK(sources.track[1].split == COC_TEST);
    coc_source_list_free(&sources);
}

/* The help page has a line for every layout. */
static void help_has_every_row(void)
{
    char *text = coc_layout_help();

    REQUIRE(text != NULL);
    CHECK(strstr(text, "  slakh2100     {train,validation,test}/Track") != NULL);
    CHECK(strstr(text, "\n  folder        {train,validation,test}/TRACK/") != NULL);
    free(text);
}

int main(void)
{
    RUN(slakh2100_lists_what_lies_there);
    RUN(splits_have_other_names);
    RUN(folder_lists_all_sound_files);
    RUN(links_in_a_circle_end);
    RUN(musdb18hq_has_named_songs_for_validation);
    RUN(moisesdb_files_or_folders_are_stems);
    RUN(moisesdb_is_dealt_by_hash);
    RUN(cocochorales_has_ensembles);
    RUN(csv_lists_what_the_table_says);
    RUN(excluded_tracks_and_stems_are_left_out);
    RUN(other_folders_are_refused);
    RUN(a_row_may_have_no_splits);
    RUN(help_has_every_row);
    return coc_test_result();
}
