/* train/selftest_command.h - the parts of `cocola selftest` that parse a command line of their own.
 */
#ifndef COC_TRAIN_SELFTEST_COMMAND_H
#define COC_TRAIN_SELFTEST_COMMAND_H

#include "base/status.h"

/* `cocola selftest leak`; argv[0] is "leak". */
coc_status coc_selftest_leak(int argc, char **argv);

#endif
