// Marks functions that run on both CPU and GPU.
#pragma once

#if defined(__CUDACC__)
#define LVLM_VA_HOST_DEVICE __host__ __device__
#else
#define LVLM_VA_HOST_DEVICE
#endif

// Inlined whatever the compiler thinks of it: a loop of calls would not become vector instructions.
#if defined(__CUDACC__)
#define LVLM_VA_HOST_DEVICE_INLINE __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define LVLM_VA_HOST_DEVICE_INLINE inline __attribute__((always_inline))
#else
#define LVLM_VA_HOST_DEVICE_INLINE inline
#endif
