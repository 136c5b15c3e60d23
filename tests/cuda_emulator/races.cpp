#include "races.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "emulator.h"

namespace emulator::races {
namespace {

// When a thread touched a byte. A step lies between two barriers of a warp, a period between two of a block;
// both are numbered through all blocks.
struct Access {
  std::uint32_t thread = 0, block = 0, period = 0, step = 0;  // period 0: never
};

// Enough readers to know whether one of them races with a writer: the last one, the last other lane of its
// warp, and the last of another warp.
struct Byte {
  Access writer, reader, other_lane, other_warp;
};

struct Range {
  char* begin;
  std::size_t bytes;

  bool holds(std::uintptr_t address) const {
    return address - reinterpret_cast<std::uintptr_t>(begin) < bytes;
  }
};

constexpr std::uintptr_t kLine = 64;
std::unordered_map<std::uintptr_t, std::array<Byte, kLine>> lines;
std::vector<Range> fixed;
Range dynamic, stacks;
bool is_running = false;
std::uint32_t block = 0, period = 0, last_step = 0;
std::uint32_t steps[32];  // of each warp

void poison(const Range& range) {
  if (range.bytes) std::memset(range.begin, 0xff, range.bytes);
}

bool is_shared(std::uintptr_t address) {
  bool found = dynamic.holds(address);
  for (const Range& range : fixed) found = found || range.holds(address);
  return found;
}

std::uint32_t warp_of(const Access& access) {
  return access.thread / kWarpSize;
}

// Whether nothing orders an earlier access and this one.
bool race(const Access& before, const Access& now) {
  if (before.period == 0 || (before.thread == now.thread && before.block == now.block)) return false;
  if (before.block != now.block) return true;
  if (before.period != now.period) return false;
  return warp_of(before) != warp_of(now) || before.step == now.step;
}

void add_reader(Byte& byte, const Access& now) {
  if (warp_of(byte.reader) != warp_of(now) || byte.reader.block != now.block) {
    byte.other_warp = byte.reader;
    byte.other_lane = {};
  } else if (byte.reader.thread != now.thread) {
    byte.other_lane = byte.reader;
  }
  byte.reader = now;
}

void report_race(const char* what, const Access& before, const Access& now, std::uintptr_t address) {
  report(
      "thread %u of block %u and thread %u of block %u %s the same %s memory, and no barrier orders them",
      before.thread, before.block - 1, now.thread, now.block - 1, what,
      is_shared(address) ? "shared" : "global");
}

void touch(const void* pointer, std::size_t size, bool writes) {
  const auto first = reinterpret_cast<std::uintptr_t>(pointer);
  if (!is_running || stacks.holds(first)) return;
  const Access now = {threadIdx.x, block, period, steps[threadIdx.x / kWarpSize]};
  // Whole words by their first byte: what is a word here is no four bytes elsewhere.
  const std::uintptr_t step = first % 4 == 0 && size % 4 == 0 ? 4 : 1;
  for (std::uintptr_t address = first; address < first + size; address += step) {
    Byte& byte = lines[address / kLine][address % kLine];
    if (race(byte.writer, now)) {
      report_race(writes ? "write" : "write and read", byte.writer, now, address);
    }
    if (!writes) {
      add_reader(byte, now);
      if (byte.writer.period == 0 && is_shared(address)) report("thread %u reads unset shared memory", now.thread);
      continue;
    }
    for (const Access* reader : {&byte.reader, &byte.other_lane, &byte.other_warp}) {
      if (race(*reader, now)) report_race("read and write", *reader, now, address);
    }
    byte.writer = now;
  }
}

}  // namespace

void begin_launch(const void* stacks_begin, std::size_t stack_bytes, void* begin, std::size_t bytes) {
  lines.clear();
  stacks = {static_cast<char*>(const_cast<void*>(stacks_begin)), stack_bytes};
  dynamic = {static_cast<char*>(begin), bytes};
  block = 0;
  is_running = true;
}

void begin_block() {
  ++block;
  ++period;
  for (std::uint32_t& step : steps) step = ++last_step;
  const auto forget = [](const Range& range) {
    const auto begin = reinterpret_cast<std::uintptr_t>(range.begin);
    for (std::uintptr_t address = begin; address < begin + range.bytes; ++address) {
      const auto line = lines.find(address / kLine);
      if (line != lines.end()) line->second[address % kLine] = {};
    }
    poison(range);
  };
  forget(dynamic);
  for (const Range& range : fixed) forget(range);
}

void end_launch() {
  is_running = false;
}

void block_met() {
  ++period;
}

void warp_met(unsigned int warp) {
  steps[warp] = ++last_step;
}

void add_shared(void* begin, std::size_t bytes) {
  fixed.push_back({static_cast<char*>(begin), bytes});
  poison(fixed.back());
}

}  // namespace emulator::races

#define EMULATOR_HOOKS(SIZE)                                    \
  void __tsan_read##SIZE(void* p) {                             \
    emulator::races::touch(p, SIZE, false);                     \
  }                                                             \
  void __tsan_write##SIZE(void* p) {                            \
    emulator::races::touch(p, SIZE, true);                      \
  }                                                             \
  void __tsan_unaligned_read##SIZE(void* p) {                   \
    emulator::races::touch(p, SIZE, false);                     \
  }                                                             \
  void __tsan_unaligned_write##SIZE(void* p) {                  \
    emulator::races::touch(p, SIZE, true);                      \
  }

extern "C" {
EMULATOR_HOOKS(1)
EMULATOR_HOOKS(2)
EMULATOR_HOOKS(4)
EMULATOR_HOOKS(8)
EMULATOR_HOOKS(16)
void __tsan_read_range(void* p, std::size_t size) {
  emulator::races::touch(p, size, false);
}
void __tsan_write_range(void* p, std::size_t size) {
  emulator::races::touch(p, size, true);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
