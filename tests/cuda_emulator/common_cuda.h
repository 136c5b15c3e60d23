// Stands in for csrc/ops/common_cuda.h: tensors are on the CPU, and there is no stream.
#pragma once

#include "common.h"

namespace lvlm_va {

template <typename Launch>
void on_current_stream(const Tensor&, const char* name, const Launch& launch) {
  const char* error = launch(nullptr);
  STD_TORCH_CHECK(error == nullptr, name, ", emulated: ", error);
}

}  // namespace lvlm_va
