#include "comm/side.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

typedef enum { ASK = 1, ANSWER, SPEAK } packet_kind;

/* All ranks run this program on machines of one kind, so the packet is the struct. */
typedef struct {
    uint64_t key; /* the job's */
    uint64_t id;  /* ASK, ANSWER: the communicator */
    int32_t kind, from, to;
    int32_t unused;
    coc_where where; /* ANSWER */
} packet;

static struct {
    int socket, rank, size;
    uint64_t key;
    coc_peer *peers; /* [size] */
    int wake[2];     /* a pipe: its end of file ends the thread */
    pthread_t thread;
    pthread_mutex_t lock; /* for what follows */
    uint64_t asked;       /* id of the communicator that answers are awaited for */
    coc_where *where;     /* [size] */
    bool *answered;       /* [size] */
    int speaker;
} side = {.socket = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .speaker = -1};

/* The interfaces' addresses; the loopback one comes last, for ranks of the same host. */
static void find_addresses(coc_peer *self)
{
    struct ifaddrs *all = NULL;

    self->address_count = 0;
    if (getifaddrs(&all) != 0) all = NULL;
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        struct sockaddr_in address;

        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET) continue;
        if (self->address_count == COC_SIDE_ADDRESSES - 1) break;
        memcpy(&address, i->ifa_addr, sizeof address);
        if (ntohl(address.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET) continue;
        self->address[self->address_count++] = address.sin_addr.s_addr;
    }
    if (all != NULL) freeifaddrs(all);
    self->address[self->address_count++] = htonl(INADDR_LOOPBACK);
}

static uint64_t random_key(void)
{
    uint64_t key = (uint64_t)(1e9 * coc_clock_seconds()) << 20 ^ (uint64_t)getpid();
    FILE *file = fopen("/dev/urandom", "rb");

    if (file != NULL) {
        uint64_t value;

        if (fread(&value, sizeof value, 1, file) == 1) key ^= value;
        fclose(file);
    }
    return key;
}

void coc_side_open(coc_peer *self)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t length = sizeof address;

    find_addresses(self);
    self->key = random_key();
    self->port = 0;
    side.socket = socket(AF_INET, SOCK_DGRAM, 0);
    if (side.socket < 0) return;
    fcntl(side.socket, F_SETFD, FD_CLOEXEC);
    if (bind(side.socket, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockname(side.socket, (struct sockaddr *)&address, &length) == 0) {
        self->port = address.sin_port;
        return;
    }
    close(side.socket);
    side.socket = -1;
}

/* To all addresses of a rank: which one works is not known, and wrong ones are ignored there. */
static void send_to_rank(const packet *p)
{
    const coc_peer *peer = &side.peers[p->to];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = peer->port};

    if (side.socket < 0 || peer->port == 0) return;
    for (int i = 0; i < peer->address_count; i++) {
        address.sin_addr.s_addr = peer->address[i];
        (void)sendto(side.socket, p, sizeof *p, MSG_DONTWAIT | MSG_NOSIGNAL,
                     (struct sockaddr *)&address, sizeof address);
    }
}

static void receive(void)
{
    packet p;
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    const ssize_t n =
        recvfrom(side.socket, &p, sizeof p, MSG_DONTWAIT, (struct sockaddr *)&from, &length);

    if (n != (ssize_t)sizeof p || p.key != side.key || p.to != side.rank) return;
    if (p.from < 0 || p.from >= side.size || p.from == side.rank) return;
    if (p.kind == ASK) {
        coc_where_get(p.id, &p.where);
        p.kind = ANSWER;
        p.to = p.from;
        p.from = side.rank;
        (void)sendto(side.socket, &p, sizeof p, MSG_DONTWAIT | MSG_NOSIGNAL,
                     (struct sockaddr *)&from, length);
        return;
    }
    pthread_mutex_lock(&side.lock);
    if (p.kind == SPEAK && (side.speaker < 0 || p.from < side.speaker)) side.speaker = p.from;
    if (p.kind == ANSWER && p.id == side.asked && side.where != NULL) {
        p.where.what[COC_WHAT_BYTES - 1] = '\0';
        p.where.device_what[COC_WHAT_BYTES - 1] = '\0';
        side.where[p.from] = p.where;
        side.answered[p.from] = true;
    }
    pthread_mutex_unlock(&side.lock);
}

