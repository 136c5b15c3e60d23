// What the emulator must find, and what it must let pass: test_emulator.py runs them by their names.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "launch.cuh"
#include "pairs.cuh"

namespace {

constexpr unsigned int kEveryLane = 0xffffffffu;
constexpr int kThreads = 64;

// Right: the values go round by way of shared memory, there and back.
__global__ void reverses(int* out) {
  __shared__ int values[kThreads];
  extern __shared__ int others[];
  const int t = threadIdx.x;
  values[t] = t;
  others[t] = 3 * t;
  __syncthreads();
  out[t] = values[kThreads - 1 - t] + others[kThreads - 1 - t];
}

// Right: a barrier of the warp is enough among its lanes.
__global__ void swaps_in_warps(int* out) {
  __shared__ int values[kThreads];
  const int t = threadIdx.x;
  values[t] = t;
  __syncwarp();
  out[t] = values[t ^ 1] + values[t ^ 2];
}

// Right, and of csrc: a grid that is too small in each direction strides over all values of all pairs.
constexpr lvlm_va::PairSize kPairs = {5, 3, 300};
int visits[5 * 3 * 300];

__global__ void visits_each_value_once(int*) {
  lvlm_va::for_each_value(kPairs, [&](int64_t b, int64_t n, int64_t i) {
    visits[(b * kPairs.images + n) * kPairs.inner + i] += 1;
  });
}

__global__ void has_no_barrier(int* out) {
  __shared__ int values[kThreads];
  values[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}

__global__ void writes_what_is_being_read(int* out) {
  __shared__ int value;
  if (threadIdx.x == 5) value = 1;
  __syncthreads();
  out[threadIdx.x] = value;
  if (threadIdx.x == 40) value = 2;
}

__global__ void takes_a_vote_for_a_barrier(int* out) {
  __shared__ int values[kThreads];
  values[threadIdx.x] = threadIdx.x;
  const bool any = __any_sync(kEveryLane, true);
  out[threadIdx.x] = any ? values[threadIdx.x ^ 1] : 0;
}

__global__ void takes_a_warp_for_a_block(int* out) {
  __shared__ int values[kThreads];
  values[threadIdx.x] = threadIdx.x;
  __syncwarp();
  out[threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}

__global__ void adds_in_global_memory(int* out) {
  out[threadIdx.x / 2] += 1;
}

__global__ void blocks_write_the_same(int* out) {
  out[threadIdx.x] = blockIdx.x;
}

__global__ void reads_what_nobody_wrote(int* out) {
  __shared__ int values[kThreads];
  if (threadIdx.x > 0) values[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x];
}

__global__ void some_wait(int* out) {
  if (threadIdx.x < 40) __syncthreads();
  out[threadIdx.x] = 0;
}

__global__ void some_have_left(int* out) {
  if (threadIdx.x >= 32) return;
  __syncthreads();
  out[threadIdx.x] = 0;
}

__global__ void waits_at_two_barriers(int* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 0;
}

__global__ void lanes_vote_apart(int* out) {
  unsigned int votes = 0;
  if (threadIdx.x % 2) {
    votes = __ballot_sync(kEveryLane, true);
  } else {
    votes = __ballot_sync(kEveryLane, false);
  }
  out[threadIdx.x] = votes;
}

__global__ void half_a_warp_votes(int* out) {
  out[threadIdx.x] = __any_sync(0xffffu, true);
}

__global__ void writes_past_the_end(int* out) {
  out[threadIdx.x + 1] = 1;
}

__global__ void writes_past_shared_memory(int* out) {
  extern __shared__ int others[];
  others[threadIdx.x + 1] = 1;
  out[threadIdx.x] = 0;
}

__global__ void adds_beyond_an_int(int* out) {
  const int largest = 0x7fffffff;
  out[threadIdx.x] = largest + static_cast<int>(blockDim.x);
}

const char* run(const char* name, int* out) {
  const auto is = [&](const char* other) { return std::strcmp(name, other) == 0; };
#define RUN(KERNEL, BLOCKS, THREADS, BYTES) \
  if (is(#KERNEL)) KERNEL<<<BLOCKS, THREADS, BYTES, nullptr>>>(out);
  RUN(reverses, 1, kThreads, kThreads * sizeof(int))
  RUN(swaps_in_warps, 1, kThreads, 0)
  RUN(visits_each_value_once, dim3(2, 2, 3), kThreads, 0)
  RUN(has_no_barrier, 1, kThreads, 0)
  RUN(writes_what_is_being_read, 1, kThreads, 0)
  RUN(takes_a_vote_for_a_barrier, 1, kThreads, 0)
  RUN(takes_a_warp_for_a_block, 1, kThreads, 0)
  RUN(adds_in_global_memory, 1, kThreads, 0)
  RUN(blocks_write_the_same, 2, kThreads, 0)
  RUN(reads_what_nobody_wrote, 1, kThreads, 0)
  RUN(some_wait, 1, kThreads, 0)
  RUN(some_have_left, 1, kThreads, 0)
  RUN(waits_at_two_barriers, 1, kThreads, 0)
  RUN(lanes_vote_apart, 1, kThreads, 0)
  RUN(half_a_warp_votes, 1, kThreads, 0)
  RUN(writes_past_the_end, 1, kThreads, 0)
  RUN(writes_past_shared_memory, 1, kThreads, kThreads * sizeof(int))
  RUN(adds_beyond_an_int, 1, kThreads, 0)
  if (is("too_many_threads")) reverses<<<1, 2048, 0, nullptr>>>(out);
  if (is("too_much_shared_memory")) reverses<<<1, kThreads, 1 << 20, nullptr>>>(out);
  if (is("visits_each_value_once")) {
    out[0] = *std::min_element(std::begin(visits), std::end(visits));
    out[kThreads - 1] = *std::max_element(std::begin(visits), std::end(visits));
  }
  return lvlm_va::launch_error();
}

}  // namespace

// Prints, for each order of the threads, what was wrong or else the first and the last value.
int main(int, char** arguments) {
  int* out = new int[kThreads]();
  for (int order = 0; order < 3; ++order) {
    emulator::set_order(order);
    const char* error = run(arguments[1], out);
    if (error) {
      std::printf("%s\n", error);
    } else {
      std::printf("%d to %d\n", out[0], out[kThreads - 1]);
    }
  }
  delete[] out;
}
