/* train/chart.h - a chart of quantities against K, as inline SVG. Pure functions of their
 * arguments.
 *
 * Colours are left to the page: series s has the class "series-s" (0 .. COC_CHART_STYLES - 1, then
 * again from 0), which sets `color`; axes have the class "axis", the grid "grid"; --back is the
 * page's colour. Series differ by the shape of their marks, too, so that a print without colours
 * can be read.
 */
#ifndef COC_TRAIN_CHART_H
#define COC_TRAIN_CHART_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { COC_CHART_STYLES = 8, COC_CHART_SERIES = 40 };

typedef struct {
    double k, value;  /* value NAN: not drawn */
    double low, high; /* of an interval around it; NAN: none */
} coc_chart_point;

typedef struct {
    const char *label; /* at the end of the line */
    const coc_chart_point *line;
    int points;                 /* of the line, by rising k */
    const coc_chart_point *dot; /* single values behind it, without intervals */
    int dots;
    bool plain; /* a dashed line without marks, for a level to compare with */
} coc_chart_series;

typedef struct {
    const char *title, *x_name, *y_name; /* names with units */
    const int64_t *k;                    /* marks of the x axis, which is logarithmic; rising */
    int ks;
    bool logarithms; /* ln k stands below each k */
    bool from_zero;  /* the y axis holds 0 */
    const coc_chart_series *series;
    int count; /* at most COC_CHART_SERIES */
} coc_chart;

/* Write the chart as one <svg> element. A series without a value that can be drawn is left out. */
void coc_chart_draw(FILE *page, const coc_chart *chart);

/* Write a text as HTML: what would be markup is escaped. */
void coc_html_text(FILE *page, const char *text);

/* Where marks of an axis from low to high (low < high) stand: at multiples of 1, 2 or 5 times a
 * power of ten, about `wanted` of them. *decimals: how many are to be written. */
double coc_chart_step(double low, double high, int wanted, int *decimals);

#endif
