// How a launcher reports that its kernel could not start.
#pragma once

#include <cuda_runtime.h>

namespace lvlm_va {

inline const char* launch_error() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace lvlm_va
