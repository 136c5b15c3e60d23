#include "attribution_reduce_op.h"

namespace lvlm_va {
namespace {

Tensor attribution_reduce(const Tensor& multipliers, const Tensor& images, const Tensor& references) {
  return attribution_reduce_op(multipliers, images, references, [](const auto& arrays) {
    const PairSize& size = arrays.size;
    const int64_t pieces = attribution_reduce_pieces(size);
    const int64_t operations = size.references * size.images * size.inner / pieces;
    torch::stable::parallel_for(0, pieces, images_per_thread(operations), [&](int64_t begin, int64_t end) {
      attribution_reduce_cpu(arrays, begin, end);
    });
  });
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CPU, library) {
  library.impl("attribution_reduce", TORCH_BOX(&lvlm_va::attribution_reduce));
}
