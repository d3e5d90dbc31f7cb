#include "train/chart.h"

#include <inttypes.h>
#include <math.h>

/* Units of the drawing. Labels of the lines stand to the right of the plot. */
static const double width = 760, height = 360;
static const double left = 64, right = 600, top = 16, bottom = 300;
static const double label_height = 14, tick_distance = 48;
static const double dot_shift = 7; /* single values stand beside their mean, not behind its bar */

typedef struct {
    const coc_chart *chart;
    FILE *page;
    double x_low, x_high; /* log2 k */
    double y_low, y_high;
} drawing;

void coc_html_text(FILE *page, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", page);
            break;
        case '<':
            fputs("&lt;", page);
            break;
        case '>':
            fputs("&gt;", page);
            break;
        case '"':
            fputs("&quot;", page);
            break;
        default:
            fputc(*text, page);
        }
    }
}

double coc_chart_step(double low, double high, int wanted, int *decimals)
{
    const double rough = (high - low) / wanted, power = pow(10, floor(log10(rough)));
    const double share = rough / power;
    const double step = share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10;
    const double exponent = floor(log10(step * power) + 1e-9);

    *decimals = exponent < 0 ? (int)-exponent : 0;
    return step * power;
}

/* ---- ranges --------------------------------------------------------------------------------- */

static double x_of(const drawing *d, double k)
{
    return left + (right - left) * (log2(k) - d->x_low) / (d->x_high - d->x_low);
}

static double y_of(const drawing *d, double value)
{
    return bottom - (bottom - top) * (value - d->y_low) / (d->y_high - d->y_low);
}

static void widen(double value, double *low, double *high)
{
    if (!isfinite(value)) return;
    if (!(value >= *low)) *low = value; /* also when there was none */
    if (!(value <= *high)) *high = value;
}

static void widen_by_points(const coc_chart_point *point, int count, double *low, double *high)
{
    for (int i = 0; i < count; i++) {
        widen(point[i].value, low, high);
        widen(point[i].low, low, high);
        widen(point[i].high, low, high);
    }
}

static void find_ranges(drawing *d)
{
    const coc_chart *c = d->chart;
    double low = NAN, high = NAN;

    for (int s = 0; s < c->count; s++) {
        widen_by_points(c->series[s].line, c->series[s].points, &low, &high);
        widen_by_points(c->series[s].dot, c->series[s].dots, &low, &high);
    }
    if (c->from_zero) widen(0, &low, &high);
    if (!isfinite(low)) low = high = 0;
    if (high - low < 1e-9 * fmax(fabs(low), 1)) high = low + fmax(fabs(low), 1);
    d->y_high = high + 0.04 * (high - low);
    d->y_low = c->from_zero && low >= 0 ? low : low - 0.04 * (high - low);
    d->x_low = c->ks > 0 ? log2((double)c->k[0]) : 0;
    d->x_high = c->ks > 0 ? log2((double)c->k[c->ks - 1]) : 1;
    if (d->x_high - d->x_low < 1e-9) { /* one K stands in the middle */
        d->x_low -= 1;
        d->x_high += 1;
    }
    low = 0.04 * (d->x_high - d->x_low);
    d->x_low -= low;
    d->x_high += low;
}

/* ---- axes ----------------------------------------------------------------------------------- */

static void draw_y_axis(const drawing *d)
{
    int decimals;
    const double step = coc_chart_step(d->y_low, d->y_high, 6, &decimals);

    for (double n = ceil(d->y_low / step); n * step <= d->y_high; n++) {
        const double y = y_of(d, n * step);

        fprintf(d->page, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                left, y, right, y);
        fprintf(d->page, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.*f</text>\n", left - 6,
                y + 4, decimals, n * step + 0.0);
    }
    fprintf(d->page, "<text transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">",
            (top + bottom) / 2);
    coc_html_text(d->page, d->chart->y_name);
    fputs("</text>\n", d->page);
}

