// What Python calls of the emulator; the ops themselves register with torch.
#include <pybind11/pybind11.h>

#include "emulator.h"

PYBIND11_MODULE(kernels, module) {
  module.def("set_order", &emulator::set_order);
  module.def("drop_barrier", &emulator::drop_barrier);
}
