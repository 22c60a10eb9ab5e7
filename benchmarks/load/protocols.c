/* The servers' languages, as far as a benchmark speaks them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define CENTRIFUGE "/connection/websocket"
#define SOCKET_IO "/socket.io/?EIO=4&transport=websocket"
/* What Roomful sends to a member, so that servers that only relay relay the same bytes. */
#define RELAYED "{\"push\":{\"channel\":\"bench:room\",\"pub\":{\"data\":{\"t\":\"~%s\"},\"offset\":1000,\"info\":" \
                "{\"user\":\"\",\"client\":\"00000000-0000-0000-0000-000000000000\"}}}}"

static const struct protocol protocols[] = {
    {
        .name = "centrifuge", .opcode = 1, .subscriber = CENTRIFUGE, .publisher = CENTRIFUGE, .echo = CENTRIFUGE,
        .subscribe = {{"{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"bench:room\"}}", 2}},
        .connect = {{"{\"id\":1,\"connect\":{}}", 1}},
        .publish = "{\"id\":%d,\"publish\":{\"channel\":\"bench:room\",\"data\":{\"t\":\"~%s\"}}}",
        .call = "{\"id\":%d,\"rpc\":{\"method\":\"echo\",\"data\":{\"t\":\"%s\"}}}", .numbered = 1,
    },
    {
        .name = "bare", .opcode = 1, .subscriber = "/sub", .publisher = "/pub", .echo = "/echo",
        .publish = RELAYED, .call = "{\"t\":\"%s\"}",
    },
    {
        .name = "socketio", .opcode = 1, .subscriber = SOCKET_IO, .publisher = SOCKET_IO, .echo = SOCKET_IO,
        .subscribe = {{"40", 2}, {"42[\"join\"]", 0}},
        .connect = {{"40", 2}},
        .publish = "42[\"publish\",{\"t\":\"~%s\"}]", .call = "42[\"echo\",{\"t\":\"%s\"}]",
    },
    {
        .name = "nats", .opcode = 2, .subscriber = "/", .publisher = "/", .echo = "/",
        .subscribe = {{"CONNECT {\"verbose\":false}\r\nSUB bench.room 1\r\nPING\r\n", 2}},
        .connect = {{"CONNECT {\"verbose\":false}\r\nPING\r\n", 2}},
        .publish = "PUB bench.room %d\r\n~%s\r\n", .numbered = 2,
    },
    {
        .name = "events", .opcode = 0, .subscriber = "/events?channel=bench:room", .publisher = CENTRIFUGE,
        .connect = {{"{\"id\":1,\"connect\":{}}", 1}},
        .publish = "{\"id\":%d,\"publish\":{\"channel\":\"bench:room\",\"data\":{\"t\":\"~%s\"}}}", .numbered = 1,
    },
    {
        .name = "yjs", .opcode = 2, .subscriber = "/yjs/bench", .publisher = "/yjs/bench",
        .subscribe = {{"\0\0\1\0", 0, 4}}, .connect = {{"\0\0\1\0", 0, 4}},
        .before = "\0\2", .before_length = 2,
    },
    {
        .name = "hocuspocus", .opcode = 2, .subscriber = "/hocuspocus", .publisher = "/hocuspocus",
        .subscribe = {{"\5bench\2\0\0", 0, 9}, {"\5bench\0\0\1\0", 0, 10}},
        .connect = {{"\5bench\2\0\0", 0, 9}, {"\5bench\0\0\1\0", 0, 10}},
        .update_at = 6, .before = "\5bench\0\2", .before_length = 8,
    },
    {.name = "bare-events", .opcode = 0, .subscriber = "/sub", .publisher = "/pub", .publish = RELAYED},
};

const struct protocol *protocol_of(const char *name) {
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (!strcmp(protocols[i].name, name)) return &protocols[i];
    fprintf(stderr, "load: no protocol %s\n", name);
    exit(2);
}
