// E-step of a tile of listed pixels: one exponential per pixel and component, whatever their range.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "../shared/gaussian2d.h"
#include "em_support.h"
#include "vector_math.h"

namespace lvlm_va {

// One value per pixel of a tile.
struct alignas(64) TileValues {
  double of[kTile];
};

struct TileScratch {
  std::vector<TileValues> joint;  // [j]: log share_j N(z | j), then its exponential
  TileValues largest, sum;

  explicit TileScratch(int64_t n_components) : joint(n_components) {}
};

// The largest of the components' log densities, and the sum of their exponentials relative to it.
LVLM_VA_INLINE void joint_densities(
    const Tile& tile, const std::vector<LogDensity>& densities, TileScratch& scratch) {
  double* largest = scratch.largest.of;
  double* sum = scratch.sum.of;
  std::fill(largest, largest + kTile, -std::numeric_limits<double>::infinity());
  std::fill(sum, sum + kTile, 0.0);
  for (size_t j = 0; j < densities.size(); ++j) {
    const LogDensity density = densities[j];
    double* joint = scratch.joint[j].of;
#pragma omp simd
    for (int64_t t = 0; t < kTile; ++t) {
      joint[t] = density(tile.row[t], tile.column[t]);
      largest[t] = joint[t] > largest[t] ? joint[t] : largest[t];
    }
  }
  for (size_t j = 0; j < densities.size(); ++j) {
    double* joint = scratch.joint[j].of;
#pragma omp simd
    for (int64_t t = 0; t < kTile; ++t) {
      joint[t] = exp_of_nonpositive(joint[t] - largest[t]);
      sum[t] += joint[t];
    }
  }
}

LVLM_VA_INLINE void add_moments(
    const Tile& tile, const double* joint, const double* scale, const LogDensity& density, Moments& moments) {
  const double mean_row = density.row, mean_column = density.column;
  double m = 0.0, r = 0.0, c = 0.0, rr = 0.0, rc = 0.0, cc = 0.0;
#pragma omp simd reduction(+ : m, r, c, rr, rc, cc)
  for (int64_t t = 0; t < kTile; ++t) {
    const double mass = joint[t] * scale[t];
    const double d_row = tile.row[t] - mean_row;
    const double d_column = tile.column[t] - mean_column;
    m += mass;
    r += mass * d_row;
    c += mass * d_column;
    rr += mass * d_row * d_row;
    rc += mass * d_row * d_column;
    cc += mass * d_column * d_column;
  }
  moments += {m, r, c, rr, rc, cc};
}

// Adds the tile's moments; returns its part of the log-likelihood, if that is read.
LVLM_VA_INLINE double expect_tile(
    const Tile& tile, const std::vector<LogDensity>& densities, bool reads_log_likelihood,
    std::vector<Moments>& moments, TileScratch& scratch) {
  joint_densities(tile, densities, scratch);
  const double* largest = scratch.largest.of;
  double* sum = scratch.sum.of;
  double log_likelihood = 0.0;
  if (reads_log_likelihood) {
#pragma omp simd reduction(+ : log_likelihood)
    for (int64_t t = 0; t < kTile; ++t) {
      log_likelihood += tile.weight[t] * (largest[t] + log_of_at_least_one(sum[t]));
    }
  }
  // From here on, what turns a density into a mass.
  for (int64_t t = 0; t < kTile; ++t) sum[t] = tile.weight[t] / sum[t];
  for (size_t j = 0; j < densities.size(); ++j) {
    add_moments(tile, scratch.joint[j].of, sum, densities[j], moments[j]);
  }
  return log_likelihood;
}

}  // namespace lvlm_va
