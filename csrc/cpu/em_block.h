// E-step of a block of pixels with two multiplications, not an exponential, per pixel and component.
//
// Down a column of pixels a log density e(n) = e(0) + n d + n (n - 1) / 2 k is quadratic in the row n. So
// g = exp(e(0)) and q = exp(d) give the density of every row: g *= q, q *= exp(k). Rounding grows with n^2:
// it stays below 1e-13 in the 64 rows of a block (see Course), and the next block starts afresh.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../shared/gaussian2d.h"
#include "descend.h"
#include "em_support.h"
#include "vector_math.h"

namespace lvlm_va {

// Exponents beyond this are kept away from the range of a double.
constexpr double kLargestExponent = 650.0;
// A component this far below each pixel's likeliest, as a logarithm, moves no bit of its own moments: they
// hold at least 1e-12 of the weight, with variances of at least 1e-12.
constexpr double kNegligible = -100.0;

// What a component does from row to row, the same in every block.
struct Course {
  double u_step, v_step;
  double curvature, factor;        // k, exp(k)
  double slope;                    // the part of d that is the same everywhere
  double turn;                     // -1 / k
  double bow;                      // how far a row of a block can rise above its ends
  std::vector<double> row_square;  // (row - mean)^2

  void set(const LogDensity& density, const Grid& grid) {
    u_step = density.u_row * grid.row_step;
    v_step = density.v_row * grid.row_step;
    curvature = -(u_step * u_step + v_step * v_step);
    factor = std::exp(curvature);
    // The factor is rounded by up to 2^-53, a density n rows on by n (n - 1) / 2 times that. A slope that
    // gives it back on average leaves a quarter: 6e-14.
    const double lost = curvature > -kLargestExponent ? curvature - std::log(factor) : 0.0;
    slope = 0.5 * (curvature + (kBlockRows - 1) * lost);
    turn = -1.0 / curvature;
    const double chord = (kLanes - 1) * density.v_column * grid.column_step;
    bow = 0.125 * chord * chord;
    row_square.resize(grid.row.size());
    for (size_t r = 0; r < grid.row.size(); ++r) {
      row_square[r] = (grid.row[r] - density.row) * (grid.row[r] - density.row);
    }
  }
};

// A component where it enters a block: e(0) and d of each column, and bounds of the log density in the block.
struct Entry {
  double start[kLanes], slope[kLanes];
  double least, top;
};

// Sums over the blocks' rows, column by column.
struct LaneMoments {
  double mass[kLanes], r[kLanes], c[kLanes], rr[kLanes], rc[kLanes], cc[kLanes];
};

struct BlockScratch {
  std::vector<Entry> entries;        // [j]
  std::vector<LaneMoments> moments;  // [j]
  Path paths[kMostPaths];
  alignas(64) double sums[kBlockPixels];
  Descend descend = choose_descend();

