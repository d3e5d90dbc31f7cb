/* base/clock.h - time. */
#ifndef COC_BASE_CLOCK_H
#define COC_BASE_CLOCK_H

/* Seconds of a clock that only goes forward; differences matter, not values. */
double coc_clock_seconds(void);

void coc_sleep_seconds(double seconds);

#endif
