#include "../attribution_reduce.h"

#include <algorithm>

#include "clones.h"
#include "pieces.h"

namespace lvlm_va {
namespace {

// Sums that stay in the first cache.
constexpr int64_t kSums = 1024;

template <typename scalar_t>
LVLM_VA_CPU_CLONES void add_contributions(
    const scalar_t* multipliers, const scalar_t* image, const scalar_t* reference, double* sums,
    int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const double change = static_cast<double>(image[i]) - static_cast<double>(reference[i]);
    sums[i] += change * static_cast<double>(multipliers[i]);
  }
}

}  // namespace

int64_t attribution_reduce_pieces(const PairSize& size) {
  return n_pieces({1, size.images, size.inner}, kSums);
}

template <typename scalar_t>
void attribution_reduce_cpu(const ReduceArrays<scalar_t>& arrays, int64_t begin, int64_t end) {
  const PairSize& size = arrays.size;
  double sums[kSums];
  for_each_piece(
      {1, size.images, size.inner}, kSums, begin, end, [&](int64_t, int64_t n, int64_t first, int64_t count) {
        std::fill(sums, sums + count, 0.0);
        for (int64_t b = 0; b < size.references; ++b) {
          add_contributions(
              arrays.multipliers(b, n) + first, arrays.images(b, n) + first, arrays.references(b, n) + first,
              sums, count);
        }
        scalar_t* contributions = arrays.contributions + n * size.inner + first;
        for (int64_t i = 0; i < count; ++i) {
          contributions[i] = static_cast<scalar_t>(sums[i] / static_cast<double>(size.references));
        }
      });
}

template void attribution_reduce_cpu(const ReduceArrays<float>&, int64_t, int64_t);
template void attribution_reduce_cpu(const ReduceArrays<double>&, int64_t, int64_t);

}  // namespace lvlm_va
