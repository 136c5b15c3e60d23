// What the torch-facing CUDA files share. Stable headers only; needs USE_CUDA for the stream's shim.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include "common.h"

namespace lvlm_va {

// Calls launch(stream) on the tensor's device and current stream, and raises what it reports.
template <typename Launch>
void on_current_stream(const Tensor& tensor, const char* name, const Launch& launch) {
  const auto device = tensor.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  const char* error = launch(stream);
  STD_TORCH_CHECK(error == nullptr, name, " could not start on CUDA device ", device, ": ", error);
}

}  // namespace lvlm_va
