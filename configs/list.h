/* configs/list.h - settings that hold one value or several: `a`, or `[a, b]`.
 *
 * One value may hold anything; values of a list hold no comma, and neither begin nor end with a
 * blank. */
#ifndef COC_CONFIGS_LIST_H
#define COC_CONFIGS_LIST_H

#include "base/status.h"
#include "configs/settings.h"

/* Values in a setting's text; 0 where it is empty. */
int coc_list_count(const char *text);

/* Value i, 0 .. count - 1. */
void coc_list_item(const char *text, int i, char item[COC_SETTING_TEXT]);

#endif
