#include "preprocess/stem_class.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

const char *coc_stem_class_name(coc_stem_class stem_class)
{
    static const char *const names[COC_STEM_CLASSES] = {"vocals",  "drums", "percussion", "bass",
                                                        "guitar",  "piano", "keys",       "plucked",
                                                        "strings", "wind",  "synth",      "other"};

    return names[stem_class];
}

/* Words in lower case with single blanks: those of the General MIDI families that Slakh2100 has, of
 * MUSDB18 and MoisesDB, the instruments of CocoChorales, and what people call files. */
static const struct {
    const char *word;
    coc_stem_class stem_class;
} words[] = {
    {"vocals", COC_STEM_VOCALS},
    {"vocal", COC_STEM_VOCALS},
    {"vox", COC_STEM_VOCALS},
    {"voice", COC_STEM_VOCALS},
    {"voices", COC_STEM_VOCALS},
    {"singer", COC_STEM_VOCALS},
    {"choir", COC_STEM_VOCALS},
    {"lead vocals", COC_STEM_VOCALS},
    {"backing vocals", COC_STEM_VOCALS},
    {"drums", COC_STEM_DRUMS},
    {"drum", COC_STEM_DRUMS},
    {"kick", COC_STEM_DRUMS},
    {"snare", COC_STEM_DRUMS},
    {"hihat", COC_STEM_DRUMS},
    {"cymbals", COC_STEM_DRUMS},
    {"toms", COC_STEM_DRUMS},
    {"percussion", COC_STEM_PERCUSSION},
    {"percussive", COC_STEM_PERCUSSION},
    {"chromatic percussion", COC_STEM_PERCUSSION},
    {"bass", COC_STEM_BASS},
    {"bass guitar", COC_STEM_BASS},
    {"guitar", COC_STEM_GUITAR},
    {"guitars", COC_STEM_GUITAR},
    {"acoustic guitar", COC_STEM_GUITAR},
    {"electric guitar", COC_STEM_GUITAR},
    {"piano", COC_STEM_PIANO},
    {"organ", COC_STEM_KEYS},
    {"keys", COC_STEM_KEYS},
    {"keyboard", COC_STEM_KEYS},
    {"other keys", COC_STEM_KEYS},
    {"plucked", COC_STEM_PLUCKED},
    {"other plucked", COC_STEM_PLUCKED},
    {"harp", COC_STEM_PLUCKED},
    {"strings", COC_STEM_STRINGS},
    {"strings (continued)", COC_STEM_STRINGS},
    {"bowed strings", COC_STEM_STRINGS},
    {"violin", COC_STEM_STRINGS},
    {"viola", COC_STEM_STRINGS},
    {"cello", COC_STEM_STRINGS},
    {"double bass", COC_STEM_STRINGS},
    {"wind", COC_STEM_WIND},
    {"brass", COC_STEM_WIND},
    {"reed", COC_STEM_WIND},
    {"pipe", COC_STEM_WIND},
    {"woodwind", COC_STEM_WIND},
    {"flute", COC_STEM_WIND},
    {"oboe", COC_STEM_WIND},
    {"clarinet", COC_STEM_WIND},
    {"bassoon", COC_STEM_WIND},
    {"saxophone", COC_STEM_WIND},
    {"sax", COC_STEM_WIND},
    {"horn", COC_STEM_WIND},
    {"french horn", COC_STEM_WIND},
    {"trumpet", COC_STEM_WIND},
    {"trombone", COC_STEM_WIND},
    {"tuba", COC_STEM_WIND},
    {"synth", COC_STEM_SYNTH},
    {"synthesizer", COC_STEM_SYNTH},
    {"synth lead", COC_STEM_SYNTH},
    {"synth pad", COC_STEM_SYNTH},
};

enum { WORD = 64 };

/* "Guitar_2" -> "guitar": lower case, _ and - as blanks, without numbers and blanks at its ends. */
static void normalise(const char *text, size_t length, char out[WORD])
{
    size_t n = 0;

    for (const char *c = text; c < text + length && n + 1 < WORD; c++) {
        const char one = *c == '_' || *c == '-' ? ' ' : (char)tolower((unsigned char)*c);

        if (n == 0 && (one == ' ' || isdigit((unsigned char)one))) continue;
        if (one == ' ' && out[n - 1] == ' ') continue;
        out[n++] = one;
    }
    while (n > 0 && (out[n - 1] == ' ' || isdigit((unsigned char)out[n - 1])))
        n--;
    out[n] = '\0';
}

static bool find(const char *text, size_t length, coc_stem_class *found)
{
    char word[WORD];

    normalise(text, length, word);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i].word, word) != 0) continue;
        *found = words[i].stem_class;
        return true;
    }
    return false;
}

/* Of a path the last part that is a known word. */
coc_stem_class coc_stem_class_of(const char *instrument, const char *name)
{
    const char *text = instrument[0] != '\0' ? instrument : name;
    coc_stem_class found = COC_STEM_OTHER;

    for (size_t end = strlen(text); end > 0;) {
        size_t begin = end;

        while (begin > 0 && text[begin - 1] != '/')
            begin--;
        if (find(text + begin, end - begin, &found)) return found;
        end = begin > 0 ? begin - 1 : 0;
    }
    return COC_STEM_OTHER;
}
