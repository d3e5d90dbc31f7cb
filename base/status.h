/* base/status.h - how a function says that it failed, and how the message travels.
 *
 * A function that can fail returns a coc_status. The fault is described once, where it is known:
 *
 *     return COC_FAIL(COC_ERR_INPUT, "%s: 0 samples; remove the file or record it again", path);
 *
 * callers pass it up with COC_TRY, and only main() ends the program (train/main.c). The text is one
 * line: what is wrong, which file, which value, what to do. It is kept per thread: a thread that
 * works for another hands over status *and* text (coc_error_text, coc_error_set).
 */
#ifndef COC_BASE_STATUS_H
#define COC_BASE_STATUS_H

#ifdef __clang__
#define COC_MUST_USE __attribute__((warn_unused_result))
#else
#define COC_MUST_USE
#endif

typedef enum COC_MUST_USE {
    COC_OK = 0,
    COC_ERR_USAGE,   /* command line: unknown word, option, or value */
    COC_ERR_SETTING, /* configuration: unknown key, wrong type, out of range, mismatch */
    COC_ERR_INPUT,  /* a file's content is not what it must be: foreign, cut, flipped, mismatched */
    COC_ERR_IO,     /* the system refused: missing file, permission, full disk, network */
    COC_ERR_MEMORY, /* host memory */
    COC_ERR_DEVICE, /* accelerator: driver, memory, kernel */
    COC_ERR_RANKS,  /* MPI or NCCL, a rank that hangs, a world of the wrong size */
    COC_ERR_STOPPED,   /* a signal asked to stop; everything is saved */
    COC_ERR_ELSEWHERE, /* another rank failed and says why: this one stays silent */
    COC_ERR_INTERNAL,  /* our own fault */
} coc_status;

/* The process exit code that stands for a status (documented in `cocola help`):
 * 0 done, 1 internal, 2 usage or settings, 3 bad input, 4 system, 5 memory or device,
 * 6 ranks, 75 stopped by a signal and saved (start again to continue). */
int coc_exit_code(coc_status status);

/* Record a fault and give its code back. The text is cut at 2,000 bytes. Not for direct use. */
coc_status coc_fail(coc_status status, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define COC_FAIL(status, ...) coc_fail((status), __FILE__, __LINE__, __VA_ARGS__)

/* Leave the function with the callee's status if it failed. */
#define COC_TRY(call)                                                                              \
    do {                                                                                           \
        const coc_status coc_try_status_ = (call);                                                 \
        if (coc_try_status_ != COC_OK) return coc_try_status_;                                     \
    } while (0)

/* The same inside a function that holds resources: keeps the status, jumps to the label. */
#define COC_TRY_GOTO(status, call, label)                                                          \
    do {                                                                                           \
        (status) = (call);                                                                         \
        if ((status) != COC_OK) goto label;                                                        \
    } while (0)

/* The calling thread's last recorded text, and "folder/file.c:line" of it. Borrowed until the
 * thread's next fault; "" when there was none. */
const char *coc_error_text(void);
const char *coc_error_place(void);

/* Take over a text from another thread, or forget it (NULL). */
void coc_error_set(const char *text, const char *place);

#endif
