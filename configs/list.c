#include "configs/list.h"

#include <stdio.h>
#include <string.h>

static bool is_list(const char *text)
{
    return text[0] == '[' && text[strlen(text) - 1] == ']';
}

int coc_list_count(const char *text)
{
    int commas = 0;

    if (!is_list(text)) return text[0] != '\0';
    for (const char *c = text; *c != '\0'; c++)
        commas += *c == ',';
    return commas + 1;
}

void coc_list_item(const char *text, int i, char item[COC_SETTING_TEXT])
{
    const char *begin = text, *end = text + strlen(text);

    if (is_list(text)) {
        begin++;
        for (; i > 0; i--)
            begin += strcspn(begin, ",") + 1;
        end = begin + strcspn(begin, ",");
        if (*end == '\0') end--; /* the bracket */
        while (*begin == ' ')
            begin++;
        while (end > begin && end[-1] == ' ')
            end--;
    }
    snprintf(item, COC_SETTING_TEXT, "%.*s", (int)(end - begin), begin);
}
