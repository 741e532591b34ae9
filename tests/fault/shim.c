/* Faults of the machine under one process, preloaded into it (LD_PRELOAD): counted syncs, a moved
 * wall clock, a full disk. src/fault/shim.rs builds this and steers it.
 *
 * The two sides share a file of 64-bit words (PARCOURS_SHIM). It outlives the process, so counts
 * go on through kill -9. Every call goes straight to the kernel; without the file nothing changes.
 *
 *   word 0   fsync and fdatasync calls that returned without an error
 *   word 1   nanoseconds added to CLOCK_REALTIME
 *   word 2   1: the disk of PARCOURS_SHIM_DISK is full, so files below it cannot grow
 *   word 3   writes refused because of that
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { SYNCS, OFFSET, FULL, REFUSED, WORDS };

static int64_t nothing[WORDS];
static int64_t *words = nothing;
static char disk[4096];

__attribute__((constructor)) static void attach(void) {
  const char *path = getenv("PARCOURS_SHIM");
  const char *below = getenv("PARCOURS_SHIM_DISK");
  if (below && strlen(below) < sizeof disk) strcpy(disk, below);
  if (!path) return;
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void *at = mmap(NULL, sizeof nothing, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at != MAP_FAILED) words = at;
  close(fd);
}

static int64_t word(int which) { return __atomic_load_n(&words[which], __ATOMIC_SEQ_CST); }
static void count(int which) { __atomic_add_fetch(&words[which], 1, __ATOMIC_SEQ_CST); }

/* Syncs ------------------------------------------------------------------------------------- */

static int synced(long result) {
  if (result == 0) count(SYNCS);
  return (int)result;
}
int fsync(int fd) { return synced(syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { return synced(syscall(SYS_fdatasync, fd)); }

/* The wall clock ---------------------------------------------------------------------------- */

static void move_on(struct timespec *at) {
  int64_t offset = word(OFFSET);
  int64_t nanos = at->tv_nsec + offset % 1000000000;
  at->tv_sec += offset / 1000000000 + (nanos >= 1000000000) - (nanos < 0);
  at->tv_nsec = (nanos + 1000000000) % 1000000000;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
  long result = syscall(SYS_clock_gettime, clock, at);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) move_on(at);
  return (int)result;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  (void)zone;
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return (time_t)-1;
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

/* The disk ---------------------------------------------------------------------------------- */

/* Whether a write of `length` bytes at `offset` (-1: where the file stands) finds no room: it
 * would make a file below the disk larger. What is allocated can be written again. */
static int no_room(int fd, off_t offset, size_t length) {
  if (!word(FULL) || !disk[0]) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  if (strncmp(path, disk, strlen(disk)) != 0) return 0;
  struct stat file;
  if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return 0;
  if (offset < 0) offset = lseek(fd, 0, SEEK_CUR);
  if (offset + (off_t)length <= file.st_size) return 0;
  count(REFUSED);
  errno = ENOSPC;
  return 1;
}
ssize_t write(int fd, const void *bytes, size_t length) {
  return no_room(fd, -1, length) ? -1 : syscall(SYS_write, fd, bytes, length);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  return no_room(fd, offset, length) ? -1 : syscall(SYS_pwrite64, fd, bytes, length, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  return pwrite(fd, bytes, length, (off_t)offset);
}
ssize_t writev(int fd, const struct iovec *parts, int count_of) {
  size_t length = 0;
  for (int at = 0; at < count_of; at++) length += parts[at].iov_len;
  return no_room(fd, -1, length) ? -1 : syscall(SYS_writev, fd, parts, count_of);
}
int posix_fallocate(int fd, off_t offset, off_t length) {
  if (no_room(fd, offset, (size_t)length)) return ENOSPC;
  return syscall(SYS_fallocate, fd, 0, offset, length) == 0 ? 0 : errno;
}
