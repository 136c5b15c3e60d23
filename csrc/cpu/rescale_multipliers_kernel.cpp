#include "../ops/rescale_multipliers.h"

#include <type_traits>

#include "clones.h"
#include "pieces.h"

namespace lvlm_va {
namespace {

// Values that are worked on together: those of a few pairs fit into the second cache.
constexpr int64_t kPiece = 4096;

template <typename Slope, typename scalar_t>
LVLM_VA_CPU_CLONES void rescale(
    const Slope slope, const scalar_t* grad_output, const scalar_t* input, const scalar_t* reference,
    scalar_t* multipliers, int64_t count) {
  // The elementary functions are there in double precision only.
  using compute_t = std::conditional_t<Slope::is_elementary, double, scalar_t>;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const compute_t u = input[i], r = reference[i];
    multipliers[i] =
        static_cast<scalar_t>(carried(static_cast<compute_t>(grad_output[i]), compute_t(slope(u, r)), u, r));
  }
}

}  // namespace

int64_t rescale_multipliers_pieces(const PairSize& size) {
  return n_pieces(size, kPiece);
}

template <typename scalar_t>
void rescale_multipliers_cpu(
    const Activation& activation, const RescaleArrays<scalar_t>& arrays, int64_t begin, int64_t end) {
  const PairSize& size = arrays.size;
  with_slope(activation, [&](const auto slope) {
    for_each_piece(size, kPiece, begin, end, [&](int64_t b, int64_t n, int64_t first, int64_t count) {
      rescale(
          slope, arrays.grad_output(b, n) + first, arrays.input(b, n) + first, arrays.reference(b, n) + first,
          arrays.multipliers + (b * size.images + n) * size.inner + first, count);
    });
  });
}

template void rescale_multipliers_cpu(const Activation&, const RescaleArrays<float>&, int64_t, int64_t);
template void rescale_multipliers_cpu(const Activation&, const RescaleArrays<double>&, int64_t, int64_t);

}  // namespace lvlm_va
