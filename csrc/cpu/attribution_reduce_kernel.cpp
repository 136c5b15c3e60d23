#include "../ops/attribution_reduce.h"

#include <algorithm>

#include "clones.h"
#include "pieces.h"

namespace lvlm_va {
namespace {

constexpr int64_t kPiece = 4096;
// Contributions whose sums stay in registers while the references go by.
constexpr int64_t kLanes = 32;

template <typename scalar_t>
LVLM_VA_HOST_DEVICE_INLINE void reduce_lanes(
    const ReduceArrays<scalar_t>& arrays, int64_t n, int64_t first, int64_t lanes) {
  const scalar_t* image = arrays.images(0, n) + first;
  double sums[kLanes] = {};
  for (int64_t b = 0; b < arrays.size.references; ++b) {
    const scalar_t* reference = arrays.references(b, n) + first;
    const scalar_t* multipliers = arrays.multipliers(b, n) + first;
#pragma omp simd
    for (int64_t i = 0; i < lanes; ++i) {
      const double change = static_cast<double>(image[i]) - static_cast<double>(reference[i]);
      sums[i] += change * static_cast<double>(multipliers[i]);
    }
  }
  scalar_t* contributions = arrays.contributions + n * arrays.size.inner + first;
#pragma omp simd
  for (int64_t i = 0; i < lanes; ++i) {
    contributions[i] = static_cast<scalar_t>(sums[i] / static_cast<double>(arrays.size.references));
  }
}

template <typename scalar_t>
LVLM_VA_CPU_CLONES void reduce_piece(
    const ReduceArrays<scalar_t>& arrays, int64_t n, int64_t first, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) reduce_lanes(arrays, n, first + i, kLanes);
  if (i < count) reduce_lanes(arrays, n, first + i, count - i);
}

}  // namespace

int64_t attribution_reduce_pieces(const PairSize& size) {
  return n_pieces({1, size.images, size.inner}, kPiece);
}

template <typename scalar_t>
void attribution_reduce_cpu(const ReduceArrays<scalar_t>& arrays, int64_t begin, int64_t end) {
  const PairSize images = {1, arrays.size.images, arrays.size.inner};
  for_each_piece(images, kPiece, begin, end, [&](int64_t, int64_t n, int64_t first, int64_t count) {
    reduce_piece(arrays, n, first, count);
  });
}

template void attribution_reduce_cpu(const ReduceArrays<float>&, int64_t, int64_t);
template void attribution_reduce_cpu(const ReduceArrays<double>&, int64_t, int64_t);

}  // namespace lvlm_va
