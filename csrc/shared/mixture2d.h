// What the EM of one image does to its components outside the sums over pixels, the same on CPU and GPU.
#pragma once

#include <cstdint>

#include "gaussian2d.h"

namespace lvlm_va {

struct EMOptions {
  double floor_row, floor_column;
  int64_t max_iter;
  double tol;
};

LVLM_VA_HOST_DEVICE inline bool is_finished(
    int64_t iteration, double log_likelihood, double previous, const EMOptions& options) {
  return iteration == options.max_iter || (options.tol > 0.0 && log_likelihood - previous < options.tol);
}

// Divide the shares by their sum. Returns false, and leaves them, where no component is present.
LVLM_VA_HOST_DEVICE inline bool normalise_shares(Component* components, int64_t n_components) {
  double total = 0.0;
  for (int64_t j = 0; j < n_components; ++j) total += components[j].share;
  if (!(total > 0.0)) return false;
  for (int64_t j = 0; j < n_components; ++j) components[j].share /= total;
  return true;
}

// An absent component (share 0) takes harmless values: what stands in its place may be anything.
LVLM_VA_HOST_DEVICE inline void load_components(
    Component* components, const double* means, const double* covariances, const double* shares,
    int64_t n_components, const EMOptions& options) {
  for (int64_t j = 0; j < n_components; ++j) {
    const double* s = covariances + 4 * j;
    if (shares[j] > 0.0) {
      const Covariance raised = raise_to_floor({s[0], s[1], s[3]}, options.floor_row, options.floor_column);
      components[j] = {shares[j], means[2 * j], means[2 * j + 1], raised};
    } else {
      components[j] = {0.0, 0.5, 0.5, {1.0, 0.0, 1.0}};
    }
  }
}

// Write what was fitted; an absent component's mean and covariance are copied from the start.
LVLM_VA_HOST_DEVICE inline void store_components(
    const Component* components, const double* start_means, const double* start_covariances,
    const double* start_shares, double* means, double* covariances, double* shares, int64_t n_components,
    bool fitted) {
  for (int64_t j = 0; j < n_components; ++j) {
    shares[j] = fitted ? components[j].share : 0.0;
    if (fitted && start_shares[j] > 0.0) {
      const Covariance& s = components[j].covariance;
      means[2 * j] = components[j].row;
      means[2 * j + 1] = components[j].column;
      covariances[4 * j] = s.rr;
      covariances[4 * j + 1] = s.rc;
      covariances[4 * j + 2] = s.rc;
      covariances[4 * j + 3] = s.cc;
    } else {
      for (int k = 0; k < 2; ++k) means[2 * j + k] = start_means[2 * j + k];
      for (int k = 0; k < 4; ++k) covariances[4 * j + k] = start_covariances[4 * j + k];
    }
  }
}

}  // namespace lvlm_va
