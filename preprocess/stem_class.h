/* preprocess/stem_class.h - one vocabulary for what stems are, over all data sets. The words of the
 * data set itself are kept in the store; these are for tables and choices. */
#ifndef COC_PREPROCESS_STEM_CLASS_H
#define COC_PREPROCESS_STEM_CLASS_H

typedef enum {
    COC_STEM_VOCALS,
    COC_STEM_DRUMS,
    COC_STEM_PERCUSSION,
    COC_STEM_BASS,
    COC_STEM_GUITAR,
    COC_STEM_PIANO,
    COC_STEM_KEYS,
    COC_STEM_PLUCKED,
    COC_STEM_STRINGS,
    COC_STEM_WIND,
    COC_STEM_SYNTH,
    COC_STEM_OTHER, /* said to be something else, or unknown */
    COC_STEM_CLASSES
} coc_stem_class;

const char *coc_stem_class_name(coc_stem_class stem_class);

/* From the data set's class, or where that is "" from the stem's name: "Chromatic Percussion",
 * "bowed_strings", "0_viola", "backing/Guitar 2". */
coc_stem_class coc_stem_class_of(const char *instrument, const char *name);

#endif
