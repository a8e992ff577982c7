/* A load generator for the benchmark of overload, in C so that it leaves the processor to the service.
 *
 *   callers open PORT REQUESTS_A_SECOND SECONDS FILE CURSORS [KIND]
 *   callers closed PORT CONNECTIONS SECONDS FILE CURSORS [KIND]
 *   callers patient PORT CONNECTIONS SECONDS FILE CURSORS [KIND]
 *   callers sink
 *
 * `open` sends at a fixed rate whatever is answered, over idle connections, new ones, or, if MAX_OPEN are open, the
 * next that is free; a request's time counts from when it was due. `closed` sends on each connection as soon as it was
 * answered; `patient` waits as long as Retry-After says. `sink` prints its port and answers everything with 503.
 *
 * FILE (callers.py writes it) holds requests of several kinds and the order of kinds; CURSORS say where each kind goes
 * on. To standard output goes an outcome for each request; to standard error a line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OPEN = 4000, MAX_KINDS = 32, HEAD_BYTES = 4096, READ_BYTES = 1 << 18, EVENTS = 512, WHEEL = 1024 };
/* Statuses of requests without an answer. */
enum { NOT_CONNECTED = 1, LOST = 2, SILENT = 3, NOT_SENT = 4 };
/* How long what is unanswered at the end is waited for, and how long a turn of the retry wheel takes. */
static const double PATIENCE_SECONDS = 40.0, TURN_SECONDS = 0.01;

struct text { const char *bytes; uint32_t length; };
struct outcome { float seconds; uint16_t status; uint8_t kind, in_time; };
struct connection {
  int file, kind, status, is_connecting, is_busy, next;
  int64_t rest;      /* bytes of the body to come; -1 while the head arrives */
  double due, pause; /* of the request under way; how long Retry-After asks to wait */
  struct text request;
  uint32_t held;
  char head[HEAD_BYTES];
};

static struct text *requests[MAX_KINDS];
static uint32_t counts[MAX_KINDS], kinds, order_length;
static uint64_t cursors[MAX_KINDS], taken;
static const uint8_t *order;
static struct connection *connections;
static int connection_count, open_count, only = -1, idle = -1, loop, is_open, is_patient;
static struct sockaddr_in address;
static double started, ends, *waiting; /* due times of requests that wait for a connection, in a ring */
static uint64_t waiting_first, waiting_last, waiting_size = 1 << 20;
static struct outcome *outcomes;
static uint64_t outcome_count, outcome_size, under_way, opened;
static int wheel[WHEEL], wheel_turn;
static char buffer[READ_BYTES];

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec + at.tv_nsec / 1e9;
}

static void note(int kind, int status, double due, double at) {
  if (outcome_count == outcome_size) {
    outcome_size = outcome_size ? 2 * outcome_size : 1 << 16;
    outcomes = realloc(outcomes, outcome_size * sizeof *outcomes);
    if (!outcomes) fail("outcomes");
  }
  outcomes[outcome_count++] = (struct outcome){(float)(at - due), (uint16_t)status, (uint8_t)kind, at <= ends};
}

static void read_requests(const char *name) {
  int file = open(name, O_RDONLY);
  struct stat found;
  if (file < 0 || fstat(file, &found)) fail(name);
  const char *at = mmap(NULL, found.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
  if (at == MAP_FAILED) fail(name);
#define NUMBER(to) (memcpy(&(to), at, 4), at += 4)
  NUMBER(kinds);
  for (uint32_t kind = 0; kind < kinds; kind++) {
    NUMBER(counts[kind]);
    requests[kind] = malloc(counts[kind] * sizeof **requests);
    for (uint32_t place = 0; place < counts[kind]; place++) {
      NUMBER(requests[kind][place].length);
      requests[kind][place].bytes = at;
      at += requests[kind][place].length;
    }
  }
  NUMBER(order_length);
  order = (const uint8_t *)at;
}

static void watch(int place, int how, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u32 = (uint32_t)place};
  if (epoll_ctl(loop, how, connections[place].file, &event)) fail("epoll_ctl");
}

static void transmit(struct connection *here) {
  here->rest = -1;
  here->held = 0;
  here->pause = 0;
  /* A lost connection is noted when it is read from. */
  ssize_t sent = send(here->file, here->request.bytes, here->request.length, MSG_NOSIGNAL);
  if (sent >= 0 && sent != here->request.length) fail("a request was sent in part");
}

