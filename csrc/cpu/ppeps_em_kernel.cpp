#include "../ops/ppeps_em.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "clones.h"
#include "em_block.h"
#include "em_support.h"
#include "em_tile.h"

namespace lvlm_va {
namespace {

// What one thread works with, made once and used for one image after the other.
struct Workspace {
  Grid grid;
  Support support;
  std::vector<Component> components;  // [j], and so the others
  std::vector<LogDensity> densities;
  std::vector<Course> courses;
  std::vector<Moments> moments;
  TileScratch tile;
  BlockScratch block;

  explicit Workspace(const EMSize& size)
      : grid(size),
        components(size.components),
        densities(size.components),
        courses(size.components),
        moments(size.components),
        tile(size.components),
        block(size.components) {}
};

// A block whose pixels need a true exponential each, as tiles.
LVLM_VA_INLINE double expect_block_by_tiles(const Block& block, bool reads_log_likelihood, Workspace& work) {
  double log_likelihood = 0.0;
  for (int64_t first = 0; first < kBlockPixels; first += kTile) {
    Tile tile;
    for (int64_t t = 0; t < kTile; ++t) {
      tile.row[t] = work.grid.row[block.row + (first + t) / kLanes];
      tile.column[t] = work.grid.column[block.column + t % kLanes];
      tile.weight[t] = block.weight[first + t];
    }
    log_likelihood += expect_tile(tile, work.densities, reads_log_likelihood, work.moments, work.tile);
  }
  return log_likelihood;
}

// E-step: fills the moments of each component; returns the log-likelihood, if it is read.
LVLM_VA_CPU_CLONES double expect(const EMSize& size, bool reads_log_likelihood, Workspace& work) {
  for (size_t j = 0; j < work.components.size(); ++j) {
    work.densities[j] = log_density(work.components[j]);
    work.courses[j].set(work.densities[j], work.grid);
  }
  std::fill(work.moments.begin(), work.moments.end(), Moments{});
  std::fill(work.block.moments.begin(), work.block.moments.end(), LaneMoments{});
  double log_likelihood = 0.0;
  for (const Block& block : work.support.blocks) {
    if (!expect_block(
            block, size.height, work.grid, work.densities, work.courses, reads_log_likelihood, log_likelihood,
            work.block)) {
      log_likelihood += expect_block_by_tiles(block, reads_log_likelihood, work);
    }
  }
  for (const Tile& tile : work.support.tiles) {
    log_likelihood += expect_tile(tile, work.densities, reads_log_likelihood, work.moments, work.tile);
  }
  for (size_t j = 0; j < work.moments.size(); ++j) add_lanes(work.block.moments[j], work.moments[j]);
  return log_likelihood;
}

int64_t most_likely(const std::vector<LogDensity>& densities, double row, double column) {
  double best = -std::numeric_limits<double>::infinity();
  int64_t label = 0;
  for (size_t j = 0; j < densities.size(); ++j) {
    const double joint = densities[j](row, column);
    if (joint > best) {
      best = joint;
      label = static_cast<int64_t>(j) + 1;
    }
  }
  return label;
}

// By the densities of the last E-step.
void write_labels(const Workspace& work, int64_t width, int64_t* labels) {
  for (const Block& block : work.support.blocks) {
    for (int64_t i = 0; i < kBlockPixels; ++i) {
      if (!(block.weight[i] > 0.0)) continue;
      const int64_t row = block.row + i / kLanes, column = block.column + i % kLanes;
      labels[row * width + column] =
          most_likely(work.densities, work.grid.row[row], work.grid.column[column]);
    }
  }
  for (const Tile& tile : work.support.tiles) {
    for (int64_t t = 0; t < kTile; ++t) {
      if (!(tile.weight[t] > 0.0)) continue;
      labels[tile.pixel[t]] = most_likely(work.densities, tile.row[t], tile.column[t]);
    }
  }
}

}  // namespace

template <typename scalar_t>
void ppeps_em_cpu(
    const scalar_t* weights, const EMStart& start, const EMFit& fit, const EMSize& size,
    const EMOptions& options, int64_t begin, int64_t end) {
  const int64_t pixels = size.height * size.width;
  const int64_t n_components = size.components;
  Workspace work(size);
  Component* components = work.components.data();
  for (int64_t n = begin; n < end; ++n) {
    const double* means = start.means + 2 * n * n_components;
    const double* covariances = start.covariances + 4 * n * n_components;
    const double* shares = start.shares + n * n_components;
    const bool has_weight = gather(weights + n * pixels, size, work.grid, work.support);
    load_components(components, means, covariances, shares, n_components, options);
    const bool fitted = normalise_shares(components, n_components) && has_weight;
    double log_likelihood = 0.0;
    int64_t iteration = 0;
    std::fill(fit.labels + n * pixels, fit.labels + (n + 1) * pixels, int64_t{0});
    if (fitted) {
      double previous = -std::numeric_limits<double>::infinity();
      while (true) {
        log_likelihood = expect(size, options.tol > 0.0 || iteration == options.max_iter, work);
        if (is_finished(iteration, log_likelihood, previous, options)) break;
        previous = log_likelihood;
        for (int64_t j = 0; j < n_components; ++j) {
          maximise(components[j], work.moments[j], options.floor_row, options.floor_column);
        }
        normalise_shares(components, n_components);
        ++iteration;
      }
      write_labels(work, size.width, fit.labels + n * pixels);
    }
    fit.log_likelihood[n] = log_likelihood;
    fit.n_iter[n] = iteration;
    store_components(
        components, means, covariances, shares, fit.means + 2 * n * n_components,
        fit.covariances + 4 * n * n_components, fit.shares + n * n_components, n_components, fitted);
  }
}

template void ppeps_em_cpu(
    const float*, const EMStart&, const EMFit&, const EMSize&, const EMOptions&, int64_t, int64_t);
template void ppeps_em_cpu(
    const double*, const EMStart&, const EMFit&, const EMSize&, const EMOptions&, int64_t, int64_t);

}  // namespace lvlm_va