static void *serve(void *unused)
{
    (void)unused;
    for (;;) {
        struct pollfd wait[2] = {{.fd = side.wake[0], .events = POLLIN},
                                 {.fd = side.socket, .events = POLLIN}};

        if (poll(wait, 2, -1) < 0 && errno != EINTR) return NULL;
        if (wait[0].revents != 0) return NULL;
        if (wait[1].revents != 0) receive();
    }
}

/* Signals are for the thread that computes. */
static int start_thread(void)
{
    sigset_t all, before;
    int code;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(&side.thread, NULL, serve, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

coc_status coc_side_start(const coc_peer *peers, int rank, int size)
{
    int code;

    COC_TRY(coc_alloc(size, sizeof *peers, &side.peers));
    memcpy(side.peers, peers, (size_t)size * sizeof *peers);
    side.rank = rank;
    side.size = size;
    side.key = peers[0].key;
    side.wake[0] = side.wake[1] = -1;
    if (side.socket < 0) return COC_OK;
    if (pipe(side.wake) != 0)
        return COC_FAIL(COC_ERR_RANKS, "no pipe for the watchdog: %s", strerror(errno));
    code = start_thread();
    if (code == 0) return COC_OK;
    close(side.wake[0]);
    close(side.wake[1]);
    side.wake[1] = -1;
    return COC_FAIL(COC_ERR_RANKS, "no thread for the watchdog: %s", strerror(code));
}

void coc_side_stop(void)
{
    if (side.peers != NULL && side.wake[1] >= 0) {
        close(side.wake[1]);
        pthread_join(side.thread, NULL);
        close(side.wake[0]);
    }
    if (side.socket >= 0) close(side.socket);
    free(side.peers);
    side.peers = NULL;
    side.socket = -1;
    side.rank = side.size = 0;
}

int coc_side_size(void)
{
    return side.size;
}

int coc_side_rank(void)
{
    return side.rank;
}

const char *coc_side_host(int rank)
{
    return side.peers != NULL ? side.peers[rank].host : "?";
}

bool coc_side_can_answer(int rank)
{
    return side.peers != NULL && side.socket >= 0 && side.peers[rank].port != 0;
}

/* Send to everybody who has not answered yet; returns whether anybody has not. */
static bool ask_again(uint64_t id)
{
    bool missing = false;

    for (int rank = 0; rank < side.size; rank++) {
        const packet p = {.key = side.key, .id = id, .kind = ASK, .from = side.rank, .to = rank};
        bool answered;

        pthread_mutex_lock(&side.lock);
        answered = side.answered[rank];
        pthread_mutex_unlock(&side.lock);
        if (answered) continue;
        send_to_rank(&p);
        missing = true;
    }
    return missing;
}

void coc_side_ask(uint64_t id, double seconds, coc_where *where, bool *answered)
{
    const double end = coc_clock_seconds() + seconds;

    memset(answered, 0, (size_t)side.size * sizeof *answered);
    coc_where_get(id, &where[side.rank]);
    answered[side.rank] = true;
    pthread_mutex_lock(&side.lock);
    side.asked = id;
    side.where = where;
    side.answered = answered;
    pthread_mutex_unlock(&side.lock);
    while (ask_again(id) && coc_side_speaker() < 0 && coc_clock_seconds() < end)
        coc_sleep_seconds(0.1);
    pthread_mutex_lock(&side.lock);
    side.where = NULL;
    pthread_mutex_unlock(&side.lock);
}

void coc_side_speak(void)
{
    for (int times = 0; times < 2; times++) { /* a packet may be lost */
        for (int rank = 0; rank < side.size; rank++) {
            const packet p = {.key = side.key, .kind = SPEAK, .from = side.rank, .to = rank};

            if (rank != side.rank) send_to_rank(&p);
        }
    }
}

int coc_side_speaker(void)
{
    int speaker;

    pthread_mutex_lock(&side.lock);
    speaker = side.speaker;
    pthread_mutex_unlock(&side.lock);
    return speaker;
}
