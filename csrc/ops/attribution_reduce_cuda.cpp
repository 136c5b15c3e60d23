#include "attribution_reduce_op.h"
#include "common_cuda.h"

namespace lvlm_va {
namespace {

Tensor attribution_reduce(const Tensor& multipliers, const Tensor& images, const Tensor& references) {
  return attribution_reduce_op(multipliers, images, references, [&](const auto& arrays) {
    on_current_stream(images, "attribution_reduce", [&](void* stream) {
      return launch_attribution_reduce(arrays, stream);
    });
  });
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CUDA, library) {
  library.impl("attribution_reduce", TORCH_BOX(&lvlm_va::attribution_reduce));
}
