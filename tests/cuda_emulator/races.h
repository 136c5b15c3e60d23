// Which accesses to memory no barrier orders. Fed by the compiler: what is built with -fsanitize=thread calls
// __tsan_read8 and the like, which are here, not in the sanitizer's own library, which knows no warps.
#pragma once

#include <cstddef>

namespace emulator::races {

// The fibers' stacks are each thread's own; of dynamic shared memory there are this many bytes.
void begin_launch(const void* stacks, std::size_t stack_bytes, void* dynamic, std::size_t dynamic_bytes);
// Shared memory becomes garbage, all bits 1: NaN where it holds numbers.
void begin_block();
void end_launch();

// All threads of the block, or all lanes of the warp, have met in a barrier.
void block_met();
void warp_met(unsigned int warp);

// Static shared memory, of this block and of all later ones.
void add_shared(void* begin, std::size_t bytes);

}  // namespace emulator::races
