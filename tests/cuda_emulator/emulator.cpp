#include "emulator.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "races.h"
#include "switching.h"

namespace emulator {

Size threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr std::size_t kStack = 128 << 10;
constexpr unsigned int kMostThreads = 1024;
constexpr std::size_t kMostShared = 48 << 10;
constexpr unsigned int kMostAlong = 65535;  // y and z

enum class Waits { no, for_warp, for_block, for_ever, has_left };

struct Fiber {
  Waits waits;
  Site site;
  Switch state;
};

struct Warp {
  std::uint64_t given[kWarpSize], seen[kWarpSize];
};

std::vector<Fiber> fibers;
std::unique_ptr<char[]> stacks;
std::vector<Warp> warps;
std::vector<char> dynamic;  // shared memory
Switch scheduler;
const std::function<void()>* body;
bool is_in_thread = false;
std::string message;
enum Order { forward, reverse, shuffled } order = forward;
std::string dropped_file;
int dropped_line = 0;

const char* name_of(const char* file) {
  const char* slash = std::strrchr(file, '/');
  return slash ? slash + 1 : file;
}

bool same(const Site& a, const Site& b) {
  return a.line == b.line && a.name == b.name && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

bool is_dropped(const Site& site) {
  return site.line == dropped_line && dropped_file == name_of(site.file);
}

void wait(Waits waits, Site site) {
  const unsigned int me = threadIdx.x;
  fibers[me].waits = waits;
  fibers[me].site = site;
  is_in_thread = false;
  switch_to(fibers[me].state, scheduler);
}

void resume(unsigned int thread) {
  threadIdx.x = thread;
  is_in_thread = true;
  switch_to(scheduler, fibers[thread].state);
}

// A fiber serves thread after thread, block after block.
void serve() {
  arrive();
  while (true) {
    (*body)();
    wait(Waits::has_left, {"", "", 0});
  }
}

std::string describe(unsigned int thread) {
  const Site& site = fibers[thread].site;
  const std::string who = "thread " + std::to_string(thread);
  if (fibers[thread].waits == Waits::has_left) return who + " has left";
  return who + " waits in " + site.name + " at " + name_of(site.file) + ":" + std::to_string(site.line);
}

// Whether these threads, of which none can go on alone, have come to the same place; reports where not.
bool agree(unsigned int first, unsigned int last) {
  for (unsigned int t = first + 1; t < last; ++t) {
    if (fibers[t].waits == fibers[first].waits && same(fibers[t].site, fibers[first].site)) continue;
    report("%s, but %s", describe(first).c_str(), describe(t).c_str());
    return false;
  }
  return true;
}

bool a_lane_waits_for_its_warp(unsigned int first) {
  const auto waits = [](const Fiber& fiber) { return fiber.waits == Waits::for_warp; };
  return std::any_of(fibers.begin() + first, fibers.begin() + first + kWarpSize, waits);
}

void release(unsigned int first, unsigned int last) {
  for (unsigned int t = first; t < last; ++t) fibers[t].waits = Waits::no;
}

// Lets a block's threads run until all have left. False where something is wrong.
bool run_block(std::vector<unsigned int>& turns, std::mt19937& random) {
  const unsigned int n = blockDim.x;
  release(0, n);
  while (true) {
    if (order == shuffled) std::shuffle(turns.begin(), turns.end(), random);
    for (const unsigned int t : turns) {
      if (fibers[t].waits == Waits::no) resume(t);
      if (error()) return false;
    }
    bool goes_on = false;
    for (unsigned int w = 0; w < n / kWarpSize; ++w) {
      const unsigned int first = w * kWarpSize, last = first + kWarpSize;
      if (!a_lane_waits_for_its_warp(first)) continue;
      if (!agree(first, last)) return false;
      std::memcpy(warps[w].seen, warps[w].given, sizeof warps[w].seen);
      // The others exchange words, but promise no order of anything else.
      if (std::strcmp(fibers[first].site.name, "__syncwarp") == 0) races::warp_met(w);
      release(first, last);
      goes_on = true;
    }
    if (goes_on) continue;
    if (!agree(0, n)) return false;
    if (fibers[0].waits == Waits::has_left) return true;
    races::block_met();
    release(0, n);
  }
}

bool is_possible(Size grid, Size block, std::size_t bytes) {
  const bool possible = block.y == 1 && block.z == 1 && block.x % kWarpSize == 0 && block.x > 0 &&
                        block.x <= kMostThreads && grid.x > 0 && grid.y > 0 && grid.z > 0 &&
                        grid.x <= 0x7fffffff && grid.y <= kMostAlong && grid.z <= kMostAlong &&
                        bytes <= kMostShared;
  if (!possible) report("invalid configuration");
  return possible;
}

void prepare(unsigned int threads) {
  if (!stacks) stacks.reset(new char[kMostThreads * kStack]);
  fibers.reserve(kMostThreads);  // a fresh context points into itself, and may not move
  const std::size_t before = fibers.size();
  fibers.resize(std::max<std::size_t>(before, threads));
  for (std::size_t t = before; t < fibers.size(); ++t) {
    make(fibers[t].state, stacks.get() + t * kStack, kStack, serve);
  }
  warps.resize(threads / kWarpSize);
}

}  // namespace

void report(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  char where[64];
  std::snprintf(where, sizeof where, " (block %u, %u, %u)", blockIdx.x, blockIdx.y, blockIdx.z);
  message = std::string(text) + where;
  if (is_in_thread) wait(Waits::for_ever, {"", "", 0});
}

const char* error() {
  return message.empty() ? nullptr : message.c_str();
}

void sync_block(Site site) {
  if (!is_dropped(site)) wait(Waits::for_block, site);
}

void sync_warp(Site site) {
  if (!is_dropped(site)) wait(Waits::for_warp, site);
}

const std::uint64_t* meet(Site site, unsigned int mask, std::uint64_t word) {
  if (mask != 0xffffffffu) report("%s at %s:%d is not for a whole warp", site.name, name_of(site.file), site.line);
  Warp& warp = warps[threadIdx.x / kWarpSize];
  warp.given[threadIdx.x % kWarpSize] = word;
  wait(Waits::for_warp, site);
  return warp.seen;
}

void* dynamic_shared() {
  return dynamic.data();
}

void register_shared(void* begin, std::size_t bytes) {
  races::add_shared(begin, bytes);
}

void launch(Size grid, Size block, std::size_t dynamic_bytes, void*, const std::function<void()>& kernel) {
  message.clear();
  blockIdx = Size(0, 0, 0);
  if (!is_possible(grid, block, dynamic_bytes)) return;
  gridDim = grid;
  blockDim = block;
  body = &kernel;
  prepare(block.x);
  std::vector<char>(dynamic_bytes).swap(dynamic);
  std::vector<unsigned int> turns(block.x);
  std::iota(turns.begin(), turns.end(), 0u);
  if (order == reverse) std::reverse(turns.begin(), turns.end());
  std::mt19937 random(7);
  races::begin_launch(stacks.get(), kMostThreads * kStack, dynamic.data(), dynamic_bytes);
  for (unsigned int z = 0; z < grid.z; ++z) {
    for (unsigned int y = 0; y < grid.y; ++y) {
      for (unsigned int x = 0; x < grid.x; ++x) {
        blockIdx = Size(x, y, z);
        threadIdx = Size(0, 0, 0);
        races::begin_block();
        if (run_block(turns, random)) continue;
        // They stand in the midst of the kernel; the next launch gets new ones.
        fibers.clear();
        return races::end_launch();
      }
    }
  }
  races::end_launch();
}

void set_order(int wanted) {
  order = static_cast<Order>(wanted);
}

void drop_barrier(const std::string& file, int line) {
  dropped_file = file;
  dropped_line = line;
}

}  // namespace emulator
