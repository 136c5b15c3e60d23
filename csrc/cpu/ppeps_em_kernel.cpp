#include "../ppeps_em.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "clones.h"
#include "vector_math.h"

namespace lvlm_va {
namespace {

// Pixels that are worked on together: their scratch stays in the first cache, and loops over them vectorise.
constexpr int64_t kTile = 64;

// The pixels of positive weight, gathered once per image and padded with weight 0 to whole tiles.
struct Support {
  std::vector<double> row, column, weight;
  std::vector<int64_t> pixel;

  int64_t tiles() const { return static_cast<int64_t>(row.size()) / kTile; }
};

template <typename scalar_t>
void gather(const scalar_t* weights, const EMSize& size, Support& support) {
  support.row.clear();
  support.column.clear();
  support.weight.clear();
  support.pixel.clear();
  double largest = 0.0;
  for (int64_t pixel = 0; pixel < size.height * size.width; ++pixel) {
    const double weight = static_cast<double>(weights[pixel]);
    if (!(weight > 0.0)) continue;
    support.row.push_back((static_cast<double>(pixel / size.width) + 0.5) / static_cast<double>(size.height));
    support.column.push_back(
        (static_cast<double>(pixel % size.width) + 0.5) / static_cast<double>(size.width));
    support.weight.push_back(weight);
    support.pixel.push_back(pixel);
    largest = std::max(largest, weight);
  }
  // Through the largest weight first, so that neither tiny nor huge ones leave the range of a double.
  double total = 0.0;
  for (double& weight : support.weight) total += weight /= largest;
  for (double& weight : support.weight) weight /= total;
  while (support.row.size() % kTile != 0) {
    support.row.push_back(0.5);
    support.column.push_back(0.5);
    support.weight.push_back(0.0);
  }
}

// Scratch of one tile: log share_j N(z | j), then the mass w r_j of each pixel in each component.
struct Tile {
  std::vector<double> joint;  // [j, kTile]
  double largest[kTile];
  double sum[kTile];
};

LVLM_VA_INLINE void log_joint(
    const Support& support, int64_t first, const std::vector<LogDensity>& densities, Tile& tile) {
  std::fill(tile.largest, tile.largest + kTile, -std::numeric_limits<double>::infinity());
  const double* row = support.row.data() + first;
  const double* column = support.column.data() + first;
  double* joint = tile.joint.data();
  for (const LogDensity& density : densities) {
    for (int64_t t = 0; t < kTile; ++t) joint[t] = density(row[t], column[t]);
    for (int64_t t = 0; t < kTile; ++t) {
      tile.largest[t] = joint[t] > tile.largest[t] ? joint[t] : tile.largest[t];
    }
    joint += kTile;
  }
}

// Turns the tile's joint densities into masses; returns its part of the log-likelihood.
LVLM_VA_INLINE double masses(const double* weight, int64_t n_components, Tile& tile) {
  std::fill(tile.sum, tile.sum + kTile, 0.0);
  for (int64_t j = 0; j < n_components; ++j) {
    double* joint = tile.joint.data() + j * kTile;
    for (int64_t t = 0; t < kTile; ++t) joint[t] = exp_of_nonpositive(joint[t] - tile.largest[t]);
    for (int64_t t = 0; t < kTile; ++t) tile.sum[t] += joint[t];
  }
  double log_likelihood = 0.0;
#pragma omp simd reduction(+ : log_likelihood)
  for (int64_t t = 0; t < kTile; ++t) {
    log_likelihood += weight[t] * (tile.largest[t] + log_of_at_least_one(tile.sum[t]));
    tile.sum[t] = weight[t] / tile.sum[t];
  }
  for (int64_t j = 0; j < n_components; ++j) {
    double* joint = tile.joint.data() + j * kTile;
    for (int64_t t = 0; t < kTile; ++t) joint[t] *= tile.sum[t];
  }
  return log_likelihood;
}

LVLM_VA_INLINE void add_moments(
    const double* row, const double* column, const double* mass, const LogDensity& density,
    Moments& moments) {
  double m = 0.0, r = 0.0, c = 0.0, rr = 0.0, rc = 0.0, cc = 0.0;
#pragma omp simd reduction(+ : m, r, c, rr, rc, cc)
  for (int64_t t = 0; t < kTile; ++t) {
    const double d_row = row[t] - density.row;
    const double d_column = column[t] - density.column;
    m += mass[t];
    r += mass[t] * d_row;
    c += mass[t] * d_column;
    rr += mass[t] * d_row * d_row;
    rc += mass[t] * d_row * d_column;
    cc += mass[t] * d_column * d_column;
  }
  moments.mass += m;
  moments.r += r;
  moments.c += c;
  moments.rr += rr;
  moments.rc += rc;
  moments.cc += cc;
}

// E-step: returns the log-likelihood and fills the moments of each component.
LVLM_VA_CPU_CLONES double expect(
    const Support& support, const std::vector<LogDensity>& densities, std::vector<Moments>& moments,
    Tile& tile) {
  const auto n_components = static_cast<int64_t>(densities.size());
  std::fill(moments.begin(), moments.end(), Moments{});
  double log_likelihood = 0.0;
  for (int64_t first = 0; first < support.tiles() * kTile; first += kTile) {
    log_joint(support, first, densities, tile);
    log_likelihood += masses(support.weight.data() + first, n_components, tile);
    for (int64_t j = 0; j < n_components; ++j) {
      add_moments(
          support.row.data() + first, support.column.data() + first, tile.joint.data() + j * kTile,
          densities[j], moments[j]);
    }
  }
  return log_likelihood;
}

void write_labels(const Support& support, const std::vector<LogDensity>& densities, int64_t* labels) {
  for (size_t i = 0; i < support.pixel.size(); ++i) {
    double best = -std::numeric_limits<double>::infinity();
    for (size_t j = 0; j < densities.size(); ++j) {
      const double joint = densities[j](support.row[i], support.column[i]);
      if (joint > best) {
        best = joint;
        labels[support.pixel[i]] = static_cast<int64_t>(j) + 1;
      }
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
  Support support;
  Tile tile;
  tile.joint.resize(n_components * kTile);
  std::vector<Component> components(n_components);
  std::vector<LogDensity> densities(n_components);
  std::vector<Moments> moments(n_components);
  for (int64_t n = begin; n < end; ++n) {
    const double* means = start.means + 2 * n * n_components;
    const double* covariances = start.covariances + 4 * n * n_components;
    const double* shares = start.shares + n * n_components;
    gather(weights + n * pixels, size, support);
    load_components(components.data(), means, covariances, shares, n_components, options);
    const bool fitted = normalise_shares(components.data(), n_components) && support.tiles() > 0;
    double log_likelihood = 0.0;
    int64_t iteration = 0;
    std::fill(fit.labels + n * pixels, fit.labels + (n + 1) * pixels, int64_t{0});
    if (fitted) {
      double previous = -std::numeric_limits<double>::infinity();
      while (true) {
        for (int64_t j = 0; j < n_components; ++j) densities[j] = log_density(components[j]);
        log_likelihood = expect(support, densities, moments, tile);
        if (is_finished(iteration, log_likelihood, previous, options)) break;
        previous = log_likelihood;
        for (int64_t j = 0; j < n_components; ++j) {
          maximise(components[j], moments[j], options.floor_row, options.floor_column);
        }
        normalise_shares(components.data(), n_components);
        ++iteration;
      }
      write_labels(support, densities, fit.labels + n * pixels);
    }
    fit.log_likelihood[n] = log_likelihood;
    fit.n_iter[n] = iteration;
    store_components(
        components.data(), means, covariances, shares, fit.means + 2 * n * n_components,
        fit.covariances + 4 * n * n_components, fit.shares + n * n_components, n_components, fitted);
  }
}

template void ppeps_em_cpu(
    const float*, const EMStart&, const EMFit&, const EMSize&, const EMOptions&, int64_t, int64_t);
template void ppeps_em_cpu(
    const double*, const EMStart&, const EMFit&, const EMSize&, const EMOptions&, int64_t, int64_t);

}  // namespace lvlm_va
