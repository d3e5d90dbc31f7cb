/* configs/settings_text.c - a text that grows. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "configs/table.h"

void coc_text_add(coc_text *text, const char *format, ...)
{
    va_list arguments, again;
    int length;

    va_start(arguments, format);
    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 ||
        coc_grow(&text->text, &text->capacity, text->length + length + 1, 1) != COC_OK)
        text->broken = true;
    if (!text->broken) {
        vsnprintf(text->text + text->length, (size_t)length + 1, format, again);
        text->length += length;
    }
    va_end(again);
}

void coc_text_wrap(coc_text *text, const char *prefix, int width, const char *words)
{
    int column = 0;

    while (*words != '\0') {
        const int n = (int)strcspn(words, " ");

        if (column > 0 && column + 1 + n > width) {
            coc_text_add(text, "\n");
            column = 0;
        }
        coc_text_add(text, "%s%.*s", column > 0 ? " " : prefix, n, words);
        column += n + (column > 0 ? 1 : (int)strlen(prefix));
        words += n;
        words += strspn(words, " ");
    }
    coc_text_add(text, "\n");
}

char *coc_text_finish(coc_text *text)
{
    char *finished;

    coc_text_add(text, "%s", "");
    finished = text->text;
    if (text->broken) {
        free(finished);
        finished = NULL;
    }
    *text = (coc_text){0};
    return finished;
}