  explicit BlockScratch(int64_t n_components) : entries(n_components), moments(n_components) {}
};

LVLM_VA_INLINE void enter(
    const LogDensity& density, const Course& course, double row, const double* column, double last,
    Entry& entry) {
  const double k = course.curvature;
  const double u = density.u_row * (row - density.row);
  const double v_of_row = density.v_row * (row - density.row);
#pragma omp simd
  for (int lane = 0; lane < kLanes; ++lane) {
    const double v = v_of_row + density.v_column * (column[lane] - density.column);
    entry.start[lane] = density.offset - 0.5 * (u * u + v * v);
    entry.slope[lane] = course.slope - (u * course.u_step + v * course.v_step);
  }
  // Concave in row and column: least at a corner, and down a column largest where the slope turns.
  entry.least = std::numeric_limits<double>::infinity();
  entry.top = -entry.least;
  for (int lane : {0, kLanes - 1}) {
    const double start = entry.start[lane], slope = entry.slope[lane];
    const double turn = std::min(std::max(0.5 + slope * course.turn, 0.0), last);
    entry.least = std::min({entry.least, start, start + last * (slope + 0.5 * (last - 1.0) * k)});
    entry.top = std::max(entry.top, start + turn * (slope + 0.5 * (turn - 1.0) * k));
  }
  entry.top += course.bow;
}

// Starts the components that matter in the block, relative to exp(reference): so the densities of each pixel
// sum to 1 at least. Returns how many; 0 where they are too many, or one may leave the range of a double.
LVLM_VA_INLINE int64_t start_paths(
    const std::vector<LogDensity>& densities, const std::vector<Course>& courses, const Grid& grid,
    const Block& block, int64_t n_rows, double& reference, BlockScratch& scratch) {
  const auto n_components = static_cast<int64_t>(densities.size());
  reference = -std::numeric_limits<double>::infinity();
  for (int64_t j = 0; j < n_components; ++j) {
    enter(
        densities[j], courses[j], grid.row[block.row], grid.column.data() + block.column,
        static_cast<double>(n_rows - 1), scratch.entries[j]);
    reference = std::max(reference, scratch.entries[j].least);
  }
  int64_t n_paths = 0;
  for (int64_t j = 0; j < n_components; ++j) {
    const Entry& entry = scratch.entries[j];
    if (entry.top - reference < kNegligible) continue;
    const auto [low, high] = std::minmax(entry.slope[0], entry.slope[kLanes - 1]);
    const bool moderate = entry.top - reference <= kLargestExponent &&
        std::min(entry.start[0], entry.start[kLanes - 1]) - reference >= -kLargestExponent &&
        low >= -kLargestExponent && high <= kLargestExponent && courses[j].curvature >= -kLargestExponent;
    if (!moderate || n_paths == kMostPaths) return 0;
    Path& path = scratch.paths[n_paths++];
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      path.density[lane] = exp_of_moderate(entry.start[lane] - reference);
      path.ratio[lane] = exp_of_moderate(entry.slope[lane]);
    }
    path.factor = courses[j].factor;
    path.row_square = courses[j].row_square.data() + block.row;
    path.component = j;
  }
  return n_paths;
}

LVLM_VA_INLINE void add_path(
    const Path& path, const LogDensity& density, const Grid& grid, const Block& block, int64_t n_rows,
    LaneMoments& moments) {
  const double last_row = grid.row[block.row + n_rows - 1] - density.row;
#pragma omp simd
  for (int lane = 0; lane < kLanes; ++lane) {
    // A mass n rows above the last counts n + 1 times in the running sums.
    const double mass = path.mass[lane];
    const double r = mass * last_row - (path.running[lane] - mass) * grid.row_step;
    const double d_column = grid.column[block.column + lane] - density.column;
    moments.mass[lane] += mass;
    moments.r[lane] += r;
    moments.c[lane] += mass * d_column;
    moments.rr[lane] += path.rr[lane];
    moments.rc[lane] += r * d_column;
    moments.cc[lane] += mass * d_column * d_column;
  }
}

// Adds the block's moments to the scratch's, and its part of the log-likelihood, if that is read. Returns
// false, with nothing done, where the block needs a true exponential for each pixel.
LVLM_VA_INLINE bool expect_block(
    const Block& block, int64_t height, const Grid& grid, const std::vector<LogDensity>& densities,
    const std::vector<Course>& courses, bool reads_log_likelihood, double& log_likelihood,
    BlockScratch& scratch) {
  const int64_t n_rows = std::min(kBlockRows, height - block.row);
  double reference;
  const int64_t n_paths = start_paths(densities, courses, grid, block, n_rows, reference, scratch);
  if (n_paths == 0) return false;
  scratch.descend(scratch.paths, n_paths, block.weight, n_rows, scratch.sums);
  if (reads_log_likelihood) {
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n_rows * kLanes; ++i) {
      sum += block.weight[i] * (reference + log_of_at_least_one(scratch.sums[i]));
    }
    log_likelihood += sum;
  }
  for (int64_t i = 0; i < n_paths; ++i) {
    const int64_t j = scratch.paths[i].component;
    add_path(scratch.paths[i], densities[j], grid, block, n_rows, scratch.moments[j]);
  }
  return true;
}

LVLM_VA_INLINE double sum_of_lanes(const double* x) {
  return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
}

LVLM_VA_INLINE void add_lanes(const LaneMoments& lanes, Moments& moments) {
  moments += {sum_of_lanes(lanes.mass), sum_of_lanes(lanes.r),  sum_of_lanes(lanes.c),
              sum_of_lanes(lanes.rr),   sum_of_lanes(lanes.rc), sum_of_lanes(lanes.cc)};
}

}  // namespace lvlm_va
