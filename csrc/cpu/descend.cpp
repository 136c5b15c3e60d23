#include "descend.h"

#include <cstring>
#include <utility>

namespace lvlm_va {
namespace {

namespace basic {
#define LVLM_VA_WIDTH 2
#include "descend_lanes.h"
#undef LVLM_VA_WIDTH
}  // namespace basic

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define LVLM_VA_HAS_TARGETS

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define LVLM_VA_WIDTH 4
#include "descend_lanes.h"
#undef LVLM_VA_WIDTH
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,fma")
namespace avx512 {
#define LVLM_VA_WIDTH 8
#include "descend_lanes.h"
#undef LVLM_VA_WIDTH
}  // namespace avx512
#pragma GCC pop_options

#endif

}  // namespace

Descend choose_descend() {
#if defined(LVLM_VA_HAS_TARGETS)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return avx512::descend;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::descend;
#endif
  return basic::descend;
}

}  // namespace lvlm_va
