#include "tests/test.h"
#include "train/trainer.h"

static coc_train_settings make(int64_t warmup, coc_schedule schedule)
{
    return (coc_train_settings){.learning_rate = 2, .warmup = warmup, .schedule = schedule};
}

/* Warm-up rises linearly, its last step has the full rate, and without one the first step has it.
 */
static void test_warm_up(void)
{
    const coc_train_settings s = make(4, COC_SCHEDULE_CONSTANT), none = make(0, s.schedule);

    CHECK_NEAR(coc_learning_rate(&s, 0, 100), 0.5, 1e-15);
    CHECK_NEAR(coc_learning_rate(&s, 3, 100), 2, 0);
    CHECK_NEAR(coc_learning_rate(&s, 99, 100), 2, 0);
    CHECK_NEAR(coc_learning_rate(&none, 0, 100), 2, 0);
}

/* The cosine begins where warm-up ends, is half way at half of the rest, and comes near 0 at the
 * last step; beyond the end it stays 0. */
static void test_cosine(void)
{
    const coc_train_settings s = make(10, COC_SCHEDULE_COSINE);

    CHECK_NEAR(coc_learning_rate(&s, 10, 110), 2, 0);
    CHECK_NEAR(coc_learning_rate(&s, 60, 110), 1, 1e-15);
    CHECK(coc_learning_rate(&s, 109, 110) > 0);
    CHECK(coc_learning_rate(&s, 109, 110) < 0.001);
    CHECK_NEAR(coc_learning_rate(&s, 500, 110), 0, 0);
}

/* While the length of the run is not known, the rate is that after warm-up. */
static void test_unknown_length(void)
{
    const coc_train_settings s = make(2, COC_SCHEDULE_COSINE);

    CHECK_NEAR(coc_learning_rate(&s, 0, 0), 1, 0);
    CHECK_NEAR(coc_learning_rate(&s, 19, 0), 2, 0);
}

/* The time that is left, divided by a step's: never fewer steps than are done, never more than the
 * counters of the random draws can count. */
static void test_steps_in_time(void)
{
    CHECK(coc_steps_in_time(20, 2, 20, 0.5) == 20 + 200);
    CHECK(coc_steps_in_time(20, 2, 119.9, 0.5) == 20);
    CHECK(coc_steps_in_time(20, 2, 500, 0.5) == 20);
    CHECK(coc_steps_in_time(20, 1e6, 0, 0) == 4294967295);
    CHECK(coc_steps_in_time(520, 1, 10, 1) == 570);
}

int main(void)
{
    RUN(test_warm_up);
    RUN(test_cosine);
    RUN(test_unknown_length);
    RUN(test_steps_in_time);
    return coc_test_result();
}
