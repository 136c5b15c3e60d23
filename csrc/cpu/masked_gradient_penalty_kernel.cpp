#include "../ops/masked_gradient_penalty.h"

#include "clones.h"

namespace lvlm_va {
namespace {

template <typename scalar_t>
LVLM_VA_CPU_CLONES double masked_square_sum(const scalar_t* gradient, const scalar_t* mask, int64_t pixels) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (int64_t p = 0; p < pixels; ++p) {
    const double value = static_cast<double>(mask[p]) * static_cast<double>(gradient[p]);
    sum += value * value;
  }
  return sum;
}

// scaled[p] = scale * mask[p]^2 * gradient[p]
template <typename scalar_t>
LVLM_VA_CPU_CLONES void scale_by_mask(
    double scale, const scalar_t* gradient, const scalar_t* mask, scalar_t* scaled, int64_t pixels) {
#pragma omp simd
  for (int64_t p = 0; p < pixels; ++p) {
    const double weight = static_cast<double>(mask[p]);
    scaled[p] = static_cast<scalar_t>(scale * (weight * weight) * static_cast<double>(gradient[p]));
  }
}

}  // namespace

template <typename scalar_t>
void masked_gradient_penalty_cpu(
    const scalar_t* gradient, const scalar_t* mask, scalar_t* penalty, PenaltySize size, int64_t begin,
    int64_t end) {
  for (int64_t n = begin; n < end; ++n) {
    double sum = 0.0;
    for (int64_t c = 0; c < size.channels; ++c) {
      sum += masked_square_sum(
          gradient + (n * size.channels + c) * size.pixels, mask + n * size.pixels, size.pixels);
    }
    penalty[n] = static_cast<scalar_t>(sum);
  }
}

template <typename scalar_t>
void masked_gradient_penalty_backward_cpu(
    const scalar_t* grad_output, const scalar_t* gradient, const scalar_t* mask, scalar_t* grad_gradient,
    PenaltySize size, int64_t begin, int64_t end) {
  for (int64_t n = begin; n < end; ++n) {
    for (int64_t c = 0; c < size.channels; ++c) {
      const int64_t channel = (n * size.channels + c) * size.pixels;
      scale_by_mask(
          2.0 * static_cast<double>(grad_output[n]), gradient + channel, mask + n * size.pixels,
          grad_gradient + channel, size.pixels);
    }
  }
}

template void masked_gradient_penalty_cpu(const float*, const float*, float*, PenaltySize, int64_t, int64_t);
template void masked_gradient_penalty_cpu(
    const double*, const double*, double*, PenaltySize, int64_t, int64_t);
template void masked_gradient_penalty_backward_cpu(
    const float*, const float*, const float*, float*, PenaltySize, int64_t, int64_t);
template void masked_gradient_penalty_backward_cpu(
    const double*, const double*, const double*, double*, PenaltySize, int64_t, int64_t);

}  // namespace lvlm_va
