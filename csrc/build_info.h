// What a compiled module of ours is to Python: its import registers the kernels, and it tells how it was built.
// Only CPython's limited API: one file serves every Python from 3.11 on.
#pragma once

#include <Python.h>
#include <torch/headeronly/version.h>

#define LVLM_VA_STRINGIZE_(x) #x
#define LVLM_VA_STRINGIZE(x) LVLM_VA_STRINGIZE_(x)

namespace lvlm_va {

// `cuda` is the toolkit's version, empty for CPU kernels.
inline PyObject* build_info(const char* cuda) {
  return Py_BuildValue(
      "{ssssssssss}", "torch",
      LVLM_VA_STRINGIZE(TORCH_VERSION_MAJOR) "." LVLM_VA_STRINGIZE(TORCH_VERSION_MINOR) "." LVLM_VA_STRINGIZE(
          TORCH_VERSION_PATCH),
      "python", PY_VERSION, "compiler", __VERSION__, "flags", LVLM_VA_FLAGS, "cuda", cuda);
}

inline PyObject* create_module(const char* name, const char* doc, PyCFunction tell_build_info) {
  static PyMethodDef methods[] = {
      {"build_info", tell_build_info, METH_NOARGS, "Facts of the build; 'cuda' is empty of CPU kernels."},
      {nullptr, nullptr, 0, nullptr}};
  static PyModuleDef definition = {
      PyModuleDef_HEAD_INIT, name, doc, -1, methods, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&definition);
}

}  // namespace lvlm_va
