// The innermost loop of a block's E-step (em_block.h), for the processor that it runs on.
#pragma once

#include <cstdint>

namespace lvlm_va {

// Columns that go down a block side by side.
constexpr int kLanes = 8;
// The most components that go down a block together: a bound on the code made for each number of them.
constexpr int kMostPaths = 16;

// One component on its way down a block, column by column.
struct alignas(64) Path {
  double density[kLanes], ratio[kLanes];  // g and q in the first row
  // What comes of it: the sums of the masses, of these running sums, and of mass (row - mean)^2.
  double mass[kLanes], running[kLanes], rr[kLanes];
  double factor;             // every row multiplies q by it
  const double* row_square;  // (row - mean)^2, of the block's rows
  int64_t component;
};

// Goes down `n_rows` rows: 1..kMostPaths paths, weights and the densities' sums of shape [n_rows, kLanes].
using Descend = void (*)(Path* paths, int64_t n_paths, const double* weights, int64_t n_rows, double* sums);

// The fastest that this processor can run.
Descend choose_descend();

}  // namespace lvlm_va