static void start(int place) {
  struct connection *here = &connections[place];
  here->file = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (here->file < 0) fail("socket");
  int yes = 1;
  setsockopt(here->file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  here->is_connecting = 1;
  open_count++, opened++;
  if (connect(here->file, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) fail("connect");
  watch(place, EPOLL_CTL_ADD, EPOLLOUT);
}

/* Send the next request of the order on this connection. */
static void ask(int place, double due) {
  struct connection *here = &connections[place];
  here->kind = only >= 0 ? only : order[taken++ % order_length];
  here->request = requests[here->kind][cursors[here->kind]++ % counts[here->kind]];
  here->due = due;
  here->is_busy = 1;
  under_way++;
  if (here->file < 0) start(place);
  else transmit(here);
}

static void set_idle(int place) { connections[place].next = idle, idle = place; }

static void on_free(int place, double at) {
  if (is_open) {
    if (waiting_first < waiting_last) ask(place, waiting[waiting_first++ % waiting_size]);
    else set_idle(place);
  } else if (at + connections[place].pause < ends) {
    if (is_patient && connections[place].pause > 0) {
      int turn = (wheel_turn + 1 + (int)(connections[place].pause / TURN_SECONDS)) % WHEEL;
      connections[place].next = wheel[turn], wheel[turn] = place;
    } else ask(place, at);
  }
}

static void lose(int place, int status, double at) {
  struct connection *here = &connections[place];
  close(here->file);
  here->file = -1;
  open_count--;
  if (!here->is_busy) return; /* it stays in the stack of idle ones and connects anew */
  here->is_busy = 0;
  under_way--;
  note(here->kind, status, here->due, at);
  here->pause = 0;
  on_free(place, at);
}

static int64_t number_after(const char *head, const char *name) {
  const char *found = strcasestr(head, name);
  return found ? atoll(found + strlen(name)) : -1;
}

static void receive(int place, double at) {
  struct connection *here = &connections[place];
  ssize_t length = recv(here->file, buffer, sizeof buffer, 0);
  if (length < 0 && errno == EAGAIN) return;
  if (length <= 0 || !here->is_busy) { lose(place, LOST, at); return; }
  if (here->rest < 0) {
    uint32_t part = length < HEAD_BYTES - 1 - here->held ? length : HEAD_BYTES - 1 - here->held;
    memcpy(here->head + here->held, buffer, part);
    here->held += part;
    here->head[here->held] = 0;
    char *end = strstr(here->head, "\r\n\r\n");
    if (!end) { if (here->held == HEAD_BYTES - 1) fail("the head of an answer is too long"); return; }
    int64_t behind = here->held - (end + 4 - here->head) + (length - part), body = (*end = 0, number_after(here->head, "\ncontent-length:"));
    if (body < 0 && strcasestr(here->head, "\ntransfer-encoding:")) { errno = 0; fail("an answer is chunked"); }
    here->status = atoi(here->head + 9);
    if (is_patient) { int64_t pause = number_after(here->head, "\nretry-after:"); here->pause = pause > 0 ? pause : 0; }
    here->rest = (body < 0 ? 0 : body) - behind;
  } else here->rest -= length;
  if (here->rest > 0) return;
  here->is_busy = 0;
  under_way--;
  note(here->kind, here->status, here->due, at);
  on_free(place, at);
}

static void arrive(double due) {
  int place = idle;
  if (place >= 0) idle = connections[place].next;
  else if (connection_count < MAX_OPEN) place = connection_count++;
  if (place >= 0) ask(place, due);
  else if (waiting_last - waiting_first < waiting_size) waiting[waiting_last++ % waiting_size] = due;
  else note(0, NOT_SENT, due, due);
}

static void turn_wheel(double at) {
  while (started + wheel_turn * TURN_SECONDS < at) {
    int place = wheel[wheel_turn % WHEEL];
    wheel[wheel_turn++ % WHEEL] = -1;
    while (place >= 0) {
      int next = connections[place].next;
      if (at < ends) ask(place, at);
      place = next;
    }
  }
}

static void handle(struct epoll_event *event, double at) {
  int place = (int)event->data.u32;
  struct connection *here = &connections[place];
  if (!here->is_connecting) { receive(place, at); return; }
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(here->file, SOL_SOCKET, SO_ERROR, &error, &size);
  here->is_connecting = 0;
  if (error) { lose(place, NOT_CONNECTED, at); return; }
  watch(place, EPOLL_CTL_MOD, EPOLLIN);
  transmit(here);
}

/* Answers whatever ends like a head or a JSON body. */
static void sink(void) {
  static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n";
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  socklen_t size = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) fail("listen");
  getsockname(listener, (struct sockaddr *)&address, &size);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  struct epoll_event events[EVENTS], wanted = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(loop, EPOLL_CTL_ADD, listener, &wanted);
  for (;;) {
    int ready = epoll_wait(loop, events, EVENTS, -1);
    for (int event = 0; event < ready; event++) {
      int file = events[event].data.fd;
      if (file == listener) {
        for (int made; (made = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
          wanted.data.fd = made;
          epoll_ctl(loop, EPOLL_CTL_ADD, made, &wanted);
        }
      } else {
        ssize_t length = recv(file, buffer, sizeof buffer, 0);
        if (length == 0 || (length < 0 && errno != EAGAIN)) close(file);
        else if (length > 0 && (buffer[length - 1] == '\n' || buffer[length - 1] == '}'))
          send(file, answer, sizeof answer - 1, MSG_NOSIGNAL);
      }
    }
  }
}

int main(int count, char **words) {
  address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  loop = epoll_create1(EPOLL_CLOEXEC);
  prctl(PR_SET_PDEATHSIG, 9);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (count == 2 && !strcmp(words[1], "sink")) sink();
  if (count < 7) { fprintf(stderr, "see the first comment of callers.c\n"); return 2; }
  is_open = !strcmp(words[1], "open"), is_patient = !strcmp(words[1], "patient");
  address.sin_port = htons((uint16_t)atoi(words[2]));
  double rate = atof(words[3]), seconds = atof(words[4]);
  read_requests(words[5]);
  for (char *at = words[6], *end; *at; at = *end ? end + 1 : end) {
    static int place;
    uint64_t value = strtoull(at, &end, 10);
    if (place == 0) taken = value;
    else if (place <= MAX_KINDS) cursors[place - 1] = value;
    place++;
  }
  if (count > 7 && *words[7]) only = atoi(words[7]);
  int size = is_open ? MAX_OPEN : (int)rate;
  connections = calloc(size, sizeof *connections);
  waiting = malloc(waiting_size * sizeof *waiting);
  for (int place = 0; place < size; place++) connections[place].file = -1;
  for (int turn = 0; turn < WHEEL; turn++) wheel[turn] = -1;
  started = now(), ends = started + seconds;
  uint64_t arrived = 0;
  if (!is_open)
    for (connection_count = 0; connection_count < size; connection_count++) ask(connection_count, started);
  struct epoll_event events[EVENTS];
  double at;
  while ((at = now()) < ends || ((under_way || waiting_first < waiting_last) && at < ends + PATIENCE_SECONDS)) {
    if (is_open && at < ends)
      for (uint64_t due = (uint64_t)((at - started) * rate); arrived < due;) arrive(started + ++arrived / rate);
    turn_wheel(at);
    int ready = epoll_wait(loop, events, EVENTS, 1);
    at = now();
    for (int event = 0; event < ready; event++) handle(&events[event], at);
  }
  for (int place = 0; place < connection_count; place++)
    if (connections[place].is_busy) note(connections[place].kind, connections[place].is_connecting ? NOT_CONNECTED : SILENT, connections[place].due, at);
  for (; waiting_first < waiting_last; waiting_first++) note(0, NOT_SENT, waiting[waiting_first % waiting_size], at);
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  fprintf(stderr, "{\"processor_seconds\": %.6f, \"opened\": %lu, \"cursors\": [%lu",
          used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
          (unsigned long)opened, (unsigned long)taken);
  for (uint32_t kind = 0; kind < kinds; kind++) fprintf(stderr, ",%lu", (unsigned long)cursors[kind]);
  fprintf(stderr, "]}\n");
  fwrite(outcomes, sizeof *outcomes, outcome_count, stdout);
  return 0;
}