/* Marks that would run into each other are left without a number. */
static void draw_x_axis(const drawing *d)
{
    const coc_chart *c = d->chart;
    double last = -tick_distance;

    for (int i = 0; i < c->ks; i++) {
        const double x = x_of(d, (double)c->k[i]);

        fprintf(d->page, "<line class=\"axis\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                x, bottom, x, bottom + 5);
        if (x - last < tick_distance) continue;
        last = x;
        fprintf(d->page, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%" PRId64 "</text>\n",
                x, bottom + 18, c->k[i]);
        if (c->logarithms)
            fprintf(d->page, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.2f</text>\n", x,
                    bottom + 32, log((double)c->k[i]));
    }
    fprintf(d->page, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", (left + right) / 2,
            bottom + (c->logarithms ? 50 : 38));
    coc_html_text(d->page, c->x_name);
    fputs("</text>\n", d->page);
    fprintf(d->page, "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", left, top, bottom,
            right);
}

/* ---- series --------------------------------------------------------------------------------- */

/* Four shapes, filled and then hollow. */
static void draw_mark(const drawing *d, int style, double x, double y)
{
    const char *fill = style < 4 ? "currentColor" : "var(--back, none)";
    FILE *page = d->page;

    switch (style % 4) {
    case 0:
        fprintf(page, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.6\" fill=\"%s\"/>\n", x, y, fill);
        return;
    case 1:
        fprintf(page, "<rect x=\"%.1f\" y=\"%.1f\" width=\"6.6\" height=\"6.6\" fill=\"%s\"/>\n",
                x - 3.3, y - 3.3, fill);
        return;
    case 2:
        fprintf(page, "<path d=\"M%.1f %.1fl4.4 7.6h-8.8z\" fill=\"%s\"/>\n", x, y - 5, fill);
        return;
    default:
        fprintf(page, "<path d=\"M%.1f %.1fl4.6 4.6l-4.6 4.6l-4.6 -4.6z\" fill=\"%s\"/>\n", x,
                y - 4.6, fill);
    }
}

static void draw_line(const drawing *d, const coc_chart_series *s)
{
    bool down = false; /* the pen: lifted over what has no value */

    fprintf(d->page, "<path fill=\"none\" stroke-width=\"1.6\"%s d=\"",
            s->plain ? " stroke-dasharray=\"5 4\"" : "");
    for (int i = 0; i < s->points; i++) {
        if (isfinite(s->line[i].value))
            fprintf(d->page, "%c%.1f %.1f", down ? 'L' : 'M', x_of(d, s->line[i].k),
                    y_of(d, s->line[i].value));
        down = isfinite(s->line[i].value);
    }
    fputs("\"/>\n", d->page);
}

static void draw_interval(const drawing *d, const coc_chart_point *p)
{
    const double x = x_of(d, p->k), low = y_of(d, p->low), high = y_of(d, p->high);

    fprintf(d->page, "<path d=\"M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8\"/>\n", x, low, high, x - 4,
            low, x - 4, high);
}

static void draw_series(const drawing *d, const coc_chart_series *s, int number)
{
    const int style = number % COC_CHART_STYLES;

    fprintf(d->page, "<g class=\"series-%d\" stroke=\"currentColor\">\n", style);
    draw_line(d, s);
    for (int i = 0; i < s->dots; i++)
        if (isfinite(s->dot[i].value))
            fprintf(d->page,
                    "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2\" fill=\"currentColor\" stroke=\"none\" "
                    "opacity=\"0.55\"/>\n",
                    x_of(d, s->dot[i].k) - dot_shift, y_of(d, s->dot[i].value));
    for (int i = 0; i < s->points; i++) {
        if (!isfinite(s->line[i].value) || s->plain) continue;
        if (isfinite(s->line[i].low)) draw_interval(d, &s->line[i]);
        draw_mark(d, style, x_of(d, s->line[i].k), y_of(d, s->line[i].value));
    }
    fputs("</g>\n", d->page);
}

/* ---- labels at the ends of lines ------------------------------------------------------------ */

typedef struct {
    int series;
    double x, wanted, y; /* end of the line; where the label stands */
} label;

/* Labels by rising y, each at least a line below the one before; moved up when they end too low. */
static void place_labels(label *labels, int count)
{
    for (int i = 1; i < count; i++)
        for (int j = i; j > 0 && labels[j].wanted < labels[j - 1].wanted; j--) {
            const label swapped = labels[j];

            labels[j] = labels[j - 1];
            labels[j - 1] = swapped;
        }
    for (int i = 0; i < count; i++) {
        labels[i].y = labels[i].wanted;
        if (i > 0 && labels[i].y < labels[i - 1].y + label_height)
            labels[i].y = labels[i - 1].y + label_height;
    }
    for (int i = count - 1; i >= 0; i--) {
        const double most = i == count - 1 ? bottom + 8 : labels[i + 1].y - label_height;

        if (labels[i].y > most) labels[i].y = most;
    }
}

static void draw_labels(const drawing *d)
{
    label labels[COC_CHART_SERIES];
    int count = 0;

    for (int s = 0; s < d->chart->count && count < COC_CHART_SERIES; s++) {
        const coc_chart_series *series = &d->chart->series[s];

        for (int i = series->points - 1; i >= 0; i--) {
            if (!isfinite(series->line[i].value)) continue;
            labels[count++] = (label){.series = s,
                                      .x = x_of(d, series->line[i].k),
                                      .wanted = y_of(d, series->line[i].value)};
            break;
        }
    }
    place_labels(labels, count);
    for (int i = 0; i < count; i++) {
        const int style = labels[i].series % COC_CHART_STYLES;

        fprintf(
            d->page,
            "<g class=\"series-%d\" stroke=\"currentColor\"><path fill=\"none\" opacity=\"0.4\" "
            "d=\"M%.1f %.1fL%.1f %.1f\"/>",
            style, labels[i].x + 6, labels[i].wanted, right + 12, labels[i].y);
        if (!d->chart->series[labels[i].series].plain) draw_mark(d, style, right + 18, labels[i].y);
        fprintf(d->page, "</g><text x=\"%.1f\" y=\"%.1f\">", right + 26, labels[i].y + 4);
        coc_html_text(d->page, d->chart->series[labels[i].series].label);
        fputs("</text>\n", d->page);
    }
}

void coc_chart_draw(FILE *page, const coc_chart *chart)
{
    drawing d = {.chart = chart, .page = page};

    find_ranges(&d);
    fprintf(page,
            "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">",
            width, height);
    fputs("<title>", page);
    coc_html_text(page, chart->title);
    fputs("</title>\n", page);
    draw_y_axis(&d);
    draw_x_axis(&d);
    for (int s = 0; s < chart->count; s++)
        draw_series(&d, &chart->series[s], s);
    draw_labels(&d);
    fputs("</svg>\n", page);
}
