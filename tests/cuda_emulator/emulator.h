// Runs the threads of a block as fibers of one thread, one block after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace emulator {

constexpr unsigned int kWarpSize = 32;

struct Size {
  unsigned int x, y, z;
  Size(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};

extern Size threadIdx, blockIdx, blockDim, gridDim;

// A place in the sources where threads meet.
struct Site {
  const char* name;
  const char* file;
  int line;
};

// Runs the kernel, and stops at the first thing that is wrong: see error().
void launch(Size grid, Size block, std::size_t dynamic_bytes, void* stream, const std::function<void()>& kernel);

// What the last launch did wrong first; null where nothing was.
const char* error();

// The order in which the threads of a block run: 0 forward, 1 in reverse, 2 another one at every barrier.
void set_order(int wanted);

// From now on the barrier at this place does nothing; the one of line 0 is none.
void drop_barrier(const std::string& file, int line);

// Says what is wrong, as printf does. A thread that has done it stops for good: with what it read next to no
// order it would go astray.
__attribute__((format(printf, 1, 2))) void report(const char* format, ...);

// __syncthreads and __syncwarp of whole blocks and warps: a thread that left, or waits elsewhere, is reported.
void sync_block(Site site);
void sync_warp(Site site);

// Exchanges a word among the lanes of a whole warp; returns those of all lanes, which hold until the next call.
const std::uint64_t* meet(Site site, unsigned int mask, std::uint64_t word);

// The block's dynamic shared memory, and static shared memory of this type: one object per `Tag`.
void* dynamic_shared();
void register_shared(void* begin, std::size_t bytes);

template <typename T, typename Tag>
__attribute__((noinline, no_sanitize("thread"))) T& shared(Tag) {
  static T object;
  static const bool registered = (register_shared(&object, sizeof object), true);
  static_cast<void>(registered);
  return object;
}

}  // namespace emulator
