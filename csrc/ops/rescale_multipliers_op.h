// Checks and allocation of the rescale rule, the same for every device: `run` gets the activation and arrays.
#pragma once

#include <string>
#include <vector>

#include "pairs_op.h"
#include "rescale_multipliers.h"

namespace lvlm_va {

// A `str` argument, taken over from torch. As a std::string parameter it would leak one string per call:
// torch's own conversion (2.10 to 2.13 at least) allocates one that nobody frees.
inline std::string take_string(StringHandle handle) {
  size_t length = 0;
  const char* data = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(torch_string_length(handle, &length));
  STABLE_TORCH_ERROR_CODE_CHECK(torch_string_c_str(handle, &data));
  std::string string(data, length);
  STABLE_TORCH_ERROR_CODE_CHECK(torch_delete_string(handle));
  return string;
}

template <typename Run>
Tensor rescale_multipliers_op(
    const Tensor& grad_output, const Tensor& input, const Tensor& reference, StringHandle activation,
    const std::vector<double>& parameters, const Run& run) {
  const std::string name = take_string(activation);
  const int expected = n_parameters(name.c_str());
  STD_TORCH_CHECK(expected >= 0, "The 'activation' argument is unknown. Got '", name, "'.");
  STD_TORCH_CHECK(
      static_cast<int>(parameters.size()) == expected, "The 'parameters' argument must hold ", expected,
      " numbers for '", name, "'. Got ", parameters.size(), " instead.");
  const PairSize size = check_pairs({"grad_output", "input", "reference"}, grad_output, input, reference);
  const Tensor g = with_whole_rows(grad_output);
  const Tensor u = with_whole_rows(input);
  const Tensor r = with_whole_rows(reference);
  const Tensor multipliers = torch::stable::new_empty(u, pair_shape(size, u));
  const auto parameter = [&](int i) { return i < expected ? parameters[i] : 0.0; };
  dispatch_floating(u, "input", [&](auto zero) {
    using scalar_t = decltype(zero);
    if (multipliers.numel() == 0) return;
    run(Activation{name.c_str(), parameter(0), parameter(1), parameter(2)},
        RescaleArrays<scalar_t>{
            pair_rows<scalar_t>(g), pair_rows<scalar_t>(u), pair_rows<scalar_t>(r),
            multipliers.mutable_data_ptr<scalar_t>(), size});
  });
  return multipliers;
}

}  // namespace lvlm_va
