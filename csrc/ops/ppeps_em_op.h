// Checks and allocation of the weighted EM, the same for every device: `run` gets the raw pointers and sizes.
#pragma once

#include <tuple>

#include "common.h"
#include "ppeps_em.h"

namespace lvlm_va {

using EMTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

inline EMSize check_em(
    const Tensor& weights, const Tensor& means, const Tensor& covariances, const Tensor& shares,
    int64_t max_iter) {
  STD_TORCH_CHECK(weights.dim() == 3, "The 'weights' argument must have shape (n, H, W).");
  STD_TORCH_CHECK(shares.dim() == 2, "The 'shares' argument must have shape (n, J).");
  const int64_t n = weights.size(0);
  const int64_t j = shares.size(1);
  STD_TORCH_CHECK(shares.size(0) == n, "The 'shares' argument must have one row per image.");
  STD_TORCH_CHECK(
      means.dim() == 3 && means.size(0) == n && means.size(1) == j && means.size(2) == 2,
      "The 'means' argument must have shape (n, J, 2).");
  STD_TORCH_CHECK(
      covariances.dim() == 4 && covariances.size(0) == n && covariances.size(1) == j &&
          covariances.size(2) == 2 && covariances.size(3) == 2,
      "The 'covariances' argument must have shape (n, J, 2, 2).");
  check_dtype_and_device(means, "means", ScalarType::Double, weights);
  check_dtype_and_device(covariances, "covariances", ScalarType::Double, weights);
  check_dtype_and_device(shares, "shares", ScalarType::Double, weights);
  STD_TORCH_CHECK(max_iter >= 0, "The 'max_iter' argument must be >= 0. Got ", max_iter, " instead.");
  return {n, weights.size(1), weights.size(2), j};
}

template <typename Run>
EMTensors em_op(
    const Tensor& weights, const Tensor& means, const Tensor& covariances, const Tensor& shares,
    double floor_row, double floor_column, int64_t max_iter, double tol, const Run& run) {
  const EMSize size = check_em(weights, means, covariances, shares, max_iter);
  const EMOptions options = {
      std::max(floor_row, kLeastVariance), std::max(floor_column, kLeastVariance), max_iter, tol};
  const Tensor w = torch::stable::contiguous(weights);
  const Tensor start_means = torch::stable::contiguous(means);
  const Tensor start_covariances = torch::stable::contiguous(covariances);
  const Tensor start_shares = torch::stable::contiguous(shares);
  const EMTensors fitted = {
      torch::stable::new_empty(start_means, means.sizes()),
      torch::stable::new_empty(start_means, covariances.sizes()),
      torch::stable::new_empty(start_means, shares.sizes()),
      torch::stable::new_empty(start_means, {size.images}),
      torch::stable::new_empty(start_means, {size.images}, ScalarType::Long),
      torch::stable::new_empty(start_means, {size.images, size.height, size.width}, ScalarType::Long),
  };
  const EMStart start = {
      start_means.const_data_ptr<double>(),
      start_covariances.const_data_ptr<double>(),
      start_shares.const_data_ptr<double>(),
  };
  const EMFit fit = {
      std::get<0>(fitted).mutable_data_ptr<double>(),  std::get<1>(fitted).mutable_data_ptr<double>(),
      std::get<2>(fitted).mutable_data_ptr<double>(),  std::get<3>(fitted).mutable_data_ptr<double>(),
      std::get<4>(fitted).mutable_data_ptr<int64_t>(), std::get<5>(fitted).mutable_data_ptr<int64_t>(),
  };
  dispatch_floating(w, "weights", [&](auto zero) {
    if (size.images == 0) return;
    run(w.const_data_ptr<decltype(zero)>(), start, fit, size, options);
  });
  return fitted;
}

}  // namespace lvlm_va
