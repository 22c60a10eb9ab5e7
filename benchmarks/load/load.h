/* What the parts of the load generator know of each other. Standard library and Linux only. */

#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>

/* Each publication carries this byte once, and nothing else that a server sends does: it is how deliveries are counted,
   however a server frames or joins them. */
#define MARK '~'

enum { STEPS = 2, BUFFER = 1 << 18 };

/* How a kind of server is spoken to. A step is sent after the frames of the one before it have come. */
struct protocol {
    const char *name;
    int opcode;               /* of our frames: 1 text, 2 binary; 0: event streams, which are only read */
    const char *subscriber;   /* paths */
    const char *publisher;
    const char *echo;
    struct step { const char *send; int frames; size_t length; } subscribe[STEPS], connect[STEPS]; /* length 0: a string */
    const char *publish;      /* printf: the text; before it an id (numbered 1) or the payload's length (2) */
    const char *call;
    int numbered;
    int update_at;            /* for documents: where in a frame a Yjs update is announced; then frames are counted, not marks */
    const char *before;       /* what stands there in front of our own updates */
    size_t before_length;
};

struct connection {
    const struct protocol *protocol;
    const char *path;
    const struct step *steps; /* STEPS of them, or NULL */
    int fd, state, step, awaited;
    size_t head_length;
    unsigned long left;       /* payload bytes of the current frame that are still to come */
    unsigned char opcode, start_length;
    char start[128];          /* of the payload: enough for a control frame's */
    char head[2048];          /* an HTTP answer or a frame's header that isn't complete */
    double begun;             /* when it was opened, µs */
    double ready;
};

enum { CLOSED, CONNECTING, UPGRADING, STEPPING, READY };

/* network.c */
extern unsigned long marks, frames, ready; /* counted since the start; frames only of connections that are READY */
extern struct connection *publisher;       /* its marks aren't counted */
extern struct connection *overheard;       /* its payloads are kept in `heard` */
extern char heard[8192];
extern void (*on_frame)(struct connection *);
extern void (*on_marks)(void);              /* after each read that brought some */
void network_start(int port);
void begin(struct connection *c, const struct protocol *protocol, const char *path, const struct step *steps);
void cut(struct connection *c);
void send_payload(struct connection *c, const char *payload, size_t length);
void send_raw(struct connection *c, const char *data, size_t length);
size_t frame_of(char *out, int opcode, const char *payload, size_t length);
void turn(void); /* waits for events, at most 30 s, and handles them */

/* protocols.c */
const struct protocol *protocol_of(const char *name);

/* process.c */
double now_us(void);
double cpu_us(int pid);
double own_cpu_us(void);
double resident_kb(int pid);
void die(const char *what);

#endif
