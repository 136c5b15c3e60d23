#include <algorithm>

#include "../ops/maxpool_rescale.h"
#include "../shared/window.h"

namespace lvlm_va {
namespace {

bool is_inside(int64_t index, int64_t positions) {
  return static_cast<uint64_t>(index) < static_cast<uint64_t>(positions);
}

template <typename scalar_t>
bool rescale_plane(
    const scalar_t* grad_output, const scalar_t* u, const scalar_t* r, const int64_t* i, const int64_t* j,
    scalar_t* multipliers, const PoolSize& size) {
  std::fill(multipliers, multipliers + size.positions, scalar_t(0));
  for (int64_t o = 0; o < size.windows; ++o) {
    if (!is_inside(i[o], size.positions) || !is_inside(j[o], size.positions)) return false;
    const WindowShare<scalar_t> window = window_share(u, r, i[o], j[o]);
    multipliers[window.position] += window.share * grad_output[o];
  }
  return true;
}

}  // namespace

template <typename scalar_t>
bool maxpool_rescale_cpu(const PoolArrays<scalar_t>& arrays, int64_t begin, int64_t end) {
  const PoolSize& size = arrays.size;
  bool inside = true;
  for (int64_t plane = begin; plane < end; ++plane) {
    const int64_t p = plane % size.planes, pair = plane / size.planes;
    const int64_t n = pair % size.pairs.images, b = pair / size.pairs.images;
    const int64_t window = p * size.windows, position = p * size.positions;
    inside &= rescale_plane(
        arrays.grad_output(b, n) + window, arrays.input(b, n) + position, arrays.reference(b, n) + position,
        arrays.input_indices(b, n) + window, arrays.reference_indices(b, n) + window,
        arrays.multipliers + plane * size.positions, size);
  }
  return inside;
}

template bool maxpool_rescale_cpu(const PoolArrays<float>&, int64_t, int64_t);
template bool maxpool_rescale_cpu(const PoolArrays<double>&, int64_t, int64_t);

}  // namespace lvlm_va
