// The Python module. Importing it registers the kernels; all that it offers itself is how it was built.
#include <pybind11/pybind11.h>
#include <torch/headeronly/version.h>
#ifdef USE_CUDA
#include <cuda_runtime_api.h>
#endif

#include <string>

#define LVLM_VA_STRINGIZE_(x) #x
#define LVLM_VA_STRINGIZE(x) LVLM_VA_STRINGIZE_(x)

namespace py = pybind11;

static std::string cuda_version() {
#ifdef USE_CUDA
  return std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
#else
  return "";
#endif
}

static py::dict build_info() {
  py::dict info;
  info["torch"] = LVLM_VA_STRINGIZE(TORCH_VERSION_MAJOR) "." LVLM_VA_STRINGIZE(
      TORCH_VERSION_MINOR) "." LVLM_VA_STRINGIZE(TORCH_VERSION_PATCH);
  info["python"] = PY_VERSION;
  info["pybind11"] = LVLM_VA_STRINGIZE(PYBIND11_VERSION_MAJOR) "." LVLM_VA_STRINGIZE(PYBIND11_VERSION_MINOR);
  info["compiler"] = __VERSION__;
  info["flags"] = LVLM_VA_FLAGS;
  info["cuda"] = cuda_version();
  return info;
}

PYBIND11_MODULE(_C, module) {
  module.doc() = "Compiled kernels of lvlm_va; they register themselves with torch.";
  module.def("build_info", &build_info, "Facts of the build; 'cuda' is empty without CUDA kernels.");
}
