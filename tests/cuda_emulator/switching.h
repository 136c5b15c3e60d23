// From one fiber to another, without the system calls of swapcontext, and with what AddressSanitizer must know. The
// compiler's own jumps, not the library's: the sanitizer would look at the whole stack for each.
#pragma once

#include <ucontext.h>

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

struct Switch {
  void* place[5];  // of the last jump away
  ucontext_t fresh;
  bool has_started = true;
  const void* stack = nullptr;
  std::size_t bytes = 0;
};

// A fiber that begins in function(), which never returns, and begins with arrive().
inline void make(Switch& fiber, char* stack, std::size_t bytes, void (*function)()) {
  getcontext(&fiber.fresh);
  fiber.fresh.uc_stack.ss_sp = stack;
  fiber.fresh.uc_stack.ss_size = bytes;
  fiber.fresh.uc_link = nullptr;
  makecontext(&fiber.fresh, function, 0);
  fiber.has_started = false;
  fiber.stack = stack;
  fiber.bytes = bytes;
}

#if defined(__SANITIZE_ADDRESS__)
// Of the fiber that is left: its frames that are kept apart, and where its stack is.
inline Switch* left = nullptr;

inline void leave(void** frames, Switch& from, const Switch& to) {
  left = &from;
  __sanitizer_start_switch_fiber(frames, to.stack, to.bytes);
}

inline void arrive(void* frames = nullptr) {
  __sanitizer_finish_switch_fiber(frames, &left->stack, &left->bytes);
}
#else
inline void leave(void**, Switch&, const Switch&) {}
inline void arrive(void* = nullptr) {}
#endif

__attribute__((noinline, no_sanitize("address"))) inline void switch_to(Switch& from, Switch& to) {
  void* frames = nullptr;
  leave(&frames, from, to);
  if (__builtin_setjmp(from.place) == 0) {
    if (to.has_started) __builtin_longjmp(to.place, 1);
    to.has_started = true;
    setcontext(&to.fresh);
  }
  arrive(frames);
}

}  // namespace emulator
