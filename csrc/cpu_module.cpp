#include "build_info.h"

static PyObject* build_info(PyObject*, PyObject*) { return lvlm_va::build_info(""); }

PyMODINIT_FUNC PyInit__C() {
  return lvlm_va::create_module(
      "_C", "CPU kernels of lvlm_va; they register themselves with torch.", build_info);
}
