/* comm/speak.h - one line in the name of all ranks; used by comm/ alone. */
#ifndef COC_COMM_SPEAK_H
#define COC_COMM_SPEAK_H

/* Put "rank 1 on n2: " in front of the last error's text, unless it stands there. Does nothing in a
 * process alone. */
void coc_speak_sign(void);

#endif
