/* train/schedule.c - learning rate and length of a run, as pure functions. */
#include <math.h>

#include "train/trainer.h"

double coc_learning_rate(const coc_train_settings *settings, int64_t step, int64_t steps)
{
    const double full = settings->learning_rate;
    double done;

    if (step < settings->warmup) return full * (double)(step + 1) / (double)settings->warmup;
    if (settings->schedule == COC_SCHEDULE_CONSTANT || steps <= settings->warmup) return full;
    done = (double)(step - settings->warmup) / (double)(steps - settings->warmup);
    return 0.5 * full * (1 + cos(3.14159265358979323846 * (done < 1 ? done : 1)));
}

int64_t coc_steps_in_time(int64_t done, double minutes, double elapsed, double step_seconds)
{
    const double left = 60 * minutes - elapsed;
    const double most = 4294967295.0; /* steps are 32-bit counters of the random draws */
    double steps;

    if (left <= 0) return done;
    steps = (double)done + floor(left / (step_seconds > 1e-6 ? step_seconds : 1e-6));
    return (int64_t)(steps < most ? steps : most);
}
