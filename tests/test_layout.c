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
    return coc_layout_list(layout, root, sources);
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
    check_refused("musdb", COC_ERR_USAGE, "slakh2100, folder");
    root = "no/such/folder";
    check_refused("slakh2100", COC_ERR_IO, "no/such/folder");
}

static coc_status list_flat(const char *folder, coc_source_list *sources)
{
    coc_names names;
    coc_status status = COC_OK;

    COC_TRY(coc_list_folder(folder, &names));
    for (int64_t i = names.count - 1; i >= 0 && status == COC_OK; i--)
        status = coc_source_add_track(sources, COC_TEST, names.name[i]);
    coc_names_free(&names);
    return status;
}

/* A layout may do without folders of splits: its row lists from the root, and says the splits. */
static void a_row_may_have_no_splits(void)
{
    const coc_layout flat = {"flat", "tracks", list_flat};
    coc_source_list sources;

    root = coc_test_folder("layout_flat");
    put("one/bass.wav");
    put("two/bass.wav");
    REQUIRE_OK(coc_layout_list(&flat, root, &sources));
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
    CHECK(strstr(text, "  slakh2100  {train,validation,test}/Track") != NULL);
    CHECK(strstr(text, "\n  folder     {train,validation,test}/TRACK/") != NULL);
    free(text);
}

int main(void)
{
    RUN(slakh2100_lists_what_lies_there);
    RUN(splits_have_other_names);
    RUN(folder_lists_all_sound_files);
    RUN(links_in_a_circle_end);
    RUN(other_folders_are_refused);
    RUN(a_row_may_have_no_splits);
    RUN(help_has_every_row);
    return coc_test_result();
}
