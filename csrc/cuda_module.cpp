#include <cuda_runtime_api.h>

#include <string>

#include "build_info.h"

static PyObject* build_info(PyObject*, PyObject*) {
  static const std::string version =
      std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
  return lvlm_va::build_info(version.c_str());
}

PyMODINIT_FUNC PyInit__C_cuda() {
  return lvlm_va::create_module(
      "_C_cuda", "CUDA kernels of lvlm_va; they register themselves with torch.", build_info);
}
